"""What the command that would settle a claim costs, against the plan of its sweep."""

import re

import pytest

from analysis.statements import CLAIMS
from analysis.statements.settling import COSTS
from sweeps import costs
from sweeps.catalogue import CATALOGUE
from sweeps.cells import select_runs
from sweeps.rate_grid import build_grids
from sweeps.throughput import default_throughput
from synth.run.execution import Execution

TRIALS = 3
"""Seeds of a rate in `sweeps tune`."""


def command_of(folder):
    """The first command that tunes a sweep at a scale, whose folder that is."""
    return next(
        claim.settled_by for claim in CLAIMS if f"{folder}-tuning/" in claim.settled_by
    )


@pytest.mark.usefixtures("common_processor")
@pytest.mark.parametrize("folder", COSTS)
def test_costs_are_those_of_the_plan(folder):
    command = command_of(folder)
    assert command.endswith(f"# {COSTS[folder]}")
    name = command.split("sweeps tune ")[1].split()[0]
    sweep = CATALOGUE[name]
    scale = folder.removeprefix(name).lstrip("-") or sweep.scales[0]
    arms = ("n1",) if "--arms n1" in command else ()
    own = select_runs(sweep(scale), arms)
    trials = [
        run for grid in build_grids(own, sweep.rates, TRIALS) for run in grid.trials
    ]
    seeds = re.search(r"--seeds (\d+)", command)
    runs = [*select_runs(own, seeds=int(seeds[1])), *trials]
    number, unit = COSTS[folder].split()
    if unit == "FLOP":
        assert float(number) == pytest.approx(sum(map(costs.flops, runs)), rel=0.05)
        return
    rates = (default_throughput(run, Execution()) for run in runs)
    seconds = sum(
        costs.tokens(run) / rate for run, rate in zip(runs, rates, strict=True)
    )
    assert float(number) == pytest.approx(seconds / 3600, rel=0.12)

"""How fast runs train: as seen in their folders, else by size.

A rate is in tokens a second of one worker, all lanes of its pack together.
"""

import itertools
import math
import platform
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sweeps.costs import executed_flops_per_token, flops_per_token, tokens
from synth.config import RunConfig
from synth.fast.compilation import step_form
from synth.run.execution import Execution
from synth.run.standing import Standing, Survey
from synth.run.store import RunFolder

NATIVE = (
    (1.22e5, 120_000.0),
    (3.09e5, 98_000.0),
    (7.35e5, 64_000.0),
    (2.07e6, 29_000.0),
    (6.96e6, 12_000.0),
    (2.05e7, 4_500.0),
)
"""Executed FLOP a token, and tokens a second of one core with native passes: the rungs
from 10k to 3M on polynomials (fp32, attention, one thread, medians on two machines).

Sixteen shapes of the night scale reached 0.56 to 0.84 of it while ten other processes
kept the two cores busy."""
EAGER_SECONDS = 1e-5
"""What eager operations cost a token more than native passes."""
MIXER = 0.6
"""Speed of the recurrent mixers, which have no native passes, over eager attention."""
LOOKED_AT = 3
"""Runs of a cell that are read for their speed."""


@dataclass(frozen=True)
class Rates:
    """What is known of the speed of a sweep's runs."""

    seen: dict[str, float] = field(default_factory=dict)
    """By pack key: what runs of the cell reached on this machine."""
    factor: float = 1.0
    """This machine over the curve, as far as runs were seen."""

    def of(self, config: RunConfig, execution: Execution) -> float | None:
        """Tokens a second; `None` for a GPU on which nothing like it has trained."""
        own = self.seen.get(config.pack_key)
        if own is not None:
            return own
        usual = usual_rate(config, execution)
        return None if usual is None else usual * self.factor

    def source(self, configs: Sequence[RunConfig], execution: Execution) -> str:
        """Where the speeds of these runs come from, in words."""
        keys = {config.pack_key: config for config in configs}
        if not keys:
            return "nothing to train"
        if any(self.of(config, execution) is None for config in keys.values()):
            return "nothing like it has trained here yet: add --flops-per-second"
        own = len(keys.keys() & self.seen.keys())
        if own == len(keys):
            return "as seen in runs of this machine"
        if self.seen:
            return (
                f"{own} of {len(keys)} cells as seen in runs of this machine, the others "
                f"by size, at {self.factor:.2f} of the built-in curve"
            )
        return "by size, from the built-in curve of a quiet core"


def usual_rate(config: RunConfig, execution: Execution) -> float | None:
    """Tokens a second by size alone, on one core; `None` for a GPU."""
    if execution.device != "cpu":
        return None
    seconds = 1 / _native(executed_flops_per_token(config))
    if config.model.mixer != "attention":
        return MIXER / (seconds + EAGER_SECONDS)
    if step_form(execution, tokens(config), flops_per_token(config)) != "native":
        seconds += EAGER_SECONDS
    return 1 / seconds


def observe(
    configs: Sequence[RunConfig], found: Survey[Standing], execution: Execution
) -> Rates:
    """The speeds of runs that are done or have begun, with this machine's own alone."""
    cells: dict[str, list[RunConfig]] = defaultdict(list)
    states = {run.run_id: run.state for run in found.runs}
    for config in configs:
        begun = states.get(config.run_id) in ("done", "running", "stopped")
        if begun and (found.root / config.run_id).exists():  # not in a table alone
            cells[config.pack_key].append(config)
    seen, factors = {}, []
    for key, group in cells.items():
        values = [_seen(found.root, c, execution) for c in group[:LOOKED_AT]]
        rates = [value for value in values if value is not None]
        if rates:
            seen[key] = statistics.median(rates)
            usual = usual_rate(group[0], execution)
            if usual is not None:
                factors.append(seen[key] / usual)
    return Rates(seen, statistics.median(factors) if factors else 1.0)


def _seen(root: Path, config: RunConfig, execution: Execution) -> float | None:
    """What the pack of one run reached, evaluation included once it is done."""
    folder = RunFolder(root, config.run_id)
    try:
        session: dict[str, Any] = folder.read_json("environment.json")["sessions"][-1]
        mine = (platform.node(), execution.device, execution.threads)
        if mine != tuple(session[name] for name in ("host", "device_kind", "threads")):
            return None
        lanes = int(session["lanes"])
        result = folder.read_json("result.json")
        if result is None:
            rate = lanes * float(folder.read_json("progress.json")["tokens_per_second"])
        else:
            seconds = sum(map(float, result["seconds"].values()))
            rate = int(result["lanes"]) * float(result["tokens"]) / seconds
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None  # not that far yet, or not as this version writes it
    except ZeroDivisionError:
        return None
    return rate if 0 < rate < math.inf else None


def _native(cost: float) -> float:
    """The built-in curve, between its entries along straight lines of logarithms.

    Beyond its ends the smallest model's rate and the largest one's FLOP/s hold.
    """
    if cost <= NATIVE[0][0]:
        return NATIVE[0][1]
    for (low, slow), (high, fast) in itertools.pairwise(NATIVE):
        if cost <= high:
            share = math.log(cost / low) / math.log(high / low)
            return math.exp((1 - share) * math.log(slow) + share * math.log(fast))
    return NATIVE[-1][1] * NATIVE[-1][0] / cost

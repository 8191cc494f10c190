"""Train a sweep from a notebook or a script, in this process."""

import os
from pathlib import Path

from sweeps.inline import InThisProcess
from sweeps.launch import LaunchOptions, launch
from sweeps.launch_display import Display
from sweeps.survey import survey
from sweeps.sweep import Sweep
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.states import TROUBLED


def train_here(
    sweep: Sweep,
    folder: str | os.PathLike[str],
    *,
    scale: str | None = None,
    execution: Execution | None = None,
    quiet: bool = False,
) -> list[Outcome]:
    """Train what is missing of a sweep, with its run folders in `folder`.

    Finished runs are skipped and stopped runs continue, as with `python -m sweeps run`.
    In a notebook the progress table is drawn below the cell. Returned are the outcomes of
    the runs that were trained, then of those that failed or were damaged before: they
    are left alone.

    Raises `ValueError` for an unknown scale or an impossible run, or if another version
    of the code began some of the runs.
    """
    require(isinstance(sweep, Sweep), "sweep", "a function under @sweep", sweep)
    options = execution or Execution()
    require(isinstance(options, Execution), "execution", "an Execution", execution)
    configs, root = sweep(scale or sweep.scales[0]), Path(folder)
    trained = launch(
        sweep.name,
        configs,
        root,
        InThisProcess(),
        LaunchOptions(execution=options),
        Display(quiet=quiet),
        sweep.metric,
    )
    known = {outcome.run_id for outcome in trained}
    return trained + [
        Outcome(run.run_id, run.state, run.error or run.state)
        for run in survey(root, configs).runs
        if run.state in TROUBLED and run.run_id not in known
    ]

"""Train a run from Python: a notebook, a script, an interpreter."""

import os
from pathlib import Path

from synth.config import RunConfig
from synth.run.execution import Execution
from synth.run.loading import Run
from synth.run.progress import Progress, Screen, shown_on
from synth.training import train as train_pack


def train(
    config: RunConfig,
    *,
    runs: str | os.PathLike[str] = "runs",
    execution: Execution | None = None,
    progress: Progress | bool = True,
) -> Run:
    """Train a run, or go on with it, and read it; a run that is done is left alone.

    Parameters
    ----------
    config
        What to train.
    runs
        Where its folder lies; `config.run_id` is its name.
    execution
        Device, threads, compilation: what cannot change the result.
    progress
        Receives the news; `True` shows them here, in a notebook or on a terminal.

    Raises
    ------
    RuntimeError
        When the run failed, was interrupted, or is trained by another process; says
        which. After an interruption the same call goes on.
    """
    show: Progress | None
    if isinstance(progress, bool):
        show = shown_on(Screen()) if progress else None
    else:
        show = progress
    (outcome,) = train_pack([config], Path(runs), execution, show)
    if outcome.state != "done":
        raise RuntimeError(f"{outcome.run_id} is {outcome.state}: {outcome.message}")
    return Run(Path(runs) / outcome.run_id)

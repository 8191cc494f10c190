"""Train a sweep from Python, in this process: a notebook, a script."""

import os
from pathlib import Path

from sweeps.display import Display
from sweeps.inline import InThisProcess
from sweeps.launch import Wishes, launch
from sweeps.sweep import Sweep
from synth.run.execution import Execution
from synth.run.progress import Outcome


def train_here(
    sweep: Sweep,
    folder: str | os.PathLike[str],
    *,
    scale: str | None = None,
    execution: Execution | None = None,
    quiet: bool = False,
) -> list[Outcome]:
    """Train what is missing of a sweep, its run folders below `folder`.

    Done runs are left alone and stopped ones go on, as with `python -m sweeps run`. In a
    notebook the table of progress is drawn below the cell.

    Raises
    ------
    ValueError
        For an unknown scale or impossible runs, or when other code began some of them.
    """
    return launch(
        sweep.name,
        sweep(scale or sweep.scales[0]),
        Path(folder),
        InThisProcess(),
        Wishes(execution=execution or Execution()),
        Display(quiet=quiet),
        sweep.metric,
    )

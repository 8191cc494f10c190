"""How every command names runs: ids, paths and patterns, always in the same way."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from synth.run.finding import MARKS, find_run, find_runs

OPTION = "--runs "
"""How a command names the folder to search, before its value."""
FITS = "an id, its beginning, the path of a folder, or a quoted pattern"
SeveralRuns = Annotated[
    tuple[str, ...],
    tyro.conf.Positional,
    tyro.conf.arg(
        metavar="RUN ...", help=f"Runs: each {FITS}; or a folder of runs, or of sweeps."
    ),
]
Conditions = Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=VALUE ...")]


@dataclass(frozen=True, kw_only=True)
class _BelowRuns:
    runs: Path = Path("runs")
    """Folder to search for runs, two levels deep."""


@dataclass(frozen=True, kw_only=True)
class OneRun(_BelowRuns):
    """Names one run."""

    name: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN", help=f"A run: {FITS}."),
    ]

    def find(self, marks: tuple[str, ...] = MARKS) -> Path:
        """The folder of the run; `ValueError` when none or several fit."""
        return find_run(self.name, self.runs, marks, OPTION)


@dataclass(frozen=True, kw_only=True)
class SomeRuns(_BelowRuns):
    """Names at least one run."""

    names: SeveralRuns = ()

    def find(self, marks: tuple[str, ...] = MARKS) -> list[Path]:
        """The folders of the runs; `ValueError` when a name fits none."""
        if not self.names:
            raise ValueError(f"RUN must be given at least once: {FITS}.")
        return find_runs(self.names, self.runs, marks, OPTION)

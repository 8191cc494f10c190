"""Where packs are carried out: the seam between a sweep and the machines under it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from sweeps.board import Board
from sweeps.display import Display
from sweeps.packs import Pack
from synth.execution import Execution
from synth.progress import Outcome


class Executor(Protocol):
    """Carries out packs; `slots` of them at a time."""

    slots: int

    def carry_out(
        self,
        packs: Sequence[Pack],
        root: Path,
        execution: Execution,
        board: Board,
        display: Display,
    ) -> list[Outcome]:
        """Train every pack in run folders below `root`; failures are outcomes.

        A run that another process holds is not trained twice. Returns when all packs
        have ended, or after a signal: then unfinished runs are "stopped".
        """

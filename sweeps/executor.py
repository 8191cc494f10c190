"""Where packs are carried out: the seam between a sweep and the machines under it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.board import Board
from sweeps.display import Display
from sweeps.packs import PackRuns
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class Work:
    """What an executor carries out, and where it reports."""

    packs: Sequence[PackRuns]
    root: Path
    """The folder of the run folders."""
    execution: Execution
    board: Board
    display: Display


class Executor:
    """Carries out packs; `slots` of them at a time."""

    slots = 1
    remote = False
    """Whether packs are handed to a queue, which has them when `carry_out` returns."""

    def carry_out(self, work: Work) -> list[Outcome]:
        """Train every pack, or queue it.

        Failures are outcomes. A run that another process holds is not trained twice.
        Returns when all packs have ended or are queued, or after a signal: then
        unfinished runs are "stopped".
        """
        raise NotImplementedError


def one_may_have_ended_all(outcomes: Sequence[Outcome]) -> bool:
    """Whether a pack of several runs failed as a whole: then each is tried alone."""
    return len(outcomes) > 1 and all(o.state == "failed" for o in outcomes)


def present(root: Path) -> Callable[[Outcome], Outcome]:
    """Compares an outcome with the folder: a run whose folder is gone is not done."""

    def compared(outcome: Outcome) -> Outcome:
        if outcome.state != "done":
            return outcome
        state = RunFolder(root, outcome.run_id).state()
        if state == "done":
            return outcome
        message = (
            f"{root / outcome.run_id} was removed or changed while the run trained (it "
            f"is {state!r} now). Call again to train it afresh."
        )
        return Outcome(outcome.run_id, "failed", message)

    return compared

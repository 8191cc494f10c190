"""The interface between a launch and what trains its packs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.launch_display import Display
from sweeps.launch_progress import LaunchProgress
from sweeps.packs import PackRuns
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class Work:
    """The packs that an executor trains, and where it reports progress."""

    packs: Sequence[PackRuns]
    root: Path
    """The folder of the run folders."""
    execution: Execution
    progress: LaunchProgress
    display: Display


class Executor:
    """Trains packs, `slots` of them at a time."""

    slots = 1
    remote = False
    """Whether `carry_out` submits packs to a queue and returns before they train."""

    def carry_out(self, work: Work) -> list[Outcome]:
        """Train every pack, or queue it.

        A failed run is an outcome, not an exception. A run that another process has
        claimed is not trained. Returns when all packs have ended or are queued; after a
        signal unfinished runs are "stopped".
        """
        raise NotImplementedError


def failed_as_a_pack(outcomes: Sequence[Outcome]) -> bool:
    """Whether all of several runs failed: one may have caused it, so retry each alone."""
    return len(outcomes) > 1 and all(o.state == "failed" for o in outcomes)


def check_folder(root: Path, outcome: Outcome) -> Outcome:
    """The outcome, or a failure if the folder of a finished run is gone or changed."""
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

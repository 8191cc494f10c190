"""Where every run stands: its folder first, then the queue, then accounting."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm import clients
from slurm import queue as scheduler
from slurm.clients import Ask, QueueUnavailable
from slurm.job_record import FOLDER, JobRecord, failure_stamp, read_record, write_record
from slurm.ledger import launching, owners, settle
from slurm.queue import QueueEntry
from synth.run.standing import Standing, Survey, look
from synth.run.states import LIVE, TROUBLED, State
from synth.run.store import RunFolder

OVER: dict[str, State] = {
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
}
"""States of a finished job that say more than "lost"."""


@dataclass(frozen=True)
class RunStatus(Standing):
    """One run with what there is to say about it, and the job that has or had it."""

    detail: str = ""
    job_id: str = ""
    node: str = ""
    restarts: int = 0
    log: Path | None = None

    def line(self) -> str:
        """One line for a person."""
        job = f"job {self.job_id}" if self.job_id else ""
        where = f"on {self.node}" if self.node and self.state == "running" else ""
        again = f"restarted {self.restarts}x" if self.restarts else ""
        words = [self.state.ljust(9), self.run_id, job, where, again, self.detail]
        return "  ".join(word for word in words if word)


def read_status(
    root: Path, run_ids: Sequence[str] | None = None, ask: Ask = clients.ask
) -> Survey[RunStatus]:
    """Folders and queue merged, of the given runs or of all that lie below `root`."""
    found = with_queue(look(root, run_ids), ask)
    return found.begun() if run_ids is None else found


def with_queue(found: Survey[Standing], ask: Ask = clients.ask) -> Survey[RunStatus]:
    """A survey of folders, and what SLURM knows of each run that was sent to it.

    Works without a controller, and says so.
    """
    root = found.root.absolute()
    news: list[str] = []
    queue: dict[str, QueueEntry] = {}
    known = True
    try:
        queue = scheduler.read_queue(ask, owners(root))
        news += _settle(root, queue)
    except QueueUnavailable as error:
        known = False
        news.append(str(error))
    looked = [_look(root, run, queue) for run in found.runs]
    history: dict[str, QueueEntry] = {}
    if known:
        gone = {
            run.job_id
            for run, record in looked
            if record and run.state == "lost" and _entry(record, queue) is None
        }
        history = scheduler.read_history(gone, ask)
    runs = [_remembered(run, record, history) for run, record in looked]
    if not known:
        runs = [
            dataclasses.replace(run, state="unknown") if run.state == "lost" else run
            for run in runs
        ]
    return Survey(found.root, runs, news, known)


def _settle(root: Path, queue: dict[str, QueueEntry]) -> list[str]:
    if not (root / FOLDER).is_dir():
        return []
    try:
        with launching(root):
            return settle(root, queue)
    except (ValueError, PermissionError):
        # A launcher is at work, or the folder is somebody else's: what looks half-done
        # is their business.
        return []


def _entry(record: JobRecord | None, queue: dict[str, QueueEntry]) -> QueueEntry | None:
    """The queue's word on a record; an id that was reused is not ours."""
    entry = queue.get(record.job_id) if record else None
    # slurmdbd forgets the name of a job that ends before its start was written down.
    names = (record.launch, "allocation") if record else ()
    return entry if entry and entry.name in names else None


def _look(
    root: Path, run: Standing, queue: dict[str, QueueEntry]
) -> tuple[RunStatus, JobRecord | None]:
    """One run by its folder and the queue; whatever is wrong with it is its own."""
    try:
        record = read_record(root, run.run_id)
        return _merged(root, run, record, queue), record
    except (OSError, ValueError) as error:
        words = str(error)
        return RunStatus(run.run_id, "unreadable", words, words), None


def _merged(
    root: Path,
    run: Standing,
    record: JobRecord | None,
    queue: dict[str, QueueEntry],
) -> RunStatus:
    run_id, error = run.run_id, run.error
    if record is None:
        return RunStatus(run_id, run.state, error, error or "")

    def found(state: State, detail: str = "") -> RunStatus:
        said = error if state in TROUBLED else None
        detail = detail or said or ""
        job = (record.job_id, record.node, record.restarts, record.log(root))
        return RunStatus(run_id, state, said, detail, *job)

    entry = _entry(record, queue)
    if run.state == "done":
        held = entry.reason if entry and entry.held else None
        return found("done", f"job is still held ({held})" if held else "")
    # A failure is that of the attempt that the record is about; older ones are history.
    stamp = failure_stamp(root, run_id)
    failed = run.state == "failed" if stamp is None else stamp != record.old_failure
    if failed and error is None:  # a run without its config.json
        error = RunFolder(root, run_id).failure()
    if entry and entry.live:
        if entry.held:
            return found("held", entry.reason)
        if entry.state == "PENDING":
            return found("queued", entry.reason)
        return found("failed") if failed else found("running", _step(root, run_id))
    if failed:
        return found("failed")
    if run.state == "unreadable":
        return found("unreadable")
    if run.state == "running":
        return found("running", _step(root, run_id))
    if record.cancelled:
        return found("cancelled")
    if entry is None:
        return found("lost", "the job is gone and left no word; see its log")
    return _ended(found("lost"), record, entry)


def _remembered(
    run: RunStatus, record: JobRecord | None, history: dict[str, QueueEntry]
) -> RunStatus:
    """A run that was lost, if accounting knows how its job ended."""
    entry = _entry(record, history) if run.state == "lost" else None
    return run if entry is None or record is None else _ended(run, record, entry)


def _ended(run: RunStatus, record: JobRecord, entry: QueueEntry) -> RunStatus:
    """A run whose job ended without a word in its folder, as SLURM tells it."""
    detail = f"SLURM says {entry.state}" + (
        f", {entry.reason}" if entry.reason not in ("", "None") else ""
    )
    if entry.state == "TIMEOUT":
        detail += f": {_out_of_time(record)}"
    state: State = OVER.get(entry.state, "lost")
    if entry.state == "COMPLETED":  # left to another launch, or cancelled before
        state = "stopped"
    return dataclasses.replace(run, state=state, detail=detail)


def _out_of_time(record: JobRecord) -> str:
    """How a job met its limit without requeueing itself, and what to change."""
    if record.started is None:
        return (
            "the limit came before the run was begun, while Python and torch were "
            "loading; raise `time` in the profile, then retry"
        )
    return (
        "the limit came before a checkpoint was written; raise `signal_delay_s` or "
        "`time` in the profile, then retry"
    )


def _step(root: Path, run_id: str) -> str:
    try:
        progress = RunFolder(root, run_id).read_json("progress.json")
        return f"step {progress['step']} of {progress['steps']}" if progress else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # for people alone


def cancel(
    root: Path,
    run_ids: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
    ask: Ask = clients.ask,
) -> list[RunStatus]:
    """End the jobs of the given runs, or of those in the given states.

    Runs that share a job with a chosen one end with it: the whole pack is returned.

    Raises
    ------
    QueueUnavailable
        When scancel gives no answer.
    """
    root = root.absolute()
    chosen = read_status(root, run_ids, ask)
    if not chosen.queue_known:
        raise QueueUnavailable(chosen.news[-1])
    jobs = {
        run.job_id
        for run in chosen.runs
        if run.job_id
        and (run.state in LIVE or (run.state == "done" and run.detail))
        and (states is None or run.state in states)
    }
    if not jobs:
        return []
    everyone = [r for r in read_status(root, None, ask).runs if r.job_id in jobs]
    # First the mark, then the signal: a worker that starts meanwhile reads the mark.
    for run in everyone:
        record = read_record(root, run.run_id) if run.state != "done" else None
        if record:
            write_record(root, run.run_id, dataclasses.replace(record, cancelled=True))
    ordered = sorted(jobs)
    refusals = []
    for start in range(0, len(ordered), 200):  # a command line has a length
        answer = ask("scancel", *ordered[start : start + 200])
        if answer.returncode:
            refusals.append(answer.stderr.strip())
    if refusals:  # fine for jobs that have ended meanwhile
        queue = scheduler.read_queue(ask, owners(root))
        alive = [job for job in ordered if job in queue and queue[job].live]
        if any(queue[job].state != "COMPLETING" for job in alive):
            raise QueueUnavailable(f"scancel failed: {'; '.join(refusals)}")
    return everyone

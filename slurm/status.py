"""Where every run stands: its folder first, then the queue, then accounting.

State        read from
done         result.json
failed       failure.json, written after the job took the run up
running      the job runs and has the run
queued       the job waits; the reason is the scheduler's
held         the job waits for a person (scontrol release, or cancel)
cancelled    by `cancel`, or by scancel as far as anyone remembers
timed out    the job hit its limit without requeueing itself
stopped      no job has it, it has a folder: launch again to go on
lost         the job is gone and nobody knows why: launch again to go on
new          never begun
unreadable   its folder or a file in it cannot be read; the detail says which
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm import clients
from slurm import queue as scheduler
from slurm.clients import Ask, QueueUnavailable
from slurm.ledger import (
    FOLDER,
    RECORD,
    JobRecord,
    failure_stamp,
    launching,
    owners,
    read_record,
    settle,
    write_record,
)
from slurm.queue import QueueEntry
from synth.run.store import RunFolder

OVER = {
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
}
"""States of a finished job that say more than "lost"."""


@dataclass(frozen=True)
class RunStatus:
    """One run: its state, what there is to say about it, the job that has or had it."""

    run_id: str
    state: str
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


@dataclass(frozen=True)
class Status:
    """Every run that was asked for, and what was learnt on the way."""

    runs: list[RunStatus]
    news: list[str]
    queue_known: bool = True

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        found: dict[str, int] = {}
        for run in self.runs:
            found[run.state] = found.get(run.state, 0) + 1
        return found


def known_runs(root: Path) -> list[str]:
    """Ids of every folder that is a run's, or that nobody can look into."""
    with os.scandir(root) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    return sorted(name for name in names if _may_be_run(root / name))


def _may_be_run(path: Path) -> bool:
    try:
        return not {"config.json", RECORD}.isdisjoint(os.listdir(path))
    except OSError:
        return True


def read_status(
    root: Path, run_ids: Sequence[str] | None = None, ask: Ask = clients.ask
) -> Status:
    """Merge folders and queue; works without a controller, and says so."""
    root = root.absolute()
    run_ids = known_runs(root) if run_ids is None else run_ids
    news: list[str] = []
    queue: dict[str, QueueEntry] = {}
    known = True
    try:
        queue = scheduler.read_queue(ask, owners(root))
        news += _settle(root, queue)
    except QueueUnavailable as error:
        known = False
        news.append(str(error))
    found = [_look(root, run_id, queue) for run_id in run_ids]
    history: dict[str, QueueEntry] = {}
    if known:
        gone = {
            run.job_id
            for run, record in found
            if record and run.state == "lost" and _entry(record, queue) is None
        }
        history = scheduler.read_history(gone, ask)
    runs = [_remembered(run, record, history) for run, record in found]
    if not known:
        runs = [
            dataclasses.replace(run, state="unknown") if run.state == "lost" else run
            for run in runs
        ]
    return Status(runs, news, known)


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
    root: Path, run_id: str, queue: dict[str, QueueEntry]
) -> tuple[RunStatus, JobRecord | None]:
    """One run by its folder and the queue; whatever is wrong with it is its own."""
    try:
        record = read_record(root, run_id)
        return _run(root, run_id, record, queue), record
    except (OSError, ValueError) as error:
        return RunStatus(run_id, "unreadable", str(error)), None


def _run(
    root: Path,
    run_id: str,
    record: JobRecord | None,
    queue: dict[str, QueueEntry],
) -> RunStatus:
    folder = RunFolder(root, run_id)
    entry = _entry(record, queue)
    job_id = record.job_id if record else ""
    node = record.node if record else ""
    restarts = record.restarts if record else 0
    log = record.log(root) if record else None

    def found(state: str, detail: str = "") -> RunStatus:
        return RunStatus(run_id, state, detail, job_id, node, restarts, log)

    own = folder.state()
    if own == "done":
        if entry is not None and entry.held:
            return found("done", f"job is still held ({entry.reason})")
        return found("done")
    failure = _failure(folder, record)
    if entry and entry.live:
        if entry.held:
            return found("held", entry.reason)
        if entry.state == "PENDING":
            return found("queued", entry.reason)
        if failure is not None:
            return found("failed", failure)
        return found("running", _step(folder))
    if own == "running":
        return found("running", _step(folder))
    if failure is not None:
        return found("failed", failure)
    if record is None:
        return found(own)
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
    state = OVER.get(entry.state, "lost")
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


def _failure(folder: RunFolder, record: JobRecord | None) -> str | None:
    """The failure of the attempt that the record is about; older ones are history."""
    stamp = failure_stamp(folder.path.parent, folder.run_id)
    if stamp is None or (record and stamp == record.old_failure):
        return None
    failure = folder.read_json("failure.json")
    return str(failure.get("message", "")) if isinstance(failure, dict) else ""


def _step(folder: RunFolder) -> str:
    try:
        progress = folder.read_json("progress.json")
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
    live = ("queued", "running", "held")
    jobs = {
        run.job_id
        for run in chosen.runs
        if run.job_id
        and (run.state in live or (run.state == "done" and run.detail))
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

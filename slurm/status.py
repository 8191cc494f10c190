"""The state of every run, from its folder, the queue and accounting."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm import clients
from slurm import queue as scheduler
from slurm.clients import Ask, QueueUnavailable, complaint
from slurm.job_record import FOLDER, JobRecord, failure_stamp, read_record, write_record
from slurm.ledger import launch_owners, launch_roots, lock_launches, reconcile
from slurm.queue import QueueEntry
from synth.run.standing import Standing, Survey, look
from synth.run.states import LIVE, TROUBLED, State
from synth.run.store import RunFolder

FINAL_STATES: dict[str, State] = {
    "CANCELLED": "cancelled",
    "REVOKED": "cancelled",
    "TIMEOUT": "timed out",
    "DEADLINE": "timed out",
}
"""States of finished jobs that are more specific than "lost"."""


@dataclass(frozen=True)
class RunStatus(Standing):
    """One run: its state, details for display, and its current or last job."""

    detail: str = ""
    job_id: str = ""
    node: str = ""
    restarts: int = 0
    log: Path | None = None

    def line(self) -> str:
        """The status as a line of text."""
        job = f"job {self.job_id}" if self.job_id else ""
        where = f"on {self.node}" if self.node and self.state == "running" else ""
        again = f"restarted {self.restarts}x" if self.restarts else ""
        words = [self.state.ljust(9), self.run_id, job, where, again, self.detail]
        return "  ".join(word for word in words if word)


def read_status(
    root: Path, run_ids: Sequence[str] | None = None, ask: Ask = clients.ask
) -> Survey[RunStatus]:
    """Read folders and queue, for the given runs or for all runs in `root`."""
    survey = with_queue(look(root, run_ids), ask)
    return survey.begun() if run_ids is None else survey


def with_queue(folders: Survey[Standing], ask: Ask = clients.ask) -> Survey[RunStatus]:
    """Add SLURM's information about each submitted run to a survey of folders.

    Without an answer from the controller `news` says so.
    """
    root = folders.root.absolute()
    news = list(folders.news)
    queue: dict[str, QueueEntry] = {}
    answered = True
    try:
        roots = launch_roots(root, (run.run_id for run in folders.runs))
        queue = scheduler.read_queue(ask, launch_owners(roots))
        for each in sorted(roots):
            news += _reconcile(each, queue)
    except QueueUnavailable as error:
        answered = False
        news.append(str(error))
    recorded = [_with_record(root, run, queue) for run in folders.runs]
    history: dict[str, QueueEntry] = {}
    if answered:
        gone = {
            run.job_id
            for run, record in recorded
            if record and run.state == "lost" and _entry(record, queue) is None
        }
        history = scheduler.read_history(gone, ask)
    runs = [_with_history(run, record, history) for run, record in recorded]
    if not answered:
        runs = [
            dataclasses.replace(run, state="unknown") if run.state == "lost" else run
            for run in runs
        ]
    return Survey(folders.root, runs, news, answered)


def _reconcile(root: Path, queue: dict[str, QueueEntry]) -> list[str]:
    if not (root / FOLDER).is_dir():
        return []
    try:
        with lock_launches(root):
            return reconcile(root, queue)
    except (ValueError, PermissionError):
        # Another launcher runs, or the folder is another user's: they complete their own
        # launches.
        return []


def _entry(record: JobRecord | None, queue: dict[str, QueueEntry]) -> QueueEntry | None:
    """The queue's entry for the job of a record; None if its id was reused."""
    entry = queue.get(record.job_id) if record else None
    # slurmdbd loses the name of a job that ends before its start was recorded.
    names = (record.launch, "allocation") if record else ()
    return entry if entry and entry.name in names else None


def _with_record(
    root: Path, run: Standing, queue: dict[str, QueueEntry]
) -> tuple[RunStatus, JobRecord | None]:
    """Add the job of a run; a damaged record makes only this run unreadable."""
    try:
        record = read_record(root, run.run_id)
        return _merge(root, run, record, queue), record
    except (OSError, ValueError) as error:
        words = str(error)
        return RunStatus(run.run_id, "unreadable", words, words), None


def _merge(
    root: Path,
    run: Standing,
    record: JobRecord | None,
    queue: dict[str, QueueEntry],
) -> RunStatus:
    run_id, error = run.run_id, run.error
    if record is None:
        return RunStatus(run_id, run.state, error, error or "")

    def status(state: State, detail: str = "") -> RunStatus:
        shown = error if state in TROUBLED else None
        detail = detail or shown or ""
        job = (record.job_id, record.node, record.restarts, record.log(root / run_id))
        return RunStatus(run_id, state, shown, detail, *job)

    entry = _entry(record, queue)
    if run.state == "done":
        held = entry.reason if entry and entry.held else None
        return status("done", f"job is still held ({held})" if held else "")
    # Only a failure of the recorded attempt counts, not an older one.
    stamp = failure_stamp(root, run_id)
    failed = run.state == "failed" if stamp is None else stamp != record.old_failure
    if failed and error is None:  # a run without its config.json
        error = RunFolder(root, run_id).failure()
    if entry and entry.live:
        if entry.held:
            return status("held", entry.reason)
        if entry.state == "PENDING":
            return status("queued", entry.reason)
        return (
            status("failed")
            if failed
            else status("running", _format_step(root, run_id, record))
        )
    if failed:
        return status("failed")
    if run.state == "unreadable":
        return status("unreadable")
    if run.state == "running":  # by a process outside SLURM, on this machine perhaps
        return RunStatus(run_id, "running")
    if record.cancelled:
        return status("cancelled")
    if entry is None:
        return status("lost", "the job is gone without a message; see its log")
    return _with_end(status("lost"), record, entry)


def _with_history(
    run: RunStatus, record: JobRecord | None, history: dict[str, QueueEntry]
) -> RunStatus:
    """Refine the state of a lost run by what accounting reports about its job."""
    entry = _entry(record, history) if run.state == "lost" else None
    return run if entry is None or record is None else _with_end(run, record, entry)


def _with_end(run: RunStatus, record: JobRecord, entry: QueueEntry) -> RunStatus:
    """Set state and detail of a run from the final state of its job."""
    detail = f"SLURM says {entry.state}" + (
        f", {entry.reason}" if entry.reason not in ("", "None") else ""
    )
    if entry.state == "TIMEOUT":
        detail += f": {_explain_timeout(record)}"
    state: State = FINAL_STATES.get(entry.state, "lost")
    if entry.state == "COMPLETED":  # another launch has the run, or it was cancelled
        state = "stopped"
    return dataclasses.replace(run, state=state, detail=detail)


def _explain_timeout(record: JobRecord) -> str:
    """Why a job reached its time limit without requeueing itself, and the remedy."""
    if record.started is None:
        return (
            "the limit was reached before the run started, while Python and torch were "
            "loading; raise `time` in the profile, then retry"
        )
    return (
        "the limit was reached before a checkpoint was written; raise `signal_delay_s` or "
        "`time` in the profile, then retry"
    )


def _format_step(root: Path, run_id: str, record: JobRecord) -> str:
    """The step of the current attempt; empty until its worker has reported one."""
    if record.started is None:  # progress.json is from an earlier attempt
        return ""
    try:
        progress = RunFolder(root, run_id).read_json("progress.json")
        return f"step {progress['step']} of {progress['steps']}" if progress else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # for display only


def cancel(
    root: Path,
    run_ids: Sequence[str] | None = None,
    states: Sequence[str] | None = None,
    ask: Ask = clients.ask,
) -> list[RunStatus]:
    """Cancel the jobs of the given runs, or of those in the given states.

    Runs that share a job end together, so whole packs are returned.

    Raises `QueueUnavailable` when scancel does not answer.
    """
    root = root.absolute()
    requested = read_status(root, run_ids, ask)
    if not requested.queue_known:
        raise QueueUnavailable(requested.news[-1])
    jobs = {
        run.job_id
        for run in requested.runs
        if run.job_id
        and (run.state in LIVE or (run.state == "done" and run.detail))
        and (states is None or run.state in states)
    }
    if not jobs:
        return []
    roots = launch_roots(root, [r.run_id for r in requested.runs if r.job_id in jobs])
    affected = {
        (each / run.run_id).resolve(): run
        for each in sorted(roots)
        for run in read_status(each, None, ask).runs
        if run.job_id in jobs
    }
    # Mark before the signal, so that a worker that starts in between reads the mark.
    for path, run in affected.items():
        if run.state != "done" and (record := read_record(path.parent, run.run_id)):
            marked = dataclasses.replace(record, cancelled=True)
            write_record(path.parent, run.run_id, marked)
    ordered = sorted(jobs)
    refusals = []
    for start in range(0, len(ordered), 200):  # the length of a command line is limited
        answer = ask("scancel", *ordered[start : start + 200])
        if answer.returncode:
            refusals.append(complaint(answer))
    if refusals:  # harmless if the jobs have ended meanwhile
        queue = scheduler.read_queue(ask, launch_owners(roots))
        alive = [job for job in ordered if job in queue and queue[job].live]
        if any(queue[job].state != "COMPLETING" for job in alive):
            raise QueueUnavailable(f"scancel failed: {'; '.join(refusals)}")
    return list(affected.values())

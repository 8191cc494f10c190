"""Reads the scheduler: one `squeue` for all jobs, `sacct` for those that it has forgotten.

Whether a run is done is decided by its folder alone. `squeue` comes first, because
`sacct` still says NODE_FAIL or PREEMPTED of jobs that wait for their restart.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from slurm.clients import Ask, QueueUnavailable, ask

LIVE_STATES = {
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "SUSPENDED",
    "STOPPED",
    "SIGNALING",
    "STAGE_OUT",
    "RESIZING",
    "COMPLETING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "REQUEUE_FED",
    "RESV_DEL_HOLD",
    "SPECIAL_EXIT",
}
"""States of a job that may still do something; all others are final."""

HELD_REASONS = ("held", "Held", "HELD", "DependencyNeverSatisfied")

_MARK = "\x1f"
"""Separates columns: no name or reason holds this character."""
_JOB_ID = re.compile(r"\d+(_\d+)?")


@dataclass(frozen=True)
class QueueEntry:
    """One job or array element, as the scheduler sees it."""

    job_id: str
    state: str
    reason: str
    node: str
    name: str
    user: str = ""
    """Number of the user whose job it is."""

    @property
    def live(self) -> bool:
        """Whether the job may still train something."""
        return self.state in LIVE_STATES

    @property
    def held(self) -> bool:
        """Whether the job waits for a person."""
        return self.live and (
            self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
            or any(word in self.reason for word in HELD_REASONS)
        )


Queue = Mapping[str, QueueEntry]
"""Job id (`12`, or `12_3` for an element) to its entry."""


def is_job_id(word: object) -> bool:
    """Whether a word can stand for a job on a command line."""
    return isinstance(word, str) and _JOB_ID.fullmatch(word) is not None


def read_queue(ask: Ask = ask, users: Collection[int] = ()) -> dict[str, QueueEntry]:
    """Jobs of this user and of `users` that the controller remembers, by element.

    Raises
    ------
    QueueUnavailable
        With the message of squeue.
    """
    wanted = ",".join(map(str, sorted({os.getuid(), *users})))
    columns = _MARK.join(("%i", "%T", "%r", "%N", "%U", "%j"))
    answer = ask("squeue", "-h", "-r", "-t", "all", "-u", wanted, "-o", columns)
    if answer.returncode:
        raise QueueUnavailable(f"squeue failed: {answer.stderr.strip()}")
    return parse_squeue(answer.stdout)


def parse_squeue(text: str) -> dict[str, QueueEntry]:
    """Entries by job id; lines of another form are skipped."""
    entries = {}
    for line in text.split("\n"):
        parts = [part.strip(" ") for part in line.split(_MARK)]
        if len(parts) == 6 and is_job_id(parts[0]):
            job_id, state, reason, node, user, name = parts
            entries[job_id] = QueueEntry(job_id, state, reason, node, name, user)
    return entries


def read_history(job_ids: Iterable[str], ask: Ask = ask) -> dict[str, QueueEntry]:
    """Accounting's entries for jobs that left the queue; empty without accounting.

    A rebuilt cluster reuses ids, so callers must compare the name.
    """
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    entries = {}
    for start in range(0, len(arrays), 1000):  # a command line has a length
        wanted = ",".join(arrays[start : start + 1000])
        columns = "JobID,State,ExitCode,NodeList,JobName"
        command = ["sacct", "-n", "-P", "-X", f"--delimiter={_MARK}", "-o", columns]
        try:
            answer = ask(*command, "-j", wanted)
        except QueueUnavailable:
            return {}
        if answer.returncode:
            return {}
        for line in answer.stdout.split("\n"):
            parts = line.split(_MARK)
            if len(parts) == 5 and is_job_id(parts[0]):
                job_id, state, code, node, name = parts
                state = state.split()[0] if state.split() else ""  # "CANCELLED by 0"
                entries[job_id] = QueueEntry(job_id, state, f"exit {code}", node, name)
    return entries

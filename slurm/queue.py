"""Reads the scheduler: one `squeue` for all jobs, `sacct` for jobs that left the queue.

Only its folder decides whether a run is done. `squeue` is asked first, because `sacct`
still reports NODE_FAIL or PREEMPTED for jobs that wait for their restart.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from slurm.clients import Ask, QueueUnavailable, ask, complaint

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
"""States of a job that may still run; all others are final."""

HELD_REASONS = ("held", "Held", "HELD", "DependencyNeverSatisfied")

_MARK = "\x1f"
"""Column separator; names and reasons do not contain this character."""
_JOB_ID = re.compile(r"\d+(_\d+)?")


@dataclass(frozen=True)
class QueueEntry:
    """One job or array element in the scheduler's answer."""

    job_id: str
    state: str
    reason: str
    node: str
    name: str
    user: str = ""
    """Numeric id of the job's user."""

    @property
    def live(self) -> bool:
        """Whether the job may still run."""
        return self.state in LIVE_STATES

    @property
    def held(self) -> bool:
        """Whether the job waits until a user or administrator releases it."""
        return self.live and (
            self.state in ("REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
            or any(word in self.reason for word in HELD_REASONS)
        )


Queue = Mapping[str, QueueEntry]
"""Entries by job id: `12`, or `12_3` for an element."""


def is_job_id(word: object) -> bool:
    """Whether a value has the form of a job id."""
    return isinstance(word, str) and _JOB_ID.fullmatch(word) is not None


def read_queue(ask: Ask = ask, users: Collection[int] = ()) -> dict[str, QueueEntry]:
    """Read the jobs of this user and of `users` from the controller, by element.

    Raises `QueueUnavailable` with the message of squeue.
    """
    wanted = ",".join(map(str, sorted({os.getuid(), *users})))
    columns = _MARK.join(("%i", "%T", "%r", "%N", "%U", "%j"))
    answer = ask("squeue", "-h", "-r", "-t", "all", "-u", wanted, "-o", columns)
    if answer.returncode:
        raise QueueUnavailable(f"squeue failed: {complaint(answer)}")
    return parse_squeue(answer.stdout)


def parse_squeue(text: str) -> dict[str, QueueEntry]:
    """Parse entries by job id; lines of another form are skipped."""
    entries = {}
    for line in text.split("\n"):
        fields = [field.strip(" ") for field in line.split(_MARK)]
        if len(fields) == 6 and is_job_id(fields[0]):
            job_id, state, reason, node, user, name = fields
            entries[job_id] = QueueEntry(job_id, state, reason, node, name, user)
    return entries


def read_history(job_ids: Iterable[str], ask: Ask = ask) -> dict[str, QueueEntry]:
    """Read accounting's entries of jobs that left the queue; empty without accounting.

    A reinstalled cluster reuses ids, so callers must compare the name.
    """
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    entries = {}
    for start in range(0, len(arrays), 1000):  # the length of a command line is limited
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
            fields = line.split(_MARK)
            if len(fields) == 5 and is_job_id(fields[0]):
                job_id, state, code, node, name = fields
                state = state.split()[0] if state.split() else ""  # "CANCELLED by 0"
                entries[job_id] = QueueEntry(job_id, state, f"exit {code}", node, name)
    return entries

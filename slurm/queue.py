"""What the scheduler says: one `squeue` for everything, `sacct` for what it forgot.

Nothing here decides whether a run is done: only its folder does. `squeue` comes first,
because `sacct` still says NODE_FAIL or PREEMPTED of jobs that wait for their restart.
"""

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

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

Ask = Callable[..., "subprocess.CompletedProcess[str]"]


class QueueUnavailable(RuntimeError):
    """The scheduler does not answer; nobody knows what is queued."""


@dataclass(frozen=True)
class QueueEntry:
    """One job or array element, as the scheduler sees it."""

    job_id: str
    state: str
    reason: str
    node: str
    name: str

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


def ask(*command: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
    """Run one SLURM client.

    Raises
    ------
    QueueUnavailable
        When it is not installed or gives no answer in time; a client waits 9 s or more
        for a controller that is down.
    """
    # A SLURM_* format variable in a person's shell must not change what we parse.
    names = ("SQUEUE_FORMAT", "SQUEUE_STATES", "SACCT_FORMAT", "SLURM_TIME_FORMAT")
    environment = {k: v for k, v in os.environ.items() if k not in names}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=environment,
        )
    except FileNotFoundError:
        raise QueueUnavailable(
            f"{command[0]} is not on PATH: this is no SLURM cluster. Run locally, or "
            "bring up a private one with `python -m slurm cluster up`."
        ) from None
    except subprocess.TimeoutExpired:
        raise QueueUnavailable(
            f"`{' '.join(command)}` gave no answer within {timeout_s:.0f} s: the "
            "controller may be down. Runs that train go on; ask again later."
        ) from None


def read_queue(ask: Ask = ask) -> dict[str, QueueEntry]:
    """Every job of this user that the controller remembers, elements one by one.

    Raises
    ------
    QueueUnavailable
        With the client's own words.
    """
    user = str(os.getuid())
    answer = ask("squeue", "-h", "-r", "-t", "all", "-u", user, "-o", "%i|%T|%r|%N|%j")
    if answer.returncode:
        raise QueueUnavailable(f"squeue failed: {answer.stderr.strip()}")
    return parse_squeue(answer.stdout)


def parse_squeue(text: str) -> dict[str, QueueEntry]:
    """Entries by job id; lines of another form are passed over."""
    entries = {}
    for line in text.splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5:
            entry = QueueEntry(*(part.strip() for part in parts))
            entries[entry.job_id] = entry
    return entries


def read_history(job_ids: Iterable[str], ask: Ask = ask) -> dict[str, QueueEntry]:
    """What accounting remembers of jobs that left the queue; empty without accounting.

    Ids are reused when a cluster is rebuilt: compare the name before believing it.
    """
    arrays = sorted({job_id.partition("_")[0] for job_id in job_ids})
    if not arrays:
        return {}
    columns = "JobID,State,ExitCode,NodeList,JobName"
    command = ["sacct", "-n", "-P", "-X", "-o", columns, "-j", ",".join(arrays)]
    try:
        answer = ask(*command)
    except QueueUnavailable:
        return {}
    if answer.returncode:
        return {}
    entries = {}
    for line in answer.stdout.splitlines():
        parts = line.split("|", 4)
        if len(parts) == 5 and "[" not in parts[0]:
            job_id, state, code, node, name = parts
            state = state.split()[0] if state.split() else ""  # "CANCELLED by 0"
            entries[job_id] = QueueEntry(job_id, state, f"exit {code}", node, name)
    return entries

"""The job that this process runs in: its id, its state, its requeue.

The worker imports this module before it handles signals, so the import must be fast.
"""

import os
import time

from slurm.clients import QueueUnavailable, ask


def own_job_id() -> str:
    """This job's id, in the form that names one element.

    SLURM_JOB_ID is not used: for an array's last element it is the id of the array.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "none")


def own_state() -> str:
    """The scheduler's state of this job; "" when it does not answer."""
    try:
        command = ("squeue", "-h", "-r", "-t", "all", "-j", own_job_id(), "-o", "%T")
        return ask(*command).stdout.strip()
    except QueueUnavailable:
        return ""


def requeue() -> None:
    """Put this job back into the queue, unless SLURM has done so.

    Raises `RuntimeError` when the requeue was refused for another reason.
    """
    # SLURM may meanwhile send TERM to every process of the step; the child inherits
    # ignored signals, but not handlers.
    try:
        done = ask("scontrol", "requeue", own_job_id(), timeout_s=60.0)
        refusal = done.stderr.strip() if done.returncode else None
    except QueueUnavailable as error:
        refusal = str(error)
    if refusal is None:
        print(f"{now()} requeued", flush=True)
    elif own_state() in ("RUNNING", ""):
        raise RuntimeError(
            f"Job {own_job_id()} could not requeue itself ({refusal}); its "
            "runs have checkpoints, launch the sweep again to continue."
        )
    else:
        print(f"{now()} requeued by SLURM", flush=True)


def restarts() -> int:
    """How often SLURM has restarted this job."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def now() -> str:
    """The time of a line in the job's log."""
    return time.strftime("%Y-%m-%d %H:%M:%S")

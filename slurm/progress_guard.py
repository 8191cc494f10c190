"""Claims the runs of a worker's pack, and ends restarts that make no progress."""

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from slurm.job_record import JobRecord, failure_stamp, read_record, write_record
from slurm.ledger import SubmittedArray
from slurm.own_job import own_job_id, restarts
from synth.config import RunConfig
from synth.run.checkpoint import saved_steps
from synth.run.store import RunFolder


def claim_runs(
    root: Path, launch: SubmittedArray, element: int, configs: Sequence[RunConfig]
) -> list[RunConfig]:
    """Record this job as the runs' job; returns the runs that it should train.

    Skips runs that are done, cancelled, or submitted by a later launch. An unreadable
    folder does not stop the other runs.

    Raises `RuntimeError` when the job was restarted `max_idle_restarts` times in a row
    without progress.
    """
    claimed: list[RunConfig] = []
    idle: list[int] = []
    for config in configs:
        try:
            record = _claim_run(root, launch, element, config)
        except (OSError, ValueError) as error:
            # Training fails too, and records the failure of this run.
            print(f"{config.run_id}: {error}", flush=True)
            claimed.append(config)
            continue
        if record is not None:
            claimed.append(config)
            idle.append(record.idle_restarts)
    in_a_row = min(idle, default=0)
    if in_a_row >= launch.max_idle_restarts:
        raise RuntimeError(
            f"Restarted {in_a_row} times in a row without a new checkpoint: the time "
            "limit or the warning before it is too short for one step and its "
            "checkpoint. Raise time or signal_delay_s in the profile, then retry."
        )
    return claimed


def _claim_run(
    root: Path, launch: SubmittedArray, element: int, config: RunConfig
) -> JobRecord | None:
    """The new record of a run that this job claims; None for a run that it skips."""
    run_id = config.run_id
    folder = RunFolder(root, run_id)
    if folder.state() == "done":
        return None
    folder.path.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(ValueError):  # training refuses this run later
        folder.open(config)
    try:
        record = read_record(root, run_id)
    except ValueError as error:
        print(error, flush=True)
        record = None
    if (
        record
        and record.launch != launch.name
        and record.generation > launch.generation
    ):
        print(f"{run_id}: left to {record.launch}", flush=True)
        return None
    if record and record.launch == launch.name and record.cancelled:
        print(f"{run_id}: cancelled", flush=True)
        return None
    if record is None or record.launch != launch.name:
        # Started before the launcher could write its record.
        record = launch.initial_record(root, element, run_id)
        record = dataclasses.replace(record, job_id=own_job_id())
    folder.drop_progress()
    record = _mark_started(folder, record)
    write_record(root, run_id, record)
    return record


def _mark_started(folder: RunFolder, record: JobRecord) -> JobRecord:
    step = max(saved_steps(folder, resumable=True), default=0)
    again = record.started is not None and restarts() > record.restarts
    idle = record.idle_restarts + 1 if again and step <= record.reached_step else 0
    return dataclasses.replace(
        record,
        started=time.time(),
        restarts=restarts(),
        idle_restarts=idle,
        reached_step=step,
        node=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        old_failure=failure_stamp(folder.path.parent, folder.run_id),
    )

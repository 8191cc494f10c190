"""Which runs of its pack a worker may take up, and whether restarts still pay."""

import contextlib
import dataclasses
import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path

from slurm.ledger import JobRecord, read_record, write_record
from slurm.worker import Worker, own_job_id
from synth.checkpoint import saved_steps
from synth.config import RunConfig
from synth.store import RunFolder


def take_up(worker: Worker, configs: Sequence[RunConfig]) -> list[RunConfig]:
    """Record that this job has the runs; returns those that it should train.

    Left out are runs that are done, and runs that were cancelled or given to a later
    launch since.

    Raises
    ------
    RuntimeError
        When the job was restarted several times in a row without any progress.
    """
    root = Path(worker.root)
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    mine, records = [], []
    for config in configs:
        folder = RunFolder(root, config.run_id)
        if folder.state() == "done":
            continue
        folder.path.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(ValueError):  # training refuses it, and it alone
            folder.open(config)
        known = read_record(root, config.run_id)
        if (
            known
            and known.launch != worker.launch
            and known.submitted > worker.submitted
        ):
            print(f"{config.run_id}: left to {known.launch}", flush=True)
            continue
        if known and known.launch == worker.launch and known.cancelled:
            print(f"{config.run_id}: cancelled", flush=True)
            continue
        if known is None or known.launch != worker.launch:
            # Started before the launcher could write its record.
            known = JobRecord(
                worker.launch,
                worker.element,
                own_job_id(),
                worker.profile,
                worker.submitted,
            )
        mine.append(config)
        records.append(_started(folder, known, restarts))
    for record, config in zip(records, mine, strict=True):
        write_record(root, config.run_id, record)
    idle = min((record.idle_restarts for record in records), default=0)
    if idle >= worker.max_idle_restarts:
        raise RuntimeError(
            f"Restarted {idle} times in a row without a new checkpoint: the time limit "
            "or the warning before it is too short for one step and its checkpoint. "
            "Raise time or signal_delay_s in the profile, then retry."
        )
    return mine


def _started(folder: RunFolder, known: JobRecord, restarts: int) -> JobRecord:
    step = max(saved_steps(folder, resumable=True), default=0)
    again = known.started is not None and restarts > known.restarts
    idle = known.idle_restarts + 1 if again and step <= known.reached_step else 0
    return dataclasses.replace(
        known,
        started=time.time(),
        restarts=restarts,
        idle_restarts=idle,
        reached_step=step,
        node=os.environ.get("SLURMD_NODENAME", socket.gethostname()),
    )

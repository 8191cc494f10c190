"""Packs per minute, time to the first step, overhead per pack, on one node and four.

    python -m tests.bench.bench_cluster

Brings up a private cluster of its own and removes it. The four nodes are one machine:
on two cores the second line shows what the scheduler can do, not what four nodes would.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from slurm.job_record import read_record
from slurm.profile import Profile
from slurm.sandbox import cluster
from slurm.sandbox.cluster_files import ClusterOptions
from slurm.submission import submit
from synth.run.store import RunFolder
from tests.slurm.conftest import free_base_port, tiny

NUM_PACKS = 16


def measure(root: Path, nodelist: str, first_seed: int) -> None:
    """Send packs of one short run each, wait for all, print a line."""
    profile = Profile(
        name="bench",
        memory_gb=0.5,
        environment={"OMP_NUM_THREADS": "1"},
        sbatch={"nodelist": nodelist} if nodelist else {},
    )
    runs = [tiny(first_seed + index) for index in range(NUM_PACKS)]
    folders = [RunFolder(root, run.run_id) for run in runs]
    began = time.time()
    submit([[run] for run in runs], root, profile, "bench")
    submitted = time.time() - began
    while not all((folder.path / "result.json").exists() for folder in folders):
        time.sleep(0.1)
    spent = time.time() - began
    records = [read_record(root, run.run_id) for run in runs]
    first = min(record.started for record in records) - began
    overheads = []
    for record, folder in zip(records, folders, strict=True):
        lines = record.log(folder.path).read_text().splitlines()
        start = lines[0].partition("(")[2].partition(",")[0]
        opened = time.mktime(time.strptime(start, "%Y-%m-%d %H:%M:%S"))
        closed = (folder.path / "result.json").stat().st_mtime
        trained = sum(folder.read_json("result.json")["seconds"].values())
        overheads.append(closed - opened - trained)
    print(
        f"{nodelist or 'n1 to n4'}: {NUM_PACKS} packs in {spent:.1f} s, "
        f"{NUM_PACKS / spent * 60:.0f} a minute; submission {submitted:.2f} s, "
        f"to the first worker with torch loaded {first:.2f} s, "
        f"overhead per pack {statistics.median(overheads):.1f} s (median, to 1 s)"
    )


def main() -> int:
    """Measure both, on a cluster of this call's own."""
    reason = cluster.why_unavailable()
    if reason:
        print(reason, file=sys.stderr)
        return 2
    state = Path(tempfile.mkdtemp(prefix="synth-bench-", dir="/tmp"))
    options = ClusterOptions(state, free_base_port())
    try:
        began = time.time()
        cluster.up(options)
        print(
            f"cluster up in {time.time() - began:.2f} s; load {os.getloadavg()[0]:.1f}"
        )
        os.environ["SLURM_CONF"] = str(options.conf)
        measure(state / "runs", "n1", 0)
        measure(state / "runs", "", 100)
    finally:
        cluster.down(options, purge=True)
        shutil.rmtree(state, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""CPU seconds of a submission and of a status, for thousands of runs; no cluster.

    python -m tests.bench.bench_slurm [RUNS]

A third of the runs is done, a third was stopped, a third never began.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from slurm.profile import Profile
from slurm.status import read_status
from slurm.submission import submit
from synth.run.store import RunFolder
from tests.slurm.conftest import tiny

LANES = 8


def answer(*command: str, timeout_s: float = 0.0, text: str | None = None):
    """A scheduler that takes everything and remembers nothing."""
    said = {"sbatch": "12\n", "scontrol": "MaxArraySize = 1001\n"}.get(command[0], "")
    return subprocess.CompletedProcess(command, 0, said, "")


def main() -> int:
    """Two lines: submission, status."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 9000
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        root = Path(name) / "runs"
        runs = [tiny(seed) for seed in range(number)]
        packs = [runs[i : i + LANES] for i in range(0, number, LANES)]
        began, cpu = time.monotonic(), time.process_time()
        submit(packs, root, Profile(name="bench", lanes=LANES), ask=answer)
        spent, cpu = time.monotonic() - began, time.process_time() - cpu
        print(f"submission of {number} runs: {cpu:.2f} s of CPU, {spent:.1f} s")
        for index, run in enumerate(runs):
            folder = RunFolder(root, run.run_id)
            if index % 3 < 2:
                (folder.path / "config.json").write_text("{}\n")
                (folder.path / "claim").touch()
            if index % 3 == 0:
                (folder.path / "result.json").write_text("{}\n")
        began, cpu = time.monotonic(), time.process_time()
        counts = read_status(root, None, answer).counts
        spent, cpu = time.monotonic() - began, time.process_time() - cpu
        print(f"status of {number} runs: {cpu:.2f} s of CPU, {spent:.1f} s; {counts}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

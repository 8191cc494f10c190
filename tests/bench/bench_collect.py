"""Collecting run folders: from nothing, and when nothing has changed.

`python -m tests.bench.bench_collect [--runs 10000] [--rows 20]`

The folders are made up: a real configuration under another seed, a finished result, and
so many rows of metrics each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from synth.metrics import Measurement, to_lines
from synth.run.store import RunFolder
from tests.conftest import tiny_run


def make(root: Path, runs: int, rows: int) -> None:
    """Write the folders; not part of what is timed."""
    base = tiny_run().to_dict()
    for seed in range(runs):
        run_id = f"polynomial-n1-made-up-s{seed}"
        folder = RunFolder(root, run_id)
        folder.path.mkdir(parents=True)
        stored = {"run_id": run_id, "config": base | {"seed": seed}}
        (folder.path / "config.json").write_text(json.dumps(stored))
        lines = to_lines(
            Measurement(run_id, row, row * 100, "in_domain", "exact_match", "", 0.5, 64)
            for row in range(rows)
        )
        folder.metrics_path.write_text(lines)
        (folder.path / "result.json").write_text(json.dumps({"seconds": {}}))


def collected(runs: Path, results: Path) -> tuple[float, float, int]:
    """Seconds of the clock and of the processor, and MB, of a command's own process."""
    command = ["-m", "analysis", "collect", "--runs", runs, "--results", results]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return seconds, spent, usage.ru_maxrss // 1024


def main() -> None:
    """Print what a cold collection takes, and one with nothing new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        runs, results = Path(name) / "runs", Path(name) / "results"
        make(runs / "sweep", given.runs, given.rows)
        print("| run folders | rows | collection | s | CPU s | MB |")
        print("|---|---|---|---|---|---|")
        for what in ("cold", "nothing new"):
            seconds, spent, megabytes = collected(runs, results)
            print(
                f"| {given.runs:,} | {given.runs * given.rows:,} | {what} | "
                f"{seconds:.2f} | {spent:.2f} | {megabytes} |"
            )


if __name__ == "__main__":
    main()

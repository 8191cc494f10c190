"""Collecting run folders: from nothing, and when nothing has changed.

`python -m tests.bench.bench_collect [--runs 10000] [--rows 20]`

The folders are made up: a real configuration under another seed, a finished result, and
so many rows of metrics each.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from analysis.collect import collect
from synth.metrics import Measurement, to_lines
from synth.store import RunFolder
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


def main() -> None:
    """Print seconds of a cold collection and of one with nothing new."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "sweep"
        make(root, given.runs, given.rows)
        began = time.perf_counter()
        found = collect(root)
        cold = time.perf_counter() - began
        began = time.perf_counter()
        again = collect(root, previous=found.frame)
        warm = time.perf_counter() - began
        assert again.frame.equals(found.frame)
        print(
            "| run folders | rows | cold: s | nothing new: s |\n|---|---|---|---|\n"
            f"| {given.runs:,} | {found.frame.height:,} | {cold:.2f} | {warm:.2f} |"
        )


if __name__ == "__main__":
    main()

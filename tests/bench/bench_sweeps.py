"""What a sweep costs beside its training, and what lanes gain.

`python -m tests.bench.bench_sweeps [--part plan status launcher overhead lanes]
[--runs 1000] [--folders 10000]`

- plan: `python -m sweeps plan` of so many trivial runs, interpreter start included.
- status: `python -m sweeps status` over ten thousand run folders.
- launcher: peak memory of `python -m sweeps run` of as many seeds, and what the dashboard
  makes of them.
- overhead: one worker trains so many trivial runs (two steps each); what is neither data,
  training nor evaluation by the runs' own clocks, and not the start of the processes, is
  overhead: claims, folders, checkpoints, results, messages.
- lanes: the same twelve small runs as lanes, one after another in one process, and as
  one process each; one core, medians of rounds taken in turn, and equal bytes.
"""

import argparse
import json
import os
import re
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

SWEEP = '''
from sweeps.sweep import sweep
from synth.objectives.multi_token import MultiTokenConfig
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.tasks.polynomial import PolynomialConfig


@sweep(scales=("quick",))
def bench(scale):
    """Small runs."""
    for horizon in HORIZONS:
        for seed in range(SEEDS):
            yield RunConfig(
                task=PolynomialConfig(
                    modulus=3, degree=2, max_operations=2, max_evaluated=3
                ),
                model=ModelConfig(scale="SCALE"),
                objective=MultiTokenConfig(horizon=horizon),
                training=TrainingConfig(
                    steps=STEPS, batch_rows=4, context=48, learning_rate=3e-3,
                    warmup_steps=1, evaluate_every_steps=100, evaluation_examples=4,
                    final_examples=8,
                ),
                seed=seed,
            )
'''


def write_sweep(folder: Path, **values: object) -> Path:
    """The sweep file with its words replaced."""
    text, path = SWEEP, folder / "bench_sweep.py"
    for name, value in values.items():
        text = text.replace(name, str(value))
    path.write_text(text)
    return path


def call(folder: Path, *words: object) -> tuple[float, str]:
    """Seconds and output of `python -m sweeps ...`."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    command = [sys.executable, "-m", "sweeps", *map(str, words)]
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began, done.stdout


def median(times: int, work: Callable[[], float]) -> float:
    """The median of several measurements."""
    return statistics.median(work() for _ in range(times))


def bench_plan(folder: Path, runs: int) -> None:
    """`plan` of trivial runs."""
    shape = {"SCALE": "d16-L4-h2", "STEPS": 2, "HORIZONS": (1, 2)}
    path = write_sweep(folder, SEEDS=runs // 2, **shape)
    call(folder, "list")
    start = median(5, lambda: call(folder, "list", "--help")[0])
    seconds = median(5, lambda: call(folder, "plan", path)[0])
    print(f"plan of {runs} runs: {seconds:.2f} s, of which {start:.2f} s is --help")


def bench_status(folder: Path, folders: int) -> None:
    """`status` over folders in every state."""
    root = folder / "runs" / "many"
    for place in range(folders):
        path = root / f"polynomial-n1-1M-s{place}-{place:08x}"
        path.mkdir(parents=True)
        (path / "config.json").write_text('{"config": {}}')
        if place % 4 == 0:
            failure = {"message": f"ValueError: at step {place} it broke"}
            (path / "failure.json").write_text(json.dumps(failure))
        elif place % 4 < 3:
            (path / "result.json").write_text("{}")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = median(3, lambda: _status(folder, root))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    print(
        f"status over {folders} folders: {seconds:.2f} s, {busy / 3:.2f} s of CPU time, "
        f"at most {after.ru_maxrss // 1000} MB"
    )


def _status(folder: Path, root: Path) -> float:
    began = time.monotonic()
    command = [sys.executable, "-m", "sweeps", "status", str(root)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def bench_launcher(folder: Path, seeds: int) -> None:
    """A launch of very many runs, until some have ended; then the study of them."""
    from sweeps.dashboard import build_study
    from sweeps.survey import survey
    from sweeps.sweep_lookup import find_sweep

    path = write_sweep(folder, SEEDS=seeds, SCALE="d16-L4-h2", STEPS=2, HORIZONS=(1,))
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps", "run", str(path), "--workers", "1"],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for ended, _ in enumerate(process.stdout):
        if ended == 100:
            break
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    process.send_signal(signal.SIGINT)
    process.communicate()
    size = sum(p.stat().st_size for p in (folder / "runs/bench").glob("*.*"))
    configs = find_sweep(str(path))("quick")
    began = time.process_time()
    build_study("bench", configs, survey(folder / "runs/bench", configs), "a/b")
    seconds = time.process_time() - began
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"launch of {seeds} seeds: launcher {peak // 1000} MB, {size} bytes beside the "
        f"runs; dashboard: {seconds:.1f} s of CPU time, {grown // 1000} MB"
    )


def bench_overhead(folder: Path, runs: int) -> None:
    """Trivial runs through one worker, alone and as lanes."""
    shape = {"SCALE": "d16-L4-h2", "STEPS": 2, "HORIZONS": (1, 2)}
    for lanes in (1, 4):
        place = folder / f"overhead-{lanes}"
        place.mkdir()
        few = write_sweep(place, SEEDS=1, **shape)
        words = ("--workers", 1, "--lanes", lanes, "--json")
        start, _ = call(place, "run", few, *words, "--runs", "few")
        path = write_sweep(place, SEEDS=runs // 2, **shape)
        seconds, _ = call(place, "run", path, *words)
        clocks: dict[str, float] = {}
        for result in (place / "runs/bench").glob("*/result.json"):
            stored = json.loads(result.read_bytes())
            for name, value in stored["seconds"].items():
                clocks[name] = clocks.get(name, 0.0) + value / stored["lanes"]
        work = sum(clocks[name] for name in ("data", "training", "evaluation"))
        rest = (seconds - start - work) / runs
        print(
            f"overhead of {runs} runs, {lanes} lanes: {1000 * rest:.1f} ms a run "
            f"(of it checkpoints {1000 * clocks['checkpoint'] / runs:.1f} ms); data, "
            f"training and evaluation {1000 * work / runs:.1f} ms; start {start:.1f} s"
        )


def bench_lanes(folder: Path, rounds: int) -> None:
    """Twelve runs of 10k parameters: three ways on one core."""
    shape = {"SCALE": "10k", "STEPS": 100, "HORIZONS": (1,)}
    path = write_sweep(folder, SEEDS=12, **shape)
    seconds: dict[str, list[float]] = {"lanes": [], "one by one": [], "processes": []}
    for turn in range(rounds):
        for name, lanes in (("lanes", 12), ("one by one", 1)):
            words = ("--workers", 1, "--lanes", lanes, "--runs", f"{name}-{turn}")
            seconds[name].append(call(folder, "run", path, *words)[0])
        seconds["processes"].append(
            _one_process_each(folder, f"processes-{turn}", path)
        )
    fastest = statistics.median(seconds["lanes"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(f"12 runs, {name}: {middle:.1f} s ({middle / fastest:.2f} x the lanes)")
    metrics = {
        name: sorted(
            (p.parent.name, p.read_bytes())
            for p in folder.glob(f"{name}-0/bench/*/metrics.jsonl")
        )
        for name in seconds
    }
    assert len(metrics["lanes"]) == 12
    assert metrics["lanes"] == metrics["one by one"] == metrics["processes"]
    print("metrics equal, byte for byte")


def _one_process_each(folder: Path, name: str, path: Path) -> float:
    """A fresh interpreter for every run, one after another."""
    from sweeps.sweep_lookup import find_sweep

    began = time.monotonic()
    code = (
        "import json, sys; from pathlib import Path; from synth.config import RunConfig;"
        "from synth.training import train;"
        "train([RunConfig.from_dict(json.loads(sys.argv[2]))], Path(sys.argv[1]))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    for config in find_sweep(str(path))("quick"):
        words = [str(folder / name / "bench"), json.dumps(config.to_dict())]
        command = [sys.executable, "-c", code, *words]
        subprocess.run(command, check=True, env=environment)
    return time.monotonic() - began


def main() -> None:
    """Print a line a measurement."""
    parser = argparse.ArgumentParser()
    parts = ["plan", "status", "launcher", "overhead", "lanes"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--folders", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    work = {
        "plan": lambda folder: bench_plan(folder, chosen.runs),
        "status": lambda folder: bench_status(folder, chosen.folders),
        "launcher": lambda folder: bench_launcher(folder, chosen.folders),
        "overhead": lambda folder: bench_overhead(folder, chosen.runs),
        "lanes": lambda folder: bench_lanes(folder, chosen.rounds),
    }
    for name in chosen.part:
        with tempfile.TemporaryDirectory() as folder:
            work[name](Path(folder))


if __name__ == "__main__":
    main()

"""What runs cost around their training steps.

`python -m tests.bench.bench_around [--part start resume]`

- start: time until each command line answers (goal: 0.5 s where torch is not needed),
  and whether it imported torch.
- resume: a 1M run is killed and taken up again: from the start of the process to the end
  of the first step, and loading the checkpoint alone (goal: 2 s).

Columns named "CPU" count the time that the process was given, which other work on the
machine hardly changes. A sweep's overhead for each run is in `bench_sweeps`, a step with
n = 4 against n = 1 in `bench_training` and `bench_heads`.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth.config import RunConfig

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = (
    "synth --help",
    "synth sample polynomial --count 1",
    "synth describe --scale 1M",
    "sweeps list",
    "sweeps plan quick",
    "sweeps status quick",
    "analysis --help",
    "slurm --help",
)


def bench_start(rounds: int) -> bool:
    """A row a command; whether all without torch answer in half a second."""
    print("| command | wall | CPU | torch |\n|---|---|---|---|")
    good = True
    for command in COMMANDS:
        walls, cpus = [], []
        for _ in range(rounds):
            wall, cpu, loaded = _call(command)
            walls.append(wall)
            cpus.append(cpu)
        good &= loaded or min(walls) < 0.5
        print(
            f"| `python -m {command}` | {min(walls):.2f} s | {min(cpus):.2f} s | "
            f"{'imported' if loaded else 'no'} |",
            flush=True,
        )
    return good


def _call(command: str) -> tuple[float, float, bool]:
    """Wall and CPU seconds of a command, and whether it imported torch."""
    package, *words = command.split()
    code = (
        "import sys, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\n"
        f"from {package}.__main__ import main\n"
        f"sys.exit(main({words!r}))"
    )
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stderr.strip().endswith("True")


RESUME = """
import json, sys, time
from pathlib import Path
began = time.process_time()
from synth.config import RunConfig
from synth.run.execution import Execution
from synth.training import train
imported = time.process_time()

def show(event):
    if event.kind == "begin":
        loading = time.process_time() - imported
        print(json.dumps(["loaded", event.step, loading]), flush=True)
    elif event.kind == "training":
        print(json.dumps(["step", event.step, time.process_time()]), flush=True)

config = RunConfig.from_dict(json.loads(sys.argv[1]))
execution = Execution(log_every_seconds=0, checkpoint_every_seconds=float(sys.argv[3]))
train([config], Path(sys.argv[2]), execution, show)
"""


def bench_resume(rounds: int, folder: Path) -> bool:
    """Kill a 1M run after a checkpoint, start again; whether it takes two seconds."""
    from synth.config import ModelConfig, RunConfig, TrainingConfig
    from synth.tasks.polynomial import PolynomialConfig

    training = TrainingConfig(
        batch_rows=4, context=256, evaluate_every_steps=100_000, evaluation_examples=0
    )
    config = RunConfig(
        task=PolynomialConfig(), model=ModelConfig(scale="1M"), training=training
    )
    _until_step(config, folder, 3, every=0.0)  # a checkpoint after every step
    found = [_until_step(config, folder, 1, every=1e9) for _ in range(rounds)]
    wall, cpu, load = (min(values) for values in zip(*found, strict=True))
    print(
        f"resume at 1M: {wall:.2f} s from the start of the process to the end of the "
        f"first step ({cpu:.2f} s CPU); building the model and loading its checkpoint "
        f"{load:.2f} s CPU"
    )
    return wall <= 2.0


def _until_step(
    config: "RunConfig", folder: Path, steps: int, every: float
) -> tuple[float, float, float]:
    """Train so many steps in a process and kill it: wall, CPU and loading seconds."""
    words = [json.dumps(config.to_dict()), str(folder), str(every)]
    began, loading = time.monotonic(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-c", RESUME, *words],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    seen = 0
    for line in process.stdout:
        what, step, seconds = json.loads(line)
        if what == "loaded":
            loading = seconds
            assert step > 0 or every == 0.0, "it began anew"
            continue
        seen += 1
        if seen == steps:
            wall = time.monotonic() - began
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
            return wall, seconds, loading
    raise SystemExit(f"the run ended with status {process.wait()}")


def main() -> int:
    """Measure; status 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts = ["start", "resume"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "start" in given.part:
            good &= bench_start(given.rounds)
        if "resume" in given.part:
            good &= bench_resume(given.rounds, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

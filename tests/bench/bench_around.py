"""What runs cost around their training steps.

`python -m tests.bench.bench_around [--part shares start resume] [--scales 10k 30k ...]
                                    [--sweeps induction ...] [--compile auto|on|off]`

- shares: data, evaluation and checkpoints against training, at each rung, with the
  schedules of the catalogue (goal: at most 10 % together). Some steps, evaluations of
  both sizes and one checkpoint are timed, and weighed with how often a whole run has
  them; the last evaluation is in. What comes once a pack (the test sets, and what their
  scores refer to) counts once. "per position" is an evaluation's time for one token of
  one lane, "evaluated" how many such tokens it reads for each one trained on.
- start: time until each command line answers (goal: 0.5 s where torch is not needed),
  and whether it imported torch.
- resume: a 1M run is killed and taken up again: from the start of the process to the end
  of the first step, and loading the checkpoint alone (goal: 2 s).

Columns named "CPU" count the time that the process was given, which other work on the
machine hardly changes. A sweep's overhead for each run is in `bench_sweeps`, a step with
n = 4 against n = 1 in `bench_training` and `bench_heads`.
"""

import argparse
import dataclasses
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth.config import RunConfig
    from synth.pack import Pack
    from synth.run.execution import Execution

REPOSITORY = Path(__file__).resolve().parents[2]
SCALES = ("10k", "30k", "100k", "300k", "1M", "3M")
SWEEPS = ("polynomial", "choice-points", "information", "induction")
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


def schedules(
    scale: str, sweeps: Sequence[str] = SWEEPS
) -> "list[tuple[str, RunConfig]]":
    """Runs of the catalogue at a rung, n = 1: one for each task and schedule.

    The scale "quick" counts below 300k, "small" from there on; sweeps that have no run
    of the rung lend their schedule to it, which the name says.
    """
    from sweeps.catalogue import CATALOGUE
    from synth.config import ModelConfig

    size = "quick" if scale in ("10k", "30k", "100k") else "small"
    found = []
    for name in sweeps:
        configs = [c for c in CATALOGUE[name](size) if c.objective.horizon == 1]
        own = [c for c in configs if c.model.scale == scale]
        chosen = (own or configs)[0]
        label = name if own else f"{name} (lent)"
        if not own:
            chosen = dataclasses.replace(chosen, model=ModelConfig(scale=scale))
        found.append((label, chosen))
    return found


def bench_shares(
    chosen: "Sequence[tuple[str, str, RunConfig]]",
    lanes: int,
    execution: "Execution",
    folder: Path,
) -> bool:
    """A row for each scale and schedule; whether all keep the goal."""
    print(
        f"one CPU thread, {lanes} lanes below 300k, else 1; CPU seconds of one run\n\n"
        "| scale | sweep | step | training | data | evaluation | checkpoint | "
        "together | per position | evaluated |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    good = True
    for scale, label, config in chosen:
        count = lanes if scale in ("10k", "30k", "100k") else 1
        found = measured_parts(config, count, execution, folder)
        parts = found.seconds
        whole = sum(parts.values())
        share = 1 - parts["training"] / whole
        good &= share <= 0.10
        cells = " | ".join(
            f"{parts[name] / whole:.1%}"
            for name in ("data", "evaluation", "checkpoint")
        )
        training = config.training
        trained = training.steps * training.tokens_per_step * count
        print(
            f"| {scale} | {label} | {training.precision} {found.form} | "
            f"{parts['training'] / count:,.0f} s | {cells} | {share:.1%}"
            f"{'' if share <= 0.10 else ' <- above 10 %'} | "
            f"{1e6 * parts['evaluation'] / found.positions:.1f} us | "
            f"{found.positions / trained:.2f} |",
            flush=True,
        )
    return good


@dataclass(frozen=True)
class Parts:
    """What a whole pack takes, from pieces of it."""

    seconds: dict[str, float]
    """CPU seconds of each part."""
    form: str
    """Of the step: eager or native."""
    positions: int
    """Tokens that its evaluations read, in all lanes."""


def measured_parts(
    config: "RunConfig", lanes: int, execution: "Execution", folder: Path
) -> Parts:
    """Measure the pieces, with threads and allocator as `train` sets them."""
    from synth.fast.numerics import numerics
    from synth.pack import Pack

    copies = [dataclasses.replace(config, seed=seed) for seed in range(lanes)]
    with numerics(execution):
        pack, training = Pack(copies, execution, None), config.training
        clock: dict[str, float] = defaultdict(float)
        steps = []
        for _ in range(2 + (3 if training.tokens_per_step > 4000 else 9)):
            before = time.process_time()
            pack.train_step(clock)
            pack.settle(range(lanes))
            steps.append(time.process_time() - before)
        data = _data_seconds(pack)
        evaluation, positions = _evaluation_seconds(pack)
        saving = _saving_seconds(pack, folder)
    step = statistics.median(steps[2:])
    seconds = {
        "training": training.steps * (step - data),
        "data": training.steps * data,
        "evaluation": evaluation,
        "checkpoint": saving
        * (1 + training.steps * step // execution.checkpoint_every_seconds),
    }
    return Parts(seconds, pack.form, positions)


def _data_seconds(pack: "Pack") -> float:
    """Of one step; a block is generated at once and spread over its rows."""
    context = pack.training.context
    block = pack.task.train_rows(0, 0, context)
    began = time.process_time()
    pack.task.train_rows(0, 1, context)
    made = time.process_time() - began
    return made / len(block) * pack.training.batch_rows * len(pack.configs)


def _evaluation_seconds(pack: "Pack") -> tuple[float, int]:
    """Of a whole pack, and how many tokens it reads."""
    training = pack.training
    times = (training.steps - 1) // training.evaluate_every_steps + 1
    spent, positions = 0.0, 0
    for examples, number in (
        (training.evaluation_examples, times),
        (training.final_examples, 1),
    ):
        seconds = []
        for _ in range(min(2, number)):
            began = time.process_time()
            pack.evaluate(examples)
            seconds.append(time.process_time() - began)
        spent += seconds[0] + (number - 1) * seconds[-1]
        sets = pack.task.evaluation_sets(examples)
        read = sum(int((chosen.rows.example_RT > 0).sum()) for chosen in sets)
        positions += number * read * len(pack.configs)
    return spent, positions


def _saving_seconds(pack: "Pack", folder: Path) -> float:
    """One checkpoint of every lane; in wall time, since syncing waits for the disk."""
    from synth.run import checkpoint
    from synth.run.store import RunFolder

    run = RunFolder(folder, pack.configs[0].run_id)
    with run.claim():
        run.open(pack.configs[0])
        began = time.monotonic()
        checkpoint.save(run, pack.checkpoint(0, 0, {}))
        return (time.monotonic() - began) * len(pack.configs)


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
    parts = ["shares", "start", "resume"]
    parser.add_argument("--part", nargs="+", choices=parts, default=parts)
    parser.add_argument("--scales", nargs="+", choices=SCALES, default=list(SCALES))
    parser.add_argument("--sweeps", nargs="+", choices=SWEEPS, default=list(SWEEPS))
    parser.add_argument("--compile", choices=["auto", "on", "off"], default="auto")
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "start" in given.part:
            good &= bench_start(given.rounds)
        if "resume" in given.part:
            good &= bench_resume(given.rounds, folder)
        if "shares" in given.part:
            from synth.run.execution import Execution

            chosen = [
                (scale, *found)
                for scale in given.scales
                for found in schedules(scale, given.sweeps)
            ]
            execution = Execution(compile=given.compile)
            good &= bench_shares(chosen, given.lanes, execution, folder)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

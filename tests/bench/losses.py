"""A guard of numerics: do training losses come out as before a change?

`python -m tests.bench.losses compare`             against the committed record
`python -m tests.bench.losses compare --native`    the native step against it
`python -m tests.bench.losses record`              make the record anew

Each case trains 200 steps of a model of a few thousand parameters; together they cover
the tasks, the head layouts, the mixers, bf16, and lanes. The record keeps the losses of
every tenth step and a digest of the final weights.

A refactor must give *identical* losses and weights on the machine and the version of
torch of the record: `compare` ends with status 1 otherwise. A new kernel (`--kernel`), the
native step, a new machine or another torch sums in another order; there the losses must
agree within `TOLERANCE`, relative, at every kept step. To guard a refactor on a machine of
your own, `record --file before.json` first, and `compare --file before.json` after.
"""

import argparse
import hashlib
import json
import math
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.sources import SourcesConfig
from synth.tasks.stories import StoriesConfig

RECORD = Path(__file__).with_name("losses.json")
STEPS, EVERY = 200, 10
TOLERANCE = {"fp32": 1e-4, "bf16": 5e-2}
"""Largest relative difference of a loss that another order of summation explains.

With AVX2 instead of AVX-512 (`ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2`) the
attention cases differed by 1.2e-6 at most in fp32 and by 3.9e-3 in bf16: the rest is room
for processors that nobody has tried.
"""
AMPLIFIES = {"repeats n=2, rwkv": 30}
"""Cases that may differ by more, and how many times: moving the first weights by 6e-8,
relative, moves their losses by up to 7e-4 within the 200 steps, in eager mode too."""
Verdict = Literal["identical", "within tolerance", "differs"]


@dataclass(frozen=True)
class Trace:
    """What is kept of one case."""

    losses: list[list[list[float]]]
    """Of every tenth step, by lane and horizon, in nats."""
    weights_sha256: str


@dataclass(frozen=True)
class Judgement:
    """How two traces of one case compare."""

    verdict: Verdict
    largest: float
    """Largest relative difference of a loss."""
    step: int
    """Where it is; of several equal ones the first."""


def _small(**changes: Any) -> TrainingConfig:
    settings: dict[str, Any] = {
        "steps": STEPS,
        "batch_rows": 4,
        "context": 48,
        "learning_rate": 3e-3,
        "warmup_steps": 10,
    }
    return TrainingConfig(**settings | changes)


def _cases() -> dict[str, list[RunConfig]]:
    """Lists of runs that train as one pack, by name."""
    ring = PolynomialConfig(modulus=3, degree=2, max_operations=2, max_evaluated=3)
    plain = ModelConfig(scale="d16-L5-h2")

    def model(**changes: Any) -> ModelConfig:
        return ModelConfig(**{"scale": plain.scale} | changes)

    def run(task: Any, shape: ModelConfig, horizon: int, **how: Any) -> RunConfig:
        heads = {k: how.pop(k) for k in ("scored", "layout", "budget") if k in how}
        seed = how.pop("seed", 0)
        return RunConfig(
            task=task,
            model=shape,
            objective=MultiTokenConfig(horizon=horizon, **heads),
            training=_small(**how),
            seed=seed,
        )

    repeats = RepeatsConfig(symbols=16, min_period=3, max_period=8)
    return {
        "polynomial n=1": [run(ring, plain, 1)],
        "polynomial n=4, answers": [run(ring, plain, 4, scored="answer")],
        "polynomial n=2, bf16": [run(ring, plain, 2, precision="bf16")],
        "polynomial n=2, three lanes": [run(ring, plain, 2, seed=s) for s in range(3)],
        "choice points n=3, causal": [
            run(ChoicePointsConfig(), plain, 3, layout="causal")
        ],
        "maze n=2, anticausal": [
            run(
                MazeConfig(),
                plain,
                2,
                layout="anticausal",
                context=256,
                batch_rows=1,
            )
        ],
        "sources n=2, linear": [
            run(SourcesConfig(), plain, 2, layout="linear", context=64)
        ],
        "stories n=2, added heads": [
            run(StoriesConfig(), plain, 2, budget="added", context=128, batch_rows=1)
        ],
        "repeats n=2, mamba2": [run(repeats, model(mixer="mamba2"), 2)],
        "repeats n=2, rwkv": [run(repeats, model(mixer="rwkv"), 2)],
    }


CASES = _cases()


def trace(
    configs: Sequence[RunConfig], steps: int = STEPS, native: bool = False
) -> Trace:
    """Train a pack for so many steps, on one thread, in eager mode or natively."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    pack = Pack(configs, Execution(compile="on" if native else "off"), None)
    assert pack.form == ("native" if native else "eager"), "no C++ compiler?"
    lanes = range(len(configs))
    clock: dict[str, float] = defaultdict(float)
    kept = []
    for step in range(1, steps + 1):
        pack.train_step(clock)
        pack.settle(lanes)
        if step % EVERY == 0:
            kept.append([pack.recent_losses([lane]) for lane in lanes])
        pack.training_rows()  # start new sums
    weights = pack.lanes.master_KP.detach().numpy().tobytes()
    return Trace(kept, hashlib.sha256(weights).hexdigest())


def judge(now: Trace, before: Trace, tolerance: float) -> Judgement:
    """Compare two traces; losses that are not finite never agree."""
    largest, where = 0.0, 0
    if len(now.losses) != len(before.losses):
        raise ValueError(
            f"The record holds {len(before.losses)} steps of a case, not "
            f"{len(now.losses)}; make it anew: python -m tests.bench.losses record."
        )
    for index, (here, there) in enumerate(
        zip(now.losses, before.losses, strict=True), 1
    ):
        for new, old in zip(chain(*here), chain(*there), strict=True):
            difference = abs(new - old) / max(abs(old), 1e-12)
            if not math.isfinite(difference):
                return Judgement("differs", math.inf, index * EVERY)
            if difference > largest:
                largest, where = difference, index * EVERY
    if largest == 0 and now.weights_sha256 == before.weights_sha256:
        return Judgement("identical", 0.0, 0)
    return Judgement(
        "within tolerance" if largest <= tolerance else "differs", largest, where
    )


def machine() -> dict[str, str]:
    """What bits depend on."""
    processor = "unknown"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    return {
        "torch": torch.__version__.partition("+")[0],
        "processor": processor,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def record(path: Path, names: Sequence[str]) -> None:
    """Train the cases and write the record."""
    cases = {}
    for name in names:
        cases[name] = asdict(trace(CASES[name]))
        print(f"{name:<30} recorded", flush=True)
    content = {"machine": machine(), "steps": STEPS, "every": EVERY, "cases": cases}
    path.write_text(json.dumps(content, indent=1) + "\n")


def compare(path: Path, names: Sequence[str], kernel: bool, native: bool) -> int:
    """Train the cases, print a line each; 0 when nothing changed that may not."""
    stored = json.loads(path.read_text())
    same = stored["machine"] == machine()
    print(f"record: {_words(stored['machine'])}\nhere:   {_words(machine())}")
    exact = same and not (kernel or native)
    print("asked for: " + ("identical" if exact else f"within {TOLERANCE}, relative"))
    failed = 0
    for name in names:
        if name not in stored["cases"]:
            raise SystemExit(f"{path} has no case {name!r}; make it anew with record.")
        configs = CASES[name]
        before = Trace(**stored["cases"][name])
        now = trace(configs, native=native)
        precision = configs[0].training.precision
        found = judge(now, before, TOLERANCE[precision] * AMPLIFIES.get(name, 1))
        bad = found.verdict == "differs" or (exact and found.verdict != "identical")
        failed += bad
        more = f", largest {found.largest:.1e} at step {found.step}"
        print(
            f"{name:<30} {found.verdict}{more if found.largest else ''}"
            f"{'  <- not allowed' if bad else ''}",
            flush=True,
        )
    print(f"{len(names) - failed} of {len(names)} cases as they should be")
    return 1 if failed else 0


def _words(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in found.items())


def main(arguments: list[str] | None = None) -> int:
    """Record or compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("--file", type=Path, default=RECORD)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument(
        "--kernel", action="store_true", help="the tolerance is enough, here too"
    )
    parser.add_argument(
        "--native", action="store_true", help="compare the native step, to tolerance"
    )
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", message="grad and param do not obey")
    if given.action == "record":
        record(given.file, given.cases)
        return 0
    return compare(given.file, given.cases, given.kernel, given.native)


if __name__ == "__main__":
    sys.exit(main())

"""The roofline table of a GPU: packs of lanes against the card's own limits.

`python -m tests.bench.bench_gpu [--rungs 1M 3M 10M 30M] [--lanes 1 4 16]`

```
rung   lanes   tokens/s: eager   compiled   graph   share of the limit   bound by   ...
```

A pack's step is timed in the three forms that `--compile` off and on lead to: torch's
operations as they come, torch.compile layer by layer, and that replayed as one CUDA graph
(a dash where the recording failed; the warning says why). The columns after them are
about the last form that there is.

The limit of a rung is the lower of two rates, both measured on the card first: bf16
matrix products over the FLOP of a token, and copies of memory over the bytes that a
token moves when every pass between products is fused (125 bf16 values a unit of width
and layer, counted by hand; AdamW's 30 bytes a parameter and step come on top). "Launches"
bound a step whose kernels take less time than the host needs to start them: the device's
busy time against the time from step to step.

4,096 tokens a lane and step, T = 256, V = 64, bf16, device events, medians; beside each
rung the plain GPT-2 block in eager mode with autocast. It starts no row once `--seconds`
(480) are over, so that it fits a call of ten minutes. Without CUDA it says
so and ends with status 2.
"""

import argparse
import gc
import itertools
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.fast.numerics import numerics
from synth.models.describe import describe_run
from synth.objectives.multi_token import MultiTokenConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.scales import resolve
from synth.tasks.repeats import RepeatsConfig
from tests.bench.gpt2_block import plain_step

FORMS = ("eager", "compiled", "graph")
VALUES_PER_TOKEN = 125
"""bf16 values moved a unit of width and layer, forward and backward, when fused."""


@dataclass(frozen=True)
class Card:
    """What a device can do, as measured on it."""

    name: str
    flops: float
    """bf16 products, FLOP a second."""
    bytes: float
    """Copies, bytes read and written a second."""


@dataclass(frozen=True)
class Limit:
    """The rates that arithmetic and memory allow a step."""

    compute: float
    memory: float

    @property
    def tokens(self) -> float:
        """Tokens a second of all lanes, at most."""
        return min(self.compute, self.memory)

    @property
    def side(self) -> str:
        """Which of the two it is."""
        return "products" if self.compute < self.memory else "memory"


def limit(config: RunConfig, card: Card) -> Limit:
    """The roofline of a run's shape; lanes share it, for each brings its own tokens."""
    found = describe_run(config)
    layers = found["trunk_layers"] + found["head_layers"]
    activations = 2 * VALUES_PER_TOKEN * found["width"] * layers
    return Limit(
        card.flops / found["training_flops_per_token"], card.bytes / activations
    )


def bound_by(seconds: float, busy: float, reach: Limit, tokens: int) -> str:
    """What a step of so many seconds waits for, the device being busy for `busy`.

    >>> bound_by(0.010, 0.004, Limit(2e6, 1e6), 4096)
    'launches'
    >>> bound_by(0.010, 0.009, Limit(2e6, 1e6), 4096)
    'passes (46 % of the memory limit)'
    """
    if busy < 0.7 * seconds:
        return "launches"
    share = tokens / busy / reach.tokens
    if share >= 0.7:
        return reach.side
    return f"passes ({share:.0%} of the {reach.side} limit)".replace("%", " %")


@dataclass(frozen=True)
class Forms:
    """How long a step takes in each form, and for how long of the last one the device
    computes."""

    seconds: dict[str, float]
    """By form, in the order of `FORMS`; those that there are."""
    busy: float
    remarks: tuple[str, ...] = ()


def as_row(rung: str, lanes: int, forms: Forms, reach: Limit, plain: float) -> str:
    """One line of the table; `plain` is the yardstick's tokens a second."""
    tokens = 4096 * lanes
    speeds = [
        f"{tokens / forms.seconds[form]:,.0f}" if form in forms.seconds else "-"
        for form in FORMS
    ]
    seconds = list(forms.seconds.values())[-1]
    speed = tokens / seconds
    bound = bound_by(seconds, forms.busy, reach, tokens)
    return (
        f"| {rung} | {lanes} | {' | '.join(speeds)} | {speed / reach.tokens:.0%} of "
        f"{reach.tokens:,.0f} | {bound} | {forms.busy / seconds:.0%} | "
        f"{speed / plain:.2f} of {plain:,.0f} |"
    )


class Stopwatch:
    """Times of a repeated action: device events on a GPU, the clock on a CPU."""

    def __init__(self, device: str) -> None:
        self.cuda = device == "cuda"

    def median(self, action: Callable[[], object], count: int) -> float:
        """Seconds from one action to the next, the host running ahead as in training."""
        if not self.cuda:
            times = []
            for _ in range(count):
                began = time.perf_counter()
                action()
                times.append(time.perf_counter() - began)
            return statistics.median(times)
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        marks[0].record()
        for mark in marks[1:]:
            action()
            mark.record()
        torch.cuda.synchronize()
        spans = itertools.pairwise(marks)
        return statistics.median(a.elapsed_time(b) for a, b in spans) / 1000

    def busy(self, action: Callable[[], object], seconds: float) -> float:
        """Seconds that the device computes in one action (all of it on a CPU)."""
        if not self.cuda:
            return seconds
        kinds = [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as profile:
            action()
            torch.cuda.synchronize()
        events = profile.key_averages()
        return sum(event.self_device_time_total for event in events) / 1e6


def synchronisations(action: Callable[[], object]) -> int:
    """How often the host waits for the GPU in one action, as torch counts it."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            action()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in seen)


def measure_card(device: str, size: int, watch: Stopwatch) -> Card:
    """Rates of a large bf16 product and of a large copy."""
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16)
    source = torch.empty(size * size * 4, device=device)
    target = torch.empty_like(source)
    torch.mm(a, b)
    target.copy_(source)
    product = watch.median(lambda: torch.mm(a, b), 9)
    copy = watch.median(lambda: target.copy_(source), 9)
    name = torch.cuda.get_device_name() if watch.cuda else "CPU"
    return Card(name, 2 * size**3 / product, 2 * source.nbytes / copy)


def run_for(rung: str, rows: int, context: int, seed: int, precision: str) -> RunConfig:
    """A run of the yardstick's shape."""
    return RunConfig(
        task=RepeatsConfig(),
        model=ModelConfig(scale=rung),
        objective=MultiTokenConfig(horizon=1),
        training=TrainingConfig(batch_rows=rows, context=context, precision=precision),
        seed=seed,
    )


def pack_step(
    configs: list[RunConfig], execution: Execution
) -> tuple[Pack, Callable[[], None]]:
    """A pack, and its step as training takes it."""
    pack = Pack(configs, execution, None)
    clock: dict[str, float] = defaultdict(float)

    def step() -> None:
        pack.train_step(clock)
        if pack.must_check():
            pack.settle(range(len(configs)))

    return pack, step


def time_forms(
    configs: list[RunConfig], device: str, steps: int, compiled: bool
) -> Forms:
    """Median seconds of a step in every form; the compiled ones only if asked for."""
    watch, seconds, remarks = Stopwatch(device), {}, []
    pack, step = pack_step(configs, Execution(device=device, compile="off"))
    seconds["eager"] = timed(step, steps, watch)
    if compiled:
        pack.close()
        del pack, step  # room for the next one
        pack, step = pack_step(configs, Execution(device=device, compile="on"))
        if pack.graph_step is not None:
            pack.graph_step.warm_up = sys.maxsize
        seconds["compiled"] = timed(step, steps, watch)
        if pack.graph_step is not None:
            pack.graph_step.warm_up = 0
            step()
            found = pack.graph_step.differences.items()
            words = ", ".join(f"{name} {value:.1e}" for name, value in found)
            remarks.append(f"first replay against an eager step: {words or 'none'}")
            if pack.graph_step.recorded:
                seconds["graph"] = timed(step, steps, watch)
    busy = watch.busy(step, list(seconds.values())[-1])
    if watch.cuda:
        while pack.must_check():
            pack.settle(range(len(configs)))
        clock: dict[str, float] = defaultdict(float)
        waits = synchronisations(partial(pack.train_step, clock))
        remarks.append(f"the host waited {waits} times in a step")
    pack.close()
    return Forms(seconds, busy, tuple(remarks))


def timed(step: Callable[[], None], steps: int, watch: Stopwatch) -> float:
    """Median seconds of a step, after what the first ones take longer."""
    for _ in range(4):
        step()
    return watch.median(step, steps)


def table(
    device: str,
    rungs: list[str],
    lane_counts: list[int],
    steps: int,
    deadline: float,
    compiled: bool,
) -> list[str]:
    """Rows of the roofline table, printed as they come."""
    small = device == "cpu"  # the tests' sizes
    rows, context = (2, 256) if small else (16, 256)
    watch, precision = Stopwatch(device), "fp32" if small else "bf16"
    card = measure_card(device, 128 if small else 8192, watch)
    lines = [
        f"{card.name}, torch {torch.__version__}: {card.flops / 1e12:.1f} TFLOP/s in "
        f"bf16 products, {card.bytes / 1e12:.2f} TB/s in copies\n",
        "| rung | lanes | tokens/s: eager | compiled | graph | share of the limit | "
        "bound by | device busy | against plain eager bf16 |\n"
        "|---|---|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    for rung in rungs:
        tokens = torch.randint(0, 64, (rows, context), device=device)
        plain = plain_step(resolve(rung)[1], tokens, 64, autocast=True)
        for _ in range(2):
            plain()
        yardstick = rows * context / watch.median(plain, steps)
        for lanes in lane_counts:
            if time.monotonic() > deadline:
                print(f"{rung} x {lanes} and what follows: out of time", flush=True)
                return lines
            configs = [
                run_for(rung, rows, context, seed, precision) for seed in range(lanes)
            ]
            try:
                forms = time_forms(configs, device, steps, compiled)
            except torch.OutOfMemoryError:
                print(f"| {rung} | {lanes} | out of memory {'|' * 7}", flush=True)
                forms = None
            if forms is None:
                gc.collect()  # packs that record refer to themselves
                break
            lines.append(as_row(rung, lanes, forms, limit(configs[0], card), yardstick))
            remarks = [f"<!-- {remark} -->" for remark in forms.remarks]
            print(lines[-1], *remarks, sep="\n", flush=True)
    return lines


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rungs", nargs="+", default=["1M", "3M", "10M", "30M"])
    parser.add_argument("--lanes", nargs="+", type=int, default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--seconds", type=float, default=480.0)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: torch finds no GPU here; this table needs one.", file=sys.stderr)
        return 2
    warnings.filterwarnings("ignore", message="grad and param do not obey")
    with numerics(Execution(device="cuda")):
        deadline = time.monotonic() + given.seconds
        table("cuda", given.rungs, given.lanes, given.steps, deadline, compiled=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Training speed against a plain GPT-2 block, and against the floor, in one run.

`python -m tests.bench.bench_peers [ladder] [tiny] [bf16] [lanes] [processes] [plain]`

```
ladder     1M 3M 10M 30M, T = 256: the plain block (eager, compiled, compiled with bf16
           autocast), this suite's step (eager, native), the floor of products
tiny       10k to 300k, T = 128: the same without torch.compile
bf16       10k to 30M: this suite's step in bf16 (eager, native), its floor of products,
           and what native spends outside of them beside what it spends so in fp32
lanes      10k and 30k: K = 1, 4, 16 lanes, eager and native
processes  two workers against one
plain      K = 1 against the same architecture written without a lane axis
```

One thread a process. Every variant lives in a process of its own and is asked for one
step in turn, so that what else the machine does falls on all; medians over `--rounds`
rounds of the processes' own CPU time, and of ratios within rounds. The step is data,
forward, backward, clipping and AdamW; the plain block gets its tokens for nothing.
Floors: the matrix products of the
step through torch and nothing else; the same with attention by torch's own batched
products and softmax. `--compiled` adds torch.compile (a minute or two a rung).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

LADDER = {"1M": 16, "3M": 16, "10M": 8, "30M": 4}
"""Rows of 256 tokens a step."""
TINY = {"10k": 8, "30k": 8, "100k": 16, "300k": 16}
"""Rows of 128 tokens a step."""
Step = Callable[[], object]


def build(variant: str, scale: str, rows: int, context: int, lanes: int) -> Step:
    """The training step that a variant's name stands for."""
    import torch

    from synth.scales import resolve
    from tests.bench.floor import floor_step
    from tests.bench.gpt2_block import plain_step
    from tests.bench.lane_free import lane_free_step, lanes_step

    torch.manual_seed(0)
    shape = resolve(scale)[1]
    tokens = torch.randint(0, 64, (rows, context))
    if variant.startswith("plain"):
        return plain_step(shape, tokens, 64, "compiled" in variant, "bf16" in variant)
    dtype = torch.bfloat16 if variant.endswith("bf16") else torch.float32
    if variant.startswith("floor"):
        return floor_step(shape, rows, context, 64, "attention" in variant, dtype)
    if variant == "lane-free":
        return lane_free_step(shape, tokens, 64)
    if variant == "one lane":
        return lanes_step(shape, tokens, 64)
    form = variant.removesuffix(" bf16")
    precision = "bf16" if form != variant else "fp32"
    return our_step(scale, rows, context, lanes, form, precision)


def our_step(
    scale: str, rows: int, context: int, lanes: int, form: str, precision: str
) -> Step:
    """This suite's step, data included."""
    from synth.config import ModelConfig, RunConfig, TrainingConfig
    from synth.fast.numerics import numerics
    from synth.pack import Pack
    from synth.run.execution import Execution
    from synth.tasks.repeats import RepeatsConfig

    execution = Execution(compile="on" if form == "native" else "off")
    configs = [
        RunConfig(
            task=RepeatsConfig(),
            model=ModelConfig(scale=scale),
            training=TrainingConfig(
                batch_rows=rows, context=context, precision=precision
            ),
            seed=seed,
        )
        for seed in range(lanes)
    ]
    numerics(execution).__enter__()  # for the life of this process
    pack = Pack(configs, execution, None)
    assert pack.form == form, "no C++ compiler?"
    clock: dict[str, float] = defaultdict(float)

    def step() -> None:
        pack.train_step(clock)
        pack.settle(range(lanes))

    return step


def serve(variant: str, scale: str, rows: int, context: int, lanes: int) -> None:
    """Warm up, then one step for each line on standard input; its CPU seconds go out."""
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    step = build(variant, scale, rows, context, lanes)
    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.process_time()
        repeats = 0
        while repeats == 0 or time.process_time() - began < 0.05:
            step()
            repeats += 1
        print((time.process_time() - began) / repeats, flush=True)


class Contender:
    """A variant in a process of its own."""

    def __init__(
        self, variant: str, scale: str, rows: int, context: int, lanes: int = 1
    ) -> None:
        self.variant, self.tokens = variant, rows * context * lanes
        command = [sys.executable, "-m", "tests.bench.bench_peers", "--serve", variant]
        self.process = subprocess.Popen(
            [*command, scale, str(rows), str(context), str(lanes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ) | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )
        self.times: list[float] = []
        self._expect("ready")

    def ask(self) -> None:
        """Let it take a step."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answer(self) -> None:
        """Take its time down."""
        assert self.process.stdout is not None
        self.times.append(float(self.process.stdout.readline()))

    def speed(self) -> float:
        """Median tokens per second of CPU time."""
        return self.tokens / statistics.median(self.times)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _expect(self, word: str) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != word:
            raise SystemExit(f"{self.variant} did not start")


class Race:
    """What contenders reached in turn: speeds, and ratios within rounds."""

    def __init__(self, contenders: Sequence[Contender]) -> None:
        self.by_name = {c.variant: c for c in contenders}

    def __getitem__(self, variant: str) -> float:
        return self.by_name[variant].speed()

    def ratio(self, fast: str, slow: str) -> float:
        """Median over rounds of how much faster one was than the other."""
        first, second = self.by_name[fast], self.by_name[slow]
        pairs = zip(first.times, second.times, strict=True)
        share = first.tokens / second.tokens
        return share * statistics.median(b / a for a, b in pairs)


def compete(contenders: Sequence[Contender], rounds: int) -> Race:
    """Steps in turn."""
    for _ in range(rounds):
        for contender in contenders:
            contender.ask()
            contender.answer()
    for contender in contenders:
        contender.close()
    return Race(contenders)


def rungs(
    sizes: dict[str, int], context: int, variants: Sequence[str], rounds: int
) -> None:
    """One row a rung: speeds, and ratios to the plain block and to the floor."""
    head = ["rung", "tokens a step", *variants, "native / plain", "native / eager"]
    table(f"T = {context}, V = 64, tokens a second and core", [*head, *FLOORS])
    for scale, rows in sizes.items():
        speeds = compete(
            [Contender(v, scale, rows, context) for v in (*variants, *FLOORS)], rounds
        )
        cells = [scale, str(rows * context)]
        cells += [f"{speeds[v]:,.0f}" for v in variants]
        cells.append(f"**{speeds.ratio('native', 'plain eager'):.2f}**")
        cells.append(f"{speeds.ratio('native', 'eager'):.2f}")
        shares = {v: speeds.ratio("native", v) for v in FLOORS}
        cells += [f"{speeds[v]:,.0f} ({shares[v]:.0%})" for v in FLOORS]
        row(cells)


FLOORS = ("floor: products", "floor: products and attention")


def bf16_table(scales: Sequence[str], slow: Sequence[str], rounds: int) -> None:
    """Steps in bf16 and fp32 against plain ones and against their floors; `slow` are
    compiled plain blocks."""
    variants = ("plain eager", *slow, "eager bf16", "native bf16", "native")
    floors = ("floor bf16", "floor")
    pairs = [("native", "plain eager"), ("native bf16", "plain eager")]
    pairs += [("native bf16", name) for name in slow]
    pairs += [("native bf16", "floor bf16"), ("native", "floor")]
    head = ["rung", "tokens a step", *variants, *floors]
    head += [f"{fast} / {than}" for fast, than in pairs]
    head += ["outside products, bf16", "outside products, fp32"]
    table("bf16: V = 64, tokens a second and core; seconds are a step's", head)
    for sizes, context in ((TINY, 128), (LADDER, 256)):
        for scale in [s for s in sizes if s in scales]:
            rows = sizes[scale]
            names = (*variants, *floors)
            found = compete([Contender(v, scale, rows, context) for v in names], rounds)
            cells = [scale, str(rows * context)]
            cells += [f"{found[v]:,.0f}" for v in variants]
            cells += [f"{found[v]:,.0f}" for v in floors]
            cells += [f"**{found.ratio(*pair):.2f}**" for pair in pairs]
            for form, floor in zip(("native bf16", "native"), floors, strict=True):
                rest = rows * context * (1 / found[form] - 1 / found[floor])
                cells.append(f"{rest * 1000:.1f} ms")
            row(cells)


def lanes_table(rounds: int) -> None:
    """Aggregate speed of K lanes at the tiny rungs."""
    table(
        "Lanes: 8 x 128 tokens a lane and step, all lanes' tokens a second and core",
        [
            "rung",
            "K",
            "eager",
            "against K = 1",
            "native",
            "against K = 1",
            "eager K = 1",
        ],
    )
    for scale in ("10k", "30k"):
        contenders = [
            Contender(form, scale, 8, 128, k)
            for k in (1, 4, 16)
            for form in ("eager", "native")
        ]
        for _ in range(rounds):
            for contender in contenders:
                contender.ask()
                contender.answer()
        speeds = [c.speed() for c in contenders]
        for contender in contenders:
            contender.close()
        for index, k in enumerate((1, 4, 16)):
            eager, native = speeds[2 * index : 2 * index + 2]
            cells = [scale, str(k), f"{eager:,.0f}", f"{eager / speeds[0]:.2f}"]
            cells += [f"{native:,.0f}", f"{native / speeds[1]:.2f}"]
            row([*cells, f"{native / speeds[0]:.2f}"])


def processes_table(rounds: int) -> None:
    """Two workers at once against one alone, in CPU time and by the clock."""
    table(
        "Two worker processes against one (goal 1.9)",
        ["rung", "form", "by CPU time", "by the clock"],
    )
    for scale, rows, context in (("10k", 8, 128), ("1M", 16, 256), ("10M", 8, 256)):
        for form in ("eager", "native"):
            pair = [Contender(form, scale, rows, context) for _ in range(2)]
            alone: list[float] = []
            both: list[float] = []
            for _ in range(rounds):
                for sink, who in ((alone, pair[:1]), (both, pair)):
                    began = time.perf_counter()
                    for contender in who:
                        contender.ask()
                    for contender in who:
                        contender.answer()
                    sink.append(time.perf_counter() - began)
            # The first process's times alternate: alone, beside the other.
            single, beside = pair[0].times[::2], pair[0].times[1::2]
            cpu = 2 * statistics.median(single) / statistics.median(beside)
            wall = 2 * statistics.median(alone) / statistics.median(both)
            for contender in pair:
                contender.close()
            row([scale, form, f"{cpu:.2f}", f"{wall:.2f}"])


def plain_table(rounds: int) -> None:
    """What the lane axis costs at K = 1."""
    table(
        "K = 1 against the same architecture without a lane axis, eager (goal 0.97)",
        ["rung", "one lane", "lane-free", "ratio"],
    )
    for scale, rows, context in (("10k", 8, 128), ("100k", 16, 128), ("1M", 16, 256)):
        names = ("one lane", "lane-free")
        found = compete([Contender(n, scale, rows, context) for n in names], rounds)
        one, free = (f"{found[name]:,.0f}" for name in names)
        row([scale, one, free, f"{found.ratio(*names):.3f}"])


def table(title: str, head: Sequence[str]) -> None:
    """The head of a Markdown table."""
    print(f"\n{title}\n")
    row(head)
    row(["---"] * len(head))


def row(cells: Sequence[str]) -> None:
    """One row of it."""
    print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ["ladder", "tiny", "bf16", "lanes", "processes", "plain"]
    parser.add_argument("parts", nargs="*", default=parts, metavar="PART")
    parser.add_argument("--scales", nargs="+", help="some of the rungs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--serve", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        variant, scale, *sizes = given.serve
        serve(variant, scale, *map(int, sizes))
        return
    unknown = set(given.parts) - set(parts)
    if unknown:
        parser.error(f"unknown part {sorted(unknown)[0]!r}; there are {parts}")
    ours = ["eager", "native"]
    slow = ["plain compiled", "plain compiled bf16"] if given.compiled else []
    for part, sizes, context in (("ladder", LADDER, 256), ("tiny", TINY, 128)):
        chosen = {s: r for s, r in sizes.items() if s in (given.scales or sizes)}
        if part in given.parts and chosen:
            rungs(chosen, context, ["plain eager", *slow, *ours], given.rounds)
    if "bf16" in given.parts:
        bf16_table(given.scales or [*TINY, *LADDER], slow, given.rounds)
    for part, show in (
        ("lanes", lanes_table),
        ("processes", processes_table),
        ("plain", plain_table),
    ):
        if part in given.parts:
            show(given.rounds)


if __name__ == "__main__":
    main()

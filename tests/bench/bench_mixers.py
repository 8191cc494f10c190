"""Parameters of every rung and mixer, and the speed of training relative to attention.

`python -m tests.bench.bench_mixers [--scales 100k 1M] [--lanes 1 4] [--context 128]`

One process, one thread, fp32, eager, n = 1; the mixers take turns, so that what else the
machine does falls on all of them; medians over the steps of each step's ratio.
"""

import argparse
import dataclasses
import statistics
import time
import warnings
from collections import defaultdict

import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.models.layer import MIXERS
from synth.pack import Pack
from synth.run.execution import Execution
from synth.scales import SCALES
from synth.shapes.mixer_shapes import mixer_shape
from synth.tasks.polynomial import PolynomialConfig


def parameter_table() -> str:
    """All parameters of one mixer layer but its first norm's, by rung, as Markdown."""
    lines = [
        "| rung | d | attention | mamba2 | I, S | rwkv | I, R |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, scale in SCALES.items():
        reference = 4 * scale.width**2
        cells = [name, str(scale.width), f"{reference:,}"]
        for mixer, last in (("mamba2", "state"), ("rwkv", "rank")):
            shape = mixer_shape(mixer, scale)  # type: ignore[arg-type]
            total = shape.matrices + shape.gains
            cells.append(f"{total:,} ({total / reference - 1:+.1%})")
            cells.append(f"{shape.inner}, {getattr(shape, last)}")  # type: ignore[attr-defined]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def build(scale: str, mixer: str, lanes: int, rows: int, context: int) -> Pack:
    """A pack of `lanes` runs on the paper's ring."""
    first = RunConfig(
        task=PolynomialConfig(),
        model=ModelConfig(scale=scale, mixer=mixer),  # type: ignore[arg-type]
        training=TrainingConfig(batch_rows=rows, context=context),
    )
    configs = [dataclasses.replace(first, seed=seed) for seed in range(lanes)]
    return Pack(configs, Execution(), None)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scales", nargs="+", default=["100k", "1M"])
    parser.add_argument("--lanes", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="grad and param do not obey")
    print(parameter_table(), end="\n\n")
    print(
        f"{given.rows} x {given.context} tokens a lane and step, torch "
        f"{torch.__version__}, one thread\n\n"
        "| scale | lanes | attention: tokens/s | mamba2 / attention | rwkv / attention |"
        "\n|---|---|---|---|---|"
    )
    for scale in given.scales:
        for lanes in given.lanes:
            tokens = lanes * given.rows * given.context
            packs = [
                build(scale, mixer, lanes, given.rows, given.context)
                for mixer in MIXERS
            ]
            times: list[list[float]] = [[] for _ in packs]
            for step in range(given.steps + 1):
                for pack, kept in zip(packs, times, strict=True):
                    clock: dict[str, float] = defaultdict(float)
                    start = time.perf_counter()
                    pack.train_step(clock)
                    if step:  # the first step warms up
                        kept.append(time.perf_counter() - start)
            speed = [
                statistics.median(a / b for a, b in zip(times[0], other, strict=True))
                for other in times[1:]
            ]
            print(
                f"| {scale} | {lanes} | {tokens / statistics.median(times[0]):,.0f} | "
                f"{speed[0]:.2f} | {speed[1]:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""Training tokens per second at each rung, and where the time goes.

`python -m tests.bench.bench_training [--scales 10k 30k 100k 300k 1M] [--lanes 1 4]`

One process, one thread, fp32, eager; n = 1 and n = 4 in turn, medians of several steps.
"Data" is the share of a step that goes into generating rows; "evaluation" the share that
an evaluation of 64 examples for each m = 1..10 every 500 steps would take. "By lane" is
what equal bits cost: processor time of a step with a product for each lane, relative to
one with a batched product for all, median of pairs.
"""

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from unittest.mock import patch

import torch
from torch import Tensor

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.models import lanes
from synth.objectives.multi_token import MultiTokenConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.tasks.polynomial import PolynomialConfig


def build(scale: str, horizon: int, lanes: int, rows: int, context: int) -> Pack:
    """A pack of `lanes` runs on the paper's ring."""
    configs = [
        RunConfig(
            task=PolynomialConfig(),
            model=ModelConfig(scale=scale),
            objective=MultiTokenConfig(horizon=horizon),
            training=TrainingConfig(batch_rows=rows, context=context),
            seed=seed,
        )
        for seed in range(lanes)
    ]
    return Pack(configs, Execution(), None)


class Batched:
    """A stand-in for `LaneProducts` whose bits a library chooses."""

    @staticmethod
    def apply(x_KND: Tensor, weight_KED: Tensor) -> Tensor:
        """(K, N, D) and (K, E, D) to (K, N, E)."""
        return torch.bmm(x_KND, weight_KED.transpose(1, 2))


def by_lane_cost(pack: Pack, steps: int) -> float:
    """Time of a step by lane relative to one with batched products."""
    ratios = []
    for _ in range(steps):
        times = []
        for products in (lanes.LaneProducts, Batched):
            with patch.object(lanes, "LaneProducts", products):
                began = time.process_time()
                pack.train_step(defaultdict(float))
                times.append(time.process_time() - began)
        ratios.append(times[0] / times[1])
    return statistics.median(ratios)


def main() -> None:
    """Print one row a rung and number of lanes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scales", nargs="+", default="10k 30k 100k 300k 1M".split())
    parser.add_argument("--lanes", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="grad and param do not obey")
    print(
        f"{given.rows} x {given.context} tokens a lane and step, torch "
        f"{torch.__version__}, one thread\n\n"
        "| scale | lanes | n = 1: tokens/s | n = 4: tokens/s | time n = 4 / n = 1 | data "
        "| evaluation | by lane |\n|---|---|---|---|---|---|---|---|"
    )
    for scale in given.scales:
        for number in given.lanes:
            packs = [build(scale, n, number, given.rows, given.context) for n in (1, 4)]
            clocks = [defaultdict(float), defaultdict(float)]
            times: list[list[float]] = [[], []]
            for step in range(given.steps + 2):
                for which, pack in enumerate(packs):
                    began = time.perf_counter()
                    pack.train_step(clocks[which])
                    if step >= 2:
                        times[which].append(time.perf_counter() - began)
            one, four = (statistics.median(part) for part in times)
            tokens = number * given.rows * given.context
            # The first block is generated in the first step: spread it over its rows.
            rows = len(packs[0].task.train_rows(0, 0, given.context))
            began = time.perf_counter()
            packs[0].task.train_rows(0, 1, given.context)
            data = (time.perf_counter() - began) / rows * given.rows * number
            packs[0].task.evaluation_sets(64)
            packs[0].evaluate(64)
            began = time.perf_counter()
            packs[0].evaluate(64)
            evaluation = time.perf_counter() - began
            print(
                f"| {scale} | {number} | {tokens / one:,.0f} | {tokens / four:,.0f} | "
                f"{four / one:.2f} | {data / one:.1%} | {evaluation / (500 * one):.1%} | "
                f"{by_lane_cost(packs[0], given.steps):.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

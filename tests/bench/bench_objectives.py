"""Training speed of every objective in every form: eager, native fp32, native bf16.

`python -m tests.bench.bench_objectives [--scale 100k] [--rows long] [--mixer attention]`

Rows are long ones of polynomials (128 or 256 tokens), or short ones of star graphs (18
tokens).

Native passes serve layers and cross-entropies; what is special to an objective runs
through autograd. The table shows what that costs: arms whose native step in fp32 is less
than `WORTH` times as fast as their eager one are named below it. One process, one thread;
the forms of an objective take steps in turn, and speeds are medians of CPU time. The last
column is the native step's time in fp32 relative to that of `n1`.
"""

import argparse
import math
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable

import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.fast.numerics import numerics
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.objective import ObjectiveConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.star import StarConfig
from tests.bench.bench_peers import LADDER, TINY, row, table
from tests.synth.test_combinations import ARMS

FORMS = {
    "eager": ("off", "fp32"),
    "native": ("on", "fp32"),
    "native bf16": ("on", "bf16"),
}
SHORT = StarConfig(degree=2, length=3, labels=8)
WORTH = 1.3
"""A form that gains less is not worth having."""


def sizes(given: argparse.Namespace) -> tuple[int, int]:
    """Rows in a batch, and tokens in a row; short rows hold as many tokens together."""
    rows, context = (TINY | LADDER)[given.scale], 128 if given.scale in TINY else 256
    if given.rows == "long":
        return rows, context
    short = SHORT.build().length
    return rows * context // short, short


def step_of(
    objective: ObjectiveConfig, given: argparse.Namespace, form: str
) -> Callable[[], None]:
    """The training step of an objective in a form, data included."""
    compiled, precision = FORMS[form]
    rows, context = sizes(given)
    config = RunConfig(
        task=PolynomialConfig() if given.rows == "long" else SHORT,
        model=ModelConfig(scale=given.scale, mixer=given.mixer),
        objective=objective,
        training=TrainingConfig(batch_rows=rows, context=context, precision=precision),
    )
    pack = Pack([config], Execution(compile=compiled), None)
    assert pack.form == form.split()[0], "no C++ compiler?"
    clock: dict[str, float] = defaultdict(float)

    def step() -> None:
        pack.train_step(clock)
        pack.settle([0])

    return step


def seconds_by_form(
    objective: ObjectiveConfig, given: argparse.Namespace
) -> dict[str, list[float]]:
    """CPU seconds of a step in each round, by form."""
    steps = {form: step_of(objective, given, form) for form in FORMS}
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for taken in range(given.rounds + 2):
        for form, step in steps.items():
            began, repeats = time.thread_time(), 0
            while repeats == 0 or time.thread_time() - began < 0.03:
                step()
                repeats += 1
            if taken >= 2:
                seconds[form].append((time.thread_time() - began) / repeats)
    return seconds


def main() -> None:
    """Print a row for each objective."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", choices=[*TINY, *LADDER], default="100k")
    parser.add_argument("--rows", choices=["long", "short"], default="long")
    parser.add_argument("--mixer", default="attention")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    gains = [f"{form} / eager" for form in FORMS if form != "eager"]
    slow, arms = [], [("multi-token", MultiTokenConfig())]
    arms += [(kind, arm) for kind, forms in ARMS.items() for arm in forms]
    with numerics(Execution()):
        head = "{} x {} tokens a step".format(*sizes(given))
        head = f"{given.scale}, {given.mixer}, {head}: tokens a second of CPU time"
        table(head, ["objective", "arm", *FORMS, *gains, "native time, n1 = 1"])
        first = 0.0
        for kind, objective in arms:
            if given.mixer not in objective.mixers:
                continue
            speeds, faster = measured(objective, given)
            first = first or speeds["native"]
            cells = [f"{speed:,.0f}" for speed in speeds.values()]
            cells += [f"{gain:.2f}" for gain in faster]
            row([kind, objective.arm, *cells, f"{first / speeds['native']:.2f}"])
            if faster[0] < WORTH:
                slow.append(objective.arm)
    named = ", ".join(slow) or "none"
    print(f"\nBelow {WORTH} x their eager form: {named}")


def measured(
    objective: ObjectiveConfig, given: argparse.Namespace
) -> tuple[dict[str, float], list[float]]:
    """Tokens a second in each form, and the gains of the others over eager."""
    seconds, tokens = seconds_by_form(objective, given), math.prod(sizes(given))
    speeds = {form: tokens / statistics.median(s) for form, s in seconds.items()}
    faster = [
        statistics.median(a / b for a, b in zip(seconds["eager"], times, strict=True))
        for form, times in seconds.items()
        if form != "eager"
    ]
    return speeds, faster


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

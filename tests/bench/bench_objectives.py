"""Training speed of every objective in every form: eager, native fp32, native bf16.

`python -m tests.bench.bench_objectives [--scale 100k] [--mixer attention]`

Native passes serve layers and cross-entropies; what is special to an objective runs
through autograd. The table shows what that costs: arms whose native step in fp32 is less
than `WORTH` times as fast as their eager one are named below it. One process, one thread;
the forms of an objective take steps in turn, and speeds are medians of CPU time.
"""

import argparse
import statistics
import time
import warnings
from collections import defaultdict
from collections.abc import Callable

import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.fast.numerics import numerics
from synth.objectives.objective import ObjectiveConfig
from synth.pack import Pack
from synth.run.execution import Execution
from synth.tasks.polynomial import PolynomialConfig
from tests.bench.bench_peers import LADDER, TINY, row, table
from tests.synth.test_combinations import ARMS

FORMS = {
    "eager": ("off", "fp32"),
    "native": ("on", "fp32"),
    "native bf16": ("on", "bf16"),
}
WORTH = 1.3
"""A form that gains less is not worth having."""


def step_of(
    objective: ObjectiveConfig, scale: str, mixer: str, form: str
) -> Callable[[], None]:
    """The training step of an objective in a form, data included."""
    compiled, precision = FORMS[form]
    config = RunConfig(
        task=PolynomialConfig(),
        model=ModelConfig(scale=scale, mixer=mixer),
        objective=objective,
        training=TrainingConfig(
            batch_rows=(TINY | LADDER)[scale],
            context=128 if scale in TINY else 256,
            precision=precision,
        ),
    )
    pack = Pack([config], Execution(compile=compiled), None)
    assert pack.form == form.split()[0], "no C++ compiler?"
    clock: dict[str, float] = defaultdict(float)

    def step() -> None:
        pack.train_step(clock)
        pack.settle([0])

    return step


def seconds_by_form(
    objective: ObjectiveConfig, scale: str, mixer: str, rounds: int
) -> dict[str, list[float]]:
    """CPU seconds of a step in each round, by form."""
    steps = {form: step_of(objective, scale, mixer, form) for form in FORMS}
    seconds: dict[str, list[float]] = {form: [] for form in FORMS}
    for taken in range(rounds + 2):
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
    parser.add_argument("--mixer", default="attention")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    gains = [f"{form} / eager" for form in FORMS if form != "eager"]
    slow = []
    with numerics(Execution()):
        head = f"{given.scale}, {given.mixer}: tokens a second of CPU time"
        table(head, ["objective", "arm", *FORMS, *gains])
        for kind, arms in ARMS.items():
            for objective in (arm for arm in arms if given.mixer in arm.mixers):
                cells = speeds(kind, objective, given)
                row([kind, objective.arm, *cells])
                if float(cells[len(FORMS)]) < WORTH:
                    slow.append(objective.arm)
    named = ", ".join(slow) or "none"
    print(f"\nBelow {WORTH} x their eager form: {named}")


def speeds(
    kind: str, objective: ObjectiveConfig, given: argparse.Namespace
) -> list[str]:
    """Tokens a second in each form, and the gains over eager, as cells."""
    seconds = seconds_by_form(objective, given.scale, given.mixer, given.rounds)
    rows, context = (TINY | LADDER)[given.scale], 128 if given.scale in TINY else 256
    cells = [f"{rows * context / statistics.median(s):,.0f}" for s in seconds.values()]
    for form, times in seconds.items():
        if form != "eager":
            pairs = zip(seconds["eager"], times, strict=True)
            cells.append(f"{statistics.median(a / b for a, b in pairs):.2f}")
    return cells


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()

"""The same runs in fp32 and in bf16: is the effect of several heads the same?

Induction on short segments forms within a hundred steps, later for longer horizons, so a
few minutes on one core show an effect well above the noise of seeds. Everything except
the precision is equal: initial weights, data, evaluation (always fp32).
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from sweeps.catalogue.factorial import Factorial, heads, sized_models
from sweeps.sweep import sweep
from synth.config import RunConfig, TrainingConfig
from synth.tasks.repeats import RepeatsConfig

PRECISIONS: tuple[Literal["fp32", "bf16"], ...] = ("fp32", "bf16")


@sweep(
    figure="loss curves in fp32 and bf16, and the gain by horizon in each",
    answers="is the gain of several heads the same in bf16 and in fp32?",
    scales=("quick",),
)
def precision(scale: str) -> Iterator[RunConfig]:
    """Repeated segments in fp32 and bf16: n = 1 and 4, five seeds, equal otherwise."""
    design = Factorial(
        tasks=(RepeatsConfig(symbols=16, min_period=3, max_period=8),),
        models=sized_models("d32-L5-h2"),
        arms=heads((1, 4)),
        seeds=5,
        training=TrainingConfig(
            steps=300,
            batch_rows=32,
            context=32,
            learning_rate=6e-3,
            warmup_steps=20,
            evaluate_every_steps=10,
            evaluation_examples=64,
            final_examples=500,
        ),
    )
    for kind in PRECISIONS:
        training = replace(design.training, precision=kind)
        yield from replace(design, training=training).runs()

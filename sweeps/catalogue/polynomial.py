"""Polynomial arithmetic: section 4.2 (figure 8) and appendix K (figures S15, S16).

`LARGER["paper"]` holds what the paper states: the ring, m, the sizes, two runs a cell and
every training value (tables S13 and S14). Its 30M models have a context of 1024, its 100M
models one of 2048, so its comparison of sizes also changes the context; the matched pair
trains the larger model at the smaller context.

Not stated, and assumed here: only targets in the answer count; horizons are 1, 2 and 4;
the models of figure S15 are those of figure 8 with pause tokens added.
"""

from collections.abc import Iterator
from dataclasses import replace

from sweeps.catalogue.factorial import Factorial, heads, sized_models
from sweeps.sweep import WITH_NIGHT, sweep
from synth.config import RunConfig, TrainingConfig
from synth.tasks.polynomial import PolynomialConfig

ARMS = heads((1, 2, 4), scored="answer")
LARGER = {
    # Minutes on two CPU cores.
    "quick": Factorial(
        tasks=(
            PolynomialConfig(modulus=2, degree=3, max_operations=3, max_evaluated=10),
        ),
        models=sized_models("100k"),
        arms=ARMS,
        seeds=5,
        training=TrainingConfig(
            steps=1500,
            batch_rows=8,
            context=128,
            learning_rate=6e-3,
            warmup_steps=60,
            evaluate_every_steps=300,
            evaluation_examples=64,
            final_examples=500,
        ),
    ),
    # Nine core-hours: three sizes, 16M tokens a run; guessing scores 1 to 4 %. At twice
    # this rate some runs with two heads get stuck.
    "night": Factorial(
        tasks=(
            PolynomialConfig(modulus=5, degree=3, max_operations=3, max_evaluated=6),
        ),
        models=sized_models("30k", "100k", "300k"),
        arms=heads((1, 2, 4), ("parallel", "anticausal"), scored="answer"),
        seeds=5,
        training=TrainingConfig(
            steps=8000,
            batch_rows=16,
            context=128,
            learning_rate=2e-3,
            warmup_steps=200,
            evaluate_every_steps=500,
        ),
    ),
    "small": Factorial(
        tasks=(
            PolynomialConfig(modulus=3, degree=3, max_operations=5, max_evaluated=10),
        ),
        models=sized_models("1M"),
        arms=ARMS,
        seeds=5,
        training=TrainingConfig(
            steps=10_000,
            batch_rows=16,
            context=512,
            learning_rate=1e-3,
            warmup_steps=200,
            evaluate_every_steps=1000,
        ),
    ),
    # Tables S13 and S14.
    "paper": Factorial(
        tasks=(
            PolynomialConfig(modulus=7, degree=5, max_operations=5, max_evaluated=10),
        ),
        models=sized_models("100M"),
        arms=ARMS,
        seeds=2,
        training=TrainingConfig(batch_rows=128, context=2048),
    ),
}
"""The larger model of each scale, at its own context."""
SMALLER = {"quick": ("30k", 64), "small": ("300k", 256), "paper": ("30M", 1024)}
"""The smaller model, and its context."""


@sweep(figure="figure 8", claims=("C7", "C8"), scales=WITH_NIGHT)
def polynomial(scale: str) -> Iterator[RunConfig]:
    """Accuracy by number of operations, the larger model, n = 1, 2, 4."""
    return LARGER[scale].runs()


@sweep(figure="figure S15", claims=("C10", "C11"))
def polynomial_pause(scale: str) -> Iterator[RunConfig]:
    """Figure 8 with 5 and 10 pause tokens before the answer (and with none)."""
    (task,) = LARGER[scale].tasks
    assert isinstance(task, PolynomialConfig)
    paused = tuple(replace(task, pause_tokens=number) for number in (0, 5, 10))
    return replace(LARGER[scale], tasks=paused).runs()


@sweep(figure="figure S16", claims=("C9",))
def polynomial_sizes(scale: str) -> Iterator[RunConfig]:
    """Two sizes: each at its own context (as in the paper), then both at the smaller."""
    larger, (size, context) = LARGER[scale], SMALLER[scale]
    rows = larger.training.tokens_per_step // context
    training = replace(larger.training, context=context, batch_rows=rows)
    matched = replace(larger, training=training)
    yield from replace(matched, models=sized_models(size)).runs()
    yield from larger.runs()
    yield from matched.runs()

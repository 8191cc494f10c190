"""Polynomial arithmetic: section 4.2 (figure 8) and appendix K (figures S15, S16).

What the paper states of these runs is in the row `paper` of `SCALES`: the ring, m, the
sizes, two runs a cell, and every training value (tables S13 and S14). Its 30M models
have a context of 1024, its 100M models one of 2048, so its comparison of sizes also
changes the context; the matched pair trains the larger model at the smaller context.

Not stated, and settled so: targets outside the answer do not count; horizons are 1, 2
and 4; the models of figure S15 are those of figure 8 with pause tokens added.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.catalogue.arms import arms_of
from sweeps.sweep import WITH_NIGHT, sweep
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import Layout
from synth.tasks.polynomial import PolynomialConfig


@dataclass(frozen=True, kw_only=True)
class PolynomialScale:
    """Everything in which the scales differ."""

    ring: tuple[int, int]
    """Modulus and degree."""
    operations: int
    """Most operations in training."""
    evaluated: int
    """Most operations in the test sets."""
    sizes: tuple[str, str]
    """The smaller and the larger model."""
    contexts: tuple[int, int]
    """Tokens in a row, of each."""
    batch_tokens: int
    """Tokens in a batch."""
    horizons: tuple[int, ...]
    layouts: tuple[Layout, ...] = ("parallel",)
    """Of two heads and more; anticausal ones keep the depth to the first head."""
    seeds: int
    steps: int
    learning_rate: float
    warmup_steps: int
    evaluate_every_steps: int
    evaluation_examples: int
    final_examples: int


SCALES = {
    # Minutes on two CPU cores.
    "quick": PolynomialScale(
        ring=(2, 3),
        operations=3,
        evaluated=10,
        sizes=("30k", "100k"),
        contexts=(64, 128),
        batch_tokens=1024,
        horizons=(1, 2, 4),
        seeds=5,
        steps=1500,
        learning_rate=6e-3,
        warmup_steps=60,
        evaluate_every_steps=300,
        evaluation_examples=64,
        final_examples=500,
    ),
    # Sixteen core-hours: 49M tokens a run, on a ring where guessing scores 3 to 5 %.
    "night": PolynomialScale(
        ring=(5, 3),
        operations=3,
        evaluated=6,
        sizes=("100k", "300k"),
        contexts=(128, 128),
        batch_tokens=4096,
        horizons=(1, 2, 4),
        layouts=("parallel", "anticausal"),
        seeds=5,
        steps=12_000,
        learning_rate=3e-3,
        warmup_steps=200,
        evaluate_every_steps=1000,
        evaluation_examples=256,
        final_examples=2000,
    ),
    "small": PolynomialScale(
        ring=(3, 3),
        operations=5,
        evaluated=10,
        sizes=("300k", "1M"),
        contexts=(256, 512),
        batch_tokens=8192,
        horizons=(1, 2, 4),
        seeds=5,
        steps=10_000,
        learning_rate=1e-3,
        warmup_steps=200,
        evaluate_every_steps=1000,
        evaluation_examples=256,
        final_examples=2000,
    ),
    # Tables S13 and S14.
    "paper": PolynomialScale(
        ring=(7, 5),
        operations=5,
        evaluated=10,
        sizes=("30M", "100M"),
        contexts=(1024, 2048),
        batch_tokens=2**18,
        horizons=(1, 2, 4),
        seeds=2,
        steps=100_000,
        learning_rate=1e-4,
        warmup_steps=2000,
        evaluate_every_steps=5000,
        evaluation_examples=256,
        final_examples=2000,
    ),
}
SMALLER, LARGER = 0, 1


def _runs(
    scale: str, size: int, context: int, pause_tokens: int = 0
) -> Iterator[RunConfig]:
    """The cells of one size: all horizons, all seeds."""
    chosen = SCALES[scale]
    modulus, degree = chosen.ring
    arms = arms_of(chosen.horizons, chosen.layouts, scored="answer")
    for objective in arms:
        for seed in range(chosen.seeds):
            yield RunConfig(
                task=PolynomialConfig(
                    modulus=modulus,
                    degree=degree,
                    max_operations=chosen.operations,
                    max_evaluated=chosen.evaluated,
                    pause_tokens=pause_tokens,
                ),
                model=ModelConfig(scale=chosen.sizes[size]),
                objective=objective,
                training=TrainingConfig(
                    steps=chosen.steps,
                    batch_rows=chosen.batch_tokens // chosen.contexts[context],
                    context=chosen.contexts[context],
                    learning_rate=chosen.learning_rate,
                    warmup_steps=chosen.warmup_steps,
                    evaluate_every_steps=chosen.evaluate_every_steps,
                    evaluation_examples=chosen.evaluation_examples,
                    final_examples=chosen.final_examples,
                ),
                seed=seed,
            )


@sweep(figure="figure 8", claims=("C7", "C8"), scales=WITH_NIGHT)
def polynomial(scale: str) -> Iterator[RunConfig]:
    """Accuracy by number of operations, the larger model, n = 1, 2, 4."""
    yield from _runs(scale, LARGER, LARGER)


@sweep(figure="figure S15", claims=("C10", "C11"))
def polynomial_pause(scale: str) -> Iterator[RunConfig]:
    """Figure 8 with 5 and 10 pause tokens before the answer (and with none)."""
    for pause_tokens in (0, 5, 10):
        yield from _runs(scale, LARGER, LARGER, pause_tokens)


@sweep(figure="figure S16", claims=("C9",))
def polynomial_sizes(scale: str) -> Iterator[RunConfig]:
    """Two sizes: each at its own context (as in the paper), then both at the smaller."""
    yield from _runs(scale, SMALLER, SMALLER)
    yield from _runs(scale, LARGER, LARGER)
    yield from _runs(scale, LARGER, SMALLER)

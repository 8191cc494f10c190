"""What a new user trains first (`make quick`), within minutes on two CPU cores.

`quick` (polynomial arithmetic) and `choices` (choice points) are here; `repeats`
(induction) is in `sweeps.catalogue.induction`. Each arm has the best rate of its trials,
which are in the table `NAME-tuning`.
"""

from collections.abc import Iterator

from sweeps.catalogue.factorial import Factorial, heads, sized_models
from sweeps.sweep import sweep
from synth.config import RunConfig, TrainingConfig
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.polynomial import PolynomialConfig


@sweep(
    figure="accuracy by number of operations",
    answers="does a small model solve more polynomials with two or four heads?",
    scales=("quick",),
)
def quick(scale: str) -> Iterator[RunConfig]:
    """Polynomial arithmetic on F_2[X]/(X^3): 30k models, n = 1, 2, 4, 3 seeds."""
    return Factorial(
        tasks=(
            PolynomialConfig(modulus=2, degree=3, max_operations=3, max_evaluated=5),
        ),
        models=sized_models("30k"),
        arms=heads((1, 2, 4), scored="answer"),
        seeds=3,
        training=TrainingConfig(
            steps=800,
            batch_rows=16,
            context=64,
            learning_rate=6e-3,
            warmup_steps=40,
            evaluate_every_steps=200,
            evaluation_examples=64,
            final_examples=500,
        ),
        rates={"n1": 1.2e-2, "n4": 1.2e-2},
    ).runs()


CHOICES = Factorial(
    tasks=(ChoicePointsConfig(branches=3, stretch=1, consequences=(1, 2, 3, 4)),),
    models=sized_models("d24-L6-h2"),
    arms=heads((1, 4)),
    seeds=3,
    training=TrainingConfig(
        steps=400,
        batch_rows=16,
        context=64,
        learning_rate=8e-3,
        warmup_steps=20,
        evaluate_every_steps=25,
        evaluation_examples=250,
        final_examples=250,
    ),
)


@sweep(
    figure="excess loss at choices against tokens",
    answers="do four heads learn choices earlier than one?",
    scales=("quick",),
    rates=(1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2),
)
def choices(scale: str) -> Iterator[RunConfig]:
    """Choice points with three branches, made easy: 41k models, n = 1 and 4, 3 seeds."""
    return CHOICES.runs()

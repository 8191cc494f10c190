"""Runs for the probes: choice points (5.1), information (5.2), the layer law.

What they are for is read off their checkpoints:

    python -m synth probe choice-points runs/choice-points-quick/ID
    python -m synth probe information runs/information-quick/ID
    python -m synth probe law --run runs/prediction-law-quick/*

The objective is on all tokens: these sources have no questions, but for the maze.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sweeps.catalogue.arms import arms_of
from sweeps.sweep import WITH_NIGHT, sweep
from synth.config import (
    ModelConfig,
    RunConfig,
    TrainingConfig,
)
from synth.models.mixers.shapes import Mixer
from synth.objectives.multi_token import Layout
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.sources import SourcesConfig
from synth.tasks.task import TaskConfig


@dataclass(frozen=True)
class _Size:
    """What a scale means for the probes."""

    models: tuple[str, ...]
    deep: str
    """A model with enough layers for a line."""
    horizons: tuple[int, ...]
    seeds: int
    training: TrainingConfig


SIZES = {
    "quick": _Size(
        ("100k",),
        "d40-L8-h4",
        (1, 4),
        5,
        TrainingConfig(
            steps=800,
            batch_rows=16,
            context=128,
            learning_rate=3e-3,
            warmup_steps=50,
            evaluate_every_steps=100,
            evaluation_examples=128,
            final_examples=500,
        ),
    ),
    # Ten core-hours for choice points: 10M tokens a run, finely evaluated, since what
    # counts is when a run leaves its plateau.
    "night": _Size(
        ("30k", "100k", "300k"),
        "d40-L12-h4",
        (1, 2, 4),
        8,
        TrainingConfig(
            steps=4900,
            batch_rows=16,
            context=128,
            learning_rate=3e-3,
            warmup_steps=50,
            evaluate_every_steps=100,
            evaluation_examples=128,
            final_examples=500,
        ),
    ),
    "small": _Size(
        ("1M", "10M"),
        "d256-L12-h8",
        (1, 2, 4),
        5,
        TrainingConfig(
            steps=8000,
            batch_rows=64,
            context=256,
            learning_rate=1e-3,
            warmup_steps=200,
            evaluate_every_steps=500,
            evaluation_examples=256,
        ),
    ),
    "paper": _Size(("30M", "100M"), "100M", (1, 2, 4), 5, TrainingConfig()),
}


def _grid(
    scale: str,
    tasks: tuple[TaskConfig, ...],
    models: tuple[str, ...],
    layouts: tuple[Layout, ...] = ("parallel",),
    mixer: Mixer = "attention",
) -> Iterator[RunConfig]:
    size = SIZES[scale]
    for task in tasks:
        for model in models:
            for objective in arms_of(size.horizons, layouts):
                for seed in range(size.seeds):
                    yield RunConfig(
                        task=task,
                        model=ModelConfig(scale=model, mixer=mixer),
                        objective=objective,
                        training=size.training,
                        seed=seed,
                    )


@sweep(
    figure="learning of decisions, and what weighs on them",
    claims=("C12", "C13", "C15"),
    metric="test/excess_loss",
    scales=WITH_NIGHT,
)
def choice_points(scale: str) -> Iterator[RunConfig]:
    """Choice points with three lengths of consequence; from `small` on also mazes.

    A night also has anticausal heads, which keep the depth to the first one.
    """
    tasks: tuple[TaskConfig, ...] = (ChoicePointsConfig(),)
    layouts: tuple[Layout, ...] = ("parallel",)
    if scale == "night":
        layouts += ("anticausal",)
    elif scale != "quick":
        tasks += (MazeConfig(),)
    return _grid(scale, tasks, SIZES[scale].models, layouts)


@sweep(
    figure="when decisions are learnt, by number of heads",
    claims=("C18",),
    metric="test/excess_loss",
    scales=("night",),
)
def best_horizon(scale: str) -> Iterator[RunConfig]:
    """One to eight heads, on choices of 1, 3 and 7 tokens of consequence each."""
    size = SIZES[scale]
    training = replace(size.training, steps=1950, evaluate_every_steps=50)
    for consequence in (1, 3, 7):
        for objective in arms_of((1, 2, 3, 4, 6, 8)):
            for seed in range(size.seeds):
                yield RunConfig(
                    task=ChoicePointsConfig(consequences=(consequence,) * 3),
                    model=ModelConfig(scale=size.deep),
                    objective=objective,
                    training=training,
                    seed=seed,
                )


@sweep(
    figure="how well X is predicted, by I(X;Y)",
    claims=("C14",),
    metric="test/excess_loss",
)
def information(scale: str) -> Iterator[RunConfig]:
    """Coupled pairs of equal H(X) and rising I(X;Y); from `small` on also chains."""
    coupled = SourcesConfig(family="coupled", symbols=8, couplings=(0.0, 0.5, 1.0))
    tasks: tuple[TaskConfig, ...] = (coupled,)
    if scale != "quick":
        tasks += (SourcesConfig(order=2), SourcesConfig(family="hidden"))
    return _grid(scale, tasks, SIZES[scale].models)


@sweep(
    figure="prediction residual by layer",
    claims=("C21", "C22", "C23"),
    metric="test/excess_loss",
)
def prediction_law(scale: str) -> Iterator[RunConfig]:
    """Deep models on choice points; from `small` on also a chain and polynomials.

    Parallel heads shorten the way to head 1 by n - 1 layers; anticausal ones keep it, so
    that a slope can be compared at equal depth.
    """
    tasks: tuple[TaskConfig, ...] = (ChoicePointsConfig(),)
    layouts: tuple[Layout, ...] = ("parallel", "anticausal")
    if scale != "quick":
        chain = SourcesConfig(symbols=8, order=3, concentration=0.1)
        tasks += (chain, PolynomialConfig())
        layouts += ("linear",)
    return _grid(scale, tasks, (SIZES[scale].deep,), layouts)


@sweep(
    figure="prediction residual by layer, attention against recurrent mixers",
    claims=("C21", "C22", "C23"),
    metric="test/excess_loss",
)
def prediction_law_mixers(scale: str) -> Iterator[RunConfig]:
    """The deep model on choice points with each mixer, all of about the same size.

    The runs with attention are those of `prediction-law`, and are shared with it.
    """
    mixers: tuple[Mixer, ...] = ("attention", "mamba2", "rwkv")
    for mixer in mixers:
        tasks: tuple[TaskConfig, ...] = (ChoicePointsConfig(),)
        yield from _grid(scale, tasks, (SIZES[scale].deep,), mixer=mixer)

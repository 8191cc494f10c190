"""Runs for the probes: choice points (5.1), information (5.2), the layer law.

The probes measure the checkpoints:

    python -m synth probe choice-points runs/choice-points-quick/ID
    python -m synth probe information runs/information-quick/ID
    python -m synth probe law runs/prediction-law-quick/*

The loss is on all tokens: except for the maze, these sources have no questions.
"""

from collections.abc import Iterator
from dataclasses import replace

from sweeps.catalogue.factorial import Factorial, heads, sized_models
from sweeps.sweep import WITH_NIGHT, sweep
from synth.config import (
    ModelConfig,
    RunConfig,
    TrainingConfig,
)
from synth.objectives.multi_token import Layout
from synth.shapes.mixer_shapes import Mixer
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.maze import MazeConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.sources import SourcesConfig
from synth.tasks.task import TaskConfig

HEADS = (1, 2, 4)
QUICK_TRAINING = TrainingConfig(
    steps=800,
    batch_rows=16,
    context=128,
    learning_rate=3e-3,
    warmup_steps=50,
    evaluate_every_steps=100,
    evaluation_examples=128,
    final_examples=500,
)
DESIGNS = {
    "quick": Factorial(
        models=sized_models("100k"),
        arms=heads((1, 4)),
        seeds=5,
        training=QUICK_TRAINING,
    ),
    # Ten core-hours for choice points: 10M tokens a run, evaluated often, since the
    # measurement is when a run leaves its plateau.
    "night": Factorial(
        models=sized_models("30k", "100k", "300k"),
        arms=heads(HEADS, ("parallel", "anticausal")),
        seeds=8,
        training=replace(QUICK_TRAINING, steps=4900),
    ),
    "small": Factorial(
        models=sized_models("1M", "10M"),
        arms=heads(HEADS),
        seeds=5,
        training=TrainingConfig(
            steps=8000,
            batch_rows=64,
            context=256,
            learning_rate=1e-3,
            warmup_steps=200,
            evaluate_every_steps=500,
            evaluation_examples=256,
        ),
    ),
    "paper": Factorial(
        models=sized_models("30M", "100M"),
        arms=heads(HEADS),
        seeds=5,
        training=TrainingConfig(),
    ),
}
"""Designs without their tasks."""
DEEP = {"quick": "d40-L8-h4", "small": "d256-L12-h8", "paper": "100M"}
"""A model with enough layers to fit a line over them."""


@sweep(
    figure="learning of decisions, and what weighs on them",
    claims=("C12", "C13", "C15"),
    scales=WITH_NIGHT,
    metric="mean:",  # the claims are about when they are learned, not whether
)
def choice_points(scale: str) -> Iterator[RunConfig]:
    """Choice points with three lengths of consequence; from `small` on also mazes.

    `night` also has anticausal heads, which keep the depth to head 1.
    """
    tasks: tuple[TaskConfig, ...] = (ChoicePointsConfig(),)
    if scale in ("small", "paper"):
        tasks += (MazeConfig(),)
    return replace(DESIGNS[scale], tasks=tasks).runs()


@sweep(
    figure="when decisions are learnt, by number of heads",
    claims=("C18",),
    scales=("night",),
    metric="mean:test/excess_loss/horizon=1,role=choice",  # all learn them in the end
)
def best_horizon(scale: str) -> Iterator[RunConfig]:
    """One to eight heads, on choices of 1, 3 and 7 tokens of consequence each."""
    design = DESIGNS[scale]
    return replace(
        design,
        tasks=tuple(ChoicePointsConfig(consequences=(n,) * 3) for n in (1, 3, 7)),
        models=sized_models("d40-L12-h4"),
        arms=heads((1, 2, 3, 4, 6, 8)),
        training=replace(design.training, steps=1950, evaluate_every_steps=50),
    ).runs()


@sweep(
    figure="how well X is predicted, by I(X;Y)",
    claims=("C14",),
    scales=WITH_NIGHT,
)
def information(scale: str) -> Iterator[RunConfig]:
    """Coupled pairs of equal H(X) and rising I(X;Y); from `small` on also chains.

    Tables of eight symbols are learnt before a quick run ends. Those of 32 are not by
    the end of `night`: 0.2 nats are left to gain on X at 100k.
    """
    design, symbols = DESIGNS[scale], 8 if scale == "quick" else 32
    if scale == "night":
        training = replace(QUICK_TRAINING, steps=1500, final_examples=2000)
        design = replace(design, training=training)
    tasks: tuple[TaskConfig, ...] = (SourcesConfig(family="coupled", symbols=symbols),)
    if scale in ("small", "paper"):
        tasks += (SourcesConfig(order=2), SourcesConfig(family="hidden"))
    return replace(design, tasks=tasks).runs()


@sweep(
    figure="prediction residual by layer",
    claims=("C13", "C21"),
)
def prediction_law(scale: str) -> Iterator[RunConfig]:
    """Deep models on choice points; from `small` on also a chain and polynomials.

    Parallel heads take n - 1 layers from the path to head 1; anticausal heads keep them,
    so slopes can be compared at equal depth.
    """
    tasks: tuple[TaskConfig, ...] = (ChoicePointsConfig(),)
    layouts: tuple[Layout, ...] = ("parallel", "anticausal")
    if scale != "quick":
        chain = SourcesConfig(symbols=8, order=3, concentration=0.1)
        tasks += (chain, PolynomialConfig())
        layouts += ("linear",)
    horizons = (1, 4) if scale == "quick" else HEADS
    arms, models = heads(horizons, layouts), sized_models(DEEP[scale])
    return replace(DESIGNS[scale], tasks=tasks, models=models, arms=arms).runs()


@sweep(
    figure="prediction residual by layer, attention against recurrent mixers",
    claims=("C21",),
)
def prediction_law_mixers(scale: str) -> Iterator[RunConfig]:
    """The deep model on choice points with each mixer, all of about the same size.

    The runs with attention are those of `prediction-law`, and are shared with it.
    """
    mixers: tuple[Mixer, ...] = ("attention", "mamba2", "rwkv")
    for mixer in mixers:
        models = (ModelConfig(scale=DEEP[scale], mixer=mixer),)
        design = replace(DESIGNS[scale], tasks=(ChoicePointsConfig(),), models=models)
        yield from design.runs()

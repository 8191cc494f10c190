"""Induction in children's stories (section 4.1, figure 7) and with books (appendix J).

The paper does not name its corpus, so the distribution of names is an axis here. With a
closed list of names the second token follows from the first (a bigram); with open names
the model must look back. `p_open` is the share of stories with open names.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sweeps.catalogue.factorial import Factorial, heads, sized_models
from sweeps.sweep import WITH_NIGHT, sweep
from synth.config import RunConfig, TrainingConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.names import NameConfig
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig

METRIC = "test_seen/second_token_accuracy"


FEW_PIECES = {"first_pieces": 32, "second_pieces": 32, "closed_names": 16}
NAMES: dict[str, dict[str, int]] = {
    "quick": FEW_PIECES,
    "night": FEW_PIECES,
    "small": {},
    "paper": {"closed_names": 1024},
}
P_OPEN = {
    "quick": (0.0, 1.0),
    "night": (1.0,),
    "small": (0.0, 0.1, 1.0),
    "paper": (0.0, 1.0),
}
"""Values of `p_open`."""
STORIES: dict[str, dict[str, Any]] = {
    "quick": {"story": StoryConfig(asides=4)},
    "night": {"story": StoryConfig(asides=4)},
    "small": {"tokenizer": TokenizerConfig(vocab_size=4096)},
    # 26.2B tokens in 90 epochs are 0.29B distinct tokens: about a million stories.
    "paper": {
        "tokenizer": TokenizerConfig(vocab_size=4096),
        "fixed_stories": 1_000_000,
    },
}
"""Further fields of the task."""
DESIGNS = {
    # Few name pieces, many mentions, and a loss on repeated names only, so that
    # second-token accuracy leaves the floor within three million tokens. Read it where
    # no guessing rule is right (slice "guess=none"). With a constant learning rate,
    # every evaluation could be the end of a run.
    "quick": Factorial(
        models=sized_models("30k", "100k"),
        arms=heads((1, 2), scored="answer"),
        seeds=5,
        training=TrainingConfig(
            steps=1000,
            batch_rows=16,
            context=128,
            learning_rate=5e-3,
            decay_ratio=1.0,
            warmup_steps=100,
            evaluate_every_steps=125,
            evaluation_examples=8,  # evaluation stays below a tenth of the time
            final_examples=96,
        ),
    ),
    # Twelve core-hours: open names only, 40M tokens a run, at a learning rate at which
    # both arms of the largest quick model learn.
    "night": Factorial(
        models=sized_models("100k", "300k"),
        arms=heads((1, 2), scored="answer"),
        seeds=8,
        training=TrainingConfig(
            steps=19_500,
            batch_rows=16,
            context=128,
            learning_rate=2e-3,
            decay_ratio=1.0,
            warmup_steps=100,
            evaluate_every_steps=1000,
            evaluation_examples=48,  # evaluation stays below a tenth of the time
            final_examples=640,
        ),
    ),
    "small": Factorial(
        models=sized_models("1M", "3M", "10M"),
        arms=heads((1, 2)),
        seeds=3,
        training=TrainingConfig(
            steps=3000,
            batch_rows=64,
            context=256,
            learning_rate=1e-3,
            warmup_steps=60,
            precision="bf16",
            evaluate_every_steps=100,
            evaluation_examples=256,
            final_examples=1000,
        ),
    ),
    "paper": Factorial(
        models=sized_models("1M", "3M", "10M", "30M", "100M", "300M", "1B"),
        arms=heads((1, 2)),
        seeds=2,
        training=TrainingConfig(
            steps=100_000,
            batch_rows=128,
            context=2048,
            precision="bf16",
            evaluate_every_steps=1100,  # about 90 evaluations, one an epoch
            evaluation_examples=100,
            final_examples=1000,
        ),
    ),
}
"""Designs without their tasks."""


def _stories(scale: str, p_open: float, books_parts: int = 0) -> StoriesConfig:
    names = NameConfig(p_open=p_open, **NAMES[scale])
    return StoriesConfig(names=names, books_parts=books_parts, **STORIES[scale])


def _double_batch(training: TrainingConfig) -> TrainingConfig:
    """Appendix J: twice the batch, half the steps, the same tokens."""
    return replace(
        training,
        batch_rows=2 * training.batch_rows,
        steps=training.steps // 2,
        evaluate_every_steps=training.evaluate_every_steps // 2,
    )


@sweep(
    figure="figure 7",
    claims=("C1", "C2", "C3", "C6"),
    scales=WITH_NIGHT,
    metric=METRIC,
)
def induction(scale: str) -> Iterator[RunConfig]:
    """Second-token accuracy on names: closed lists against open names, n = 1 and 2."""
    tasks = tuple(_stories(scale, p_open) for p_open in P_OPEN[scale])
    return replace(DESIGNS[scale], tasks=tasks).runs()


@sweep(figure="figure S14", claims=("C4", "C5"), metric=METRIC)
def induction_books(scale: str) -> Iterator[RunConfig]:
    """Stories with a closed list of names alone, and nine to one with books."""
    design = DESIGNS[scale]
    tasks = tuple(_stories(scale, 0.0, books_parts) for books_parts in (0, 9))
    training = _double_batch(design.training)
    if scale == "quick":  # evaluation would take a third of the time
        training = replace(
            training,
            evaluate_every_steps=125,
            evaluation_examples=8,
            final_examples=48,
        )
    return replace(design, tasks=tasks, training=training).runs()


REPEATS = Factorial(
    tasks=(RepeatsConfig(symbols=48, min_period=6, max_period=16),),
    models=sized_models("d64-L3-h4"),
    arms=heads((1, 2)),
    seeds=3,
    training=TrainingConfig(
        steps=400,
        batch_rows=32,
        context=48,
        learning_rate=4e-3,
        warmup_steps=20,
        evaluate_every_steps=20,
        evaluation_examples=64,
        final_examples=500,
    ),
)

LONG_REPEATS = replace(
    REPEATS,
    seeds=8,
    training=replace(REPEATS.training, steps=1300, learning_rate=3e-3),
)
"""Two million tokens, by which small models form induction too."""


@sweep(
    figure="accuracy against tokens",
    scales=("quick",),
    answers="when does induction form, with one head and with two?",
)
def repeats(scale: str) -> Iterator[RunConfig]:
    """Random segments that repeat: induction forms in seconds, n = 1 and 2, 5 seeds.

    Segments of 6 to 16 of 48 symbols, shorter than the task's default, for `make quick`;
    each arm at its best rate (table `repeats-tuning`).
    """
    return replace(REPEATS, seeds=5, rates={"n2": 8e-3}).runs()


@sweep(
    figure="tokens until induction forms, by size",
    scales=("night",),
    answers="does the size of a model decide how heads move the onset of induction?",
    metric="mean:test/accuracy",  # all learn it in the end; the mean says how soon
)
def repeats_ladder(scale: str) -> Iterator[RunConfig]:
    """Repeats from 14k to 1M parameters, eight layers each: n = 1, 2, 4, in two layouts."""
    shapes = ("d12-L8-h2", "d20-L8-h2", "d32-L8-h2", "d56-L8-h4", "d104-L8-h4")
    arms = heads((1, 2, 4), ("parallel", "anticausal"))
    return replace(LONG_REPEATS, models=sized_models(*shapes), arms=arms).runs()


@sweep(
    figure="tokens until induction forms, by depth",
    scales=("night",),
    answers="does the depth of a model decide whether a second head delays induction?",
    metric="mean:test/accuracy",
)
def repeats_depth(scale: str) -> Iterator[RunConfig]:
    """Repeats on 3 to 16 layers of about 100k parameters: n = 1 and 2, a layer more or not.

    At eight layers it shares runs with `repeats-ladder`.
    """
    shapes = ("d52-L3-h2", "d44-L4-h2", "d36-L6-h2", "d32-L8-h2", "d28-L12-h2")
    models = sized_models(*shapes, "d24-L16-h2")
    arms = heads((1, 2), ("parallel", "anticausal")) + heads((2,), budget="added")
    return replace(LONG_REPEATS, models=models, arms=arms).runs()

"""Induction in children's stories (section 4.1, figure 7) and with books (appendix J).

The corpus of the paper is not named, so names are an axis here. With a closed list the
second token of a name is a bigram, and nothing pays for looking back; with open names
only looking back helps. `p_open` is the share of stories with open names.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sweeps.catalogue.crossed import Crossed, heads, sized
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
"""Shares of stories with open names."""
STORIES: dict[str, dict[str, Any]] = {
    "quick": {"story": StoryConfig(asides=4)},
    "night": {"story": StoryConfig(asides=4)},
    "small": {"tokenizer": TokenizerConfig(vocab_size=4096)},
    # 26.2B tokens over 90 epochs leave 0.29B tokens of stories: about a million.
    "paper": {
        "tokenizer": TokenizerConfig(vocab_size=4096),
        "fixed_stories": 1_000_000,
    },
}
"""Fields of the task."""
CROSSED = {
    # Few pieces, many mentions, and a loss on repeated names alone, so that the second
    # token leaves the floor within three million tokens: read it where no guessing rule
    # is right (slice "guess=none"). A constant rate makes every step a fair end.
    "quick": Crossed(
        models=sized("30k", "100k"),
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
            evaluation_examples=64,
            final_examples=500,
        ),
    ),
    # Twelve core-hours: open names alone, 40M tokens a run, a rate at which both arms
    # of the quick scale's largest model learn.
    "night": Crossed(
        models=sized("100k", "300k"),
        arms=heads((1, 2), scored="answer"),
        seeds=8,
        training=TrainingConfig(
            steps=19_500,
            batch_rows=16,
            context=128,
            learning_rate=2e-3,
            decay_ratio=1.0,
            warmup_steps=100,
            evaluate_every_steps=1000,  # stories are dear: 9 % of the time
            evaluation_examples=128,
            final_examples=1000,
        ),
    ),
    "small": Crossed(
        models=sized("1M", "3M", "10M"),
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
    "paper": Crossed(
        models=sized("1M", "3M", "10M", "30M", "100M", "300M", "1B"),
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
"""All but the tasks."""


def _stories(scale: str, p_open: float, books_parts: int = 0) -> StoriesConfig:
    names = NameConfig(p_open=p_open, **NAMES[scale])
    return StoriesConfig(names=names, books_parts=books_parts, **STORIES[scale])


def _doubled(training: TrainingConfig) -> TrainingConfig:
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
    return replace(CROSSED[scale], tasks=tasks).runs()


@sweep(figure="figure S14", claims=("C4", "C5", "C6"), metric=METRIC)
def induction_books(scale: str) -> Iterator[RunConfig]:
    """Stories with a closed list of names alone, and nine to one with books."""
    crossed = CROSSED[scale]
    tasks = tuple(_stories(scale, 0.0, books_parts) for books_parts in (0, 9))
    training = _doubled(crossed.training)
    return replace(crossed, tasks=tasks, training=training).runs()


REPEATS = Crossed(
    tasks=(RepeatsConfig(symbols=48, min_period=6, max_period=16),),
    models=sized("d64-L3-h4"),
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


@sweep(
    figure="accuracy against tokens",
    scales=("quick",),
    answers="when does induction form, with one head and with two?",
)
def repeats(scale: str) -> Iterator[RunConfig]:
    """Random segments that repeat: induction forms in seconds, n = 1 and 2, 3 seeds.

    Segments of 6 to 16 of 48 symbols, shorter than the task's own, for `make quick`.
    """
    return REPEATS.runs()


@sweep(
    figure="tokens until induction forms, by size",
    scales=("night",),
    answers="does the size of a model decide how heads move the onset of induction?",
)
def repeats_ladder(scale: str) -> Iterator[RunConfig]:
    """Repeats from 14k to 1M parameters, eight layers each: n = 1, 2, 4, in two layouts."""
    shapes = ("d12-L8-h2", "d20-L8-h2", "d32-L8-h2", "d56-L8-h4", "d104-L8-h4")
    return replace(
        REPEATS,
        models=sized(*shapes),
        arms=heads((1, 2, 4), ("parallel", "anticausal")),
        seeds=8,
        training=replace(REPEATS.training, steps=1300, learning_rate=3e-3),
    ).runs()

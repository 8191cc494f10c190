"""Induction in children's stories (section 4.1, figure 7) and with books (appendix J).

The corpus of the paper is not named, so names are an axis here. With a closed list the
second token of a name is a bigram, and nothing pays for looking back; with open names
only looking back helps. `p_open` is the share of stories with open names.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from sweeps.catalogue.arms import arms_of
from sweeps.sweep import WITH_NIGHT, sweep
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.names import NameConfig
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig

METRIC = "test_seen/second_token_accuracy"


@dataclass(frozen=True)
class Rung:
    """What a scale of the sweeps trains."""

    sizes: tuple[str, ...]
    seeds: int
    p_open: tuple[float, ...]
    story: StoryConfig
    names: dict[str, int]
    tokenizer: TokenizerConfig
    fixed_stories: int
    training: TrainingConfig
    scored: Literal["all", "answer"] = "all"


PAPER_TRAINING = TrainingConfig(
    steps=100_000,
    batch_rows=128,
    context=2048,
    learning_rate=1e-4,
    warmup_steps=2000,
    precision="bf16",
    evaluate_every_steps=1100,  # about 90 evaluations, one an epoch
    evaluation_examples=100,
    final_examples=1000,
)
RUNGS = {
    # Few pieces, many mentions, and a loss on repeated names alone, so that the second
    # token leaves the floor within three million tokens: read it where no guessing rule
    # is right (slice "guess=none"). A constant rate makes every step a fair end.
    "quick": Rung(
        sizes=("30k", "100k"),
        seeds=5,
        p_open=(0.0, 1.0),
        story=StoryConfig(asides=4),
        names={"first_pieces": 32, "second_pieces": 32, "closed_names": 16},
        tokenizer=TokenizerConfig(),
        fixed_stories=0,
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
        scored="answer",
    ),
    # Twelve core-hours: open names alone, 40M tokens a run, a rate at which both arms
    # of the quick scale's largest model learn.
    "night": Rung(
        sizes=("100k", "300k"),
        seeds=8,
        p_open=(1.0,),
        story=StoryConfig(asides=4),
        names={"first_pieces": 32, "second_pieces": 32, "closed_names": 16},
        tokenizer=TokenizerConfig(),
        fixed_stories=0,
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
        scored="answer",
    ),
    "small": Rung(
        sizes=("1M", "3M", "10M"),
        seeds=3,
        p_open=(0.0, 0.1, 1.0),
        story=StoryConfig(),
        names={},
        tokenizer=TokenizerConfig(vocab_size=4096),
        fixed_stories=0,
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
    # 26.2B tokens over 90 epochs leave 0.29B tokens of stories: about a million.
    "paper": Rung(
        sizes=("1M", "3M", "10M", "30M", "100M", "300M", "1B"),
        seeds=2,
        p_open=(0.0, 1.0),
        story=StoryConfig(),
        names={"closed_names": 1024},
        tokenizer=TokenizerConfig(vocab_size=4096),
        fixed_stories=1_000_000,
        training=PAPER_TRAINING,
    ),
}


def _runs(rung: Rung, p_open: float, books_parts: int) -> Iterator[RunConfig]:
    """Both losses at every size and seed, on the same data."""
    task = StoriesConfig(
        story=rung.story,
        names=NameConfig(p_open=p_open, **rung.names),
        tokenizer=rung.tokenizer,
        fixed_stories=rung.fixed_stories,
        books_parts=books_parts,
    )
    for size in rung.sizes:
        for horizon in (1, 2):
            for seed in range(rung.seeds):
                yield RunConfig(
                    task=task,
                    model=ModelConfig(scale=size),
                    objective=MultiTokenConfig(horizon=horizon, scored=rung.scored),
                    training=rung.training,
                    seed=seed,
                )


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
    rung = RUNGS[scale]
    for p_open in rung.p_open:
        yield from _runs(rung, p_open, books_parts=0)


@sweep(figure="figure S14", claims=("C4", "C5", "C6"), metric=METRIC)
def induction_books(scale: str) -> Iterator[RunConfig]:
    """Stories with a closed list of names alone, and nine to one with books."""
    rung = RUNGS[scale]
    rung = replace(rung, training=_doubled(rung.training))
    for books_parts in (0, 9):
        yield from _runs(rung, 0.0, books_parts)


@sweep(figure="accuracy against tokens", scales=("quick",), metric="test/accuracy")
def repeats(scale: str) -> Iterator[RunConfig]:
    """Random segments that repeat: induction forms in seconds, n = 1 and 2, 3 seeds.

    Segments of 6 to 16 of 48 symbols, shorter than the task's own, for `make quick`.
    """
    for horizon in (1, 2):
        for seed in range(3):
            yield RunConfig(
                task=RepeatsConfig(symbols=48, min_period=6, max_period=16),
                model=ModelConfig(scale="d64-L3-h4"),
                objective=MultiTokenConfig(horizon=horizon),
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
                seed=seed,
            )


@sweep(
    figure="tokens until induction forms, by size",
    scales=("night",),
    metric="test/accuracy",
)
def repeats_ladder(scale: str) -> Iterator[RunConfig]:
    """Repeats from 14k to 1M parameters, eight layers each: n = 1, 2, 4, in two layouts."""
    shapes = ("d12-L8-h2", "d20-L8-h2", "d32-L8-h2", "d56-L8-h4", "d104-L8-h4")
    for shape in shapes:
        for objective in arms_of((1, 2, 4), ("parallel", "anticausal")):
            for seed in range(8):
                yield RunConfig(
                    task=RepeatsConfig(symbols=48, min_period=6, max_period=16),
                    model=ModelConfig(scale=shape),
                    objective=objective,
                    training=TrainingConfig(
                        steps=1300,
                        batch_rows=32,
                        context=48,
                        learning_rate=3e-3,
                        warmup_steps=20,
                        evaluate_every_steps=20,
                        evaluation_examples=64,
                        final_examples=500,
                    ),
                    seed=seed,
                )

"""Induction without language: a random segment, again and again.

A B C D A B C D A B ...: no token of a segment occurs twice in it, and segments are
random, so nothing but the row itself tells what follows. From the second token of the
second round on, everything follows by induction: what came after this token last time?
Induction forms within a few hundred steps, so the task checks any trunk or objective in
seconds.

Letters in names: R rows, T positions, P positions of a segment.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.seeding import generator
from synth.tasks.task import (
    SIDES,
    EvaluationSet,
    Rows,
    Split,
    Task,
    TaskConfig,
    TokenScores,
    prediction_scores,
)

BLOCK_TOKENS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class RepeatsConfig(TaskConfig):
    """Copy random segments that repeat: induction with nothing else to learn."""

    kind: ClassVar[str] = "repeats"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("accuracy", "share", "higher", "floor", ceiling=1.0, learned=0.5),
        Metric("floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("loss", "nats", "lower", floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    symbols: int = identity(64)
    """Different tokens."""
    min_period: int = identity(8)
    """Tokens of the shortest segment."""
    max_period: int = identity(24)
    """Tokens of the longest segment; the length is uniform."""

    def validate(self) -> None:
        self.check_ranges(symbols=(16, 1 << 16))
        self.check(self.min_period >= 3, "min_period", "at least 3")
        self.check(
            self.min_period <= self.max_period <= self.symbols,
            "max_period",
            f"from min_period = {self.min_period} to symbols = {self.symbols}",
        )

    def build(self) -> "Repeats":
        return Repeats(self)


class Repeats(Task):
    """A row is one segment, repeated to the end of the row.

    tokens  g b e g b e g b        (a period of 3)
    answer  - - - - x x x x
    """

    def __init__(self, config: RepeatsConfig) -> None:
        self.config = config
        self.vocabulary = ("_", *(f"s{i}" for i in range(config.symbols)))

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """Rows of about 65,000 tokens."""
        rng = generator(data_seed, "repeats", "train", block)
        wanted = max(1, BLOCK_TOKENS // context)
        segment_RP, period_R = self._draw(rng, wanted, self.trained_on)
        return _rows(segment_RP, period_R, context)

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """`examples` rows of two and a half of the longest segments."""
        if examples == 0:
            return []
        parts = []
        for block in range(-(-examples // 64)):
            rng = generator(0, "repeats", self.split, block)
            parts.append(self._draw(rng, 64, self.held_out))
        segment_RP = np.concatenate([part[0] for part in parts])[:examples]
        period_R = np.concatenate([part[1] for part in parts])[:examples]
        rows = _rows(segment_RP, period_R, self.config.max_period * 5 // 2)
        return [EvaluationSet(self.suite("test"), rows, {"period_R": period_R})]

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Accuracy of head 1 on what has been seen before, by round, and losses.

        "round=1" is the first time a segment repeats; a model that guesses one of the
        segment's tokens is right once in a period ("floor"). One that also leaves out what
        this round has repeated so far is right in 22 % (by default), without induction.
        """
        result: list[Score] = []
        answer_RT = chosen.rows.answer_RT[:, 1:]
        right_RT = scores.correct_NRT[0, :, :-1]
        period_R = chosen.labels["period_R"]
        round_RT = np.arange(1, chosen.rows.tokens_RT.shape[1]) // period_R[:, None]
        slices = {"": answer_RT}
        for number in (1, 2):
            slices[f"round={number}"] = answer_RT & (round_RT == number)
        for name, inside in slices.items():
            if inside.any():
                right = right_RT[inside]
                result.append(Score.mean(chosen.suite, "accuracy", name, right))
        floor = np.repeat(1 / period_R, answer_RT.sum(1))
        result.append(Score.mean(chosen.suite, "floor", "", floor))
        result += prediction_scores(chosen, scores, ("loss",), answers=True)
        return result

    def _draw(
        self,
        rng: np.random.Generator,
        count: int,
        wanted: Callable[[np.ndarray], np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Segments of the wanted sides, and how much of each is used."""
        config = self.config
        parts: list[np.ndarray] = []
        missing = count
        while missing > 0:
            order = rng.random((2 * missing + 16, config.symbols)).argsort(axis=1)
            segments = 1 + order[:, : config.max_period]
            segments = segments[wanted(side_of(segments))]
            parts.append(segments[:missing])
            missing -= len(parts[-1])
        period_R = rng.integers(config.min_period, config.max_period + 1, count)
        return np.concatenate(parts), period_R


def side_of(segment_RP: np.ndarray) -> np.ndarray:
    """The side of the split of each segment, by a hash of its first three tokens."""
    first, second, third = segment_RP[:, :3].T.astype(np.uint64)
    mixed = (first << np.uint64(40)) ^ (second << np.uint64(20)) ^ third
    mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    return mixed % np.uint64(SIDES)


def _rows(segment_RP: np.ndarray, period_R: np.ndarray, length: int) -> Rows:
    time = np.arange(length)
    index_RT = time % period_R[:, None]
    tokens_RT = np.take_along_axis(segment_RP, index_RT, axis=1)
    answer_RT = time > period_R[:, None]
    return Rows(tokens_RT, np.ones(tokens_RT.shape, np.int32), answer_RT)

"""Tasks whose generator states the exact distribution of every token it draws.

The distribution of the token h places ahead, given the tokens of the same example so
far, is the yardstick of the probes: no model can have a lower expected loss, and the
distance to it is what a model has still to learn.

Letters in names: E examples, R rows, T positions, V vocabulary, N horizons, D draws.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from synth.metrics import Score
from synth.tasks.task import EvaluationSet, Rows, Task, TokenScores

TEST_SHARE = 8
"""One problem in so many, chosen by its hash, is kept for testing."""


class ExactTask(Task):
    """A task with exact distributions and with named roles of predictions."""

    roles: ClassVar[Sequence[str]]
    """What a prediction can be about, by number."""

    @abstractmethod
    def distributions(self, rows: Rows, horizon: int) -> np.ndarray:
        """Exact p(x[t+horizon] | x[..t] of the same example), float64, (R, T, V).

        NaN where t + horizon leaves the example, or where the task declares no
        distribution (the questions of a maze).
        """

    @abstractmethod
    def role(self, chosen: EvaluationSet, horizon: int) -> np.ndarray:
        """Number of the role of predicting t+horizon from t, (R, T); -1 is none."""

    def continuations(
        self, prefix: Sequence[int], length: int
    ) -> dict[tuple[int, ...], float]:
        """Exact joint distribution of the next `length` tokens after `prefix`.

        By the chain rule, over sequences of positive probability; meant for small cases
        and for tests.
        """
        found: dict[tuple[int, ...], float] = {(): 1.0}
        for _ in range(length):
            tails = list(found)
            tokens_RT = np.array([[*prefix, *tail, 0] for tail in tails])
            rows = Rows(
                tokens_RT, np.ones_like(tokens_RT), np.zeros(tokens_RT.shape, bool)
            )
            next_RV = self.distributions(rows, 1)[:, -2]
            found = {
                (*tail, int(token)): found[tail] * float(next_V[token])
                for tail, next_V in zip(tails, next_RV, strict=True)
                for token in np.flatnonzero(next_V > 0)
            }
        return found

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Loss, accuracy, exact floor and excess by horizon and role.

        The floor is what the exact distribution itself would have scored on the same
        tokens, so the excess is free of the luck of the draw.
        """
        found: list[Score] = []
        for horizon, (loss, correct, valid) in enumerate(
            zip(scores.loss_NRT, scores.correct_NRT, scores.valid_NRT, strict=True), 1
        ):
            role_RT = self.role(chosen, horizon)
            floor_RT = self.floor(chosen.rows, horizon)
            for number, name in enumerate(self.roles):
                there = valid & (role_RT == number)
                label = f"horizon={horizon},role={name}"
                if not there.any():
                    continue
                values = {"loss": loss[there], "accuracy": correct[there]}
                known = there & np.isfinite(floor_RT)
                if known.any():
                    values["floor"] = floor_RT[known]
                    values["excess_loss"] = loss[known] - floor_RT[known]
                found += [
                    Score(chosen.suite, metric, label, float(np.mean(v)), len(v))
                    for metric, v in values.items()
                ]
        return found

    def floor(self, rows: Rows, horizon: int) -> np.ndarray:
        """-log p of each realised token under the exact distribution, nats, (R, T)."""
        p_RTV = self.distributions(rows, horizon)
        target_RT = np.zeros(rows.tokens_RT.shape, np.int64)
        target_RT[:, :-horizon] = rows.tokens_RT[:, horizon:]
        chosen_RT = np.take_along_axis(p_RTV, target_RT[..., None], -1)[..., 0]
        with np.errstate(divide="ignore"):
            return -np.log(chosen_RT)


def problem_hash(draws_ED: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each example's draws: the splitmix64 finaliser, chained.

    >>> problem_hash(np.array([[1, 2], [2, 1]])).tolist()
    [9225347453003640471, 5217301009951271110]
    """
    state_E = np.full(len(draws_ED), 0x9E3779B97F4A7C15, np.uint64)
    with np.errstate(over="ignore"):
        for draw_E in draws_ED.T.astype(np.uint64):
            state_E = (state_E ^ draw_E) + np.uint64(0x9E3779B97F4A7C15)
            state_E = (state_E ^ (state_E >> np.uint64(30))) * np.uint64(
                0xBF58476D1CE4E5B9
            )
            state_E = (state_E ^ (state_E >> np.uint64(27))) * np.uint64(
                0x94D049BB133111EB
            )
            state_E ^= state_E >> np.uint64(31)
    return state_E


def is_test(draws_ED: np.ndarray) -> np.ndarray:
    """Whether each problem belongs to the test side of the partition."""
    return problem_hash(draws_ED) % np.uint64(TEST_SHARE) == 0


def packed(tokens_ET: np.ndarray, answer_T: np.ndarray, context: int) -> Rows:
    """Whole examples of equal length side by side in rows; what is left over is padding.

    Examples that do not fill a last row are dropped.

    Raises
    ------
    ValueError
        When an example is longer than a row.
    """
    length = tokens_ET.shape[1]
    per_row = context // length
    if per_row == 0:
        raise ValueError(
            f"TrainingConfig.context must be at least {length}, the length of an "
            f"example of this task; got {context}."
        )
    count = len(tokens_ET) // per_row
    rows = Rows(
        np.zeros((count, context), tokens_ET.dtype),
        np.zeros((count, context), np.int32),
        np.zeros((count, context), bool),
    )
    used = per_row * length
    rows.tokens_RT[:, :used] = tokens_ET[: count * per_row].reshape(count, used)
    rows.example_RT[:, :used] = np.repeat(np.arange(1, per_row + 1), length)
    rows.answer_RT[:, :used] = np.tile(answer_T, per_row)
    return rows


def positions_in_example(example_RT: np.ndarray) -> np.ndarray:
    """Distance of each position from the start of its example, (R, T)."""
    index_T = np.arange(example_RT.shape[1])
    starts_RT = np.ones(example_RT.shape, bool)
    starts_RT[:, 1:] = example_RT[:, 1:] != example_RT[:, :-1]
    return index_T - np.maximum.accumulate(np.where(starts_RT, index_T, 0), axis=1)

"""Tasks that draw examples of one length; and those that state exact distributions.

The distribution of the token h places ahead, given the tokens of the same example so
far, is the reference of the probes: no model can have a lower expected loss, and the
distance to it is what a model has yet to learn.

Letters in names: E examples of length L, R rows, T positions, V vocabulary, N horizons,
D draws.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from synth.command_words import as_typed
from synth.metrics import Metric, Score
from synth.objectives.declarations import Prediction
from synth.seeding import generator, splitmix64
from synth.tasks.checks import drawn
from synth.tasks.packing import pack_rows
from synth.tasks.positions import number_positions, position_scores
from synth.tasks.task import (
    SAMPLE_CONTEXT,
    SIDES,
    EvaluationSet,
    Rows,
    Sample,
    Task,
    TaskConfig,
    TokenScores,
    drawn_until,
)

STEP = np.uint64(0x9E3779B97F4A7C15)
EXACT_METRICS = (
    Metric("excess_loss", "nats", "lower", floor=0.0),
    Metric("loss", "nats", "lower", floor="floor"),
    Metric("floor", "nats", None, floor=0.0),
    Metric("accuracy", "share", "higher", floor=0.0),
)
"""What every task of this kind measures."""


class DrawnTask(Task):
    """A task that draws examples of one length, many at a time."""

    config: TaskConfig
    length: int
    """Tokens of an example."""
    answer_start: int = 1
    """Tokens before the answer, which goes on to the end of the example."""
    block: int = 4096
    """Examples drawn for a block of training data."""
    test_batch: int = 4096
    """Examples drawn at a time for a test set."""

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """At most `count` examples (E, L), and what identifies their problems (E, D).

        Examples are split by their problems; `None` if training and test examples may
        be equal by chance.
        """

    @property
    def sample_context(self) -> int:
        return max(SAMPLE_CONTEXT, getattr(self, "length", 0))  # checked once drawn

    def labels(self, tokens_RT: np.ndarray) -> dict[str, np.ndarray]:
        """What scores need to know of the examples of a test set, by name."""
        return {}

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """The train side of a block of new examples, packed into rows."""
        rng = generator(data_seed, self.config.kind, "train", block)
        return self.fill_rows(self.drawn_for_training(rng), context)

    def drawn_for_training(self, rng: np.random.Generator) -> np.ndarray:
        """The train side of a block of examples, (E, L)."""
        tokens_EL, problem_ED = drawn(self, rng, self.block)
        if problem_ED is None:
            return tokens_EL
        return tokens_EL[self.trained_on(side_of(problem_ED))]

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """One set: the side held out, one example a row, with its labels."""

        def batch(index: int) -> np.ndarray:
            rng = generator(0, self.config.kind, self.split, index)
            tokens_EL, problem_ED = drawn(self, rng, self.test_batch)
            if problem_ED is None:
                return tokens_EL
            return tokens_EL[self.held_out(side_of(problem_ED))]

        rows = self.one_per_row(stack_until(batch, examples))
        return [EvaluationSet(self.suite("test"), rows, self.labels(rows.tokens_RT))]

    def read_question(self, question: Sequence[int]) -> EvaluationSet | None:
        """A whole question, whose answer is not known here."""
        if self.answer_start == 1:  # examples have no question
            return None
        if len(question) != self.answer_start:
            shows = as_typed(f"synth sample {self.config.kind}")
            raise ValueError(
                f"A question of this task has {self.answer_start} tokens; got "
                f"{len(question)}. `{shows}` shows some."
            )
        tokens_1L = np.zeros((1, self.length), np.int64)
        tokens_1L[0, : self.answer_start] = question
        return EvaluationSet("asked", self.one_per_row(tokens_1L))

    def fill_rows(self, tokens_EL: np.ndarray, context: int) -> Rows:
        """Examples side by side in rows of `context` tokens."""
        count, length = tokens_EL.shape
        offsets, starts = (
            np.arange(count + 1) * length,
            np.full(count, self.answer_start),
        )
        return pack_rows(tokens_EL.reshape(-1), offsets, starts, context, length)

    def one_per_row(self, tokens_EL: np.ndarray) -> Rows:
        """One example a row, from position 0."""
        answer_EL = np.zeros(tokens_EL.shape, bool)
        answer_EL[:, self.answer_start :] = True
        ones_EL = np.ones(tokens_EL.shape, np.int32)
        return Rows(tokens_EL.astype(np.int32), ones_EL, answer_EL)


class ExactTask(DrawnTask):
    """A task with exact distributions and with named roles of predictions."""

    roles: Sequence[str]
    """What a prediction can be about, by number."""
    _scored: tuple[Rows, dict[int, np.ndarray]] | None = None
    """The rows that were scored last, and their floors by horizon."""

    @abstractmethod
    def after(self, prefix_RT: np.ndarray, horizon: int) -> np.ndarray:
        """Exact distribution of the token `horizon` places after each prefix, (R, V).

        Prefixes start where an example starts and can be continued; NaN where the task
        declares no distribution (the questions of a maze).
        """

    def samples(self, seed: int, count: int) -> list[Sample]:
        """Examples with the role of each token and its exact probability.

        Both are null for the start token, and where the task declares none.
        """
        samples = []
        for sample in super().samples(seed, count):
            ids_RT = np.array([[self.vocabulary.index(word) for word in sample.tokens]])
            rows = self.one_per_row(ids_RT)
            chosen = EvaluationSet("sample", rows, self.labels(ids_RT))
            role_T = self.role(chosen, 1)[0, :-1].tolist()
            chance_T = np.exp(-self.floor(rows, 1)[0, :-1]).tolist()
            record = dict(sample.record)
            record["roles"] = [None] + [
                self.roles[number] if number >= 0 else None for number in role_T
            ]
            record["probabilities"] = [None] + [
                round(chance, 6) if math.isfinite(chance) else None
                for chance in chance_T
            ]
            samples.append(replace(sample, record=record))
        return samples

    def distributions(self, rows: Rows, horizon: int) -> np.ndarray:
        """Exact p(x[t+horizon] | x[..t]), float64, (R, T, V).

        Each row is one example, from position 0. NaN where t + horizon lies beyond it,
        or where the task declares no distribution.
        """
        tokens_RT = rows.tokens_RT
        p_RTV = np.full((*tokens_RT.shape, len(self.vocabulary)), np.nan)
        for t in range(tokens_RT.shape[1] - horizon):
            p_RTV[:, t] = self.after(tokens_RT[:, : t + 1], horizon)
        return p_RTV

    def distributions_of(self, rows: Rows, prediction: Prediction) -> np.ndarray:
        """`distributions` of a prediction, which may have been given more tokens."""
        nearer = self.distributions(rows, prediction.offset - prediction.given)
        return shift_left(nearer, prediction.given, np.nan)

    @abstractmethod
    def role(self, chosen: EvaluationSet, horizon: int) -> np.ndarray:
        """Number of the role of predicting t+horizon from t, (R, T); -1 is none."""

    def role_of(self, chosen: EvaluationSet, prediction: Prediction) -> np.ndarray:
        """Number of the role of each prediction, (R, T); -1 is none.

        One that is given tokens t+1..t+g is that of position t+g, g places nearer.
        """
        return shift_left(
            self.role(chosen, prediction.offset - prediction.given),
            prediction.given,
            -1,
        )

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Loss, accuracy, exact floor and excess by prediction and role, and accuracy by
        position.

        The floor is what the exact distribution itself scores on the same tokens, so the
        excess does not depend on which examples were drawn. Without a slice: the excess
        of head 1 over all tokens that have an exact distribution.
        """
        excess_RT = scores.loss_NRT[0] - self._floor_of(chosen.rows, 1)
        known_RT = scores.valid_NRT[0] & np.isfinite(excess_RT)
        mean = float(np.mean(excess_RT[known_RT]))
        result = [Score(chosen.suite, "excess_loss", "", mean, int(known_RT.sum()))]
        example_RT = chosen.rows.example_RT
        position_RT = number_positions(example_RT, example_RT > 0)
        for prediction, loss, correct, valid in scores.by_prediction():
            role_RT = self.role_of(chosen, prediction)
            floor_RT = shift_left(
                self._floor_of(chosen.rows, prediction.offset - prediction.given),
                prediction.given,
                np.nan,
            )
            for number, name in enumerate(self.roles):
                there = valid & (role_RT == number)
                label = f"{prediction.label},role={name}"
                if not there.any():
                    continue
                values = {"loss": loss[there], "accuracy": correct[there]}
                known = there & np.isfinite(floor_RT)
                if known.any():
                    values["floor"] = floor_RT[known]
                    values["excess_loss"] = loss[known] - floor_RT[known]
                result += [
                    Score(chosen.suite, metric, label, float(np.mean(v)), len(v))
                    for metric, v in values.items()
                ]
            result += position_scores(
                chosen.suite, prediction, position_RT, correct, valid
            )
        return result

    def _floor_of(self, rows: Rows, horizon: int) -> np.ndarray:
        """`floor`, kept while the same rows are scored: for all lanes, at every step."""
        if self._scored is None or self._scored[0] is not rows:
            self._scored = (rows, {})
        floors = self._scored[1]
        if horizon not in floors:
            floors[horizon] = self.floor(rows, horizon)
            floors[horizon].flags.writeable = False
        return floors[horizon]

    def floor(self, rows: Rows, horizon: int) -> np.ndarray:
        """-log p of each realised token under the exact distribution, nats, (R, T)."""
        p_RTV = self.distributions(rows, horizon)
        target_RT = shift_left(rows.tokens_RT.astype(np.int64), horizon, 0)
        chosen_RT = np.take_along_axis(p_RTV, target_RT[..., None], -1)[..., 0]
        with np.errstate(divide="ignore"):
            return -np.log(chosen_RT)


def shift_left(values_RT: np.ndarray, places: int, fill: float) -> np.ndarray:
    """Entry t holds what stood at t+places; `fill` beyond the end of the row."""
    if not places:
        return values_RT
    result = np.full_like(values_RT, fill)
    result[:, :-places] = values_RT[:, places:]
    return result


def problem_hash(draws_ED: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each example's draws: the splitmix64 finaliser, chained.

    >>> problem_hash(np.array([[1, 2], [2, 1]])).tolist()
    [9550467469912592448, 3379748236207159976]
    """
    state_E = np.full(len(draws_ED), STEP, np.uint64)
    for draw_E in draws_ED.T.astype(np.uint64):
        state_E = splitmix64((state_E ^ draw_E) + STEP)
    return state_E


def side_of(draws_ED: np.ndarray) -> np.ndarray:
    """The side of the split to which each problem belongs, by its draws."""
    return problem_hash(draws_ED) % np.uint64(SIDES)


def stack_until(batch: Callable[[int], np.ndarray], count: int) -> np.ndarray:
    """The first `count` examples of batches 0, 1, 2, ..., whatever their sizes.

    Raises `ValueError` when many batches in a row are empty: the problem space is too
    small.
    """
    too_small = (
        f"Fewer than {count} examples to evaluate on were found: the problem space of "
        "this task is too small to hold some out. Use a larger one."
    )
    return np.concatenate(drawn_until(batch, count, too_small))[:count]

"""Countdown: combine all the given numbers into a target.

The game of arXiv 2404.03683 in the direct form of arXiv 2410.14157, where the answer is
the list of operations and no search is written out. Four numbers, target 70:

```
tokens    3 20 7 4 70 | 20 * 4 = 80 , 80 - 7 = 73 , 73 - 3 = 70
          numbers  |    answer: three operations, each of two numbers at hand
                target
```

- Every given number is used once, and so is every result but the last, which is the
  target. Numbers are whole and positive, one token each (the sources write digits): an
  answer of n numbers always has 6 n - 7 tokens, and a place in it always means the same.
- Generation: n uniform numbers from 1 to `largest_given`; n - 1 times two of those at hand,
  uniformly, and one of the operations that they allow, uniformly; what is left is the
  target. `-` needs a positive and `/` a whole result, `+` and `*` one up to `largest`;
  `*` and `/` by 1 change nothing and are left out. One is always allowed.
- The answer that is shown writes the larger number first. Others are right too: the
  verifier takes any derivation that uses what is at hand, calculates right and ends on
  the target. (Public scorers check the arithmetic and the last result alone, and accept
  numbers that were never given.)
- `verified` is the share of right derivations, `legal` of those free of illegal or false
  operations, whatever they end on. `random_floor` is exact: the probability that the
  generator, given the same numbers again, ends on the target. By default it is 0.051;
  4 in 10 operations are `+`, 4 `-`, 1.5 `*`, 0.5 `/`. With numbers up to 100 for all,
  7 in 10 are `-` and the floor is 0.20, since there is little choice.
- Pause tokens (`.`) stand before `|`, if any.

The sources draw a target first, uniformly from 10 to 100, then numbers below 100 that reach
it, and show the first derivation that a search finds. Arithmetic on random numbers favours
small targets, and knows no largest one below `largest`.

Train and test are disjoint by the hash of the target and of the numbers in ascending
order: an eighth of the problems is for testing, another for validation. The sources keep a
tenth of the targets for testing instead, so theirs were never trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.tasks.questions import MAX_POOL, QuestionTask
from synth.tasks.task import (
    EvaluationSet,
    Split,
    TaskConfig,
    TokenScores,
    prediction_scores,
)

SYMBOLS = ("<pad>", ".", "|", ",", "=", "+", "-", "*", "/")
PAUSE, BAR, COMMA, EQUALS, PLUS = range(1, 6)
OPERATORS = 4
NUMBER = len(SYMBOLS) - 1
"""Number k is token NUMBER + k; there is no 0."""
Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""The larger number, the operator counted from 0, the smaller one, the result."""


@dataclass(frozen=True, kw_only=True)
class CountdownConfig(TaskConfig):
    """Reach a target by combining numbers with + - * /."""

    kind: ClassVar[str] = "countdown"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("verified", "share", "higher", "random_floor", 1.0, learned=0.5),
        Metric("legal", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("random_floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("accuracy", "share", "higher", floor=0.0),
        Metric("loss", "nats", "lower"),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    numbers: int = identity(4)
    """Given numbers."""
    largest_given: int = identity(25)
    """The largest given number."""
    largest: int = identity(200)
    """The largest number in between, and the largest target."""
    pause_tokens: int = identity(0)
    """Copies of the pause symbol before the answer."""
    pool: int = identity(0)
    """Problems to train on, again and again; 0 draws new ones for ever."""

    def validate(self) -> None:
        self.check_ranges(
            numbers=(3, 5),
            largest=(8, 10_000),
            pause_tokens=(0, 64),
            pool=(0, MAX_POOL),
        )
        allowed = f"from 8 to largest = {self.largest}"
        self.check(8 <= self.largest_given <= self.largest, "largest_given", allowed)

    def build(self) -> "Countdown":
        return Countdown(self)


class Countdown(QuestionTask):
    """Draws games and their derivations; see the module for the conventions.

    Letters: N numbers, O operations, F tokens of an operation and its comma.
    """

    def __init__(self, config: CountdownConfig) -> None:
        super().__init__()
        self.config: CountdownConfig = config
        self.pool = config.pool
        self.vocabulary = [*SYMBOLS, *map(str, range(1, config.largest + 1))]
        self.answer_start = config.numbers + config.pause_tokens + 2
        self.length = self.answer_start + 6 * (config.numbers - 1) - 1

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Games with uniform numbers, played at random."""
        config, every = self.config, np.arange(count)
        given_EN = rng.integers(1, config.largest_given + 1, (count, config.numbers))
        at_hand_EN = given_EN.copy()
        steps = []
        for left in range(config.numbers, 1, -1):
            # Two different places of those left: the second draw skips the first.
            one_E = rng.integers(0, left, count)
            two_E = rng.integers(0, left - 1, count)
            two_E += two_E >= one_E
            pair_E2 = np.stack([at_hand_EN[every, one_E], at_hand_EN[every, two_E]], 1)
            large_E, small_E = pair_E2.max(axis=1), pair_E2.min(axis=1)
            result_OE, allowed_OE = self.operations(large_E, small_E)
            chance_OE = np.where(allowed_OE, rng.random(allowed_OE.shape), -1.0)
            operator_E = chance_OE.argmax(axis=0)
            result_E = result_OE[operator_E, every]
            steps.append((large_E, operator_E, small_E, result_E))
            # The result takes the lower place, the last number at hand the other.
            at_hand_EN[every, np.minimum(one_E, two_E)] = result_E
            at_hand_EN[every, np.maximum(one_E, two_E)] = at_hand_EN[:, left - 1]
        target_E = steps[-1][-1]
        problem_ED = np.column_stack([np.sort(given_EN, axis=1), target_E])
        return self._tokens(given_EN, target_E, steps), problem_ED

    def operations(
        self, large_E: np.ndarray, small_E: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Results of + - * / on each pair and whether each is allowed, (O, E) both.

        A result that is not allowed is given as 1.
        """
        largest = self.config.largest
        quotient_E, rest_E = np.divmod(large_E, small_E)
        result_OE = np.stack(
            [large_E + small_E, large_E - small_E, large_E * small_E, quotient_E]
        )
        allowed_OE = (result_OE >= 1) & (result_OE <= largest)
        allowed_OE[2:] &= small_E > 1
        allowed_OE[3] &= rest_E == 0
        return np.where(allowed_OE, result_OE, 1), allowed_OE

    def _tokens(
        self, given_EN: np.ndarray, target_E: np.ndarray, steps: list[Step]
    ) -> np.ndarray:
        """Question and answer of each game, (E, L)."""
        tokens_EL = np.full((len(given_EN), self.length), PAUSE, np.int16)
        tokens_EL[:, : self.config.numbers] = NUMBER + given_EN
        tokens_EL[:, self.config.numbers] = NUMBER + target_E
        tokens_EL[:, self.answer_start - 1] = BAR
        for place, (large_E, operator_E, small_E, result_E) in enumerate(steps):
            at = self.answer_start + 6 * place
            tokens_EL[:, at] = NUMBER + large_E
            tokens_EL[:, at + 1] = PLUS + operator_E
            tokens_EL[:, at + 2] = NUMBER + small_E
            tokens_EL[:, at + 3] = EQUALS
            tokens_EL[:, at + 4] = NUMBER + result_E
            if place < len(steps) - 1:
                tokens_EL[:, at + 5] = COMMA
        return tokens_EL

    def labels(self, tokens_RT: np.ndarray) -> dict[str, np.ndarray]:
        """The exact floor of each problem."""
        question_RN = tokens_RT[:, : self.config.numbers + 1]
        number_RN = question_RN.astype(np.int64) - NUMBER
        floor_R = self.random_floor(number_RN[:, :-1], number_RN[:, -1])
        return {"random_floor": floor_R}

    def random_floor(self, at_hand_RN: np.ndarray, target_R: np.ndarray) -> np.ndarray:
        """Probability that random play ends on the target, exactly, (R,).

        All pairs and all operations in turn: 1,152 endings for four numbers.
        """
        left = at_hand_RN.shape[1]
        if left == 1:
            return (at_hand_RN[:, 0] == target_R).astype(float)
        found_R = np.zeros(len(at_hand_RN))
        pairs = list(combinations(range(left), 2))
        for pair in pairs:
            rest_RN = np.delete(at_hand_RN, pair, axis=1)
            pair_R2 = at_hand_RN[:, pair]
            result_OR, allowed_OR = self.operations(
                pair_R2.max(axis=1), pair_R2.min(axis=1)
            )
            share_R = 1 / (len(pairs) * allowed_OR.sum(axis=0))
            for result_R, allowed_R in zip(result_OR, allowed_OR, strict=True):
                after_RN = np.column_stack([rest_RN, result_R])
                ends_R = self.random_floor(after_RN, target_R)
                found_R += share_R * allowed_R * ends_R
        return found_R

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        word = [self.vocabulary[token] for token in tokens_L]
        numbers = self.config.numbers
        return {
            "numbers": " ".join(word[:numbers]),
            "target": word[numbers],
            "derivation": "".join(word[self.answer_start :]),
        }

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """The floor, and each prediction of the derivation that is shown."""
        floor_R = chosen.labels["random_floor"]
        return [
            Score.mean(chosen.suite, "random_floor", "", floor_R),
            *prediction_scores(chosen, scores, answers=True),
        ]

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """`verified` and `legal`: right derivations, and those without an error."""
        legal_R, right_R = self.judge(decoded_RT)
        return [
            Score.mean(chosen.suite, name, "", value_R)
            for name, value_R in (("verified", right_R), ("legal", legal_R))
        ]

    def judge(self, tokens_RT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each answer is legal, and whether it also ends on the target, (R,)."""
        config, every = self.config, np.arange(len(tokens_RT))
        number_RT = tokens_RT.astype(np.int64) - NUMBER
        # How often each number is at hand; whatever is no number counts as number 0.
        number_RT = np.maximum(number_RT, 0)
        at_hand_RV = np.zeros((len(tokens_RT), config.largest + 1), np.int64)
        for place in range(config.numbers):
            at_hand_RV[every, number_RT[:, place]] += 1
        legal_R = np.ones(len(tokens_RT), bool)
        for place in range(config.numbers - 1):
            at = self.answer_start + 6 * place
            one_R, two_R, result_R = (number_RT[:, at + step] for step in (0, 2, 4))
            for used_R in (one_R, two_R):
                at_hand_RV[every, used_R] -= 1
                legal_R &= (used_R > 0) & (at_hand_RV[every, used_R] >= 0)
            at_hand_RV[every, result_R] += 1
            legal_R &= (result_R > 0) & (tokens_RT[:, at + 3] == EQUALS)
            legal_R &= _is_true(one_R, tokens_RT[:, at + 1], two_R, result_R)
            if place < config.numbers - 2:
                legal_R &= tokens_RT[:, at + 5] == COMMA
        right_R: np.ndarray = legal_R & (result_R == number_RT[:, config.numbers])
        return legal_R, right_R


def _is_true(
    one_R: np.ndarray, operator_R: np.ndarray, two_R: np.ndarray, result_R: np.ndarray
) -> np.ndarray:
    """Whether each operation, its operator as a token, has that result."""
    true_OR = np.stack(
        [
            one_R + two_R == result_R,
            one_R - two_R == result_R,
            one_R * two_R == result_R,
            two_R * result_R == one_R,
        ]
    )
    sign_R = operator_R.astype(np.int64) - PLUS
    known_R = (sign_R >= 0) & (sign_R < OPERATORS)
    true_R: np.ndarray = np.take_along_axis(
        true_OR, np.where(known_R, sign_R, 0)[None], axis=0
    )[0]
    return true_R & known_R

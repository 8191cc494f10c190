"""Polynomial arithmetic in F_p[X]/(X^k): evaluate an expression of m operations.

The task of section 4.2 and appendix K of arXiv 2404.19737, which state the ring
F_7[X]/(X^5), the four operations, uniform coefficients and operators, m uniform in 1..5
in training and 2000 test samples for each m. What they leave open is chosen here:

- Syntax: infix, fully parenthesised (`synth.tasks.polynomial.infix`), because
  composition after truncation is not associative. m counts operators, a negation as one.
- Tree: the root operator is uniform, and the m-1 operations below a binary one are
  divided uniformly between its sides ("split"; "chain" and "balanced" are the others).
- Composition f(g(X)) is that of representatives of degree below k, and every operation
  is reduced mod X^k at once: it is not defined on cosets.
- Coefficients ascend, zeros are written, one token each, no separators. The answer is
  always k bare coefficients after `=`, then the end token `.`.
- Scored: exact match of the k coefficients under greedy decoding; the end token is
  trained on but does not count. Coefficient accuracy is given beside it.
- Pause tokens: one symbol, repeated, between question and `=`; not part of the answer.
- Training data are a stream, never repeated; whole examples are packed into rows.
- Train and test: the side of an expression (`synth.tasks.task`) is given by the top three
  bits of its hash (`synth.tasks.polynomial.expressions.hashes`); an eighth of all belongs
  to the test side, another to that of validation. Pause tokens do not enter it. Test
  examples are drawn independently, so a small ring repeats some.

Measured over 2^20 draws for each m, default settings. The zero polynomial is the
commonest answer at every m; `distinct` is the share of distinct expressions.

    m            1       2       3       4       5      10
    zero    0.035 %  0.061 %  0.090 %  0.108 %  0.140 %  0.254 %
    constant 0.19 %   0.30 %   0.39 %   0.45 %   0.52 %   0.76 %
    distinct 76.6 %   95.3 %   99.4 %  99.96 % 99.997 %   100 %

With "chain" zero has 0.158 % at m = 10, with "balanced" 0.294 %. At m = 1 a quarter of
the examples are negations, of which there are only 7^5 = 16,807; a long run sees every
one on the train side, so `score` also gives m = 1 with and without negation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.seeding import generator
from synth.tasks.packing import pack_rows, padded_rows
from synth.tasks.polynomial import expressions as trees
from synth.tasks.polynomial.expressions import (
    MAX_OPERATIONS,
    NEG,
    OPERATORS,
    Expressions,
)
from synth.tasks.polynomial.infix import (
    END,
    EQUALS,
    FIRST_COEFFICIENT,
    PAUSE,
    longest_example,
    print_infix,
    text,
    value_of,
    vocabulary,
)
from synth.tasks.polynomial.ring import MAX_DEGREE, MAX_MODULUS, Ring
from synth.tasks.task import (
    EvaluationSet,
    Rows,
    Sample,
    Split,
    Task,
    TaskConfig,
    TokenScores,
    drawn_until,
    prediction_scores,
)

BLOCK = 16384
"""Candidates drawn for a block of training data."""
TEST_BATCH = 4096
"""Candidates drawn at a time for test sets and samples."""
FLOOR_DRAWS = 1 << 17


@dataclass(frozen=True, kw_only=True)
class PolynomialConfig(TaskConfig):
    """Evaluate random expressions over the ring F_p[X]/(X^k)."""

    kind: ClassVar[str] = "polynomial"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("exact_match", "share", "higher", "guess_floor", 1.0, learned=0.5),
        Metric("coefficient_accuracy", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("guess_floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("loss", "nats", "lower", floor=0.0),
        Metric("accuracy", "share", "higher", floor=0.0, ceiling=1.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    modulus: int = identity(7)
    """p, a prime: coefficients are integers modulo p."""
    degree: int = identity(5)
    """k, the number of coefficients of a polynomial."""
    min_operations: int = identity(1)
    """Fewest operations m of a training expression."""
    max_operations: int = identity(5)
    """Most operations m of a training expression; m is uniform between the two."""
    min_evaluated: int = identity(1)
    """Fewest operations in the test sets."""
    max_evaluated: int = identity(10)
    """Most operations in the test sets; each m has examples of its own."""
    operators: tuple[str, ...] = identity(OPERATORS)
    """Which of neg, add, mul and compose occur."""
    tree: Literal["split", "chain", "balanced"] = identity("split")
    """How m-1 operations are divided between the sides of a binary operator."""
    pause_tokens: int = identity(0)
    """Copies of the pause symbol between the question and `=` (appendix K)."""

    def validate(self) -> None:
        p, most = self.modulus, MAX_OPERATIONS
        small = 2 <= p <= MAX_MODULUS
        self.check(
            small and all(p % divisor for divisor in range(2, p)),
            "modulus",
            f"a prime from 2 to {MAX_MODULUS}",
        )
        self.check_ranges(degree=(1, MAX_DEGREE), pause_tokens=(0, 64))
        for low, high in (
            ("min_operations", "max_operations"),
            ("min_evaluated", "max_evaluated"),
        ):
            least = getattr(self, low)
            self.check(1 <= least <= most, low, f"from 1 to {most}")
            allowed = f"from {low} = {least} to {most}"
            self.check(least <= getattr(self, high) <= most, high, allowed)
        chosen = tuple(name for name in OPERATORS if name in self.operators)
        self.check(
            len(chosen) == len(self.operators) > 0,
            "operators",
            f"one or more of {', '.join(OPERATORS)}, each once",
        )
        # Their order means nothing, so it must not make another run of the same task.
        object.__setattr__(self, "operators", chosen)

    def build(self) -> "Polynomial":
        return Polynomial(self)


class Polynomial(Task):
    """Draws expressions and their values; see the module for the conventions."""

    def __init__(self, config: PolynomialConfig) -> None:
        self.config = config
        self.ring = Ring(config.modulus, config.degree)
        self.vocabulary = vocabulary(config.modulus)

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """The train side of the block's 16,384 candidates, packed into rows."""
        config = self.config
        longest = self._longest(config.max_operations)
        if context < longest:
            raise ValueError(
                f"context must be at least {longest}, the longest example of "
                f"{config.max_operations} operations; got {context}. Use a longer "
                "context, a smaller max_operations or fewer pause_tokens."
            )
        rng = generator(data_seed, "polynomial", "train", block)
        low, high = config.min_operations, config.max_operations
        drawn = self._draw(rng, rng.integers(low, high + 1, BLOCK))
        kept = drawn.take(self.trained_on(trees.side_of(drawn)))
        if not len(kept):
            raise ValueError(self._too_small("train", f"{low} to {high}"))
        answers = trees.values(kept, self.ring)
        shown = print_infix(kept, answers, self.ring, config.pause_tokens)
        return pack_rows(*shown, context, longest)

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """Test sets "in_domain" (m as in training) and "out_of_domain".

        Rows come in the order of drawing, one of each m in turn, at a width that does
        not depend on `examples`.
        """
        config = self.config
        evaluated = range(config.min_evaluated, config.max_evaluated + 1)
        trained = range(config.min_operations, config.max_operations + 1)
        suites = {
            "in_domain": [m for m in evaluated if m in trained],
            "out_of_domain": [m for m in evaluated if m not in trained],
        }
        return [
            self._evaluation_set(self.suite(suite), operations, examples)
            for suite, operations in suites.items()
            if operations
        ]

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Exact match, coefficient accuracy and guess floor per m; loss per horizon.

        `exact_match` and `coefficient_accuracy` concern head 1 and the k coefficients;
        `loss` and `accuracy` of each prediction all answer tokens, the end token included.
        `guess_floor` is the share of test answers equal to the commonest answer of the
        training distribution at that m.
        """
        suite, operations_R = chosen.suite, chosen.labels["operations"]
        if not len(operations_R):
            return []
        start_R = chosen.rows.answer_RT.argmax(axis=1)
        before_RK = start_R[:, None] - 1 + np.arange(self.config.degree)
        right_RK: np.ndarray = np.take_along_axis(
            scores.correct_NRT[0], before_RK, axis=1
        )
        exact_R = np.equal(right_RK.sum(axis=1), self.config.degree)
        result = [
            Score.mean(suite, "exact_match", "", exact_R),
            Score.mean(suite, "coefficient_accuracy", "", right_RK),
        ]
        for m in np.unique(operations_R).tolist():
            here_R, part = np.equal(operations_R, m), f"operations={m}"
            guessed_R = np.equal(
                chosen.labels["answer"][here_R], commonest_answer(self.config, m)
            )
            result += [
                Score.mean(suite, "exact_match", part, exact_R[here_R]),
                Score.mean(suite, "coefficient_accuracy", part, right_RK[here_R]),
                Score.mean(suite, "guess_floor", part, guessed_R),
            ]
            negated_R = chosen.labels["negation"]
            for word, kind_R in (("no", ~negated_R), ("yes", negated_R)):
                if m == 1 and (here_R & kind_R).any():
                    both = f"{part},negation={word}"
                    kept = exact_R[here_R & kind_R]
                    result.append(Score.mean(suite, "exact_match", both, kept))
        return result + prediction_scores(chosen, scores, answers=True)

    def samples(self, seed: int, count: int) -> list[Sample]:
        """`count` examples as in training: with its m, of its side of the split.

        A record holds `operations`, `expression`, `answer`, `tokens` and `split`.

        Raises `ValueError` when the space is too small for a training side.
        """
        config, samples = self.config, list[Sample]()
        low, high = config.min_operations, config.max_operations
        batch = 0
        while len(samples) < count:
            rng = generator(seed, "polynomial", "sample", batch)
            drawn = self._draw(rng, rng.integers(low, high + 1, TEST_BATCH))
            kept = drawn.take(self.trained_on(trees.side_of(drawn)))
            if not len(kept):
                raise ValueError(self._too_small("train", f"{low} to {high}"))
            samples += self._described(kept, count - len(samples))
            batch += 1
        return samples

    def read_question(self, question: Sequence[int]) -> EvaluationSet:
        """An expression, with or without `=` at its end, and its value."""
        given = list(question)
        while given and given[-1] in (PAUSE, EQUALS):
            given.pop()
        value_K = value_of(given, self.ring)
        given += [PAUSE] * self.config.pause_tokens + [EQUALS]
        answer = [*(value_K + np.uint32(FIRST_COEFFICIENT)).tolist(), END]
        tokens_S = np.array([*given, *answer])
        ends = np.array([0, len(tokens_S)])
        return EvaluationSet(
            "asked", padded_rows(tokens_S, ends, np.array([len(given)]))
        )

    def _described(self, drawn: Expressions, count: int) -> Iterator[Sample]:
        """The first `count` columns in the order of drawing, in words."""
        answers_N = trees.values(drawn, self.ring)
        shown = print_infix(drawn, answers_N, self.ring, self.config.pause_tokens)
        for place, column in enumerate(np.argsort(drawn.place_N)[:count].tolist()):
            tokens = shown.tokens_S[shown.offsets[place] : shown.offsets[place + 1]]
            start = int(shown.answer_start_N[place])
            question = tokens[: start - 1 - self.config.pause_tokens]
            words = [self.vocabulary[token] for token in tokens]
            record = {
                "operations": int(drawn.operations_N[column]),
                "expression": text(question, self.vocabulary),
                "answer": answers_N[column].tolist(),
                "tokens": words,
                "split": "train",
            }
            yield Sample(record, words, [t >= start for t in range(len(words))])

    def _draw(self, rng: np.random.Generator, operations_N: np.ndarray) -> Expressions:
        config = self.config
        return trees.draw_expressions(
            rng, operations_N, self.ring.size, config.operators, config.tree
        )

    def _longest(self, operations: int) -> int:
        return longest_example(operations, self.config.degree, self.config.pause_tokens)

    def _evaluation_set(
        self, suite: str, operations: list[int], examples: int
    ) -> EvaluationSet:
        width = self._longest(max(operations))
        columns = []
        for m in operations:
            drawn = self._test_expressions(m, examples)
            answers_N = trees.values(drawn, self.ring)
            shown = print_infix(drawn, answers_N, self.ring, self.config.pause_tokens)
            rows = padded_rows(*shown, width)
            negated_N = (drawn.operator_JN == NEG).any(axis=0)
            label_N = (negated_N, self.ring.indices(answers_N))
            columns.append((rows.tokens_RT, rows.example_RT, rows.answer_RT, *label_N))
        *of_rows, negation, value = map(_in_turn, zip(*columns, strict=True))
        labels = {"operations": np.tile(np.array(operations), examples)}
        labels |= {"negation": negation, "answer": value}
        return EvaluationSet(suite, Rows(*of_rows), labels)

    def _test_expressions(self, operations: int, examples: int) -> Expressions:
        """`examples` expressions of the side held out; the same for every run."""

        def batch(index: int) -> Expressions:
            rng = generator(0, "polynomial", self.split, operations, index)
            drawn = self._draw(rng, np.full(TEST_BATCH, operations))
            return drawn.take(self.held_out(trees.side_of(drawn)))

        too_small = self._too_small(self.split, str(operations))
        parts = drawn_until(batch, examples, too_small)
        return trees.concatenate(parts).take_first(examples)

    def _too_small(self, split: str, operations: str) -> str:
        p, k = self.config.modulus, self.config.degree
        return (
            f"F_{p}[X]/(X^{k}) with operators {', '.join(self.config.operators)} has "
            f"no expression of {operations} operations on the {split} side. Use a "
            "larger modulus or degree, more operators, or more operations."
        )


def _in_turn(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The first of every part, then the second of every part, and so on."""
    stacked = np.stack(parts, axis=1)
    return stacked.reshape(-1, *stacked.shape[2:])


@cache
def commonest_answer(config: PolynomialConfig, operations: int) -> int:
    """The number of the likeliest answer in training, from a fixed large draw."""
    task = config.build()
    rng = generator(0, "polynomial", "floor", operations)
    drawn = task._draw(rng, np.full(FLOOR_DRAWS, operations))
    kept = drawn.take(task.trained_on(trees.side_of(drawn)))
    answers_N = task.ring.indices(trees.values(kept, task.ring))
    answers, counts = np.unique(answers_N, return_counts=True)
    return int(answers[counts.argmax()])

"""Tasks of questions and answers: examples of one length, drawn many at a time.

What such tasks share is written once: blocks of a training stream or of a fixed pool,
the split by the hash of a problem, test sets, samples. `QuestionTask` has one question
and one answer an example, `QueryTask` several queries, each answered by one token.

A *pool* is a fixed number of training problems, met again and again. It is drawn from
the data seed; each epoch has an order of its own. With three problems and blocks of four
examples:

```
block      0           1           2
epoch      0 0 0 1     1 1 2 2     2 3 3 3
problem    2 0 1 1     2 0 0 2     1 0 1 2
```

Letters in names: E examples of length L, D draws that identify a problem, P problems of
a pool, A answer tokens, Q queries, R rows, T positions.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synth.seeding import generator
from synth.tasks.checks import nothing_to_train
from synth.tasks.exact import DrawnTask
from synth.tasks.task import (
    MOST_EMPTY_BLOCKS,
    EvaluationSet,
    Rows,
    Sample,
    TokenScores,
    drawn_until,
)

BLOCK = 4096
"""Examples drawn at a time."""
MAX_POOL = 1 << 21


class QuestionTask(DrawnTask):
    """A task whose examples are each a question and then its answer."""

    pool: int = 0
    """Problems of the training pool; 0 draws new ones for ever."""

    def __init__(self) -> None:
        self._pools: dict[tuple[int, str], np.ndarray] = {}

    @abstractmethod
    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `DrawnTask.draw`: equal problems have equal draws, even if their examples
        differ in what does not matter, such as the order of edges."""

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        """An example in words, for the record of a sample."""
        return {}

    def train_rows(self, data_seed: int, block: int, context: int) -> Rows:
        """The train side of 4096 new examples, or the next 4096 of the pool."""
        if not self.pool:
            return super().train_rows(data_seed, block, context)
        places_E = pool_places(data_seed, block, self.pool)
        return self.fill_rows(self._pool_of(data_seed)[places_E], context)

    def samples(self, seed: int, count: int) -> list[Sample]:
        """Examples as in training, in tokens and in words; of a pool, its first ones.

        Raises `ValueError` when the space is too small for a training side or a pool.
        """
        parts = [self._pool_of(seed)] if self.pool else []
        while not self.pool and sum(map(len, parts)) < count:
            if len(parts) == MOST_EMPTY_BLOCKS and not any(map(len, parts)):
                raise nothing_to_train(self, len(parts), self.length)
            rng = generator(seed, self.config.kind, "sample", len(parts))
            parts.append(self.drawn_for_training(rng))
        tokens_EL = np.concatenate(parts)[:count]
        answer_EL = self.one_per_row(tokens_EL).answer_RT
        samples = []
        for tokens_L, answer_L in zip(tokens_EL, answer_EL, strict=True):
            words = [self.vocabulary[token] for token in tokens_L]
            record = {**self.describe(tokens_L), "tokens": words, "split": "train"}
            samples.append(Sample(record, words, answer_L.tolist()))
        return samples

    def _pool_of(self, data_seed: int) -> np.ndarray:
        """The training pool of a data seed, (P, L); drawn once."""
        key = data_seed, self.split

        def batch(index: int) -> np.ndarray:
            rng = generator(data_seed, self.config.kind, "pool", index)
            return self.drawn_for_training(rng)

        if key not in self._pools:
            too_small = f"The problem space is too small for a pool of {self.pool}."
            parts = drawn_until(batch, self.pool, too_small)
            self._pools[key] = np.concatenate(parts)[: self.pool]
        return self._pools[key]


class QueryTask(QuestionTask):
    """A task whose examples hold several queries, each followed by a one-token answer.

    `answer_start` is where the queries begin.
    """

    queries: int
    """Queries of an example."""

    @abstractmethod
    def answers(self, tokens_EL: np.ndarray) -> np.ndarray:
        """Whether each token is an answer, (E, L)."""

    def read_question(self, question: Sequence[int]) -> None:
        """No single question: an example has several."""

    def fill_rows(self, tokens_EL: np.ndarray, context: int) -> Rows:
        rows = super().fill_rows(tokens_EL, context)
        marks = super().fill_rows(self.answers(tokens_EL).view(np.int8), context)
        return Rows(rows.tokens_RT, rows.example_RT, marks.tokens_RT == 1)

    def one_per_row(self, tokens_EL: np.ndarray) -> Rows:
        rows = super().one_per_row(tokens_EL)
        return Rows(rows.tokens_RT, rows.example_RT, self.answers(tokens_EL))

    def hits(self, chosen: EvaluationSet, scores: TokenScores) -> np.ndarray:
        """Whether head 1 answers each query, in their order, (R, Q)."""
        right_RT: np.ndarray = scores.correct_NRT[0][:, :-1]
        answer_RT = chosen.rows.answer_RT[:, 1:]
        return right_RT[answer_RT].reshape(-1, self.queries)


def pool_places(data_seed: int, block: int, size: int) -> np.ndarray:
    """Which problems of a pool of `size` the examples of a block show, (E,).

    Examples are counted through all blocks; each epoch of `size` examples is a
    permutation of the pool.
    """
    example_E = np.arange(block * BLOCK, (block + 1) * BLOCK)
    epoch_E, place_E = np.divmod(example_E, size)
    found_E = np.empty(BLOCK, np.int64)
    for epoch in range(epoch_E[0], epoch_E[-1] + 1):
        order_P = generator(data_seed, "pool-order", epoch).permutation(size)
        here_E = epoch_E == epoch
        found_E[here_E] = order_P[place_E[here_E]]
    return found_E


def draw_distinct(
    rng: np.random.Generator, count: int, among: int, number: int
) -> np.ndarray:
    """`number` different ones of 0 .. `among` - 1, in random order, (`count`, `number`)."""
    key_EX = rng.random((count, among))
    least_EX = key_EX.argpartition(number - 1, axis=1)[:, :number]
    order_EX = np.take_along_axis(key_EX, least_EX, axis=1).argsort(axis=1)
    return np.take_along_axis(least_EX, order_EX, axis=1)


def answer_hits(task: QuestionTask, scores: TokenScores) -> np.ndarray:
    """Whether head 1 is right at each token of the answer, teacher-forced, (R, A)."""
    hits_RT: np.ndarray = scores.correct_NRT[0]
    return hits_RT[:, task.answer_start - 1 : task.length - 1]

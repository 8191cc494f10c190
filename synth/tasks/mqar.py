"""Associative recall with many queries (MQAR): what was this key's value?

After HazyResearch/zoology (arXiv 2312.04927). Two pairs, 16 tokens; keys are `k`, values
`v`, the filler is a dot:

```
tokens   k3 v9 k5 v6  .  . k5 v6  .  . k3 v9  .  .  .  .
answer                         x           x
         key val ...      query value
```

- Keys differ, values differ, both are uniform. Each key is asked once.
- Queries stand at even gaps g = 0, 1, ... after the pairs, drawn without replacement with
  p(g) proportional to (g + 1)^(power - 1): 0.01, the default, is the power law of
  repetitions in text, 1 is uniform. Gaps go to the keys in the order of the draw.
- The value is written after its query, as in language. In the source it is only a label:
  a next-token loss would not see it, and heads beyond the first would have no target.
- The filler is a token of its own. Drawn from the vocabulary, as the source does by
  default, it repeats keys and values, and some queries have two answers.

A model that knows the values but not their keys is right with probability 1 / P for P
pairs; one that also excludes the values given so far, with 1 / (P - q + 1) at query q. The
floor is the latter, by query, and (1 + 1/2 + ... + 1/P) / P over all queries: 0.34 for 8
pairs. With `power` below 1 early pairs tend to be asked first, as in the source, so a
model can do better without a look at the keys: naming the first pair that was not asked
is right in 0.38 by default, in 0.63 of 4 pairs at length 16.

Train and test are disjoint by the hash of the pairs, whatever their order: an eighth of
the problems is for testing, another for validation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.tasks.questions import MAX_POOL, QueryTask, draw_distinct
from synth.tasks.task import (
    EvaluationSet,
    Split,
    TaskConfig,
    TokenScores,
    prediction_scores,
)

FILLER, FIRST_KEY = 1, 2


@dataclass(frozen=True, kw_only=True)
class MqarConfig(TaskConfig):
    """Recall the values of many keys."""

    kind: ClassVar[str] = "mqar"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("recall", "share", "higher", "floor", ceiling=1.0, learned=0.75),
        Metric("floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("accuracy", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("loss", "nats", "lower", floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    pairs: int = identity(8)
    """Keys of an example, each with a value and a query."""
    length: int = identity(64)
    """Tokens of an example."""
    symbols: int = identity(64)
    """Different keys, and as many different values."""
    power: float = identity(0.01)
    """Exponent of the gaps before queries, plus one."""
    pool: int = identity(0)
    """Examples to train on, again and again; 0 draws new ones for ever."""

    def validate(self) -> None:
        self.check_ranges(pairs=(2, 1024), pool=(0, MAX_POOL))
        least = 4 * self.pairs
        self.check(
            least <= self.length <= 1 << 12 and self.length % 2 == 0,
            "length",
            f"an even number from 4 x pairs = {least} to {1 << 12}",
        )
        least = max(8, self.pairs)
        self.check(
            least <= self.symbols <= 1 << 13,
            "symbols",
            f"from {least} (8, or one for each pair) to {1 << 13}",
        )
        self.check(0 < self.power <= 1, "power", "above 0 and at most 1")

    def build(self) -> "Mqar":
        return Mqar(self)


class Mqar(QueryTask):
    """Draws pairs and queries; see the module for the conventions.

    Letters: Q pairs, and their queries; G gaps.
    """

    def __init__(self, config: MqarConfig) -> None:
        super().__init__()
        self.config: MqarConfig = config
        self.pool, self.queries = config.pool, config.pairs
        self.vocabulary = ["<pad>", "."]
        self.vocabulary += [f"k{i}" for i in range(config.symbols)]
        self.vocabulary += [f"v{i}" for i in range(config.symbols)]
        self.first_value = FIRST_KEY + config.symbols
        self.answer_start = 2 * config.pairs
        self.length = config.length
        gap_G = np.arange(1, (config.length - self.answer_start) // 2 + 1)
        self._log_p_G = (config.power - 1) * np.log(gap_G)

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Pairs, and queries at gaps drawn without replacement."""
        config = self.config
        key_EQ, value_EQ = (
            draw_distinct(rng, count, config.symbols, config.pairs) for _ in range(2)
        )
        # The largest of log p + Gumbel noise are draws without replacement, in order.
        noise_EG = rng.gumbel(size=(count, len(self._log_p_G)))
        order_EG = (-self._log_p_G - noise_EG).argsort(axis=1)
        query_EQ = self.answer_start + 2 * order_EG[:, : config.pairs]
        tokens_EL = np.full((count, self.length), FILLER, np.int16)
        tokens_EL[:, 0 : self.answer_start : 2] = FIRST_KEY + key_EQ
        tokens_EL[:, 1 : self.answer_start : 2] = self.first_value + value_EQ
        np.put_along_axis(tokens_EL, query_EQ, FIRST_KEY + key_EQ, axis=1)
        np.put_along_axis(tokens_EL, query_EQ + 1, self.first_value + value_EQ, axis=1)
        pair_EQ = key_EQ * config.symbols + value_EQ
        return tokens_EL, np.sort(pair_EQ, axis=1)

    def answers(self, tokens_EL: np.ndarray) -> np.ndarray:
        """The values after the pairs."""
        found_EL = tokens_EL >= self.first_value
        found_EL[:, : self.answer_start] = False
        return found_EL

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        words = [self.vocabulary[token] for token in tokens_L[: self.answer_start]]
        return {
            "pairs": " ".join(map("=".join, zip(words[::2], words[1::2], strict=True)))
        }

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Recall and floor, over all and by query; each prediction of the values."""
        hits_RQ = self.hits(chosen, scores)
        floor_Q = 1 / np.arange(self.queries, 0, -1)
        found = [
            Score.mean(chosen.suite, "recall", "", hits_RQ),
            Score(chosen.suite, "floor", "", float(floor_Q.mean()), hits_RQ.size),
        ]
        for number, (hits_R, floor) in enumerate(
            zip(hits_RQ.T, floor_Q.tolist(), strict=True), start=1
        ):
            part = f"query={number}"
            found.append(Score.mean(chosen.suite, "recall", part, hits_R))
            found.append(Score(chosen.suite, "floor", part, floor, len(hits_R)))
        return [*found, *prediction_scores(chosen, scores, answers=True)]

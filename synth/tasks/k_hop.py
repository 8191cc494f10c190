"""Pointer chasing (k-hop): which node comes k steps after this one?

After the task Depo of facebookresearch/PhysicsLM4: a directed cycle through n nodes, its
edges in random order, then queries of a number of steps and a node. Here n is fixed and a
node is one token; Depo trains on cycles of 3 to N nodes, whose names have several tokens,
and tests powers of two as k. Four nodes on the cycle 5 -> 2 -> 8 -> 3 -> 5:

```
tokens   2 8 | 5 2 | 3 5 | 8 3 / >2 5 8 >1 3 5 >3 2 5
answer                                x      x      x
         edges                   k node answer ...
```

- Nodes differ and are drawn from `labels`; the cycle through them is uniform, so that all
  nodes but the one asked about are equally likely answers, whatever k.
- Each of the `queries` draws k uniformly from 1 to `hops`, and a node that no other query
  of the example asks about. The answer is one token and nothing in between is written:
  k steps have to be taken at once.
- `k` is a token of its own (`>2`), so k and labels are not confused.
- Induction heads of k hops (arXiv 2402.09268) follow repeated symbols instead; there, how
  often a symbol occurs changes what a guess scores. Here the floor is exact:
  1 / (n - 1) for a model that knows the nodes. In later queries a guess that excludes
  the answers given before is slightly better; in `query=1` there are none to exclude.

Train and test are disjoint by the hash of the cycle, whatever the queries: an eighth of
the cycles is for testing, another for validation.
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

EDGE, MAP_END, FIRST_HOPS = 1, 2, 3


@dataclass(frozen=True, kw_only=True)
class KHopConfig(TaskConfig):
    """Follow the edges of a cycle for k steps."""

    kind: ClassVar[str] = "k-hop"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("reached", "share", "higher", "floor", ceiling=1.0, learned=0.75),
        Metric("floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("accuracy", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("loss", "nats", "lower", floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    nodes: int = identity(10)
    """n, the nodes of a cycle."""
    labels: int = identity(50)
    """Labels that nodes can have."""
    hops: int = identity(4)
    """The largest k."""
    queries: int = identity(4)
    """Queries of an example."""
    pool: int = identity(0)
    """Cycles to train on, again and again; 0 draws new ones for ever."""

    def validate(self) -> None:
        self.check_ranges(nodes=(4, 1024), pool=(0, MAX_POOL))
        n = self.nodes
        self.check(
            max(8, n) <= self.labels <= 1 << 14,
            "labels",
            f"from {max(8, n)} (8, or one for each node) to {1 << 14}",
        )
        self.check(1 <= self.hops < n, "hops", f"from 1 to nodes - 1 = {n - 1}")
        self.check(1 <= self.queries <= n, "queries", f"from 1 to nodes = {n}")

    def build(self) -> "KHop":
        return KHop(self)


class KHop(QueryTask):
    """Draws cycles and queries; see the module for the conventions.

    Letters: N nodes in the order of the cycle, and so its edges; Q queries.
    """

    def __init__(self, config: KHopConfig) -> None:
        super().__init__()
        self.config: KHopConfig = config
        self.pool, self.queries = config.pool, config.queries
        self.vocabulary = ["<pad>", "|", "/"]
        self.vocabulary += [f">{1 + step}" for step in range(config.hops)]
        self.first_label = len(self.vocabulary)
        self.vocabulary += [str(label) for label in range(config.labels)]
        self.answer_start = 3 * config.nodes
        self.length = self.answer_start + 3 * config.queries

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Cycles in random order of their edges, and queries."""
        config = self.config
        label_EN = draw_distinct(rng, count, config.labels, config.nodes)
        label_EN += self.first_label
        edge_EN = draw_distinct(rng, count, config.nodes, config.nodes)
        asked_EQ = draw_distinct(rng, count, config.nodes, self.queries)
        hops_EQ = rng.integers(1, config.hops + 1, asked_EQ.shape)

        def label_at(place_EX: np.ndarray) -> np.ndarray:
            return np.take_along_axis(label_EN, place_EX % config.nodes, axis=1)

        tokens_EL = np.full((count, self.length), EDGE, np.int16)
        start = self.answer_start
        tokens_EL[:, 0:start:3] = label_at(edge_EN)
        tokens_EL[:, 1:start:3] = label_at(edge_EN + 1)
        tokens_EL[:, start - 1] = MAP_END
        tokens_EL[:, start::3] = FIRST_HOPS + hops_EQ - 1
        tokens_EL[:, start + 1 :: 3] = label_at(asked_EQ)
        tokens_EL[:, start + 2 :: 3] = label_at(asked_EQ + hops_EQ)
        # A cycle is the same wherever it is entered: from its smallest label on.
        least_E1 = label_EN.argmin(axis=1, keepdims=True)
        return tokens_EL, label_at(least_E1 + np.arange(config.nodes))

    def answers(self, tokens_EL: np.ndarray) -> np.ndarray:
        """The last token of each query."""
        found_EL = np.zeros(tokens_EL.shape, bool)
        found_EL[:, self.answer_start + 2 :: 3] = True
        return found_EL

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        """The cycle from the first node that is asked about, and the queries."""
        word = [self.vocabulary[token] for token in tokens_L]
        start = self.answer_start
        after = dict(zip(word[0:start:3], word[1:start:3], strict=True))
        cycle = [word[start + 1]]
        while after[cycle[-1]] != cycle[0]:
            cycle.append(after[cycle[-1]])
        queries = zip(word[start::3], word[start + 1 :: 3], strict=True)
        return {
            "cycle": " ".join(cycle),
            "queries": ", ".join(f"{node} {hops}" for hops, node in queries),
        }

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """`reached`, over all queries, by number of steps and by query; the floor."""
        hits_RQ = self.hits(chosen, scores)
        hops_RQ = chosen.rows.tokens_RT[:, self.answer_start :: 3] - FIRST_HOPS + 1
        query_RQ = np.broadcast_to(np.arange(1, self.queries + 1), hits_RQ.shape)
        floor = 1 / (self.config.nodes - 1)
        found = [
            Score.mean(chosen.suite, "reached", "", hits_RQ),
            Score(chosen.suite, "floor", "", floor, hits_RQ.size),
        ]
        for name, value_RQ in (("hops", hops_RQ), ("query", query_RQ)):
            for value in np.unique(value_RQ).tolist():
                here, part = hits_RQ[value_RQ == value], f"{name}={value}"
                found.append(Score.mean(chosen.suite, "reached", part, here))
        return [*found, *prediction_scores(chosen, scores, answers=True)]

"""Paths in star graphs G(d, l): the first hop decides, the rest follows an edge.

A source has d arms of l nodes each, itself included; the goal ends one of them
(Bachmann and Nagarajan, arXiv 2403.06963). G(3, 3), with the edges as a list:

```
            +-> 4 -> 1  goal
source 6 ---+-> 2 -> 9
            +-> 8 -> 3

tokens    8 3 | 6 4 | 2 9 | 6 8 | 4 1 | 6 2 / 6 1 = 6 4 1
          edges, in random order            |   |   answer
                                       source   goal
position                                            1 2 3
```

- Labels are distinct, drawn from `labels`. One token a label, and `|`, `/`, `=`; with
  padding where the source has its dummy token, V = labels + 4.
- A question has 3E + 3 tokens for E = d (l - 1) edges, which point away from the source;
  an answer has l tokens, the source included.
- Position 1 copies the source and position 2 is the choice; from there on an edge leads
  to the next node. Who knows the true path so far need not search, so teacher-forced
  accuracy hides a first hop that is guessed: `first_hop` stands alone, and `accuracy` is
  given by position.
- `answers="reversed"` writes the path from goal to source: every token has one
  predecessor, and nothing is left to choose. It is the positive control.
- New graphs for ever, or a `pool` of training graphs (200,000 in the source).
- Only the path is scored when the objective has `scored="answer"`, as in the source.

There is one right path. `path` is its share, teacher-forced, which is also the share
under greedy decoding. `verified` counts the right tokens of what the model decodes by
itself, by position, and all of them together; `arm` whether it went along edges from the
source at all. A model that knows edges but guesses the arm has `arm` 1 and `path` 1/d,
the floor; one below the floor has not learnt to follow an edge.

Train and test are disjoint: a graph goes by the hash of its arms, whatever the order of
its edges; one in eight belongs to the test side, another to that of validation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.tasks.questions import (
    MAX_POOL,
    QuestionTask,
    answer_hits,
    draw_distinct,
    position_scores,
)
from synth.tasks.task import (
    EvaluationSet,
    Split,
    TaskConfig,
    TokenScores,
    prediction_scores,
)

EDGE, MAP_END, EQUALS, FIRST_LABEL = 1, 2, 3, 4
MAX_LABELS = 4096


@dataclass(frozen=True, kw_only=True)
class StarConfig(TaskConfig):
    """Find the path from the centre of a star graph to the end of one arm.

    The graph G(degree, length), its labels, and how its path is written.
    """

    kind: ClassVar[str] = "star"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("path", "share", "higher", "arm_floor", ceiling=1.0, learned=0.9),
        Metric("verified", "share", "higher", floor="arm_floor", ceiling=1.0),
        Metric("first_hop", "share", "higher", floor="arm_floor", ceiling=1.0),
        Metric("arm", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("arm_floor", "share", None, floor=0.0, ceiling=1.0),
        Metric("accuracy", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("loss", "nats", "lower", floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")

    degree: int = identity(2)
    """d, the arms of a graph."""
    length: int = identity(5)
    """l, the nodes of an arm, the source included."""
    labels: int = identity(50)
    """N, the labels that nodes can have."""
    pool: int = identity(0)
    """Graphs to train on, again and again; 0 draws new ones for ever."""
    answers: Literal["forward", "reversed"] = identity("forward")
    """Whether the path is written from the source or from the goal."""

    def validate(self) -> None:
        """Refuse graphs without a choice, or with more nodes than labels."""
        self.check(2 <= self.degree <= 64, "degree", "from 2 to 64")
        self.check(2 <= self.length <= 64, "length", "from 2 to 64")
        self.check(self.labels <= MAX_LABELS, "labels", f"at most {MAX_LABELS}")
        needed = 1 + self.degree * (self.length - 1)
        self.check(
            self.labels >= needed,
            "labels",
            f"at least {needed}, the nodes of G({self.degree}, {self.length})",
        )
        self.check(0 <= self.pool <= MAX_POOL, "pool", f"from 0 to {MAX_POOL}")

    def build(self) -> "Star":
        """The task itself, ready to draw from."""
        return Star(self)


class Star(QuestionTask):
    """Draws star graphs with random labels; see the module for the conventions.

    Letters: N nodes of a graph, X its edges, W nodes of a path.
    """

    def __init__(self, config: StarConfig) -> None:
        super().__init__()
        self.config: StarConfig = config
        self.pool = config.pool
        self.vocabulary = ["<pad>", "|", "/", "="]
        self.vocabulary += [str(label) for label in range(config.labels)]
        self.edges = config.degree * (config.length - 1)
        self.answer_start = 3 * self.edges + 3
        self.length = self.answer_start + config.length
        # Nodes are numbered from the source, arm after arm; the first arm has the goal.
        node_N = np.arange(1, self.edges + 1)
        starts_arm_N = (node_N - 1) % (config.length - 1) == 0
        self._parent_X = np.where(starts_arm_N, 0, node_N - 1)
        self._child_X = node_N

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Graphs with random labels and shuffled edges."""
        config = self.config
        label_EN = draw_distinct(rng, count, config.labels, 1 + self.edges)
        label_EN = (FIRST_LABEL + label_EN).astype(np.int16)
        edge_EX = draw_distinct(rng, count, self.edges, self.edges)
        tokens_EL = np.full((count, self.length), EDGE, np.int16)
        for end, node_X in enumerate((self._parent_X, self._child_X)):
            tokens_EL[:, end : 3 * self.edges : 3] = np.take_along_axis(
                label_EN, node_X[edge_EX], axis=1
            )
        path_EW = label_EN[:, : config.length]
        tokens_EL[:, self.answer_start - 4] = MAP_END
        tokens_EL[:, self.answer_start - 3] = path_EW[:, 0]
        tokens_EL[:, self.answer_start - 2] = path_EW[:, -1]
        tokens_EL[:, self.answer_start - 1] = EQUALS
        tokens_EL[:, self.answer_start :] = self._written(path_EW)
        return tokens_EL, self._problem(label_EN)

    def _problem(self, label_EN: np.ndarray) -> np.ndarray:
        """The labels with the arms that do not lead to the goal in ascending order."""
        arms_EAN = label_EN[:, 1:].reshape(len(label_EN), self.config.degree, -1)
        order_EA = 1 + arms_EAN[:, 1:, 0].argsort(axis=1)
        others_EAN = np.take_along_axis(arms_EAN, order_EA[..., None], axis=1)
        return np.concatenate(
            [label_EN[:, : self.config.length], others_EAN.reshape(len(label_EN), -1)],
            axis=1,
        )

    def _written(self, path_EW: np.ndarray) -> np.ndarray:
        """A path as its answer writes it, or an answer as a path."""
        return path_EW[:, ::-1] if self.config.answers == "reversed" else path_EW

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        """Source, goal, path and edges in words."""
        word = [self.vocabulary[token] for token in tokens_L]
        start = self.answer_start
        path = self._written(np.array([word[start:]]))[0]
        edges = zip(word[: start - 4 : 3], word[1 : start - 3 : 3], strict=True)
        return {
            "source": word[start - 3],
            "goal": word[start - 2],
            "path": " ".join(path),
            "edges": [f"{parent},{child}" for parent, child in edges],
        }

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Teacher-forced: whole paths, the first hop, every position and prediction."""
        hits_RW = self._written(answer_hits(self, scores))
        values = {
            "path": float(hits_RW.all(axis=1).mean()),
            "first_hop": float(hits_RW[:, 1].mean()),
            "arm_floor": 1 / self.config.degree,
        }
        return [
            *(
                Score(chosen.suite, metric, "", value, len(hits_RW))
                for metric, value in values.items()
            ),
            *position_scores(self, chosen, scores),
            *prediction_scores(chosen, scores, answers=True),
        ]

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """`verified` by position and whole; `arm`, the share that went along edges."""
        answer = slice(self.answer_start, self.length)
        truth_RW = chosen.rows.tokens_RT[:, answer]
        hits_RW: np.ndarray = np.equal(decoded_RT[:, answer], truth_RW)
        count = len(hits_RW)
        right = float(hits_RW.all(axis=1).mean())
        along = float(self.along_edges(decoded_RT).mean())
        return [
            Score(chosen.suite, "verified", "", right, count),
            Score(chosen.suite, "arm", "", along, count),
            *(
                Score(
                    chosen.suite, "verified", f"position={place}", float(share), count
                )
                for place, share in enumerate(hits_RW.mean(axis=0), start=1)
            ),
        ]

    def along_edges(self, tokens_RT: np.ndarray) -> np.ndarray:
        """Whether the answer of each row is a way from the source along edges, (R,)."""
        tokens_RT = tokens_RT.astype(np.int64)
        path_RW = self._written(tokens_RT[:, self.answer_start : self.length])
        base = len(self.vocabulary)
        edge_RX = tokens_RT[:, 0 : 3 * self.edges : 3] * base
        edge_RX += tokens_RT[:, 1 : 3 * self.edges : 3]
        step_RW = path_RW[:, :-1] * base + path_RW[:, 1:]
        known_RW = (step_RW[:, :, None] == edge_RX[:, None]).any(axis=2)
        source_R = tokens_RT[:, self.answer_start - 3]
        right_R: np.ndarray = known_RW.all(axis=1) & (path_RW[:, 0] == source_R)
        return right_R

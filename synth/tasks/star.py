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
  to the next node. A model that is shown the true path so far need not search, so mean
  teacher-forced accuracy hides a first hop that is guessed: `first_hop` is a score of its
  own, and `accuracy` is given by position.
- `answers="reversed"` writes the path from goal to source: every token has one
  predecessor, and nothing is left to choose. It is the positive control.
- New graphs for ever, or a `pool` of training graphs (200,000 in the source).
- Only the path is scored when the objective has `scored="answer"`, as in the source.

There is one right path. `path` is its share, teacher-forced, which is also the share under
greedy decoding. `verified` counts the right tokens of what the model decodes by itself, by
position, and all of them together; `arm` whether it went along edges from the source at
all. A model that knows edges but guesses the first hop has `path` 1/d, the floor (0 for
reversed answers, where edges are all that there is to know). Its `arm` is 1 if it stays on
the arm that it chose, and equal to `path` if it ends at the goal all the same, which the
question names: teacher forcing teaches both.

Train and test are disjoint by the hash of the arms, whatever the order of the edges: an
eighth of the graphs is for testing, another for validation.

`test_file` adds the suite `file`: graphs of a file in the form of the source, a line a
graph, `8,3|6,4|2,9|6,8|4,1|6,2/6,1=6,4,1`. Every line is checked. Nothing keeps its graphs
out of training; among 50 labels the chance of meeting one is small.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from synth.identity import identity, location
from synth.metrics import Metric, Score
from synth.tasks.questions import (
    MAX_POOL,
    QuestionTask,
    answer_hits,
    draw_distinct,
)
from synth.tasks.task import (
    EvaluationSet,
    Split,
    TaskConfig,
    TokenScores,
    prediction_scores,
)
from synth.tasks.text.reading import (
    absolute,
    filled_digest,
    one_file_digest,
    verified,
)

EDGE, MAP_END, EQUALS, FIRST_LABEL = 1, 2, 3, 4
MAX_LABELS = 4096
GRAPH = re.compile(r"\d+,\d+(\|\d+,\d+)*/\d+,\d+=\d+(,\d+)*", re.ASCII)
"""A graph in the form of the source."""


@dataclass(frozen=True, kw_only=True)
class StarConfig(TaskConfig):
    """Find the path from the centre of a star graph to the end of one arm."""

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
    """l, the nodes of an arm, the source included; with two, the question would name the
    first hop, which is the goal."""
    labels: int = identity(50)
    """N, the labels that nodes can have."""
    pool: int = identity(0)
    """Graphs to train on, again and again; 0 draws new ones for ever."""
    answers: Literal["forward", "reversed"] = identity("forward")
    """Whether the path is written from the source or from the goal."""
    test_file: str = location()
    """A file of more graphs to test on, in the form of the source."""
    test_file_digest: str = identity("", implied="")
    """Hex sha256 of its content; filled in if not given."""

    def validate(self) -> None:
        self.check_ranges(degree=(2, 64), length=(3, 64), pool=(0, MAX_POOL))
        self.check(self.labels <= MAX_LABELS, "labels", f"at most {MAX_LABELS}")
        needed = 1 + self.degree * (self.length - 1)
        self.check(
            self.labels >= needed,
            "labels",
            f"at least {needed}, the nodes of G({self.degree}, {self.length})",
        )
        if self.test_file:
            object.__setattr__(self, "test_file", absolute(self.test_file))
            given, name = self.test_file_digest, "StarConfig.test_file"
            filled = filled_digest(self.test_file, given, name, one_file_digest)
            object.__setattr__(self, "test_file_digest", filled)

    def build(self) -> "Star":
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
        node_EX = np.stack([self._parent_X[edge_EX], self._child_X[edge_EX]], axis=2)
        ends_EX = np.take_along_axis(label_EN, node_EX.reshape(count, -1), axis=1)
        tokens_EL = self._tokens(ends_EX, label_EN[:, : config.length])
        return tokens_EL, self._problem(label_EN)

    def _tokens(self, ends_EX: np.ndarray, path_EW: np.ndarray) -> np.ndarray:
        """Question and answer; the ends of edges come as parent, child, parent, ..."""
        tokens_EL = np.full((len(ends_EX), self.length), EDGE, np.int16)
        tokens_EL[:, 0 : 3 * self.edges : 3] = ends_EX[:, 0::2]
        tokens_EL[:, 1 : 3 * self.edges : 3] = ends_EX[:, 1::2]
        tokens_EL[:, self.answer_start - 4] = MAP_END
        tokens_EL[:, self.answer_start - 3] = path_EW[:, 0]
        tokens_EL[:, self.answer_start - 2] = path_EW[:, -1]
        tokens_EL[:, self.answer_start - 1] = EQUALS
        tokens_EL[:, self.answer_start :] = self._written(path_EW)
        return tokens_EL

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """The side held out and, when testing, the graphs of the file."""
        found = super().evaluation_sets(examples)
        config = self.config
        if not config.test_file or self.split != "test":
            return found
        name = "StarConfig.test_file"
        path = verified(
            config.test_file, config.test_file_digest, name, one_file_digest
        )
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
        if not lines:
            raise ValueError(f"{path} is empty: it holds no graph to test on.")
        tokens_EL = self.read(lines[:examples], path)
        return [*found, EvaluationSet("file", self.one_per_row(tokens_EL))]

    def read(self, lines: Sequence[str], path: str) -> np.ndarray:
        """Graphs in the form of the source, (E, L).

        Raises `ValueError`, naming the line that is no graph of this size with its
        path.
        """
        config, edges = self.config, self.edges
        size = f"G({config.degree}, {config.length}) of labels below {config.labels}"
        label_EX = np.zeros((len(lines), 2 * edges + 2 + config.length), np.int16)
        for row, line in enumerate(lines):
            labels = [int(word) for word in re.findall(r"\d+", line)]
            if flaw := self._flaw(line, labels):
                raise ValueError(
                    f"Line {row + 1} of {path} is no {size} with its path: {flaw} "
                    f"({line[:60]!r})."
                )
            label_EX[row] = labels
        label_EX += FIRST_LABEL
        return self._tokens(label_EX[:, : 2 * edges], label_EX[:, 2 * edges + 2 :])

    def _flaw(self, line: str, labels: Sequence[int]) -> str:
        """Why a line with these labels is no graph with its path; "" if it is one."""
        config, ends = self.config, 2 * self.edges
        if (
            not GRAPH.fullmatch(line.strip())
            or line.count("|") != self.edges - 1
            or len(labels) != ends + 2 + config.length
        ):
            return (
                f"it must have {self.edges} edges, source, goal and {config.length} "
                "labels of a path, as in 0,1|0,2/0,2=0,2"
            )
        if max(labels) >= config.labels:
            return f"it has the label {max(labels)}"
        source, goal = labels[ends : ends + 2]
        edges = list(zip(labels[0:ends:2], labels[1:ends:2], strict=True))
        child_of = dict(edges)
        arms = [[source, child] for parent, child in edges if parent == source]
        for arm in arms:
            while len(arm) < config.length and arm[-1] in child_of:
                arm.append(child_of[arm[-1]])
        nodes = {node for arm in arms for node in arm}
        if len(arms) != config.degree or len(nodes) != 1 + self.edges:
            return (
                f"its edges are not {config.degree} arms of {config.length} nodes "
                f"from {source}"
            )
        path = labels[ends + 2 :]
        if path not in arms or path[-1] != goal:
            return f"its path is not the arm from {source} to {goal}"
        return ""

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
        floor = 1 / self.config.degree if self.config.answers == "forward" else 0.0
        return [
            Score.mean(chosen.suite, "path", "", hits_RW.all(axis=1)),
            Score.mean(chosen.suite, "first_hop", "", hits_RW[:, 1]),
            Score(chosen.suite, "arm_floor", "", floor, len(hits_RW)),
            *prediction_scores(chosen, scores, answers=True),
        ]

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """`verified` by position and whole; `arm`, the share that went along edges."""
        answer = slice(self.answer_start, self.length)
        truth_RW = chosen.rows.tokens_RT[:, answer]
        hits_RW: np.ndarray = np.equal(decoded_RT[:, answer], truth_RW)
        return [
            Score.mean(chosen.suite, "verified", "", hits_RW.all(axis=1)),
            Score.mean(chosen.suite, "arm", "", self.along_edges(decoded_RT)),
            *(
                Score.mean(chosen.suite, "verified", f"position={place}", hits_R)
                for place, hits_R in enumerate(hits_RW.T, start=1)
            ),
        ]

    def read_question(self, question: Sequence[int]) -> EvaluationSet | None:
        """A graph, its centre and a goal, with the path: back along the edges."""
        chosen = super().read_question(question)
        assert chosen is not None
        (tokens_L,) = chosen.rows.tokens_RT
        ends = 3 * self.edges
        parents = dict(zip(tokens_L[1:ends:3], tokens_L[0:ends:3], strict=True))
        source, goal = tokens_L[self.answer_start - 3 : self.answer_start - 1]
        path = [goal]
        while path[-1] in parents and len(path) < self.config.length:
            path.append(parents[path[-1]])
        if path[-1] != source or len(path) != self.config.length:
            raise ValueError(
                f"No path of {self.config.length} nodes leads from "
                f"{self.vocabulary[source]} to {self.vocabulary[goal]} in this graph."
            )
        tokens_L[self.answer_start :] = self._written(np.array([path[::-1]]))[0]
        return chosen

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

"""Discovery: make up strings that keep to a rule and were not trained on.

Four rules after arXiv 2504.15266, sections on combinational and exploratory creativity;
the token forms and sizes are this suite's own. A random prefix of letters, `:`, then the
string:

```
siblings    k c e b a : c7 c2 p1         two children and their parent; the family tree
                                         stands nowhere but in the training strings
triangles   q a u i d : 14 3 51          three mutually adjacent nodes of a random graph,
                                         which stands nowhere either
circle      n b t p s : 3 8 | 0 3 | 8 0  the edges of one directed circle, shuffled
line        e w y c a : 8 0 | 3 8        the edges of one directed line, shuffled
```

- Strings are the same up to what the rule does not see: the order of siblings, of the
  corners of a triangle, of edges. Everything below is about *different* strings.
- The training set is `examples` different strings, drawn uniformly from the train side
  with `graph_seed`, alike for all seeds of a run. Each keeps one order and one prefix;
  epochs differ in order alone.
- A model is given new random prefixes and decodes greedily, so the prefix takes the place
  of sampling (the source finds both equal). Equal answers to different prefixes count
  once.

Of G strings that are generated, C keep to the rule; N of these are not in the training
set; D of these are different. `coherence` is C / G, `novelty` N / C, `uniqueness` D / N,
and `creativity` their product D / G. A model that copies the training set has novelty 0,
one that writes noise coherence 0, one that repeats a string uniqueness 1 / N.
`creativity_ceiling` is min(1, different strings outside of the training set / G), exactly:
compare numbers at equal G only.

`loss` is that of strings of the side held out (an eighth by hash for testing, another for
validation) after random prefixes, which say nothing about them. No training string is
there, so `novelty` counts those and the rest of the train side that was not drawn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from synth.identity import identity
from synth.metrics import Metric, Score
from synth.seeding import generator
from synth.tasks.exact import side_of, stack_until
from synth.tasks.questions import BLOCK, MAX_POOL, QuestionTask
from synth.tasks.structures import Edges, Structure, siblings, triangles
from synth.tasks.task import (
    EvaluationSet,
    Split,
    TaskConfig,
    TokenScores,
    prediction_scores,
)

EDGE, COLON, FIRST_LETTER = 1, 2, 3
LABELS = {"siblings": 250, "triangles": 100, "circle": 15, "line": 15}
MAX_LABELS = 2500
MOST_ROUNDS = 16
"""Draws of the training set, before the structure is called too small."""
USED_BY = {
    "parents": ("siblings",),
    "edge_probability": ("triangles",),
    "nodes": ("circle", "line"),
}
"""Fields that not all structures use."""


@dataclass(frozen=True, kw_only=True)
class DiscoveryConfig(TaskConfig):
    """Make up strings of one structure that were not trained on."""

    kind: ClassVar[str] = "discovery"
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric(
            "creativity", "share", "higher", floor=0.0, ceiling="creativity_ceiling"
        ),
        Metric("coherence", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("novelty", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("uniqueness", "share", "higher", floor=0.0, ceiling=1.0),
        Metric("creativity_ceiling", "share", None, floor=0.0, ceiling=1.0),
        Metric("loss", "nats", "lower"),
        Metric("accuracy", "share", "higher", floor=0.0),
    )
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")
    seeds: ClassVar[tuple[str, ...]] = ("graph_seed",)

    structure: Literal["siblings", "triangles", "circle", "line"] = identity("siblings")
    """What a string is."""
    labels: int | None = identity(None)
    """Children in all, nodes of the graph, or labels of the nodes of circles and lines;
    by default 250, 100 or 15."""
    parents: int = identity(5)
    """Parents of the siblings, who have equally many children, or one more."""
    edge_probability: float = identity(0.3)
    """Probability of each edge in the graph of the triangles."""
    nodes: int = identity(9)
    """Nodes of a circle or line."""
    examples: int = identity(2000)
    """Strings of the training set."""
    prefix: int = identity(5)
    """Letters of the random prefix."""
    letters: int = identity(26)
    """Different letters."""
    graph_seed: int = identity(0)
    """Seed of the graph and of the training set."""

    def validate(self) -> None:
        """Fill in `labels`, and refuse structures that are too small or too large."""
        structure = self.structure
        if self.labels is None:
            object.__setattr__(self, "labels", LABELS[structure])
        labels = self.num_labels
        self.check_ranges(
            labels=(4, MAX_LABELS), examples=(1, MAX_POOL), letters=(2, 26)
        )
        if structure == "siblings":
            self.check_ranges(parents=(1, labels // 2))
        elif structure == "triangles":
            self.check(0 < self.edge_probability <= 1, "edge_probability", "in (0, 1]")
        else:
            self.check_ranges(nodes=(3, labels))
        self.check(
            self.prefix <= 64 and self.letters**self.prefix >= 1 << 16,
            "prefix",
            f"at most 64, and so long that {self.letters} letters have 65536 prefixes",
        )
        self.check(self.graph_seed >= 0, "graph_seed", "at least 0")
        # What a structure does not use must not make another run of the same task.
        for name, users in USED_BY.items():
            if structure not in users:
                object.__setattr__(self, name, getattr(type(self), name))

    @property
    def num_labels(self) -> int:
        """`labels`, which is never None once the configuration is built."""
        return self.labels or 0

    def build(self) -> "Discovery":
        return Discovery(self)


def structure_of(config: DiscoveryConfig) -> Structure:
    """The strings of a configuration; families and graphs come from its graph seed."""
    rng = generator(config.graph_seed, config.kind, config.structure)
    if config.structure == "siblings":
        return siblings(config.num_labels, config.parents, rng)
    if config.structure == "triangles":
        return triangles(config.num_labels, config.edge_probability, rng)
    return Edges(config.num_labels, config.nodes, config.structure == "circle")


class Discovery(QuestionTask):
    """Draws and judges strings; see the module for the conventions."""

    def __init__(self, config: DiscoveryConfig) -> None:
        super().__init__()
        self.config: DiscoveryConfig = config
        self.pool = config.examples
        self.structure = structure_of(config)
        letters = [chr(ord("a") + i) for i in range(config.letters)]
        self.vocabulary = ["<pad>", "|", ":", *letters, *self.structure.names]
        self.first_label = FIRST_LETTER + config.letters
        self.answer_start = config.prefix + 1
        self.length = self.answer_start + self.structure.length

    def draw(
        self, rng: np.random.Generator, count: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Different strings after random prefixes."""
        normal_ED = self.structure.draw(rng, count)
        return self._tokens(rng, normal_ED), normal_ED

    def _tokens(self, rng: np.random.Generator, normal_ED: np.ndarray) -> np.ndarray:
        """Each string in a random order after a random prefix, (E, L)."""
        tokens_EL = np.empty((len(normal_ED), self.length), np.int16)
        shape = (len(normal_ED), self.config.prefix)
        tokens_EL[:, : self.config.prefix] = FIRST_LETTER + rng.integers(
            0, self.config.letters, shape
        )
        tokens_EL[:, self.config.prefix] = COLON
        string_EA = self.structure.write(rng, normal_ED)
        written_EA = np.where(string_EA < 0, EDGE, self.first_label + string_EA)
        tokens_EL[:, self.answer_start :] = written_EA
        return tokens_EL

    def normal(self, tokens_RT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether the string of each row keeps to the rule, and the normal forms."""
        token_RA = tokens_RT[:, self.answer_start : self.length].astype(np.int64)
        # An edge sign is -1, and whatever else is no label is -2.
        string_RA = np.where(token_RA == EDGE, -1, token_RA - self.first_label)
        string_RA[(token_RA != EDGE) & (string_RA < 0)] = -2
        return self.structure.read(string_RA)

    def _pool_of(self, data_seed: int) -> np.ndarray:
        """The training set, the same for every data seed, (P, L)."""
        key = 0, self.split
        if key not in self._pools:
            config = self.config
            rng = generator(config.graph_seed, config.kind, "training")
            normal_ED = self._for_training(rng)
            self._pools[key] = self._tokens(rng, normal_ED[: config.examples])
        return self._pools[key]

    def _for_training(self, rng: np.random.Generator) -> np.ndarray:
        """As many different strings of the train side as there are examples, or more."""
        config, wanted = self.config, self.config.examples
        rounds: list[np.ndarray] = []
        # A draw of circles or lines has repetitions, and so fewer different ones than were
        # asked for. After so many rounds, one that was never drawn is out of the question.
        for _ in range(MOST_ROUNDS):
            drawn_ED = self.structure.draw(
                rng, 2 * min(wanted, self.structure.size) + 64
            )
            rounds.append(drawn_ED[self.trained_on(side_of(drawn_ED))])
            every_ED = np.concatenate(rounds)
            first_U = np.unique(every_ED, axis=0, return_index=True)[1]
            if len(first_U) >= wanted:
                return every_ED[np.sort(first_U)]
        raise ValueError(
            f"examples must be at most {len(first_U)}, as many different strings "
            f"({config.structure}) as there are for training; got {wanted}. Use fewer, or "
            "a larger structure."
        )

    def evaluation_sets(self, examples: int) -> list[EvaluationSet]:
        """`examples` new prefixes; the strings after them are of the side held out."""
        rng = generator(0, self.config.kind, self.split)
        normal_ED = self.structure.draw(rng, 2 * BLOCK)
        normal_ED = normal_ED[self.held_out(side_of(normal_ED))]
        if not len(normal_ED):
            raise ValueError(
                f"There are too few {self.config.structure} to hold some out. Use a "
                "larger structure."
            )

        def batch(index: int) -> np.ndarray:
            rng = generator(0, self.config.kind, self.split, index)
            turn_E = np.arange(index * BLOCK, (index + 1) * BLOCK) % len(normal_ED)
            return self._tokens(rng, normal_ED[turn_E])

        rows = self.one_per_row(stack_until(batch, examples))
        return [EvaluationSet(self.suite("test"), rows)]

    def describe(self, tokens_L: np.ndarray) -> Mapping[str, Any]:
        word = [self.vocabulary[token] for token in tokens_L]
        prefix = self.config.prefix
        return {
            "prefix": "".join(word[:prefix]),
            "string": " ".join(word[prefix + 1 :]),
        }

    def score(self, chosen: EvaluationSet, scores: TokenScores) -> list[Score]:
        """Losses of strings of the side held out, and the ceiling of creativity."""
        outside = self.structure.size - self.config.examples
        count = len(chosen.rows)
        ceiling = min(outside, count) / count  # outside can be too large for a float
        return [
            Score(chosen.suite, "creativity_ceiling", "", ceiling, count),
            *prediction_scores(chosen, scores, ("loss",), answers=True),
        ]

    def verify(self, chosen: EvaluationSet, decoded_RT: np.ndarray) -> list[Score]:
        """Creativity and its three factors; a factor without anything to count is 0."""
        trained = {row.tobytes() for row in self.normal(self._pool_of(0))[1]}
        coherent = [row.tobytes() for row in self.normal(decoded_RT)[1]]
        novel = [string for string in coherent if string not in trained]
        generated, found = len(decoded_RT), len(set(novel))
        return [
            Score(chosen.suite, name, "", part / max(1, whole), whole)
            for name, part, whole in (
                ("coherence", len(coherent), generated),
                ("novelty", len(novel), len(coherent)),
                ("uniqueness", found, len(novel)),
                ("creativity", found, generated),
            )
        ]

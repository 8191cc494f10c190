r"""Navigation by steps in a random graph that is never shown (arXiv 2604.06155).

The graph is directed: each edge (i, j), i != j, is there with probability
`edge_probability`. A row names start and target, then says of each edge how far it leads,
the number of the next node minus that of this one, so the model has to keep track of
where it is:

```
path     17 > 4 > 60 > 25
tokens   17  25  -13  +56  -35  \n       one example a row
answer    -   -   x    x    x   x
```

- Training: of a share `trained_pairs` of the pairs (s, t) of which t can be reached from
  s, the `shortest` shortest acyclic paths; with probability `detours` a shortest path
  around one inner node of the first of them, if that has four nodes or more; with
  probability `recoveries` a step from s to any node and a shortest path from there, which
  may lead back through s. Examples are drawn uniformly from these rows.
- Test and validation: of the other pairs, with a shortest path for each. One in eight of
  them is for validation.

An answer is right if its steps follow edges until t is reached; what comes after, the
source's code ignores as well. It samples at temperature 0.8; decoding is greedy here.

All else is as in the source's code. Chosen here: pairs are split by a hash of the seed
and the pair, paths of more than `longest` nodes are left out (hardly any at the default).
Paths of equal length come in the order of networkx. Degrees, blind walks and failures are
those of `synth.tasks.path_task`.

Letters in names: N nodes, P pairs, R rows, T positions, X places of a path.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import networkx as nx
import numpy as np

from synth.identity import identity
from synth.metrics import Metric
from synth.seeding import generator
from synth.tasks.packing import PADDING
from synth.tasks.path_task import (
    END,
    FIRST_NODE,
    PATH_METRICS,
    PathTask,
    ended_rows,
    split_pairs,
)
from synth.tasks.task import Rows, Split, TaskConfig
from synth.tasks.walks import OUTSIDE, Paths, distances

MAX_NODES = 512


@dataclass(frozen=True, kw_only=True)
class NavigationConfig(TaskConfig):
    """Walk through a random graph by steps relative to the present node."""

    kind: ClassVar[str] = "navigation"
    metrics: ClassVar[tuple[Metric, ...]] = PATH_METRICS
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")
    seeds: ClassVar[tuple[str, ...]] = ("graph_seed",)

    nodes: int = identity(100)
    """Nodes of the graph."""
    edge_probability: float = identity(0.04)
    """Chance of each edge, in each direction."""
    trained_pairs: float = identity(0.5)
    """Share of the reachable pairs that training rows have paths for."""
    shortest: int = identity(3)
    """Shortest acyclic paths of each of these pairs."""
    detours: float = identity(0.3)
    """Chance of a further path of a pair, around a node of its shortest one."""
    recoveries: float = identity(0.3)
    """Chance of a further path of a pair, after a step in any direction."""
    longest: int = identity(10)
    """Nodes of the longest path, trained or decoded; rows have two tokens more."""
    graph_seed: int = identity(0)
    """Seed of the graph, its paths and its split; another graph is another task."""

    def validate(self) -> None:
        self.check_ranges(nodes=(8, MAX_NODES), shortest=(1, 100))
        self.check(0 < self.edge_probability <= 1, "edge_probability", "in (0, 1]")
        self.check(0 < self.trained_pairs < 1, "trained_pairs", "in (0, 1)")
        for name in ("detours", "recoveries"):
            self.check(0 <= getattr(self, name) <= 1, name, "in [0, 1]")
        self.check(3 <= self.longest <= self.nodes, "longest", "from 3 to nodes")
        self.check(self.graph_seed >= 0, "graph_seed", "at least 0")

    def build(self) -> "NavigationTask":
        return _drawn(self)


@lru_cache(maxsize=8)  # a sweep asks for the same graph arm by arm
def _drawn(config: NavigationConfig) -> "NavigationTask":
    """The graph, the split of its pairs, and their paths."""
    nodes = config.nodes
    rng = generator(config.graph_seed, config.kind, "graph")
    edge_NN = rng.random((nodes, nodes)) < config.edge_probability
    np.fill_diagonal(edge_NN, False)
    distance_NN = distances(edge_NN)
    reached_NN = (distance_NN > 0) & (distance_NN < config.longest)
    trained_P2, held_out = split_pairs(
        np.argwhere(reached_NN), config.graph_seed, config.trained_pairs
    )
    if not len(trained_P2) or not all(map(len, held_out.values())):
        raise ValueError(
            f"Graph {config.graph_seed} has too few pairs of nodes to walk between. "
            "Use more nodes, more edges, or another graph_seed."
        )
    graph = nx.from_numpy_array(edge_NN, create_using=nx.DiGraph)
    trained = [
        path
        for start, target in trained_P2.tolist()
        for path in training_paths(graph, start, target, config, rng)
        if len(path) <= config.longest
    ]
    asked = {
        split: Paths.of([nx.shortest_path(graph, *pair) for pair in pairs_P2.tolist()])
        for split, pairs_P2 in held_out.items()
    }
    names = [*map(str, range(nodes)), *(f"{step:+d}" for step in _steps(nodes))]
    return NavigationTask(
        config.kind, names, edge_NN, Paths.of(trained), asked, config.longest
    )


def training_paths(
    graph: nx.DiGraph,
    start: int,
    target: int,
    config: NavigationConfig,
    rng: np.random.Generator,
) -> list[list[int]]:
    """The shortest paths of a pair, perhaps a detour, perhaps a recovery."""
    found = list(
        itertools.islice(
            nx.shortest_simple_paths(graph, start, target), config.shortest
        )
    )
    first = found[0]
    if rng.random() < config.detours and len(first) > 3:
        avoided = rng.choice(first[1:-1])
        around = nx.restricted_view(graph, [avoided], [])
        if nx.has_path(around, start, target):
            found.append(nx.shortest_path(around, start, target))
    successors = sorted(graph.successors(start))
    if rng.random() < config.recoveries and len(successors) > 1:
        after = int(rng.choice(successors))
        if nx.has_path(graph, after, target):
            found.append([start, *nx.shortest_path(graph, after, target)])
    return found


class NavigationTask(PathTask):
    """Rows of steps, and the paths that steps make."""

    def rows_of(self, paths: Paths) -> Rows:
        r"""One example `s t` and steps and `\n` a row, padded to the longest."""
        tokens_RT = np.full((len(paths), self._longest + 2), PADDING, np.int32)
        tokens_RT[:, :2] = paths.pairs_P2 + FIRST_NODE
        here_RX, next_RX = paths.nodes_PX[:, :-1], paths.nodes_PX[:, 1:]
        step_RX = self._step_token(next_RX - here_RX)
        tokens_RT[:, 2 : 2 + step_RX.shape[1]] = np.where(
            next_RX == OUTSIDE, PADDING, step_RX
        )
        return ended_rows(tokens_RT, 1 + paths.lengths_P)

    def _step_token(self, step: np.ndarray) -> np.ndarray:
        """The token of a step, which is not 0."""
        nodes = len(self.edge_NN)
        return FIRST_NODE + 2 * nodes - 1 + step - (step > 0)

    def failures(self, tokens_RT: np.ndarray) -> np.ndarray:
        """As for paths of nodes, up to the first arrival at the target."""
        nodes = len(self.edge_NN)
        step_V = np.zeros(len(self.vocabulary), int)
        steps = np.array(_steps(nodes))
        step_V[self._step_token(steps)] = steps
        step_RX = step_V[tokens_RT[:, 2:]]
        node_RX = tokens_RT[:, :1] + np.cumsum(step_RX, axis=1)
        is_node_RX = (node_RX >= FIRST_NODE) & (node_RX < FIRST_NODE + nodes)
        walk_RX = np.where((step_RX != 0) & is_node_RX, node_RX, PADDING)
        walk_RX = np.where(tokens_RT[:, 2:] == END, END, walk_RX)
        walk_RX = np.pad(walk_RX, ((0, 0), (0, 1)), constant_values=END)
        arrived_RX = np.cumsum(walk_RX == tokens_RT[:, 1:2], axis=1) > 0
        walk_RX[:, 1:][arrived_RX[:, :-1]] = END
        return super().failures(np.hstack([tokens_RT[:, [0, 1, 0]], walk_RX]))


def _steps(nodes: int) -> list[int]:
    """All steps from one node to another, in the order of their tokens."""
    return [step for step in range(1 - nodes, nodes) if step]

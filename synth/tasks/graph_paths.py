r"""Path planning in a random graph that is never shown (arXiv 2509.23186, table 1).

The graph has `nodes` nodes and, with probability `edge_probability`, each edge (i, j),
i < j; `graph_seed` draws it, its training paths and its test pairs. Rows, decoding,
degrees and verification are those of `synth.tasks.path_task`.

- Training: one row `s t s t \n` for every edge, and `paths` sampled paths for a share
  `trained_pairs` of the pairs (s, t) of which t can be reached from s. Examples are
  drawn uniformly from these rows.
- Test and validation: of the other pairs, those without an edge between them, whose row
  would be known from training. One in eight of them is for validation.

Not stated in the source and chosen here: a path is sampled from its start on, each step
uniform among the successors from which the target can be reached with at most
`longest` nodes in all (0.1 % of the paths would be longer at the default), so short
paths are likelier than others; equal paths of a pair count as often as they were
sampled; pairs are split by a hash of the seed and the pair. Decoding is greedy, while the
source says that the model samples, at no stated temperature; an answer of more than
`longest` nodes is cut and counts as wrong.

`undirected` edges go both ways; sampled paths are acyclic.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from synth.identity import identity
from synth.metrics import Metric
from synth.seeding import generator
from synth.tasks.path_task import PATH_METRICS, PathTask, split_pairs
from synth.tasks.task import Split, TaskConfig
from synth.tasks.walks import Paths, distances, join_paths, walks_between

MAX_NODES = 1024


@dataclass(frozen=True, kw_only=True)
class GraphPathsConfig(TaskConfig):
    """Plan paths in a random graph of which only paths are shown."""

    kind: ClassVar[str] = "graph-paths"
    metrics: ClassVar[tuple[Metric, ...]] = PATH_METRICS
    splits: ClassVar[tuple[Split, ...]] = ("test", "validation")
    seeds: ClassVar[tuple[str, ...]] = ("graph_seed",)

    nodes: int = identity(100)
    """Nodes of the graph."""
    edge_probability: float = identity(0.1)
    """Chance of each edge."""
    undirected: bool = identity(False)
    """Edges go both ways, not only from lower to higher numbers."""
    trained_pairs: float = identity(0.1)
    """Share of the reachable pairs that training rows sample paths for."""
    paths: int = identity(20)
    """Paths sampled for each of these pairs."""
    longest: int = identity(12)
    """Nodes of the longest path, sampled or decoded; rows have three tokens more."""
    graph_seed: int = identity(0)
    """Seed of the graph, its paths and its split; another graph is another task."""

    def validate(self) -> None:
        self.check_ranges(nodes=(8, MAX_NODES), paths=(1, 1000))
        self.check(0 < self.edge_probability <= 1, "edge_probability", "in (0, 1]")
        self.check(0 < self.trained_pairs < 1, "trained_pairs", "in (0, 1)")
        self.check(3 <= self.longest <= self.nodes, "longest", "from 3 to nodes")
        self.check(self.graph_seed >= 0, "graph_seed", "at least 0")

    def build(self) -> PathTask:
        return _drawn(self)


@lru_cache(maxsize=8)  # a sweep asks for the same graph arm by arm
def _drawn(config: GraphPathsConfig) -> PathTask:
    """The graph, the split of its pairs, and their paths."""
    nodes, longest = config.nodes, config.longest
    rng = generator(config.graph_seed, config.kind, "graph")
    edge_NN = np.triu(rng.random((nodes, nodes)) < config.edge_probability, 1)
    if config.undirected:
        edge_NN |= edge_NN.T
    distance_NN = distances(edge_NN)
    reached_NN = (distance_NN > 0) & (distance_NN < longest)
    trained_P2, held_out = split_pairs(
        np.argwhere(reached_NN), config.graph_seed, config.trained_pairs
    )
    rest = {s: p[distance_NN[tuple(p.T)] > 1] for s, p in held_out.items()}
    if not len(trained_P2) or not all(map(len, rest.values())):
        raise ValueError(
            f"Graph {config.graph_seed} has too few pairs of nodes to plan between. "
            "Use more nodes, more edges, or another graph_seed."
        )

    def draw(pairs_P2: np.ndarray) -> Paths:
        return walks_between(edge_NN, pairs_P2, longest, rng)

    trained = join_paths(
        [Paths(np.argwhere(edge_NN)), draw(trained_P2.repeat(config.paths, axis=0))]
    )
    asked = {split: draw(pairs_P2) for split, pairs_P2 in rest.items()}
    names = [str(node) for node in range(nodes)]
    return PathTask(config.kind, names, edge_NN, trained, asked, longest)

"""Paths on a graph: drawn as random walks, and what rows of paths say of others.

Letters in names: N nodes, P paths or pairs, X places of a path.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

OUTSIDE = -1
"""Fills the places after the last node of a path."""


@dataclass(frozen=True)
class Paths:
    """Paths as node numbers, filled up with `OUTSIDE`."""

    nodes_PX: np.ndarray

    @classmethod
    def of(cls, paths: Sequence[Sequence[int]]) -> "Paths":
        """Paths given as lists of nodes."""
        nodes_PX = np.full((len(paths), max(map(len, paths))), OUTSIDE)
        for path, row_X in zip(paths, nodes_PX, strict=True):
            row_X[: len(path)] = path
        return cls(nodes_PX)

    def __len__(self) -> int:
        return len(self.nodes_PX)

    @property
    def lengths_P(self) -> np.ndarray:
        """Nodes of each path."""
        return (self.nodes_PX != OUTSIDE).sum(1)

    @property
    def pairs_P2(self) -> np.ndarray:
        """First and last node of each path."""
        last_P = self.nodes_PX[np.arange(len(self)), self.lengths_P - 1]
        return np.stack([self.nodes_PX[:, 0], last_P], axis=1)


def join_paths(parts: Sequence[Paths]) -> Paths:
    """All paths of several sets, in order."""
    width = max(part.nodes_PX.shape[1] for part in parts)
    return Paths(
        np.concatenate(
            [
                np.pad(
                    part.nodes_PX,
                    ((0, 0), (0, width - part.nodes_PX.shape[1])),
                    constant_values=OUTSIDE,
                )
                for part in parts
            ]
        )
    )


def distances(edge_NN: np.ndarray) -> np.ndarray:
    """Edges of the shortest path between any two nodes; N where there is none."""
    nodes = len(edge_NN)
    distance_NN = np.full((nodes, nodes), nodes)
    near_NN = np.eye(nodes, dtype=bool)
    for steps in range(nodes):
        distance_NN[near_NN & (distance_NN == nodes)] = steps
        near_NN = near_NN.astype(np.float32) @ edge_NN.astype(np.float32) > 0
    return distance_NN


def random_walks(
    edge_NN: np.ndarray, starts_P: np.ndarray, steps: int, rng: np.random.Generator
) -> Paths:
    """Walks of `steps` edges to uniform unvisited neighbours; dead ends are dropped."""
    walk_PX = np.full((len(starts_P), steps + 1), OUTSIDE)
    walk_PX[:, 0] = starts_P
    visited_PN = np.zeros((len(starts_P), len(edge_NN)), bool)
    for place in range(steps):
        here_P = walk_PX[:, place]
        np.put_along_axis(visited_PN, here_P[:, None], True, axis=1)
        open_PN = edge_NN[here_P] & ~visited_PN
        alive_P = open_PN.any(1)
        walk_PX, visited_PN = walk_PX[alive_P], visited_PN[alive_P]
        walk_PX[:, place + 1] = _uniform_choice(open_PN[alive_P], rng)
    return Paths(walk_PX)


def walks_between(
    edge_NN: np.ndarray, pairs_P2: np.ndarray, longest: int, rng: np.random.Generator
) -> Paths:
    """One acyclic path of at most `longest` nodes from first to last node of each pair.

    Each step goes to a uniform choice among the unvisited neighbours from which the
    target can be reached within the nodes left; a walk that is caught by what it has
    visited begins again. Every pair must have such a path.
    """
    distance_NN = distances(edge_NN)
    walk_PX = np.full((len(pairs_P2), longest), OUTSIDE)
    left_P = np.arange(len(pairs_P2))
    while len(left_P):
        target_P = pairs_P2[left_P, 1]
        part_PX = np.full((len(left_P), longest), OUTSIDE)
        part_PX[:, 0] = pairs_P2[left_P, 0]
        visited_PN = np.zeros((len(left_P), len(edge_NN)), bool)
        for place in range(longest - 1):
            (going,) = np.nonzero(
                (part_PX[:, place] != target_P) & (part_PX[:, place] != OUTSIDE)
            )
            here_P = part_PX[going, place]
            visited_PN[going, here_P] = True
            room = longest - 2 - place
            near_PN = room >= distance_NN[:, target_P[going]].T
            open_PN = edge_NN[here_P] & near_PN & ~visited_PN[going]
            found_P = open_PN.any(1)
            part_PX[going[found_P], place + 1] = _uniform_choice(open_PN[found_P], rng)
        arrived_P = Paths(part_PX).pairs_P2[:, 1] == target_P
        walk_PX[left_P[arrived_P]] = part_PX[arrived_P]
        left_P = left_P[~arrived_P]
    return Paths(walk_PX)


def _uniform_choice(open_PN: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A uniform choice among the nodes that are open to each path, (P,)."""
    return np.where(open_PN, rng.random(open_PN.shape), -1.0).argmax(1)


def degrees(trained: Paths, nodes: int) -> np.ndarray:
    """How directly the training rows say how to go from s to t, (N, N), from 0 to 3.

    arXiv 2509.23186: A(i, k) says that some row steps from i to k, R(t, k) that some row
    with target t visits k after its start.

    0: R(t, s). 1: a step A(s, u) to some u with R(t, u). 2: a step A(s, u) to some u
    of degree 1 to t. Each excludes those before. 3: the rest.
    """
    follows_NN = np.zeros((nodes, nodes), bool)
    leads_NN = np.zeros((nodes, nodes), bool)  # R, transposed: from node, to target
    target_P = trained.pairs_P2[:, 1]
    for here_P, next_P in zip(
        trained.nodes_PX.T[:-1], trained.nodes_PX.T[1:], strict=True
    ):
        there_P = next_P != OUTSIDE
        follows_NN[here_P[there_P], next_P[there_P]] = True
        leads_NN[next_P[there_P], target_P[there_P]] = True
    follows = follows_NN.astype(np.float32)
    first_NN = ~leads_NN & (follows @ leads_NN > 0)
    second_NN = ~leads_NN & ~first_NN & (follows @ first_NN > 0)
    return np.select([leads_NN, first_NN, second_NN], [0, 1, 2], 3)


def blind_walks(edge_NN: np.ndarray, longest: int) -> np.ndarray:
    """Chance of a uniform walk along edges to meet t within `longest` nodes, (N, N)."""
    step_NN = edge_NN / np.maximum(edge_NN.sum(1, keepdims=True), 1)
    met_NN = np.eye(len(edge_NN))
    for _ in range(longest - 1):
        met_NN = step_NN @ met_NN
        np.fill_diagonal(met_NN, 1)
    return met_NN

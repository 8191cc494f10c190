"""Rules for strings of labels, and all strings that keep to them in a normal form.

`synth.tasks.discovery` asks a model to make up such strings. Letters: E strings of A
label numbers (-1 is an edge sign), D numbers of a normal form, U strings in all, N nodes,
X edges, V labels.
"""

from abc import ABC, abstractmethod
from itertools import combinations
from math import perm

import numpy as np

from synth.tasks.questions import draw_distinct


class Structure(ABC):
    """A rule, and the strings that keep to it; equal ones have equal normal forms."""

    names: list[str]
    """What labels are called."""
    length: int
    """Tokens of a string."""
    size: int
    """Different strings in all."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """At most `count` different strings, uniformly, (E, D)."""

    @abstractmethod
    def write(self, rng: np.random.Generator, normal_ED: np.ndarray) -> np.ndarray:
        """Each string in one of its orders, (E, A)."""

    @abstractmethod
    def read(self, string_EA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether each string keeps to the rule, and the normal form of those, (E, D)."""


class Listed(Structure):
    """Strings of three labels of which the first few are interchangeable.

    `normal_U3` lists all of them, with the interchangeable labels in ascending order.
    """

    length = 3

    def __init__(
        self, names: list[str], normal_U3: np.ndarray, interchangeable: int
    ) -> None:
        self.names, self.size = names, len(normal_U3)
        self._normal_U3, self._interchangeable = normal_U3, interchangeable
        self._code_U = self._code(normal_U3)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """The first of all, shuffled."""
        return self._normal_U3[rng.permutation(self.size)[:count]]

    def write(self, rng: np.random.Generator, normal_ED: np.ndarray) -> np.ndarray:
        """Shuffle the interchangeable labels."""
        free = self._interchangeable
        order_EX = draw_distinct(rng, len(normal_ED), free, free)
        string_EA = normal_ED.copy()
        string_EA[:, :free] = np.take_along_axis(normal_ED, order_EX, axis=1)
        return string_EA

    def read(self, string_EA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sort the interchangeable labels and look the string up."""
        normal_ED = string_EA.copy()
        free = self._interchangeable
        normal_ED[:, :free] = np.sort(string_EA[:, :free], axis=1)
        known_E = np.isin(self._code(normal_ED), self._code_U)
        known_E &= (string_EA >= 0).all(axis=1)
        return known_E, normal_ED[known_E]

    def _code(self, normal_E3: np.ndarray) -> np.ndarray:
        base = len(self.names) + 1
        return normal_E3.astype(np.int64) @ np.array([base**2, base, 1])


def siblings(children: int, parents: int, rng: np.random.Generator) -> Listed:
    """Two children and their parent, of a random family."""
    parent_C = rng.permutation(children) % parents
    found = [
        (*pair, children + parent)
        for parent in range(parents)
        for pair in combinations(np.flatnonzero(parent_C == parent).tolist(), 2)
    ]
    names = [f"c{i}" for i in range(children)] + [f"p{i}" for i in range(parents)]
    return Listed(names, np.array(found), 2)


def triangles(nodes: int, edge_probability: float, rng: np.random.Generator) -> Listed:
    """Three adjacent nodes of a random graph."""
    edge_NN = np.triu(rng.random((nodes, nodes)) < edge_probability, 1)
    found = [np.empty((0, 3), np.int64)]
    for node in range(nodes):
        after_N = np.flatnonzero(edge_NN[node])
        second, third = edge_NN[np.ix_(after_N, after_N)].nonzero()
        first = np.full(len(second), node)
        found.append(np.column_stack([first, after_N[second], after_N[third]]))
    return Listed([str(i) for i in range(nodes)], np.concatenate(found), 3)


class Edges(Structure):
    """The shuffled edges of a directed circle or line; the normal form is its nodes.

    A line is read from its start, a circle from its smallest label on.
    """

    def __init__(self, labels: int, nodes: int, closed: bool) -> None:
        self.nodes, self.closed = nodes, closed
        self.names = [str(i) for i in range(labels)]
        self.edges = nodes if closed else nodes - 1
        self.length = 3 * self.edges - 1
        self.size = perm(labels, nodes) // (nodes if closed else 1)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Random nodes in random order, without those that were drawn before."""
        node_EN = draw_distinct(rng, count, len(self.names), self.nodes)
        if self.closed:
            least_E1 = node_EN.argmin(axis=1, keepdims=True)
            turned_EN = (least_E1 + np.arange(self.nodes)) % self.nodes
            node_EN = np.take_along_axis(node_EN, turned_EN, axis=1)
        first_U = np.unique(node_EN, axis=0, return_index=True)[1]
        return node_EN[np.sort(first_U)]

    def write(self, rng: np.random.Generator, normal_ED: np.ndarray) -> np.ndarray:
        """Shuffle the edges."""
        tail_EX = draw_distinct(rng, len(normal_ED), self.edges, self.edges)
        string_EA = np.full((len(normal_ED), self.length), -1)
        string_EA[:, 0::3] = np.take_along_axis(normal_ED, tail_EX, axis=1)
        head_EX = (tail_EX + 1) % self.nodes
        string_EA[:, 1::3] = np.take_along_axis(normal_ED, head_EX, axis=1)
        return string_EA

    def read(self, string_EA: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Follow the edges from the first node."""
        tail_EX, head_EX = string_EA[:, 0::3], string_EA[:, 1::3]
        every, labels = np.arange(len(string_EA)), len(self.names)
        right_E = (tail_EX >= 0).all(axis=1) & (head_EX >= 0).all(axis=1)
        right_E &= (string_EA[:, 2::3] == -1).all(axis=1)
        # One entry more than labels, for what is no label and leads nowhere.
        after_EV = np.full((len(string_EA), labels + 1), labels)
        np.put_along_axis(after_EV, tail_EX % (labels + 1), head_EX, axis=1)
        is_head_EV = np.zeros((len(string_EA), labels + 1), bool)
        np.put_along_axis(is_head_EV, head_EX % (labels + 1), values=True, axis=1)
        first_E = tail_EX.min(axis=1)
        if not self.closed:
            starts_EX = ~np.take_along_axis(is_head_EV, tail_EX % (labels + 1), axis=1)
            first_E = tail_EX[every, starts_EX.argmax(axis=1)]
        node_EN = np.empty((len(string_EA), self.nodes), np.int64)
        node_EN[:, 0] = first_E
        for place in range(1, self.nodes):
            node_EN[:, place] = after_EV[every, node_EN[:, place - 1] % (labels + 1)]
        # n different nodes on a way of n - 1 edges are a line; a circle comes back.
        ordered_EN = np.sort(node_EN, axis=1)
        right_E &= (np.diff(ordered_EN, axis=1) > 0).all(axis=1)
        right_E &= (ordered_EN[:, 0] >= 0) & (ordered_EN[:, -1] < labels)
        if self.closed:
            right_E &= after_EV[every, node_EN[:, -1] % (labels + 1)] == first_E
        return right_E, node_EN[right_E]

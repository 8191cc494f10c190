"""Walks, degrees, blind walks and verification, against slow literal forms."""

import itertools
from collections import Counter

import numpy as np
import pytest

from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.path_task import END, FAILURES, FIRST_NODE, split_pairs
from synth.tasks.walks import (
    OUTSIDE,
    Paths,
    blind_walks,
    degrees,
    distances,
    walks_between,
)

NODES = 16
SMALL = {"nodes": NODES, "edge_probability": 0.25, "trained_pairs": 0.2, "paths": 2}


def small(seed=0, **fields):
    return GraphPathsConfig(**SMALL, longest=8, graph_seed=seed, **fields).build()


def graph(nodes, *edges):
    edge_NN = np.zeros((nodes, nodes), bool)
    edge_NN[tuple(np.array(edges).T)] = True
    return edge_NN


def listed(paths):
    return [[n for n in path if n != OUTSIDE] for path in paths.nodes_PX.tolist()]


def slow_degrees(rows, nodes):
    """Word for word: rows u_1..u_N of nodes, A, R, and the four degrees."""

    def u(row, n):
        return row[n - 1]

    def adjacent(i, k):
        return any(
            u(row, n) == i and u(row, n + 1) == k
            for row in rows
            for n in range(3, len(row))
        )

    def reachable(t, k):
        return any(
            u(row, 2) == t and u(row, n) == k
            for row in rows
            for n in range(4, len(row) + 1)
        )

    every = range(nodes)
    a = {(i, k): adjacent(i, k) for i in every for k in every}
    r = {(t, k): reachable(t, k) for t in every for k in every}

    def degree_0(s, t):
        return r[t, s]

    def degree_1(s, t):
        return not degree_0(s, t) and any(a[s, v] and r[t, v] for v in every)

    def degree_2(s, t):
        if degree_0(s, t) or degree_1(s, t):
            return False
        return any(a[s, v] and degree_1(v, t) for v in every)

    found = np.full((nodes, nodes), 3)
    for s, t in itertools.product(every, every):
        for number, holds in enumerate((degree_0, degree_1, degree_2)):
            if holds(s, t):
                found[s, t] = number
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("undirected", [False, True])
def test_degrees_equal_their_definition(seed, undirected):
    task = small(seed, undirected=undirected)
    rows = [[p[0], p[-1], *p] for p in listed(task.trained)]
    found = degrees(task.trained, NODES)
    assert np.array_equal(found, slow_degrees(rows, NODES))
    assert {0, 1} <= set(found.ravel().tolist())


def test_degrees_by_hand():
    """Rows `3 6 3 4 6` and the edges 0 1, 1 2, 2 3, 3 4, 4 6, 2 5.

    Towards 6, some row visits 4 and 6; so 4 is of degree 0, 3 steps to 4 (degree 1), 2
    steps to 3 (degree 2), and 1 would need two steps to reach degree 1 (degree 3). From
    5 no row steps on.
    """
    edges = [[0, 1], [1, 2], [2, 3], [3, 4], [4, 6], [2, 5]]
    trained = Paths(np.array([[*edge, OUTSIDE] for edge in edges] + [[3, 4, 6]]))
    towards_6 = degrees(trained, 7)[:, 6]
    assert towards_6.tolist() == [3, 3, 2, 1, 0, 3, 0]


@pytest.mark.parametrize("undirected", [False, True])
def test_walks_are_acyclic_along_edges_between_their_ends(undirected):
    task = small(undirected=undirected)
    edge_NN = task.edge_NN
    distance_NN = distances(edge_NN)
    pairs = np.argwhere((distance_NN > 0) & (distance_NN < 6)).repeat(20, axis=0)
    walks = walks_between(edge_NN, pairs, 6, np.random.default_rng(0))
    assert np.array_equal(walks.pairs_P2, pairs)
    lengths = set()
    for path in listed(walks):
        assert len(set(path)) == len(path) <= 6
        assert all(edge_NN[step] for step in itertools.pairwise(path))
        lengths.add(len(path))
    assert lengths >= {2, 3, 4, 5}


def test_steps_of_a_walk_are_uniform_among_those_that_lead_on():
    """Of 0's successors 1, 2, 3 and 4, the last leads nowhere; 3 is the target."""
    edges = graph(5, (0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (2, 3))
    pairs = np.full((9000, 2), (0, 3))
    walks = listed(walks_between(edges, pairs, 4, np.random.default_rng(0)))
    counts = Counter(map(tuple, walks))
    expected = {(0, 3): 3, (0, 2, 3): 3, (0, 1, 3): 1.5, (0, 1, 2, 3): 1.5}
    assert set(counts) == set(expected)
    for path, thousands in expected.items():
        assert counts[path] == pytest.approx(1000 * thousands, rel=0.1)
    short = listed(walks_between(edges, pairs, 3, np.random.default_rng(0)))
    assert max(map(len, short)) == 3


def test_distances_by_hand():
    edges = graph(4, (0, 1), (1, 2), (0, 2), (2, 0))
    assert distances(edges).tolist() == [
        [0, 1, 1, 4],
        [2, 0, 1, 4],
        [1, 2, 0, 4],
        [4, 4, 4, 0],
    ]


def slow_blind_walk(edge_NN, here, target, nodes_left):
    if here == target:
        return 1.0
    after = np.flatnonzero(edge_NN[here])
    if nodes_left == 1 or not len(after):
        return 0.0
    chances = [slow_blind_walk(edge_NN, n, target, nodes_left - 1) for n in after]
    return sum(chances) / len(after)


@pytest.mark.parametrize("undirected", [False, True])
def test_blind_walks_equal_the_sum_over_all_walks(undirected):
    edge_NN = small(
        undirected=undirected,
    ).edge_NN
    found = blind_walks(edge_NN, 4)
    for s, t in itertools.product(range(NODES), repeat=2):
        assert found[s, t] == pytest.approx(slow_blind_walk(edge_NN, s, t, 4))


def slow_failure(task, row):
    """The answer as a person would check it."""
    source, target, *answer = row
    path = answer[: answer.index(END)] if END in answer else answer
    if not path or path[0] != source:
        return "wrong_start"
    nodes = [token - FIRST_NODE for token in path]
    if min(nodes) < 0 or not all(task.edge_NN[e] for e in itertools.pairwise(nodes)):
        return "not_an_edge"
    return "" if path[-1] == target and END in answer else "misses_target"


def test_failures_equal_a_slow_check():
    """On right answers, and with one to three tokens of them changed."""
    task = small()
    rng = np.random.default_rng(0)
    row_R = task.train_rows(0, 0, 11).tokens_RT[:3000].copy()
    for _ in range(3):
        some = rng.random(len(row_R)) < 0.4
        place = rng.integers(2, 11, some.sum())
        row_R[some, place] = rng.integers(0, FIRST_NODE + NODES, some.sum())
    found = task.failures(row_R)
    expected = [slow_failure(task, row) for row in row_R.tolist()]
    assert [("", *FAILURES)[number + 1] for number in found] == expected
    assert set(expected) == {"", *FAILURES}


def test_shares_add_up_to_one_and_come_by_degree():
    task = small()
    chosen = task.evaluation_sets(50)[0]
    decoded = chosen.rows.tokens_RT.copy()
    decoded[0, 2] = FIRST_NODE + NODES - 1
    scores = {(s.metric, s.slice): s for s in task.verify(chosen, decoded)}
    count = len(decoded)
    assert scores["valid_path", ""].value == pytest.approx(1 - 1 / count)
    assert scores["wrong_start", ""].value == pytest.approx(1 / count)
    parts = [scores[name, ""].value for name in ("valid_path", *FAILURES)]
    assert sum(parts) == pytest.approx(1)
    by_degree = [
        s for (name, label), s in scores.items() if name == "valid_path" and label
    ]
    assert sum(s.count for s in by_degree) == count
    degree = int(chosen.labels["degree"][0])
    assert scores["valid_path", f"degree={degree}"].value < 1


def test_pairs_are_split_by_share_and_seed():
    pairs = np.argwhere(np.ones((30, 30), bool))
    trained, held_out = split_pairs(pairs, 3, 0.1)
    sizes = [len(trained), len(held_out["validation"]), len(held_out["test"])]
    assert sizes == [90, 101, 709]
    everything = np.concatenate([trained, *held_out.values()]).tolist()
    assert sorted(everything) == pairs.tolist()
    assert trained.tolist() != split_pairs(pairs, 4, 0.1)[0].tolist()

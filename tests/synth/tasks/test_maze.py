"""Mazes: drawn example, walks that hold, exact distributions, the split."""

import itertools

import numpy as np
import pytest

from synth.tasks.choice_points import ROLES, Kind
from synth.tasks.exact import is_test
from synth.tasks.maze import MazeConfig
from synth.tasks.task import TokenScores

CONFIG = MazeConfig(branches=3, arm=2, routes=3, cells=40)


@pytest.fixture(scope="module")
def task():
    return CONFIG.build()


@pytest.fixture(scope="module")
def test_set(task):
    return task.evaluation_sets(60)[0]


def read(task, row):
    """Edges, start, goal and walk of a printed maze."""
    shown = [task.vocabulary[token] for token in row]
    cut = shown.index("/")
    cells = [w for w in shown[:cut] if w != "|"]
    edges = set(zip(cells[::2], cells[1::2], strict=True))
    start, goal, sign, *walk = shown[cut + 1 :]
    assert sign == "="
    return edges, start, goal, walk


def test_default_plan_is_the_drawing():
    task = MazeConfig().build()
    kinds = "".join("SfcD=~"[task.layout.kinds[cell]] for cell in task.layout.walk)
    assert kinds == "ffD=f~ffD="
    assert len(task.layout.kinds) == 15
    assert task.question == 3 * 15 + 3


def test_walks_follow_edges_from_start_to_goal(task, test_set):
    for row in test_set.rows.tokens_RT:
        edges, start, goal, walk = read(task, row)
        assert (walk[0], walk[-1]) == (start, goal)
        assert all(step in edges for step in itertools.pairwise(walk))
        leaving = [sum(a == cell for a, _ in edges) for cell in walk]
        assert leaving == [1, 3, 1, 1, 3, 1, 1, 3, 1, 0]


def test_only_one_arm_of_a_consequential_turn_reaches_the_goal(task, test_set):
    for row in test_set.rows.tokens_RT[:20]:
        edges, _, goal, walk = read(task, row)

        def reaches(cell, edges=edges, goal=goal):
            return cell == goal or any(reaches(b) for a, b in edges if a == cell)

        for place, expected in ((1, 1), (4, 3), (7, 1)):
            exits = [b for a, b in edges if a == walk[place]]
            assert sum(map(reaches, exits)) == expected


def test_names_are_recovered_from_the_question(task):
    rng = np.random.default_rng(0)
    names = task._names(rng, 40)
    tokens = task._tokens(rng, names)
    assert np.array_equal(task.problem(task.names_of(tokens)), task.problem(names))


def test_distributions_know_the_walk_and_share_the_routes(task, test_set):
    rows = test_set.rows
    for horizon in (1, 2, 4):
        p_RTV = task.distributions(rows, horizon)
        known = np.isfinite(p_RTV).all(-1)
        first = task.question - 2
        assert known[:, first : task.length - horizon].all()
        assert not known[:, :first].any()
        assert np.allclose(p_RTV[known].sum(-1), 1)
        floor = task.floor(rows, horizon)[:, first : task.length - horizon]
        role = task.role(test_set, horizon)[:, first : task.length - horizon]
        routes = role == ROLES.index("inconsequential")
        assert np.allclose(floor[routes], np.log(3))
        assert np.allclose(floor[~routes], 0)


def test_continuations_are_all_walks(task, test_set):
    prefix = test_set.rows.tokens_RT[0, : task.question].tolist()
    joint = task.continuations(prefix, len(task.layout.walk))
    assert len(joint) == 3
    assert all(p == pytest.approx(1 / 3) for p in joint.values())
    assert tuple(test_set.rows.tokens_RT[0, task.question :].tolist()) in joint


def test_split_ignores_what_does_not_matter(task):
    rng = np.random.default_rng(1)
    names = task._names(rng, 200)
    swapped = names.copy()
    for chains in task.layout.swaps:
        for a, b in zip(chains[0], chains[-1], strict=True):
            swapped[:, [a, b]] = swapped[:, [b, a]]
    assert not np.array_equal(names, swapped)
    assert np.array_equal(task.problem(names), task.problem(swapped))
    tests = is_test(task.problem(task._names(rng, 4000)))
    assert tests.mean() == pytest.approx(1 / 8, abs=0.03)


def test_train_and_test_are_disjoint(task, test_set):
    train = task.train_rows(0, 0, task.length)
    assert not is_test(task.problem(task.names_of(train.tokens_RT[:200]))).any()
    assert is_test(task.problem(task.names_of(test_set.rows.tokens_RT))).all()


def test_samples_have_no_probabilities_in_the_question(task):
    (sample,) = task.samples(0, 1)
    chances = sample.record["probabilities"]
    assert chances[: task.question - 1] == [None] * (task.question - 1)
    assert chances[task.question - 1 :] == [1, 1, 1, 1, 1, 1, 0.333333, 1, 1, 1, 1]


def test_walk_score_forgives_other_routes_alone(task, test_set):
    shape = (1, *test_set.rows.tokens_RT.shape)
    correct = np.ones(shape, bool)
    kinds = test_set.labels["kind"]
    correct[0, :, :-1][kinds[:, 1:] == Kind.INCONSEQUENTIAL] = False
    scores = TokenScores(np.zeros(shape), correct, np.ones(shape, bool))
    assert task.score(test_set, scores)[0].value == 1
    correct[0, 0, :-1][kinds[0, 1:] == Kind.CHOICE] = False
    assert task.score(test_set, scores)[0].value == pytest.approx(59 / 60)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"turns": "cx"}, "letters c and i"),
        ({"cells": 9}, "at least 15"),
        ({"branches": 1}, "branches must be from 2"),
    ],
)
def test_impossible_mazes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MazeConfig(**fields)

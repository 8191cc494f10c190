"""Mazes: drawn example, walks that hold, exact distributions, the split."""

import dataclasses
import itertools
import json
import signal

import numpy as np
import pytest

from synth.run.store import RunFolder
from synth.tasks.choice_points import ROLES, Kind
from synth.tasks.exact import side_of
from synth.tasks.maze import MazeConfig
from synth.tasks.task import SAMPLE_CONTEXT, TokenScores
from synth.training import train
from tests.conftest import tiny_run, with_training
from tests.synth.tasks.enumeration import continuations

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
    assert task.answer_start == 3 * 15 + 3


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


@pytest.mark.parametrize("turns", ["c", "cc", "ici", "cic"])
def test_the_way_on_is_that_of_the_recursive_definition(turns):
    task = MazeConfig(turns=turns, branches=3, routes=3, cells=40).build()
    rows, _ = task.draw(np.random.default_rng(0), 30)
    for row, names in zip(rows, task.names_of(rows), strict=True):
        edges = row[: task.answer_start - 3].reshape(-1, 3)[:, :2].tolist()

        def reaches(cell, goal=row[task.answer_start - 2], edges=edges):
            following = [b for a, b in edges if a == cell]
            return cell == goal or any(reaches(one, goal, edges) for one in following)

        on_walk = {*task.layout.walk, *itertools.chain(*task.layout.routes.values())}
        for cell, name in enumerate(names):
            assert reaches(name) == (cell in on_walk)


def test_a_way_of_a_thousand_cells_and_more_is_read():
    task = MazeConfig(turns="c", arm=1200, cells=2500).build()
    rows, _ = task.draw(np.random.default_rng(0), 1)
    (names,) = task.names_of(rows)
    assert np.array_equal(names[task.layout.walk], rows[0, task.answer_start :])


def test_distributions_know_the_walk_and_share_the_routes(task, test_set):
    rows = test_set.rows
    for horizon in (1, 2, 4):
        p_RTV = task.distributions(rows, horizon)
        known = np.isfinite(p_RTV).all(-1)
        first = task.answer_start - 2
        assert known[:, first : task.length - horizon].all()
        assert not known[:, :first].any()
        assert np.allclose(p_RTV[known].sum(-1), 1)
        floor = task.floor(rows, horizon)[:, first : task.length - horizon]
        role = task.role(test_set, horizon)[:, first : task.length - horizon]
        routes = role == ROLES.index("inconsequential")
        assert np.allclose(floor[routes], np.log(3))
        assert np.allclose(floor[~routes], 0)


def test_continuations_are_all_walks(task, test_set):
    prefix = test_set.rows.tokens_RT[0, : task.answer_start].tolist()
    joint = continuations(task, prefix, len(task.layout.walk))
    assert len(joint) == 3
    assert all(p == pytest.approx(1 / 3) for p in joint.values())
    assert tuple(test_set.rows.tokens_RT[0, task.answer_start :].tolist()) in joint


def test_split_ignores_what_does_not_matter(task):
    rng = np.random.default_rng(1)
    names = task._names(rng, 200)
    swapped = names.copy()
    for chains in task.layout.swaps:
        for a, b in zip(chains[0], chains[-1], strict=True):
            swapped[:, [a, b]] = swapped[:, [b, a]]
    assert not np.array_equal(names, swapped)
    assert np.array_equal(task.problem(names), task.problem(swapped))
    tests = side_of(task.problem(task._names(rng, 4000))) == 0
    assert tests.mean() == pytest.approx(1 / 8, abs=0.03)


def test_train_and_test_are_disjoint(task, test_set):
    train = task.train_rows(0, 0, task.length)
    assert (side_of(task.problem(task.names_of(train.tokens_RT[:200]))) > 0).all()
    assert (side_of(task.problem(task.names_of(test_set.rows.tokens_RT))) == 0).all()


def test_samples_have_no_probabilities_in_the_question(task):
    (sample,) = task.samples(0, 1)
    chances = sample.record["probabilities"]
    assert chances[: task.answer_start - 1] == [None] * (task.answer_start - 1)
    assert chances[task.answer_start - 1 :] == [1, 1, 1, 1, 1, 1, 0.333333, 1, 1, 1, 1]


def test_mazes_longer_than_a_row_of_samples_are_shown():
    task = MazeConfig(turns="c" * 20, cells=200).build()
    (sample,) = task.samples(0, 1)
    assert len(sample.tokens) == task.length > SAMPLE_CONTEXT


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


def right_by_hand(task, row):
    """Step by step, as a person checks a walk."""
    edges, start, goal, walk = read(task, row)
    here = start
    if walk[0] != start:
        return False
    for cell in walk[1:]:
        if (here, cell) not in edges:
            return False
        here = cell
    return here == goal


def test_verifier_agrees_with_a_check_by_hand(task, test_set):
    """On walks with other routes, wrong arms, a wrong end, and cells at random."""
    rng = np.random.default_rng(0)
    rows = np.repeat(test_set.rows.tokens_RT, 20, axis=0)
    names = task.names_of(test_set.rows.tokens_RT).repeat(20, axis=0)
    for row, cells in zip(rows, names, strict=True):
        walk = list(task.layout.walk)
        for place, routes in task.layout.routes.items():
            walk[place] = rng.choice(routes)
        row[task.answer_start :] = cells[walk]
        if rng.random() < 0.5:  # any one cell of the vocabulary, maybe the right one
            place = rng.integers(task.answer_start, task.length)
            row[place] = rng.choice([*cells, *range(len(task.vocabulary))])
    right = task.leads_to_goal(rows)
    assert right.tolist() == [right_by_hand(task, row) for row in rows]
    assert 0.4 < right.mean() < 0.8
    (score,) = task.verify(test_set, rows)
    assert (score.metric, score.count) == ("verified", len(rows))
    assert score.value == pytest.approx(right.mean())


def test_walks_of_another_maze_are_wrong(task, test_set):
    rows = test_set.rows.tokens_RT.copy()
    rows[:, task.answer_start :] = np.roll(rows[:, task.answer_start :], 1, axis=0)
    assert not task.leads_to_goal(rows).any()
    assert task.leads_to_goal(test_set.rows.tokens_RT).all()


def test_blind_turns_are_what_chance_gets_right(task, test_set):
    """A walker that knows the map but takes any arm at a turn, then goes on along it."""
    rng = np.random.default_rng(0)
    lucky = []
    for row in test_set.rows.tokens_RT.repeat(20, axis=0):
        edges, here, goal, walk = read(task, row)
        for _ in walk[1:]:
            ways = sorted(b for a, b in edges if a == here)
            here = rng.choice(ways) if ways else None
        lucky.append(here == goal)
    shape = (1, *test_set.rows.tokens_RT.shape)
    scores = TokenScores(np.zeros(shape), np.ones(shape, bool), np.ones(shape, bool))
    found = {s.metric: s.value for s in task.score(test_set, scores) if s.slice == ""}
    assert found["blind_turns"] == pytest.approx(1 / 9)
    assert np.mean(lucky) == pytest.approx(1 / 9, abs=0.03)


SMALL = MazeConfig(turns="ci", cells=12)


def maze_run(seed, **training):
    """A run that is evaluated, walks included, along the way."""
    values = {"steps": 12, "evaluate_every_steps": 4, "evaluation_examples": 40}
    run = with_training(tiny_run(2, seed), **(values | training))
    return dataclasses.replace(run, task=SMALL)


def verified(root, config):
    rows = RunFolder(root, config.run_id).metrics_path.read_text().splitlines()
    found = [json.loads(row) for row in rows]
    return [row for row in found if row["metric"] == "verified"]


def stop_at_four(event):
    """Ask a run to stop after the evaluation at step 4."""
    if event.kind == "evaluation" and event.step == 4:
        signal.raise_signal(signal.SIGTERM)


def test_walks_of_a_lane_and_of_a_resumed_run_are_those_of_a_run_alone(tmp_path):
    configs = [maze_run(seed) for seed in (0, 1)]
    packed, alone, broken = (tmp_path / name for name in ("packed", "alone", "broken"))
    assert [o.state for o in train(configs, packed)] == ["done", "done"]
    for config in configs:
        train([config], alone)
    stopped = train(configs, broken, progress=stop_at_four)
    assert [outcome.state for outcome in stopped] == ["stopped", "stopped"]
    assert [o.state for o in train(configs, broken)] == ["done", "done"]
    for config in configs:
        expected = verified(alone, config)
        assert [row["step"] for row in expected] == [0, 4, 8, 12]
        assert verified(packed, config) == expected
        assert verified(broken, config) == expected


@pytest.mark.parametrize(
    ("turns", "arm", "blind"),
    [("cc", 1, 1 / 3), ("cc", 2, 1 / 9), ("ci", 1, 1 / 3), ("c", 1, 1)],
)
def test_a_last_cell_that_is_the_goal_is_not_guessed(turns, arm, blind):
    task = MazeConfig(turns=turns, arm=arm, branches=3).build()
    (chosen,) = task.evaluation_sets(4)
    valid = np.ones((1, *chosen.rows.tokens_RT.shape), bool)
    valid[..., -1] = False
    scores = task.score(chosen, TokenScores(np.zeros(valid.shape), valid, valid))
    assert {s.metric: s.value for s in scores}["blind_turns"] == pytest.approx(blind)

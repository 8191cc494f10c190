"""Navigation: which paths are trained, how steps are written, and what counts as right."""

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from synth.tasks.navigation import NavigationConfig, NavigationTask
from synth.tasks.path_task import END, FAILURES, FIRST_NODE
from synth.tasks.walks import OUTSIDE, Paths, distances

CONFIG = NavigationConfig(nodes=12, edge_probability=0.2, longest=7)
PLAIN = replace(CONFIG, detours=0.0, recoveries=0.0)
SOURCE = NavigationConfig()


def listed(paths):
    return [[n for n in path if n != OUTSIDE] for path in paths.nodes_PX.tolist()]


def by_pair(config):
    """The training paths of each pair, in order."""
    found = {}
    for path in listed(config.build().trained):
        found.setdefault((path[0], path[-1]), []).append(path)
    return found


def acyclic_paths(edge_NN, path, target):
    """Every acyclic path that goes on from this one to the target."""
    if path[-1] == target:
        yield path
        return
    for node in np.flatnonzero(edge_NN[path[-1]]).tolist():
        if node not in path:
            yield from acyclic_paths(edge_NN, [*path, node], target)


def tokens_of(task, *words):
    """A row of these tokens, padded as the rows of the task are."""
    width = task.train_rows(0, 0, CONFIG.longest + 2).tokens_RT.shape[1]
    row = np.zeros(width, int)
    row[: len(words)] = [task.vocabulary.index(word) for word in words]
    return row


def chain_task():
    """The edges 0 1, 1 2, 2 3 and 2 0 of twelve nodes."""
    edge_NN = np.zeros((12, 12), bool)
    edge_NN[[0, 1, 2, 2], [1, 2, 3, 0]] = True
    names = CONFIG.build().vocabulary[FIRST_NODE:]
    return NavigationTask("navigation", names, edge_NN, Paths.of([[0, 1]]), {}, 7)


def test_edges_go_both_ways_as_often_as_they_should():
    edge_NN = SOURCE.build().edge_NN
    assert not edge_NN.diagonal().any()
    for half in (np.tril(edge_NN), np.triu(edge_NN)):
        assert half.sum() / (100 * 99 / 2) == pytest.approx(0.04, abs=0.009)
    assert not np.array_equal(edge_NN, edge_NN.T)


def test_half_of_the_reachable_pairs_are_trained_and_no_other_is_asked_for():
    task = PLAIN.build()
    distance_NN = distances(task.edge_NN)
    reachable = {
        tuple(pair)
        for pair in np.argwhere((distance_NN > 0) & (distance_NN < 7)).tolist()
    }
    trained = set(by_pair(PLAIN))
    test, validation = (
        {tuple(row[:2] - FIRST_NODE) for row in chosen.rows.tokens_RT}
        for chosen in task.evaluation_sets(10_000)
    )
    assert len(trained) == round(len(reachable) / 2)
    assert trained | test | validation == reachable
    assert len(trained) + len(test) + len(validation) == len(reachable)
    assert len(validation) == (len(reachable) - len(trained)) // 8


def test_the_shortest_paths_of_a_pair_are_trained():
    task, three = PLAIN.build(), by_pair(PLAIN)
    for (start, target), paths in three.items():
        every = sorted(acyclic_paths(task.edge_NN, [start], target), key=len)
        fitting = [path for path in every if len(path) <= PLAIN.longest][:3]
        assert [len(path) for path in paths] == [len(path) for path in fitting]
        assert len(set(map(tuple, paths))) == len(paths)
        assert all(path in every for path in paths)
    one = by_pair(replace(PLAIN, shortest=1))
    assert one == {pair: paths[:1] for pair, paths in three.items()}


def test_detours_avoid_a_node_of_the_shortest_path():
    task, with_detours = PLAIN.build(), by_pair(replace(PLAIN, detours=1.0))
    seen = 0
    for pair, plain in by_pair(PLAIN).items():
        added = with_detours[pair][len(plain) :]
        first, edge_NN = plain[0], task.edge_NN
        around = []
        for avoided in first[1:-1] if len(first) > 3 else []:
            left_NN = edge_NN.copy()
            left_NN[avoided] = left_NN[:, avoided] = False
            lengths = [len(p) for p in acyclic_paths(left_NN, [pair[0]], pair[1])]
            around.append(min(lengths, default=None))
        if len(first) > 3 and all(length and length <= 7 for length in around):
            assert len(added) == 1
        for path in added:
            assert any(
                node not in path and len(path) == length
                for node, length in zip(first[1:-1], around, strict=True)
            )
            seen += 1
    assert seen > 2


def test_recoveries_go_on_from_any_step_by_a_shortest_path():
    task = PLAIN.build()
    distance_NN = distances(task.edge_NN)
    with_recoveries = by_pair(replace(PLAIN, recoveries=1.0))
    steps, through_start = Counter(), 0
    for pair, plain in by_pair(PLAIN).items():
        for path in with_recoveries[pair][len(plain) :]:
            start, after, *_, target = [*path[:2], *path[-1:]]
            assert task.edge_NN[start, after]
            assert len(path) == 2 + distance_NN[after, target]
            steps[distance_NN[after, target] - distance_NN[start, target]] += 1
            through_start += start in path[1:]
    assert {-1, 0, 1} <= set(steps)  # towards the target, and not
    assert through_start


def test_every_trained_step_is_an_edge():
    task = SOURCE.build()
    for path in listed(task.trained):
        assert all(task.edge_NN[step] for step in itertools.pairwise(path))
    assert task.trained.lengths_P.max() <= SOURCE.longest
    plain = 3 * len(set(map(tuple, task.trained.pairs_P2.tolist())))
    assert len(task.trained) / plain == pytest.approx(1 + (0.3 + 0.3) / 3, abs=0.05)


def test_rows_hold_start_target_steps_and_end_by_hand():
    task = CONFIG.build()
    rows = task.rows_of(Paths.of([[3, 11, 0, 5], [2, 1]]))
    printed = [
        [task.vocabulary[token] for token in row[inside > 0]]
        for row, inside in zip(rows.tokens_RT, rows.example_RT, strict=True)
    ]
    assert printed == [
        ["3", "5", "+8", "-11", "+5", "\\n"],
        ["2", "1", "-1", "\\n"],
    ]
    assert rows.answer_RT.sum(1).tolist() == [4, 2]
    assert not rows.answer_RT[:, :2].any()
    assert rows.tokens_RT.shape == (2, CONFIG.longest + 2)
    assert len(set(task.vocabulary)) == len(task.vocabulary) == 2 + 12 + 22
    assert task.vocabulary[END] == "\\n"


@pytest.mark.parametrize(
    ("words", "failure"),
    [
        (("0", "3", "+1", "+1", "+1", "\\n"), ""),
        (("0", "3", "+1", "+1", "-2", "+1", "+1", "+1", "\\n"), ""),  # round and on
        (("0", "3", "+1", "+1", "+1", "+5", "\\n"), ""),  # after arrival
        (("0", "3", "+1", "+1", "+1"), ""),  # no end, as in the source
        (("0", "3", "+2", "+1", "\\n"), "not_an_edge"),
        (("0", "3", "-1", "+4", "\\n"), "not_an_edge"),  # off the graph
        (("0", "3", "3", "\\n"), "not_an_edge"),  # a node is no step
        (("0", "3", "\\n"), "misses_target"),
        (("0", "3", "+1", "+1", "\\n", "+1"), "misses_target"),
        (("0", "2", "+1", "+1", "-2", "+1", "\\n"), ""),
        (("2", "0", "-2", "\\n"), ""),
        (("0", "3", "+1", "+1", "-2", "+1", "+1", "-2", "+1"), "misses_target"),
    ],
)
def test_what_counts_as_right_by_hand(words, failure):
    task = chain_task()
    (number,) = task.failures(tokens_of(task, *words)[None])
    assert ("", *FAILURES)[number + 1] == failure


def test_an_arrival_at_the_last_place_is_right():
    task = chain_task()
    row = tokens_of(task, "2", "3", *["-2", "+1", "+1"] * 2, "+1")[None]
    assert task.failures(row).tolist() == [-1]


def test_true_answers_are_right():
    task = SOURCE.build()
    for chosen in task.evaluation_sets(10_000):
        assert (task.failures(chosen.rows.tokens_RT) == -1).all()
    trained = task.train_rows(0, 0, SOURCE.longest + 2).tokens_RT
    assert (task.failures(trained) == -1).all()


def test_another_seed_is_another_graph_and_one_seed_the_same():
    task = CONFIG.build()
    other = replace(CONFIG, graph_seed=1).build()
    assert not np.array_equal(task.edge_NN, other.edge_NN)
    again = replace(CONFIG, detours=CONFIG.detours).build()
    assert np.array_equal(task.trained.nodes_PX, again.trained.nodes_PX)


def test_a_step_is_no_question():
    task = CONFIG.build()
    step, node = task.vocabulary.index("+1"), task.vocabulary.index("4")
    with pytest.raises(ValueError, match="two nodes"):
        task.read_question([node, step])
    asked = task.read_question([node, node + 1])
    assert asked.rows.tokens_RT[0, :2].tolist() == [node, node + 1]


def test_samples_show_steps_and_path():
    (sample,) = CONFIG.build().samples(0, 1)
    path = list(map(int, sample.record["path"]))
    steps = [f"{after - here:+d}" for here, after in itertools.pairwise(path)]
    assert sample.tokens == [str(path[0]), str(path[-1]), *steps, "\\n"]
    assert sample.text == f"{path[0]} to {path[-1]}: {' > '.join(map(str, path))}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 4}, "nodes"),
        ({"edge_probability": 0.0}, "edge_probability"),
        ({"trained_pairs": 1.0}, "trained_pairs"),
        ({"shortest": 0}, "shortest"),
        ({"detours": 1.5}, "detours"),
        ({"recoveries": -0.1}, "recoveries"),
        ({"longest": 2}, "longest"),
        ({"graph_seed": -1}, "graph_seed"),
    ],
)
def test_impossible_graphs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        NavigationConfig(**fields)


def test_a_graph_without_pairs_to_ask_for_is_refused():
    with pytest.raises(ValueError, match=r"Graph 0 has too few pairs .*another graph"):
        NavigationConfig(nodes=8, edge_probability=0.01, longest=4).build()

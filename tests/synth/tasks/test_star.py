"""Star graphs: the graph of the source, arms that hold, scores by position, the pool."""

import itertools
import os

import numpy as np
import pytest

from synth.tasks.exact import side_of
from synth.tasks.star import StarConfig
from synth.tasks.task import TokenScores

CONFIG = StarConfig(degree=3, length=4, labels=20)


def graph_of(task, row):
    """Edges, source, goal and answer of a printed graph."""
    words = [task.vocabulary[token] for token in row]
    cut = words.index("/")
    edges = [tuple(words[at : at + 2]) for at in range(0, cut, 3)]
    assert set(words[2:cut:3]) <= {"|"}
    source, goal, equals, *answer = words[cut + 1 :]
    assert equals == "="
    return edges, source, goal, answer


@pytest.mark.parametrize("answers", ["forward", "reversed"])
def test_an_example_is_a_star_with_the_path_to_its_goal(answers):
    task = StarConfig(degree=3, length=4, labels=20, answers=answers).build()
    (chosen,) = task.evaluation_sets(50)
    for row in chosen.rows.tokens_RT:
        edges, source, goal, answer = graph_of(task, row)
        after = {}
        for parent, child in edges:
            after.setdefault(parent, []).append(child)
        assert len(edges) == len({child for _, child in edges}) == 9
        assert sorted(map(len, after.values())) == [1] * 6 + [3]
        path = answer[::-1] if answers == "reversed" else answer
        assert (path[0], path[-1], len(path)) == (source, goal, 4)
        assert all(b in after[a] for a, b in itertools.pairwise(path))
        assert len(after[source]) == 3
        assert goal not in after


def test_tokens_are_those_of_the_source():
    """3E + 3 tokens of question, l of answer, one token a label, V = N + 4."""
    task = CONFIG.build()
    assert (task.answer_start, task.length) == (3 * 9 + 3, 3 * 9 + 3 + 4)
    assert len(task.vocabulary) == 20 + 4
    rows = task.train_rows(0, 0, 2 * task.length)
    assert rows.tokens_RT.shape[1] == 2 * task.length
    assert rows.answer_RT.sum(1).max() == 2 * 4


def test_every_arm_is_the_right_one_equally_often():
    """Neither the order of edges nor the order of labels tells where the goal is."""
    task = CONFIG.build()
    tokens, _ = task.draw(np.random.default_rng(0), 3000)
    source, first = tokens[:, task.answer_start].T, tokens[:, task.answer_start + 1]
    leaves = tokens[:, 0 : 3 * 9 : 3] == source[:, None]
    heads = tokens[:, 1 : 3 * 9 : 3][leaves].reshape(-1, 3)
    for order in (heads, np.sort(heads, axis=1)):
        place = (order == first[:, None]).argmax(axis=1)
        assert np.bincount(place) / 3000 == pytest.approx(1 / 3, abs=0.03)


def test_the_split_knows_a_graph_by_its_arms_alone():
    task = CONFIG.build()
    label = 4 + np.random.default_rng(0).random((500, 20)).argsort(axis=1)[:, :10]
    swapped = label.copy()
    swapped[:, 4:7], swapped[:, 7:10] = label[:, 7:10], label[:, 4:7]
    other = label.copy()
    other[:, 1:4], other[:, 4:7] = label[:, 4:7], label[:, 1:4]  # another goal
    sides = [side_of(task._problem(one)) for one in (label, swapped, other)]
    assert np.array_equal(sides[0], sides[1])
    assert (sides[0] != sides[2]).mean() > 0.7


def test_forced_scores_by_position_and_prediction():
    task = CONFIG.build()
    (chosen,) = task.evaluation_sets(4)
    shape = (2, 4, task.length)
    correct, valid = np.ones(shape, bool), np.ones(shape, bool)
    start = task.answer_start
    correct[0, 0, start] = False  # the first hop, predicted where the source stands
    correct[0, 1, start + 2] = False  # the goal
    correct[1, 2, start - 1] = False  # the second head: the first hop, at `=`
    valid[1, :, -2:] = False
    found = {
        (s.metric, s.slice): s.value
        for s in task.score(chosen, TokenScores(np.zeros(shape), correct, valid))
    }
    assert found["path", ""] == 0.5
    assert found["first_hop", ""] == 0.75
    assert found["arm_floor", ""] == pytest.approx(1 / 3)
    forced = [found["accuracy", f"horizon=1,position={p}"] for p in range(1, 5)]
    assert forced == [1, 0.75, 1, 0.75]
    assert found["accuracy", "horizon=2,position=2"] == 0.75


def test_edges_alone_solve_reversed_answers_so_their_floor_is_zero():
    task = StarConfig(degree=3, length=4, labels=20, answers="reversed").build()
    (chosen,) = task.evaluation_sets(50)
    for row in chosen.rows.tokens_RT:
        edges, _, goal, answer = graph_of(task, row)
        parent = {child: parent for parent, child in edges}
        walk = [goal]
        while len(walk) < len(answer):
            walk.append(parent[walk[-1]])
        assert walk == list(answer)
    ones = np.ones((1, *chosen.rows.tokens_RT.shape), bool)
    scores = task.score(chosen, TokenScores(np.zeros(ones.shape), ones, ones))
    assert [s.value for s in scores if s.metric == "arm_floor"] == [0.0]


@pytest.mark.parametrize("answers", ["forward", "reversed"])
def test_decoded_paths_are_verified_node_by_node(answers):
    task = StarConfig(degree=2, length=3, labels=9, answers=answers).build()
    (chosen,) = task.evaluation_sets(4)
    decoded = chosen.rows.tokens_RT.copy()
    edges, source, goal, _ = graph_of(task, decoded[1])
    number = task.vocabulary.index
    after = dict(edges)
    wrong_arm = [source, *((b, after[b]) for a, b in edges if a == source)]
    (wrong,) = [[source, *arm] for arm in wrong_arm[1:] if arm[1] != goal]
    step = -1 if answers == "reversed" else 1
    decoded[1, task.answer_start :] = [number(label) for label in wrong[::step]]
    decoded[2, task.answer_start + 1] = 1  # a separator in the middle
    found = {(s.metric, s.slice): s.value for s in task.verify(chosen, decoded)}
    assert found["verified", ""] == 0.5
    assert found["arm", ""] == 0.75
    by_position = [found["verified", f"position={p}"] for p in (1, 2, 3)]
    assert by_position == ([0.75, 0.5, 1] if step == -1 else [1, 0.5, 0.75])


def test_a_first_step_that_is_no_edge_leaves_the_arms():
    task = StarConfig(degree=2, length=3, labels=9).build()
    (chosen,) = task.evaluation_sets(4)
    tokens, start = chosen.rows.tokens_RT.copy(), task.answer_start
    tokens[0, start + 1 : start + 3] = tokens[
        0, start : start + 2
    ]  # source, source, hop
    tokens[1, start] = tokens[1, start + 1]  # hop, hop, goal
    assert task.along_edges(tokens).tolist() == [False, False, True, True]


def test_a_question_whose_source_is_not_the_centre_has_no_path():
    task = StarConfig(degree=2, length=3, labels=9).build()
    tokens = task.evaluation_sets(1)[0].rows.tokens_RT[0, : task.answer_start]
    assert task.read_question(tokens.tolist()) is not None
    hop = tokens.tolist()
    hop[-3] = next(
        b for a, b in zip(hop[:-4:3], hop[1:-3:3], strict=True) if a == hop[-3]
    )
    with pytest.raises(ValueError, match="No path of 3 nodes leads from"):
        task.read_question(hop)
    near = tokens.tolist()
    near[-2] = hop[-3]  # a goal that is no end of an arm
    with pytest.raises(ValueError, match="No path of 3 nodes leads from"):
        task.read_question(near)


def test_a_pool_is_met_whole_in_every_epoch_and_in_another_order():
    task = StarConfig(degree=2, length=3, labels=9, pool=1000).build()
    rows = [task.train_rows(0, block, task.length).tokens_RT for block in range(2)]
    epochs = np.concatenate(rows)[: 8 * 1000].reshape(8, 1000, -1)
    ordered = [sorted(map(tuple, epoch.tolist())) for epoch in epochs]
    assert all(epoch == ordered[0] for epoch in ordered)
    assert not np.array_equal(epochs[0], epochs[1])
    again = task.train_rows(0, 1, task.length).tokens_RT
    assert np.array_equal(again, rows[1])
    assert not np.array_equal(task.train_rows(1, 1, task.length).tokens_RT, rows[1])
    held_out = {tuple(row) for row in task.evaluation_sets(500)[0].rows.tokens_RT}
    assert not held_out & set(ordered[0])


def test_impossible_graphs_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"labels must be at least 13, .* G\(4, 4\)"):
        StarConfig(degree=4, length=4, labels=12)
    StarConfig(degree=4, length=4, labels=13)
    with pytest.raises(ValueError, match="degree must be from 2"):
        StarConfig(degree=1)
    with pytest.raises(ValueError, match=r"StarConfig\.length must be from 3 to 64"):
        StarConfig(length=2)


FILE = """8,3|6,4|2,9|6,8|4,1|6,2/6,1=6,4,1
0,5|7,2|0,7|5,9|0,1|1,4/0,9=0,5,9
"""


def test_graphs_of_a_file_are_a_suite_of_their_own(tmp_path):
    path = tmp_path / "deg_3_path_3_nodes_10_test.txt"
    path.write_text(FILE)
    config = StarConfig(degree=3, length=3, labels=10, test_file=str(path))
    task = config.build()
    _, chosen = task.evaluation_sets(20)
    assert chosen.suite == "file"
    for row, line in zip(chosen.rows.tokens_RT, FILE.split(), strict=True):
        edges, source, goal, answer = graph_of(task, row)
        graph = "|".join(",".join(edge) for edge in edges)
        assert f"{graph}/{source},{goal}={','.join(answer)}" == line
    found = {s.metric: s.value for s in task.verify(chosen, chosen.rows.tokens_RT)}
    assert found["arm"] == 1
    assert len(task.evaluation_sets(1)[1].rows) == 1
    assert len(task.judged_on("validation").evaluation_sets(20)) == 1
    plain = StarConfig(degree=3, length=3, labels=10)
    assert "test_file_digest" not in plain.canonical()
    assert config.canonical() != plain.canonical()


def test_a_test_file_that_is_missing_or_no_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"The file '.*typo.txt' does not exist\."):
        StarConfig(test_file=str(tmp_path / "typo.txt"))
    os.mkfifo(tmp_path / "fifo")  # reading one would block for ever
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(ValueError, match="is no regular file"):
            StarConfig(test_file=str(path))
    (tmp_path / "empty.txt").touch()
    task = StarConfig(test_file=str(tmp_path / "empty.txt")).build()
    with pytest.raises(ValueError, match=r"empty.txt is empty: it holds no graph"):
        task.evaluation_sets(5)


@pytest.mark.parametrize(
    ("line", "flaw"),
    [
        ("8,3|6,4|2,9|6,8|4,1|6,2/6,1=6,2,9", "its path is not the arm from 6 to 1"),
        ("8,3|6,4|2,9|6,8|4,1|6,2/6,1=6,4,4", "its path is not the arm from 6 to 1"),
        ("8,3|6,4|2,9|6,8|4,1|6,2/6,1=6,2,1", "its path is not the arm from 6 to 1"),
        ("8,3|6,4|2,9|6,8|4,1|6,2/6,2=6,4,1", "its path is not the arm from 6 to 2"),
        ("8,3|6,4|7,9|6,8|4,1|6,2/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("6,4|4,1|6,4|6,4|1,4|4,1/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("8,3|6,4|2,4|6,8|4,1|6,2/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("8,3|6,4|2,6|6,8|4,1|6,2/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("8,3|6,4|3,9|6,8|4,1|6,2/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("8,3|6,4|2,9|4,8|4,1|6,2/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("8,3|6,4|6,9|6,8|4,1|6,2/6,1=6,4,1", "its edges are not 3 arms of 3 nodes"),
        ("8,3|6,4|2,9|6,8|4,1/6,1=6,4,1", "it must have 6 edges"),
        ("8,3|6,4|2,9|6,8|4,1|6,2/6,1=6,1", "it must have 6 edges"),
        ("8,3|6,4|2,9|6,8|4,1/6,1=6,4,1,6,2", "it must have 6 edges"),
        ("8,3|6,4|2,9|6,8|4,1|6,2/6,10=6,4,10", "it has the label 10"),
        ("8 3|6,4|2,9|6,8|4,1|6,2/6,1=6,4,1", "it must have 6 edges"),
        ("", "it must have 6 edges"),
    ],
)
def test_lines_that_are_no_graph_with_its_path_are_named(tmp_path, line, flaw):
    path = tmp_path / "test.txt"
    path.write_text(FILE.split()[0] + "\n" + line + "\n")
    task = StarConfig(degree=3, length=3, labels=10, test_file=str(path)).build()
    said = rf"Line 2 of .*test.txt is no G\(3, 3\) of labels below 10 .*: {flaw}"
    with pytest.raises(ValueError, match=said):
        task.evaluation_sets(5)

"""The transition graph of four blocks, and what is drawn on it."""

import itertools

import numpy as np
import pytest

from synth.tasks.blocksworld import BlocksworldConfig, transitions

STATES, EDGE_NN = transitions("ABCD")


@pytest.fixture(scope="module")
def task():
    return BlocksworldConfig(paths=100).build()


def slow_states(blocks):
    """Every order of the blocks, cut into towers in every way."""
    found = set()
    for order in itertools.permutations(blocks):
        for cuts in itertools.product((False, True), repeat=len(blocks) - 1):
            word = order[0]
            for cut, block in zip(cuts, order[1:], strict=True):
                word += f".{block}" if cut else block
            found.add(tuple(sorted(word.split("."))))
    return sorted(found)


def test_four_blocks_have_73_states_and_symmetric_edges():
    assert slow_states("ABCD") == STATES
    assert len(STATES) == 73
    assert np.array_equal(EDGE_NN, EDGE_NN.T)
    assert EDGE_NN.sum() == 240
    assert not EDGE_NN.diagonal().any()
    assert len(transitions("ABCDE")[0]) == 501


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (("ABCD",), {("ABC", "D")}),
        (
            ("AB", "CD"),
            {("A", "B", "CD"), ("A", "CDB"), ("AB", "C", "D"), ("ABD", "C")},
        ),
        (
            ("A", "B", "CD"),
            {
                ("BA", "CD"),
                ("B", "CDA"),
                ("AB", "CD"),
                ("A", "CDB"),
                ("A", "B", "C", "D"),
                ("AD", "B", "C"),
                ("A", "BD", "C"),
            },
        ),
    ],
)
def test_moves_by_hand(state, after):
    reached = {
        STATES[number] for number in np.flatnonzero(EDGE_NN[STATES.index(state)])
    }
    assert reached == after


def test_training_paths_are_all_edges_and_as_many_of_each_length(task):
    lengths = task.trained.lengths_P - 1
    assert np.bincount(lengths).tolist() == [0, 240, *[100] * 5]
    for path in task.trained.nodes_PX:
        nodes = path[path >= 0].tolist()
        assert len(set(nodes)) == len(nodes)
        assert all(EDGE_NN[step] for step in itertools.pairwise(nodes))


def test_pairs_that_are_asked_for_are_no_ends_of_training_paths(task):
    trained = {tuple(pair) for pair in task.trained.pairs_P2.tolist()}
    asked = [set(map(tuple, p.pairs_P2.tolist())) for p in task._held_out.values()]
    assert not asked[0] & asked[1]
    assert not (asked[0] | asked[1]) & trained
    assert len(asked[0]) + len(asked[1]) == (73 * 72 - 240) // 2
    for s, t in asked[0] | asked[1]:
        assert s != t
        assert not EDGE_NN[s, t]


def test_another_seed_draws_other_paths(task):
    other = BlocksworldConfig(paths=100, path_seed=1).build()
    assert not np.array_equal(task.trained.nodes_PX, other.trained.nodes_PX)
    asked, elsewhere = (
        set(map(tuple, one._held_out["test"].pairs_P2.tolist()))
        for one in (task, other)
    )
    assert len(asked & elsewhere) < 0.6 * len(asked)  # half of the pairs are held out
    with pytest.raises(ValueError, match="paths"):
        BlocksworldConfig(paths=0)


def test_samples_read_as_moves(task):
    for sample in task.samples(0, 5):
        path = [tuple(name.split(".")) for name in sample.record["path"]]
        assert all(
            EDGE_NN[STATES.index(a), STATES.index(b)]
            for a, b in itertools.pairwise(path)
        )

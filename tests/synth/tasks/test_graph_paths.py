"""Random graphs: what training rows hold, what is held out, and refusals."""

import itertools

import numpy as np
import pytest

from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.path_task import END, FIRST_NODE, PathTask

CONFIG = GraphPathsConfig(nodes=40)
CONTEXT = 15


@pytest.fixture(scope="module")
def task() -> PathTask:
    return CONFIG.build()


def paths_of(rows):
    """Source, target and path of each row, as node numbers."""
    for tokens in rows.tokens_RT.tolist():
        source, target, *answer = tokens
        path = answer[: answer.index(END)]
        nodes = [token - FIRST_NODE for token in (source, target, *path)]
        yield nodes[0], nodes[1], nodes[2:]


def test_edges_go_to_higher_numbers_as_often_as_they_should():
    edge_NN = GraphPathsConfig().build().edge_NN
    assert not np.tril(edge_NN).any()
    assert edge_NN.sum() / (100 * 99 / 2) == pytest.approx(0.1, abs=0.013)
    both = GraphPathsConfig(nodes=40, undirected=True).build().edge_NN
    assert np.array_equal(both, both.T)
    assert not both.diagonal().any()


def test_training_rows_are_all_edges_and_twenty_paths_a_trained_pair(task):
    pairs = task.trained.pairs_P2
    edges = int(task.edge_NN.sum())
    assert np.array_equal(pairs[:edges], np.argwhere(task.edge_NN))
    assert (task.trained.lengths_P[:edges] == 2).all()
    counts = np.unique(pairs[edges:], axis=0, return_counts=True)[1]
    assert (counts == 20).all()
    reached = np.eye(40, dtype=bool)
    for _ in range(40):
        reached |= reached @ task.edge_NN
    assert len(counts) == round(0.1 * (reached.sum() - 40))


def test_rows_are_source_target_path_end(task):
    rows = task.train_rows(0, 0, CONTEXT + 3)
    fixed = {tuple(n for n in p if n >= 0) for p in task.trained.nodes_PX.tolist()}
    for source, target, path in paths_of(rows):
        assert (path[0], path[-1]) == (source, target)
        assert tuple(path) in fixed
    lengths = (rows.tokens_RT == END).argmax(1) + 1
    places = np.arange(CONTEXT + 3)
    assert np.array_equal(rows.example_RT > 0, places < lengths[:, None])
    assert np.array_equal(rows.answer_RT, (rows.example_RT > 0) & (places >= 2))
    assert not rows.tokens_RT[rows.example_RT == 0].any()


def test_the_stream_depends_on_seed_and_block_alone(task):
    def tokens(seed, block):
        return task.train_rows(seed, block, CONTEXT).tokens_RT

    assert np.array_equal(
        tokens(1, 2), CONFIG.build().train_rows(1, 2, CONTEXT).tokens_RT
    )
    blocks = [tokens(1, 2), tokens(1, 3), tokens(2, 2)]
    for one, other in itertools.combinations(blocks, 2):
        assert not np.array_equal(one, other)


def test_no_pair_that_is_asked_for_is_trained(task):
    trained = {tuple(pair) for pair in task.trained.pairs_P2.tolist()}
    sets = task.evaluation_sets(10_000)
    assert [chosen.suite for chosen in sets] == ["test", "validation"]
    test, validation = ({(s, t) for s, t, _ in paths_of(c.rows)} for c in sets)
    assert not test & validation
    assert not (test | validation) & trained
    assert len(test) == len(sets[0].rows)
    assert len(validation) / len(test | validation) == pytest.approx(1 / 8, abs=0.03)
    for s, t, path in itertools.chain(*(paths_of(chosen.rows) for chosen in sets)):
        assert len(path) > 2
        assert all(task.edge_NN[step] for step in itertools.pairwise((s, *path[1:])))
        assert path[-1] == t


def test_a_run_that_chooses_trains_on_the_same_rows_and_sees_no_test_pair(task):
    chooses = task.judged_on("validation")
    one, other = (t.train_rows(0, 0, CONTEXT).tokens_RT for t in (task, chooses))
    assert np.array_equal(one, other)
    (only,) = chooses.evaluation_sets(10_000)
    beside = task.evaluation_sets(10_000)[1]
    assert only.suite == beside.suite == "validation"
    assert np.array_equal(only.rows.tokens_RT, beside.rows.tokens_RT)


def test_fewer_examples_are_a_prefix(task):
    few, many = (task.evaluation_sets(n)[0] for n in (20, 50))
    assert np.array_equal(few.rows.tokens_RT, many.rows.tokens_RT[:20])
    assert np.array_equal(few.labels["degree"], many.labels["degree"][:20])


def test_another_graph_seed_is_another_graph(task):
    other = GraphPathsConfig(nodes=40, graph_seed=1).build()
    assert not np.array_equal(task.edge_NN, other.edge_NN)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nodes": 4}, "nodes"),
        ({"edge_probability": 0.0}, "edge_probability"),
        ({"trained_pairs": 1.0}, "trained_pairs"),
        ({"longest": 2}, "longest"),
        ({"nodes": 20, "longest": 21}, "longest"),
        ({"paths": 0}, "paths"),
    ],
)
def test_impossible_graphs_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        GraphPathsConfig(**fields)


def test_a_graph_without_pairs_to_ask_for_is_refused():
    with pytest.raises(ValueError, match=r"Graph 0 has too few pairs .*another graph"):
        GraphPathsConfig(nodes=8, edge_probability=0.01, longest=4).build()


def test_pairs_too_few_to_validate_are_refused():
    with pytest.raises(ValueError, match="has too few pairs"):
        GraphPathsConfig(
            nodes=8, longest=4, edge_probability=0.3, trained_pairs=0.6, graph_seed=3
        ).build()


def test_pairs_further_apart_than_a_path_may_be_are_neither_trained_nor_asked_for():
    task = GraphPathsConfig(nodes=40, longest=3).build()
    one, two = task.edge_NN, task.edge_NN.astype(int) @ task.edge_NN > 0
    shown = [task.trained, *task._held_out.values()]
    for paths in shown:
        assert (paths.lengths_P <= 3).all()
    pairs = np.concatenate([paths.pairs_P2 for paths in shown])
    assert (one | two)[tuple(pairs.T)].all()


def test_another_seed_trains_other_pairs():
    trained = []
    for seed in (0, 1):
        task = GraphPathsConfig(nodes=40, edge_probability=0.5, graph_seed=seed).build()
        pairs = task.trained.pairs_P2[task.edge_NN.sum() :]
        trained.append(set(map(tuple, pairs.tolist())))
    assert len(trained[0] & trained[1]) < 0.3 * len(trained[0])  # by chance 0.1


def test_a_context_that_holds_no_row_is_refused(task):
    with pytest.raises(ValueError, match=r"got context 14. Use 15"):
        task.train_rows(0, 0, 14)


def test_samples_show_the_path(task):
    (sample,) = task.samples(0, 1)
    path = sample.record["path"]
    assert sample.text == f"{path[0]} to {path[-1]}: {' > '.join(path)}"
    assert sample.record["tokens"] == [path[0], path[-1], *path, "\\n"]

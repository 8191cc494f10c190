"""Tasks of questions and answers: pools, samples, and problems held apart."""

import numpy as np
import pytest

from synth.tasks.countdown import CountdownConfig
from synth.tasks.exact import side_of
from synth.tasks.k_hop import KHopConfig
from synth.tasks.mqar import MqarConfig
from synth.tasks.questions import BLOCK, pool_places
from synth.tasks.sat import SatConfig
from synth.tasks.star import StarConfig


def star_problem(task, row):
    """Edges in any order, source and goal."""
    words = row[: task.answer_start].tolist()
    edges = [tuple(words[at : at + 2]) for at in range(0, len(words) - 3, 3)]
    return frozenset(edges), tuple(words[-3:-1])


def countdown_problem(task, row):
    """Numbers in any order, and the target."""
    numbers = task.config.numbers
    return tuple(sorted(row[:numbers].tolist())), int(row[numbers])


def sat_problem(task, row):
    """Clauses in any order."""
    clauses = row[: task.answer_start].reshape(-1, 4)[:, :3]
    return tuple(sorted(map(tuple, clauses.tolist())))


def mqar_problem(task, row):
    """Pairs in any order."""
    pairs = row[: task.answer_start].reshape(-1, 2)
    return frozenset(map(tuple, pairs.tolist()))


def k_hop_problem(task, row):
    """Edges in any order."""
    edges = row[: task.answer_start].reshape(-1, 3)[:, :2]
    return frozenset(map(tuple, edges.tolist()))


SMALL_SPACES = [
    (StarConfig(degree=2, length=3, labels=6), star_problem),
    (CountdownConfig(numbers=3, largest_given=9, largest=20), countdown_problem),
    (SatConfig(variables=4, ratio=1), sat_problem),
    (MqarConfig(pairs=2, length=8, symbols=8), mqar_problem),
    (KHopConfig(nodes=4, labels=8, hops=1, queries=1), k_hop_problem),
]


@pytest.mark.parametrize(
    ("config", "problem"), SMALL_SPACES, ids=lambda one: getattr(one, "kind", "")
)
def test_problems_of_train_validation_and_test_are_apart(config, problem):
    """In spaces so small that sets drawn without a split would overlap."""
    whole = config.build()
    found = {}
    for split in ("test", "validation"):
        task = whole.judged_on(split)
        (held_out,) = task.evaluation_sets(300)
        assert held_out.suite == split
        train = task.train_rows(0, 0, task.length).tokens_RT
        found[split] = {problem(task, row) for row in held_out.rows.tokens_RT}
        found["train", split] = {problem(task, row) for row in train}
    assert min(map(len, found.values())) > 20
    assert not found["test"] & found["train", "test"]
    assert not found["validation"] & found["train", "validation"]
    assert not found["test"] & found["validation"]
    assert not found["test"] & found["train", "validation"]
    assert found["validation"] & found["train", "test"]


@pytest.mark.parametrize("size", [100, 1000, BLOCK, 3 * BLOCK])
def test_an_epoch_is_a_permutation_of_the_pool(size):
    blocks = [pool_places(0, block, size) for block in range(6)]
    stream = np.concatenate(blocks)
    whole = stream[: len(stream) // size * size].reshape(-1, size)
    assert len(whole) >= 2
    assert np.array_equal(
        np.sort(whole, axis=1), np.tile(np.arange(size), (len(whole), 1))
    )
    assert not np.array_equal(whole[0], whole[1])


@pytest.mark.parametrize("config", [config for config, _ in SMALL_SPACES])
def test_samples_are_for_training_and_fewer_are_a_prefix(config):
    task = config.build()
    many = task.samples(0, 100)
    numbers = {word: token for token, word in enumerate(task.vocabulary)}
    problem = dict(SMALL_SPACES)[config]
    (held_out,) = task.evaluation_sets(300)
    held_out = {problem(task, row) for row in held_out.rows.tokens_RT}
    for sample in many:
        row = np.array([numbers[word] for word in sample.tokens])
        assert problem(task, row) not in held_out
        assert sample.record["split"] == "train"
    assert task.samples(0, 5) == many[:5]
    for sample in many:
        assert sample.answer.index(True) >= task.answer_start
        assert len(sample.tokens) == task.length
    _, problem_ED = task.draw(np.random.default_rng(0), 4000)
    assert (side_of(problem_ED) == 0).mean() == pytest.approx(1 / 8, abs=0.05)


def test_samples_of_a_pool_are_in_it():
    task = StarConfig(degree=2, length=3, labels=9, pool=20).build()
    rows = task.train_rows(3, 0, task.length).tokens_RT
    trained = {tuple(task.vocabulary[token] for token in row) for row in rows}
    samples = task.samples(3, 15)
    assert len(samples) == 15
    assert {tuple(sample.tokens) for sample in samples} < trained
    assert len(task.samples(3, 50)) == 20

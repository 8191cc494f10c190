"""Associative recall: pairs and queries, the law of the gaps, floors by query."""

import numpy as np
import pytest

from synth.tasks.mqar import MqarConfig
from synth.tasks.task import TokenScores

CONFIG = MqarConfig(pairs=3, length=20, symbols=8)


def parsed(task, row):
    """Pairs in order, and queries with their answers and gaps."""
    words = [task.vocabulary[token] for token in row]
    start = 2 * task.config.pairs
    pairs = list(zip(words[0:start:2], words[1:start:2], strict=True))
    slots = list(zip(words[start::2], words[start + 1 :: 2], strict=True))
    queries = [(*slot, gap) for gap, slot in enumerate(slots) if slot != (".", ".")]
    return pairs, queries


def test_every_key_is_asked_once_and_followed_by_its_value():
    task = CONFIG.build()
    (chosen,) = task.evaluation_sets(100)
    for row, answer in zip(chosen.rows.tokens_RT, chosen.rows.answer_RT, strict=True):
        pairs, queries = parsed(task, row)
        assert len({key for key, _ in pairs}) == len({v for _, v in pairs}) == 3
        assert all((key[0], value[0]) == ("k", "v") for key, value in pairs)
        assert sorted(query[:2] for query in queries) == sorted(pairs)
        expected = [6 + 2 * gap + 1 for *_, gap in queries]
        assert np.flatnonzero(answer).tolist() == expected


@pytest.mark.parametrize("power", [0.01, 1.0])
def test_gaps_are_drawn_without_replacement_by_the_power_law(power):
    """The first key's gap has p proportional to (g + 1)^(power - 1), the second's the
    same law without the first's."""
    task = MqarConfig(pairs=2, length=12, symbols=8, power=power).build()
    tokens, _ = task.draw(np.random.default_rng(0), 20_000)
    queries = tokens[:, 4::2]
    first = (queries == tokens[:, :1]).argmax(axis=1)
    second = (queries == tokens[:, 2:3]).argmax(axis=1)
    p = np.arange(1, 5) ** (power - 1)
    p /= p.sum()
    expected = np.outer(p, p) / (1 - p)[:, None]
    np.fill_diagonal(expected, 0)
    found = np.zeros((4, 4))
    np.add.at(found, (first, second), 1 / 20_000)
    assert found == pytest.approx(expected, abs=0.012)


def test_recall_and_floors_by_query():
    task = CONFIG.build()
    (chosen,) = task.evaluation_sets(4)
    shape = (1, 4, task.length)
    correct, valid = np.zeros(shape, bool), np.ones(shape, bool)
    for row, answer in enumerate(chosen.rows.answer_RT):
        first, _, third = np.flatnonzero(answer) - 1
        correct[0, row, [first, third] if row else third] = True
    found = {
        (s.metric, s.slice): s.value
        for s in task.score(chosen, TokenScores(np.zeros(shape), correct, valid))
    }
    by_query = [found["recall", f"query={query}"] for query in (1, 2, 3)]
    assert by_query == [0.75, 0, 1]
    assert found["recall", ""] == pytest.approx(7 / 12)
    floors = [found["floor", f"query={query}"] for query in (1, 2, 3)]
    assert floors == pytest.approx([1 / 3, 1 / 2, 1])
    assert found["floor", ""] == pytest.approx(sum(floors) / 3)


def test_packed_rows_mark_the_answers_of_every_example():
    task = CONFIG.build()
    rows = task.train_rows(0, 0, 50)  # two examples and padding
    assert rows.answer_RT.sum(1)[:-1].tolist() == [6] * (len(rows) - 1)
    alone = task.answers(rows.tokens_RT[:-1, :40].reshape(-1, 20))
    assert np.array_equal(rows.answer_RT[:-1, :40], alone.reshape(-1, 40))


def test_impossible_lengths_are_refused():
    with pytest.raises(
        ValueError, match="length must be an even number from 4 x pairs = 32"
    ):
        MqarConfig(pairs=8, length=30)


@pytest.mark.parametrize(("power", "right"), [(0.01, 0.38), (1.0, 0.34)])
def test_the_order_of_the_pairs_helps_a_guess_under_the_power_law(power, right):
    """Without a look at the keys: the first pair that was not asked so far."""
    task = MqarConfig(power=power).build()
    tokens, _ = task.draw(np.random.default_rng(0), 2000)
    hits = 0
    for row in tokens:
        left, queries = parsed(task, row)
        for key, value, _ in queries:
            hits += left[0] == (key, value)
            left.remove((key, value))
    assert hits / (2000 * 8) == pytest.approx(right, abs=0.01)

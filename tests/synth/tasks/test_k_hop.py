"""Pointer chasing: cycles followed step by step, fair answers, scores by steps."""

import numpy as np
import pytest

from synth.tasks.k_hop import KHopConfig
from synth.tasks.task import TokenScores

CONFIG = KHopConfig(nodes=6, labels=9, hops=5, queries=3)


def parsed(task, row):
    """Edges as a map, and queries as (steps, node, answer)."""
    words = " ".join(task.vocabulary[token] for token in row)
    question, queries = words.split(" / ")
    edges = dict(edge.split() for edge in question.split(" | "))
    said = queries.split()
    return edges, [
        (int(k[1:]), a, b) for k, a, b in zip(*[iter(said)] * 3, strict=True)
    ]


def test_answers_are_k_steps_along_one_cycle():
    task = CONFIG.build()
    (chosen,) = task.evaluation_sets(100)
    for row in chosen.rows.tokens_RT:
        edges, queries = parsed(task, row)
        assert len(edges) == 6
        node, seen = next(iter(edges)), set()
        while node not in seen:
            seen.add(node)
            node = edges[node]
        assert len(seen) == 6
        assert len({node for _, node, _ in queries}) == 3
        for steps, node, answer in queries:
            for _ in range(steps):
                node = edges[node]
            assert node == answer


def test_every_other_node_is_the_answer_equally_often():
    """By the order of edges and by the order of labels; so a guess scores 1/(n-1)."""
    task = CONFIG.build()
    tokens, _ = task.draw(np.random.default_rng(0), 4000)
    start = task.answer_start
    node, answer = tokens[:, start + 1], tokens[:, start + 2]
    others = tokens[:, 0:start:3]
    others = others[others != node[:, None]].reshape(-1, 5)
    for order in (others, np.sort(others, axis=1)):
        place = (order == answer[:, None]).argmax(axis=1)
        assert np.bincount(place) / 4000 == pytest.approx(1 / 5, abs=0.025)


def test_scores_by_steps_and_query():
    task = CONFIG.build()
    (chosen,) = task.evaluation_sets(50)
    shape = (1, 50, task.length)
    correct, valid = np.zeros(shape, bool), np.ones(shape, bool)
    start = task.answer_start
    steps = chosen.rows.tokens_RT[:, start::3] - 2
    correct[0, :, start + 1 :: 3] = steps <= 2
    found = {
        (s.metric, s.slice): s.value
        for s in task.score(chosen, TokenScores(np.zeros(shape), correct, valid))
    }
    assert [found["reached", f"hops={k}"] for k in range(1, 6)] == [1, 1, 0, 0, 0]
    assert found["reached", "query=2"] == pytest.approx((steps[:, 1] <= 2).mean())
    assert found["floor", ""] == pytest.approx(1 / 5)


def test_a_cycle_is_the_same_wherever_it_is_entered():
    task = CONFIG.build()
    tokens, problems = task.draw(np.random.default_rng(0), 50)
    for row, problem in zip(tokens, problems, strict=True):
        edges, _ = parsed(task, row)
        node = min(edges, key=int)
        for token in problem:
            assert task.vocabulary[token] == node
            node = edges[node]


def test_impossible_cycles_are_refused():
    with pytest.raises(ValueError, match="hops must be from 1 to nodes - 1 = 5"):
        KHopConfig(nodes=6, hops=6)

"""Discovery: rules against plain readers, the training set, creativity by hand."""

import itertools

import numpy as np
import pytest

from synth.tasks.discovery import DiscoveryConfig
from synth.tasks.exact import side_of
from synth.tasks.task import TokenScores

SMALL = {
    "siblings": DiscoveryConfig(labels=30, parents=3, examples=50),
    "triangles": DiscoveryConfig(
        structure="triangles", labels=20, edge_probability=0.5, examples=50
    ),
    "circle": DiscoveryConfig(structure="circle", labels=6, nodes=4, examples=50),
    "line": DiscoveryConfig(structure="line", labels=6, nodes=3, examples=50),
}


@pytest.fixture(scope="module", params=list(SMALL))
def task(request):
    return SMALL[request.param].build()


def universe(task):
    """All strings that keep to the rule, as sets of what does not depend on order.

    The graph is read off the task's own list only for what a string means; which
    strings it allows is worked out anew.
    """
    config, listed = task.config, task.structure
    if config.structure == "siblings":
        parent = {}
        for one, two, above in listed.draw(np.random.default_rng(0), 10**6).tolist():
            parent[one] = parent[two] = above
        pairs = itertools.combinations(parent, 2)
        return {
            (frozenset(pair), parent[pair[0]])
            for pair in pairs
            if parent[pair[0]] == parent[pair[1]]
        }
    if config.structure == "triangles":
        edges = set()
        for nodes in listed.draw(np.random.default_rng(0), 10**6).tolist():
            edges |= {frozenset(pair) for pair in itertools.combinations(nodes, 2)}
        return {
            frozenset(nodes)
            for nodes in itertools.combinations(range(config.labels), 3)
            if all(frozenset(p) in edges for p in itertools.combinations(nodes, 2))
        }
    closed = config.structure == "circle"
    found = set()
    for nodes in itertools.permutations(range(config.labels), config.nodes):
        steps = list(itertools.pairwise([*nodes, nodes[0]] if closed else nodes))
        found.add(frozenset(steps))
    return found


def meaning(task, row):
    """What a string says, without its order; nothing if it has no such form."""
    words = [task.vocabulary[token] for token in row[task.answer_start :]]
    number = {name: place for place, name in enumerate(task.structure.names)}
    if task.config.structure in ("circle", "line"):
        if set(words[2::3]) - {"|"} or set(words[0::3] + words[1::3]) - set(number):
            return None
        pairs = zip(words[0::3], words[1::3], strict=True)
        edges = [(number[a], number[b]) for a, b in pairs]
        return frozenset(edges) if len(set(edges)) == len(edges) else None
    if set(words) - set(number):
        return None
    one, two, three = (number[word] for word in words)
    if task.config.structure == "siblings":
        return frozenset((one, two)), three
    return frozenset((one, two, three))


def test_what_is_drawn_keeps_to_the_rule_and_is_counted(task):
    allowed = universe(task)
    assert task.structure.size == len(allowed)
    tokens, normal = task.draw(np.random.default_rng(1), 300)
    said = [meaning(task, row) for row in tokens]
    assert set(said) <= allowed
    assert len(set(said)) == len(said) == len(normal)


def test_random_and_damaged_strings_are_judged_as_by_a_plain_reader(task):
    rng = np.random.default_rng(2)
    tokens, _ = task.draw(rng, 200)
    tokens = np.concatenate([tokens, tokens])
    rows = np.arange(len(tokens))
    at = rng.integers(task.answer_start, task.length, len(tokens))
    tokens[rows, at] = rng.integers(0, len(task.vocabulary), len(tokens))
    for row in tokens[: len(tokens) // 2]:  # these are also swapped somewhere
        one, two = rng.integers(task.answer_start, task.length, 2)
        row[[one, two]] = row[[two, one]]
    allowed = universe(task)
    expected = np.array([meaning(task, row) in allowed for row in tokens])
    coherent, normal = task.normal(tokens)
    assert np.array_equal(coherent, expected)
    assert 0 < coherent.sum() < len(tokens)
    said = [meaning(task, row) for row in tokens[coherent]]
    by_normal = dict(zip(map(tuple, normal.tolist()), said, strict=True))
    assert len(by_normal) == len(set(said)), "one normal form a string"


def test_the_training_set_is_the_same_for_every_data_seed(task):
    epochs = [task.train_rows(seed, 0, task.length).tokens_RT[:50] for seed in (0, 1)]
    ordered = [sorted(map(tuple, epoch.tolist())) for epoch in epochs]
    assert ordered[0] == ordered[1]
    assert not np.array_equal(*epochs)
    assert len(set(map(tuple, task.normal(epochs[0])[1].tolist()))) == 50
    (chosen,) = task.evaluation_sets(40)
    few = task.evaluation_sets(5)[0].rows.tokens_RT
    assert np.array_equal(few, chosen.rows.tokens_RT[:5])
    assert (side_of(task.normal(chosen.rows.tokens_RT)[1]) == 0).all()
    assert (side_of(task.normal(epochs[0])[1]) > 0).all()
    validation = task.judged_on("validation")
    trained = task.normal(validation.train_rows(0, 0, task.length).tokens_RT)[1]
    assert (side_of(trained) > 1).all()


def test_creativity_is_what_is_coherent_new_and_different(task):
    (chosen,) = task.evaluation_sets(10)
    decoded = chosen.rows.tokens_RT.copy()
    start = task.answer_start
    _, first = np.unique(task.normal(decoded)[1], axis=0, return_index=True)
    one, two = decoded[np.sort(first)[:2], start:]
    trained = task.train_rows(0, 0, task.length).tokens_RT[:3, start:]
    nothing = np.full_like(one, 2)
    strings = [one, one, one, two, *trained, nothing, nothing, nothing]
    decoded[:, start:] = strings
    found = {score.metric: score.value for score in task.verify(chosen, decoded)}
    assert found == pytest.approx(
        {"coherence": 0.7, "novelty": 4 / 7, "uniqueness": 0.5, "creativity": 0.2}
    )
    decoded[:, start:] = nothing
    assert {score.value for score in task.verify(chosen, decoded)} == {0}


@pytest.mark.parametrize("generated", [10, 400])
def test_the_ceiling_counts_the_strings_that_are_not_trained_on(task, generated):
    (chosen,) = task.evaluation_sets(generated)
    shape = (1, *chosen.rows.tokens_RT.shape)
    scores = TokenScores(np.zeros(shape), np.zeros(shape, bool), np.ones(shape, bool))
    found = {score.metric: score.value for score in task.score(chosen, scores)}
    new = len(universe(task)) - task.config.examples
    assert 10 < new < 400
    assert found["creativity_ceiling"] == min(1, new / generated)


def test_fields_of_other_structures_make_no_other_task():
    circle = DiscoveryConfig(structure="circle", parents=9, edge_probability=0.9)
    assert circle == DiscoveryConfig(structure="circle")
    assert circle.labels == 15
    assert DiscoveryConfig(structure="circle", nodes=5) != circle


def test_structures_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match=r"examples must be at most .*siblings"):
        DiscoveryConfig(labels=30, parents=3, examples=200).build().train_rows(0, 0, 9)
    with pytest.raises(ValueError, match=r"prefix must be .* 65536"):
        DiscoveryConfig(prefix=3)
    with pytest.raises(ValueError, match="nodes must be from 3 to 15"):
        DiscoveryConfig(structure="line", nodes=16)


def test_every_string_for_training_can_be_used():
    """Of 144 circles 128 are for training; draws of circles repeat each other."""
    small = {"structure": "circle", "labels": 6, "nodes": 5}
    for examples in (115, 128):
        task = DiscoveryConfig(**small, examples=examples).build()
        rows = task.train_rows(0, 0, task.length)
        strings = task.normal(rows.tokens_RT[:, -task.length :])[1]
        assert len(np.unique(strings, axis=0)) == examples
    for examples in (129, 200):
        task = DiscoveryConfig(**small, examples=examples).build()
        with pytest.raises(ValueError, match="examples must be at most 128, "):
            task.train_rows(0, 0, task.length)


def test_more_strings_than_a_float_holds_have_a_ceiling_of_one():
    config = DiscoveryConfig(structure="circle", labels=200, nodes=200, examples=20)
    task = config.build()
    (chosen,) = task.evaluation_sets(4)
    shape = (1, *chosen.rows.tokens_RT.shape)
    scores = TokenScores(np.zeros(shape), np.zeros(shape, bool), np.ones(shape, bool))
    found = {score.metric: score.value for score in task.score(chosen, scores)}
    assert found["creativity_ceiling"] == 1.0

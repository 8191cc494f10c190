"""Sources: filtering against enumeration, entropies against known formulas."""

import itertools
import math

import numpy as np
import pytest

from synth.tasks.machines import Machine, entropy, mean_information
from synth.tasks.sources import FIRST, SourcesConfig, hidden_machine, markov_machine
from tests.synth.tasks.enumeration import continuations

FAMILIES = {
    "markov": SourcesConfig(symbols=3, order=2, length=9),
    "hidden": SourcesConfig(family="hidden", symbols=3, states=3, length=9),
    "coupled": SourcesConfig(family="coupled", symbols=3, length=10),
}


@pytest.fixture(params=FAMILIES, scope="module")
def task(request):
    return FAMILIES[request.param].build()


def binary(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def state_information(machine, weights_S):
    """Exact entropies where the prefix reveals the state, drawn with these weights."""
    return mean_information(machine.pairs(np.eye(machine.num_states)), weights_S)


def coupled_information(task, coupling):
    """Exact entropies before X, the clues known, for one coupling."""
    k, couplings = task.config.symbols, task.config.couplings
    first = 1 + len(couplings) * (1 + k) + couplings.index(coupling) * k
    weights_S = np.zeros(task.machine.num_states)
    weights_S[first : first + k] = 1
    return state_information(task.machine, weights_S)


def word_entropy(machine, start_S, length):
    """Entropy of the first `length` tokens, by enumerating all words."""
    weights_WS = start_S[None]
    for _ in range(length):
        weights_WS = np.tensordot(weights_WS, machine.transitions_SVS, 1)
        weights_WS = weights_WS.reshape(-1, machine.num_states)
    return float(entropy(weights_WS.sum(1)))


def entropy_bounds(machine, length):
    """H(x[k] | x[<k], first state) <= entropy rate <= H(x[k] | x[<k]), k = `length`.

    Cover and Thomas, theorem 4.5.1.
    """
    start_S = machine.stationary()
    low = sum(
        share
        * (word_entropy(machine, row, length) - word_entropy(machine, row, length - 1))
        for share, row in zip(start_S, np.eye(len(start_S)), strict=True)
    )
    high = word_entropy(machine, start_S, length)
    return low, high - word_entropy(machine, start_S, length - 1)


def word_probability(machine, word):
    """Plain sum over all paths of states."""
    total = 0.0
    for path in itertools.product(range(machine.num_states), repeat=len(word) + 1):
        p = machine.start_S[path[0]]
        for token, (a, b) in zip(word, itertools.pairwise(path), strict=True):
            p *= machine.transitions_SVS[a, token, b]
        total += p
    return total


@pytest.mark.parametrize("family", ["markov", "hidden"])
def test_filtering_equals_enumeration_of_paths(family):
    rng = np.random.default_rng(0)
    if family == "markov":
        machine = markov_machine(rng, 2, 2, 0.7)
    else:
        machine = hidden_machine(rng, 2, 3, 0.7)
    word = machine.sample(rng, 1, 3)
    belief = machine.beliefs(word)[:, -1]
    base = word_probability(machine, word[0])
    for horizon in (1, 2):
        expected = np.zeros(2)
        for tail in itertools.product(range(2), repeat=horizon):
            expected[tail[-1]] += word_probability(machine, (*word[0], *tail)) / base
        assert np.allclose(machine.ahead(belief, horizon)[0], expected, atol=1e-12)
    pair = machine.pairs(belief)[0]
    expected = [
        [word_probability(machine, (*word[0], x, y)) / base for y in range(2)]
        for x in range(2)
    ]
    assert np.allclose(pair, expected, atol=1e-12)


def test_distributions_equal_the_chain_rule(task):
    rows = task.evaluation_sets(4)[0].rows
    for cut in (1, 4, 5):
        joint = continuations(task, rows.tokens_RT[0, :cut].tolist(), 3)
        for horizon in (1, 2, 3):
            expected = np.zeros(len(task.vocabulary))
            for tail, probability in joint.items():
                expected[tail[horizon - 1]] += probability
            found = task.distributions(rows, horizon)[0, cut - 1]
            assert np.allclose(found, expected, atol=1e-12)


def test_realised_losses_average_to_the_entropy(task):
    """Monte Carlo over 4000 sequences against the exact conditional entropies."""
    rows = task.evaluation_sets(4000)[0].rows
    for horizon in (1, 2):
        floor = task.floor(rows, horizon)[:, :-horizon]
        exact = entropy(task.distributions(rows, horizon)[:, :-horizon])
        error = (floor - exact).mean(1)
        assert abs(error.mean()) < 4 * error.std() / math.sqrt(len(error))


def test_two_state_chain_has_the_textbook_entropies():
    a, b = 0.3, 0.1
    move = np.array([[1 - a, a], [b, 1 - b]])
    transitions = np.zeros((2, 2, 2))
    for s, v in itertools.product(range(2), repeat=2):
        transitions[s, v, v] = move[s, v]
    machine = Machine(transitions, np.array([0.5, 0.5]))
    pi = np.array([b, a]) / (a + b)
    assert np.allclose(machine.stationary(), pi)
    found = state_information(machine, pi)
    rate = pi[0] * binary(a) + pi[1] * binary(b)
    assert found.x == pytest.approx(rate, abs=1e-12)
    assert found.y_given_x == pytest.approx(rate, abs=1e-12)
    two = move @ move
    assert found.y == pytest.approx(
        pi[0] * binary(two[0, 0]) + pi[1] * binary(two[1, 1]), abs=1e-12
    )
    assert entropy_bounds(machine, 6) == pytest.approx((rate, rate), abs=1e-12)


def test_coupled_pairs_have_the_closed_form():
    config = SourcesConfig(family="coupled", symbols=5, slip=0.2, couplings=(0, 0.3, 1))
    task = config.build()
    h_x = binary(0.2) + 0.2 * math.log(4)
    for c in config.couplings:
        found = coupled_information(task, c)
        follow = np.full(5, (1 - c) / 5)
        follow[0] += c
        assert found.x == pytest.approx(h_x, abs=1e-12)
        assert found.y_given_x == pytest.approx(float(entropy(follow)), abs=1e-12)
    assert coupled_information(task, 0.0).mutual == pytest.approx(0, abs=1e-12)
    assert coupled_information(task, 1.0).mutual == pytest.approx(h_x, abs=1e-12)
    assert coupled_information(task, 1.0).x_given_y == pytest.approx(0, abs=1e-12)


def test_decomposition_is_exact_on_random_joints():
    rng = np.random.default_rng(0)
    pairs = rng.dirichlet(np.full(12, 0.3), 50).reshape(50, 3, 4)
    found = mean_information(pairs, rng.random(50))
    assert found.x == pytest.approx(found.x_given_y + found.mutual, abs=1e-10)
    left = found.x + found.y
    right = found.x_given_y + 2 * found.mutual + found.y_given_x
    assert left == pytest.approx(right, abs=1e-10)
    assert found.mutual > 0


def test_order_m_chain_predicts_from_m_tokens():
    """Known after two tokens; the state is what they were, the newest last."""
    task = FAMILIES["markov"].build()
    rows = task.evaluation_sets(200)[0].rows
    p_RTV = task.distributions(rows, 1)
    tokens = rows.tokens_RT - FIRST
    for row, t in ((0, 4), (7, 6), (30, 8)):
        state = tokens[row, t - 1] * 3 + tokens[row, t]
        assert np.allclose(p_RTV[row, t, FIRST:], task.machine.emission_SV[state])


def test_hidden_bounds_close_in_and_hold():
    machine = hidden_machine(np.random.default_rng(1), 3, 3, 0.5)
    short, long = entropy_bounds(machine, 2), entropy_bounds(machine, 7)
    assert short[0] <= long[0] <= long[1] <= short[1]
    assert long[1] - long[0] < 0.3 * (short[1] - short[0])
    drawn = machine.sample(np.random.default_rng(2), 1500, 40)
    p_RTV = machine.ahead(machine.beliefs(drawn)[:, 20:-1], 1)
    picked = np.take_along_axis(p_RTV, drawn[:, 21:, None], -1)
    rate = -np.log(picked).mean()
    assert long[0] - 0.02 < rate < long[1] + 0.02


def test_impossible_sequences_are_refused():
    task = FAMILIES["coupled"].build()
    with pytest.raises(ValueError, match="cannot emit"):
        task.distributions(task.one_per_row(np.full((1, task.length), FIRST)), 1)


def test_training_and_test_sequences_differ_and_repeat(task):
    train = task.train_rows(3, 0, task.length)
    assert np.array_equal(train.tokens_RT, task.train_rows(3, 0, task.length).tokens_RT)
    test = task.evaluation_sets(100)[0].rows.tokens_RT
    assert not np.array_equal(train.tokens_RT[:100], test)
    assert np.array_equal(task.evaluation_sets(40)[0].rows.tokens_RT, test[:40])


def test_parts_of_coupled_pairs():
    task = FAMILIES["coupled"].build()
    chosen = task.evaluation_sets(5)[0]
    names = [task.vocabulary[t] for t in chosen.rows.tokens_RT[0]]
    role = task.role(chosen, 1)[0]
    assert role[-1] == -1
    for t, number in enumerate(role[:-1]):
        name, token = task.roles[number], names[t + 1]
        assert {"m": "marker", "a": "clue", "b": "clue"}.get(token[0], "XY"["xy".find(
            token[0])]) == name.split(",")[0]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"family": "hidden", "order": 2}, "left at 1: it belongs to family 'markov'"),
        ({"symbols": 1}, "symbols must be from 2"),
        ({"family": "coupled", "couplings": (0.5, 1.5)}, "numbers from 0 to 1"),
        (
            {"family": "coupled", "couplings": (0.5, 0.5)},
            "different in their first six",
        ),
        (
            {"family": "coupled", "couplings": (0.1234561, 0.1234562)},
            "first six digits",
        ),
        ({"symbols": 30, "order": 3}, "too many for exact filtering"),
    ],
)
def test_impossible_sources_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SourcesConfig(**fields)

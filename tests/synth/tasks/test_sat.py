"""Satisfiability: formulas against plain truth tables, the verifier, the references."""

import math
from itertools import product

import numpy as np
import pytest

from synth.tasks.sat import SatConfig
from synth.tasks.task import TokenScores

CONFIG = SatConfig(variables=5)


def parsed(task, row):
    """Clauses as lists of signed integers, and the answer."""
    words = " ".join(task.vocabulary[token] for token in row)
    question, answer = words.split(" = ")
    clauses = [[int(word) for word in clause.split()] for clause in question.split("|")]
    return clauses, [int(word) for word in answer.split()]


def holds(clause, assignment):
    return any(literal in assignment for literal in clause)


def satisfying(clauses, variables=5):
    """All assignments that make every clause true, tried one by one."""
    found = []
    for signs in product((1, -1), repeat=variables):
        assignment = [sign * (1 + v) for v, sign in enumerate(signs)]
        if all(holds(clause, assignment) for clause in clauses):
            found.append(assignment)
    return found


@pytest.fixture(scope="module")
def task():
    return CONFIG.build()


@pytest.fixture(scope="module")
def chosen(task):
    return task.evaluation_sets(60)[0]


def test_formulas_are_clauses_of_three_variables_and_the_answer_satisfies(task, chosen):
    for row, floor in zip(
        chosen.rows.tokens_RT, chosen.labels["random_floor"], strict=True
    ):
        clauses, answer = parsed(task, row)
        assert len(clauses) == round(4.26 * 5)
        for clause in clauses:
            variables = [abs(literal) for literal in clause]
            assert sorted(set(variables)) == variables
            assert len(variables) == 3
        right = satisfying(clauses)
        assert answer in right
        assert floor == len(right) / 32


def test_signs_are_fair_and_every_satisfying_assignment_is_shown_equally_often():
    task = SatConfig(variables=4, ratio=1).build()
    tokens, _ = task.draw(np.random.default_rng(0), 3000)
    literals = task.literals(tokens)
    assert (literals >= 4).mean() == pytest.approx(0.5, abs=0.02)
    satisfied = task.satisfied(literals)
    shown = ((tokens[:, -4:] - 3 < 4) << np.arange(4)).sum(axis=1)
    assert satisfied[np.arange(len(shown)), shown].all()
    rank = satisfied.cumsum(axis=1)[np.arange(len(shown)), shown]
    share = (rank - 0.5) / satisfied.sum(axis=1)
    assert np.histogram(share, 4, (0, 1))[0] / len(share) == pytest.approx(
        0.25, abs=0.03
    )


def test_the_verifier_takes_every_satisfying_assignment_and_nothing_else(task, chosen):
    row = chosen.rows.tokens_RT[0]
    clauses, _ = parsed(task, row)
    ids = {word: number for number, word in enumerate(task.vocabulary)}
    rows, expected = [], []
    for signs in product((1, -1), repeat=5):
        assignment = [sign * (1 + v) for v, sign in enumerate(signs)]
        answer = [ids[str(literal)] for literal in assignment]
        rows.append([*row[: task.answer_start], *answer])
        expected.append([holds(clause, assignment) for clause in clauses])
    assert np.array_equal(task.judge(np.array(rows)), expected)


def test_answers_that_do_not_name_every_variable_in_turn_are_wrong(task, chosen):
    rows = np.repeat(chosen.rows.tokens_RT[:1], 4, axis=0)
    start = task.answer_start
    rows[1, [start, start + 1]] = rows[1, [start + 1, start]]
    rows[2, start] = 1
    rows[3, start] = 0
    found = {s.metric: s.value for s in task.verify(chosen, rows)}
    assert found == {"verified": 0.25, "clauses": 0.25}


def test_a_majority_vote_counts_literals(task, chosen):
    voted = task.by_majority(chosen.rows.tokens_RT)
    for row, vote in zip(chosen.rows.tokens_RT, voted, strict=True):
        clauses, _ = parsed(task, row)
        said = [literal for clause in clauses for literal in clause]
        _, answer = parsed(task, vote)
        expected = [v if said.count(v) >= said.count(-v) else -v for v in range(1, 6)]
        assert answer == expected
    right = task.judge(voted).all(axis=1)
    assert np.array_equal(right, chosen.labels["majority"])
    assert 0.1 < right.mean() < 0.6


def test_a_uniform_choice_among_what_satisfies_has_the_loss_of_the_floor(task, chosen):
    """Token by token: the share of those that agree so far and go on like the answer."""
    nats = []
    for row in chosen.rows.tokens_RT:
        clauses, _ = parsed(task, row)
        right = satisfying(clauses)
        for answer in right:
            agree = right
            for place, literal in enumerate(answer):
                going_on = [one for one in agree if one[place] == literal]
                nats.append(math.log(len(agree) / len(going_on)) / len(right))
                agree = going_on
    valid = np.ones((1, *chosen.rows.tokens_RT.shape), bool)
    scores = TokenScores(np.zeros(valid.shape), valid, valid)
    found = {score.metric: score.value for score in task.score(chosen, scores)}
    assert found["loss_floor"] == pytest.approx(sum(nats) / 5 / len(chosen.rows))


def test_the_split_does_not_see_the_order_of_clauses(task):
    tokens, problems = task.draw(np.random.default_rng(0), 50)
    for row, problem in zip(tokens, problems, strict=True):
        clauses, _ = parsed(task, row)
        codes = [
            sum(
                (abs(x) - 1 + 5 * (x < 0)) * power
                for x, power in zip(clause, (100, 10, 1), strict=True)
            )
            for clause in clauses
        ]
        assert problem.tolist() == sorted(codes)

"""Countdown: derivations against a plain player, the verifier, the exact floor."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from synth.tasks.countdown import CountdownConfig


def parsed(task, row):
    """Numbers, target and operations of a printed game."""
    words = [task.vocabulary[token] for token in row]
    *question, bar = words[: task.answer_start]
    assert bar == "|"
    *numbers, target = [int(word) for word in question if word != "."]
    text = " ".join(words[task.answer_start :])
    return numbers, target, [step.split() for step in text.split(" , ")]


def results(large, small, largest):
    """Results of the allowed operations, as the docstring has them."""
    found = [large + small] if large + small <= largest else []
    found += [large - small] if large > small else []
    if small > 1:
        found += [large * small] if large * small <= largest else []
        found += [large // small] if large % small == 0 else []
    return found


def chance(at_hand, target, largest):
    """Probability that random play ends on the target, by plain recursion."""
    if len(at_hand) == 1:
        return Fraction(at_hand[0] == target)
    total = Fraction(0)
    pairs = list(combinations(range(len(at_hand)), 2))
    for pair in pairs:
        rest = [n for place, n in enumerate(at_hand) if place not in pair]
        small, large = sorted(at_hand[place] for place in pair)
        ends = results(large, small, largest)
        for end in ends:
            total += chance([*rest, end], target, largest) / len(ends)
    return total / len(pairs)


@pytest.mark.parametrize("numbers", [3, 4, 5])
def test_derivations_use_what_is_at_hand_and_end_on_the_target(numbers):
    task = CountdownConfig(numbers=numbers, pause_tokens=2).build()
    tokens, problems = task.draw(np.random.default_rng(0), 300)
    for row, problem in zip(tokens, problems, strict=True):
        given, target, steps = parsed(task, row)
        assert problem.tolist() == [*sorted(given), target]
        assert max(given) <= 25
        assert len(steps) == numbers - 1
        at_hand = list(given)
        for large, operator, small, equals, result in steps:
            at_hand.remove(int(large))
            at_hand.remove(int(small))
            at_hand.append(int(result))
            assert equals == "="
            assert int(large) >= int(small)
            assert eval(large + operator + small) == int(result)
            assert int(result) in results(int(large), int(small), 200)
        assert at_hand == [target]
    assert all(judged.all() for judged in task.judge(tokens))


def test_random_play_ends_on_the_target_as_often_as_the_floor_says():
    task = CountdownConfig().build()
    (chosen,) = task.evaluation_sets(12)
    for row, floor in zip(
        chosen.rows.tokens_RT, chosen.labels["random_floor"], strict=True
    ):
        given, target, _ = parsed(task, row)
        assert floor == pytest.approx(float(chance(given, target, 200)))
    score = {s.metric: s.value for s in task.verify(chosen, chosen.rows.tokens_RT)}
    assert score == {"verified": 1, "legal": 1}


def test_games_end_as_often_as_the_floor_says():
    """Ends of 2, 3, 5 and 7, given in any order: within four standard errors."""
    task = CountdownConfig(largest_given=8).build()
    _, problems = task.draw(np.random.default_rng(0), 600_000)
    ends = problems[(problems[:, :4] == (2, 3, 5, 7)).all(1), 4]
    assert len(ends) > 3000
    found = np.bincount(ends, minlength=201)[1:] / len(ends)
    share = task.random_floor(np.full((200, 4), (2, 3, 5, 7)), np.arange(1, 201))
    assert share.sum() == pytest.approx(1)
    assert (abs(found - share) <= 4 * np.sqrt(share * (1 - share) / len(ends))).all()


def test_a_last_result_that_is_no_number_is_not_legal():
    task = CountdownConfig(numbers=3).build()
    game = "3 4 7 14 | 3 + 4 = 7 , 7 - 7 = |".split()
    legal, _ = task.judge(np.array([[task.vocabulary.index(word) for word in game]]))
    assert not legal.any()


GAME = "3 4 5 17 | "
JUDGED = {
    "4 * 5 = 20 , 20 - 3 = 17": (True, True),
    "5 * 4 = 20 , 20 - 3 = 17": (True, True),
    "3 + 4 = 7 , 7 + 5 = 12": (True, False),  # not the target
    "4 * 5 = 20 , 21 - 4 = 17": (False, False),  # 21 is not at hand
    "4 * 5 = 20 , 20 - 5 = 15": (False, False),  # 5 is used up
    "12 + 5 = 17 , 12 + 5 = 17": (False, False),  # never given
    "17 - 5 = 12 , 12 + 4 = 16": (False, False),  # the target is not at hand
    "4 * 5 = 21 , 21 - 4 = 17": (False, False),  # false
    "4 - 5 = 1 , 1 + 3 = 4": (False, False),  # negative
    "5 / 4 = 1 , 1 + 3 = 4": (False, False),  # not whole
    "4 * 5 = 20 - 20 - 3 = 17": (False, False),  # no comma
    "4 = 5 = 20 , 20 - 3 = 17": (False, False),  # no operator
    "4 = 5 = 9 , 9 + 3 = 12": (False, False),  # nor is one guessed
    "4 * 5 , 20 , 20 - 3 = 17": (False, False),  # no equals sign
    "4 * = = 20 , 20 - 3 = 17": (False, False),  # no number
}


def test_the_verifier_takes_right_derivations_alone():
    task = CountdownConfig(numbers=3).build()
    ids = {word: number for number, word in enumerate(task.vocabulary)}
    rows = np.array([[ids[word] for word in (GAME + text).split()] for text in JUDGED])
    assert rows.shape[1] == task.length
    legal, right = task.judge(rows.astype(np.int16))
    found = dict(
        zip(JUDGED, zip(legal.tolist(), right.tolist(), strict=True), strict=True)
    )
    assert found == JUDGED


def test_the_verifier_survives_any_tokens():
    task = CountdownConfig().build()
    tokens = np.random.default_rng(0).integers(
        0, len(task.vocabulary), (500, task.length)
    )
    legal, right = task.judge(tokens)
    assert not legal.any()
    assert not right.any()

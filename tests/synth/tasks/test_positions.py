"""Accuracy by position: against a slow count; the bins."""

from collections import defaultdict

import numpy as np
import pytest

from synth.tasks.positions import BINS
from synth.tasks.task import EvaluationSet, Rows, TokenScores, prediction_scores


@pytest.mark.parametrize("answers", [False, True])
def test_each_target_counts_at_its_place_in_its_example_or_answer(answers):
    rng = np.random.default_rng(0)
    shape = (6, 70)
    example_RT = np.sort(rng.integers(1, 4, shape), axis=1)
    answer_RT = rng.random(shape) < 0.5
    rows = Rows(rng.integers(1, 9, shape), example_RT, answer_RT)
    correct_NRT = rng.random((2, *shape)) < 0.5
    loss_NRT, valid_NRT = rng.random((2, *shape)), np.zeros((2, *shape), bool)
    expected, losses = defaultdict(list), defaultdict(list)
    for row, horizon, at in np.ndindex(6, 2, 70):
        target = at + horizon + 1
        if target >= 70 or example_RT[row, at] != example_RT[row, target]:
            continue
        valid_NRT[horizon, row, at] = True
        if answers and not answer_RT[row, target]:
            continue
        begin = example_RT[row].tolist().index(example_RT[row, target])
        counted = answer_RT[row] if answers else np.ones(70, bool)
        place = int(counted[begin : target + 1].sum())
        last = next(bound for bound in BINS if bound >= place)
        label = f"horizon={horizon + 1},position={last}"
        expected[label].append(correct_NRT[horizon, row, at])
        losses[f"horizon={horizon + 1}"].append(loss_NRT[horizon, row, at])
    scores = TokenScores(loss_NRT, correct_NRT, valid_NRT)
    found = prediction_scores(
        EvaluationSet("test", rows), scores, metrics=("loss",), answers=answers
    )
    for metric, wanted in (("accuracy", expected), ("loss", losses)):
        measured = {s.slice: (s.value, s.count) for s in found if s.metric == metric}
        assert measured == {
            label: (pytest.approx(np.mean(values)), len(values))
            for label, values in wanted.items()
        }


def test_bins_are_single_up_to_sixteen_and_then_two_an_octave():
    assert BINS[:20] == (*range(1, 17), 24, 32, 48, 64)
    assert BINS[-1] == 1 << 16

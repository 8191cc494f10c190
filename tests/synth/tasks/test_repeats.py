import hashlib

import numpy as np
import pytest

from synth.tasks.repeats import Repeats, RepeatsConfig, side_of
from synth.tasks.task import TokenScores


def test_rows_repeat_their_segment():
    task = RepeatsConfig().build()
    rows, periods = task.train_rows(0, 0, 64), set()
    for tokens, answer in zip(rows.tokens_RT[:200], rows.answer_RT, strict=False):
        period = int(np.flatnonzero(tokens[1:] == tokens[0])[0]) + 1
        periods.add(period)
        assert len(set(tokens[:period].tolist())) == period
        assert (tokens[period:] == tokens[:-period]).all()
        assert answer.tolist() == [t > period for t in range(64)]
    assert periods == set(range(8, 25))


def test_rows_depend_on_seed_and_block_alone():
    def digest(seed, block):
        tokens = Repeats(RepeatsConfig()).train_rows(seed, block, 64).tokens_RT
        return hashlib.sha256(tokens.tobytes()).hexdigest()

    assert digest(0, 1) == digest(0, 1)
    assert len({digest(0, 0), digest(0, 1), digest(1, 0)}) == 3


def test_a_block_has_a_row_however_long():
    assert RepeatsConfig().build().train_rows(0, 0, 1 << 17).tokens_RT.shape == (
        1,
        1 << 17,
    )


def test_train_and_test_are_disjoint():
    task = RepeatsConfig().build()
    assert (side_of(task.train_rows(0, 0, 64).tokens_RT) > 0).all()
    (few,), (more,) = task.evaluation_sets(20), task.evaluation_sets(100)
    assert (side_of(more.rows.tokens_RT) == 0).all()
    assert (few.rows.tokens_RT == more.rows.tokens_RT[:20]).all()


def test_an_eighth_is_for_testing():
    rng = np.random.default_rng(0)
    segments = rng.random((20_000, 64)).argsort(1)[:, :8] + 1
    assert (side_of(segments) == 0).mean() == pytest.approx(1 / 8, abs=0.01)
    for place in range(8):  # by the first three tokens, each of them
        other = segments.copy()
        other[:, place] = other[:, place] % 64 + 1
        moved = (side_of(other) != side_of(segments)).mean()
        assert moved > 0.8 if place < 3 else moved == 0


def test_scores_equal_a_slow_loop():
    """Of head 1, among two heads that are right at random."""
    task = RepeatsConfig().build()
    (chosen,) = task.evaluation_sets(30)
    rows, length = chosen.rows.tokens_RT, chosen.rows.tokens_RT.shape[1]
    rng = np.random.default_rng(0)
    correct = rng.random((2, *rows.shape)) < 0.5
    loss = rng.random(correct.shape)
    valid = np.ones(correct.shape, bool)
    valid[0, :, -1:] = valid[1, :, -2:] = False
    hits, rounds, floors, losses = [], [], [], ([], [])
    for r, tokens in enumerate(rows.tolist()):
        period = tokens.index(tokens[0], 1)
        for t in range(length):
            for ahead in (1, 2):
                if period < t + ahead < length:
                    losses[ahead - 1].append(loss[ahead - 1, r, t])
            if period < t + 1 < length:
                hits.append(correct[0, r, t])
                rounds.append((t + 1) // period)
                floors.append(1 / period)
    found = {
        (s.metric, s.slice): s.value
        for s in task.score(chosen, TokenScores(loss, correct, valid))
    }
    hits, rounds = np.array(hits), np.array(rounds)
    expected = {
        ("accuracy", ""): hits.mean(),
        ("accuracy", "round=1"): hits[rounds == 1].mean(),
        ("accuracy", "round=2"): hits[rounds == 2].mean(),
        ("floor", ""): np.mean(floors),
        ("loss", "horizon=1"): np.mean(losses[0]),
        ("loss", "horizon=2"): np.mean(losses[1]),
    }
    whole = {name: x for name, x in found.items() if "position=" not in name[1]}
    assert whole == pytest.approx(expected)


def test_scores():
    task = RepeatsConfig().build()
    (chosen,) = task.evaluation_sets(10)
    shape = (1, *chosen.rows.tokens_RT.shape)
    right = np.zeros(shape, bool)
    right[0, :, :-1] = chosen.rows.answer_RT[:, 1:]
    valid = np.ones(shape, bool)
    valid[..., -1] = False
    found = {
        (s.metric, s.slice): s.value
        for s in task.score(chosen, TokenScores(np.ones(shape), right, valid))
    }
    assert found["accuracy", ""] == found["accuracy", "round=1"] == 1.0
    assert found["loss", "horizon=1"] == 1.0
    assert 1 / 24 <= found["floor", ""] <= 1 / 8


@pytest.mark.parametrize(
    ("field", "value"), [("symbols", 4), ("min_period", 2), ("max_period", 100)]
)
def test_refuses_impossible_segments(field, value):
    with pytest.raises(ValueError, match=f"RepeatsConfig.{field} must be"):
        RepeatsConfig(**{field: value})

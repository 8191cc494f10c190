"""Both sides of the decomposition, on random joints and on a run."""

import numpy as np
import pytest
import torch

from synth.probes.information import (
    decompose,
    information_scores,
    measure_information,
    pair_predictions,
)
from synth.tasks.machines import mean_information
from synth.trained.loading import load
from tests.synth.tasks.test_sources import coupled_information


@pytest.fixture(scope="module")
def loaded(source_folder):
    run = load(source_folder)
    return run.model, run.task, run.task.evaluation_sets(60)[0]


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.full(20, 0.3), 300).reshape(300, 4, 5)
    q = rng.dirichlet(np.full(20, 0.3), 300).reshape(300, 4, 5) + 1e-9
    return p, np.log(q / q.sum((1, 2), keepdims=True))


def test_identities_hold_to_1e10(pairs):
    p, log_q = pairs
    for log_q_y in (None, np.log(np.random.default_rng(1).dirichlet(np.ones(5), 300))):
        found = decompose(p, log_q, log_q_y)
        assert abs(found.x_error) < 1e-10
        assert abs(found.sum_error) < 1e-10
        assert abs(found.joint - found.y - found.x_given_y) < 1e-10


def test_a_perfect_model_has_the_exact_values(pairs):
    p, _ = pairs
    exact = mean_information(p, np.ones(300))
    found = decompose(p, np.log(np.maximum(p, 1e-300)))
    for name in ("x", "y", "joint", "x_given_y", "y_given_x", "mutual"):
        assert getattr(found, name) == pytest.approx(getattr(exact, name), abs=1e-10)


def test_cross_entropies_are_never_below_entropies(pairs):
    p, log_q = pairs
    exact, found = mean_information(p, np.ones(300)), decompose(p, log_q)
    for name in ("x", "y", "joint", "x_given_y", "y_given_x"):
        assert getattr(found, name) > getattr(exact, name)


def test_relative_information_may_be_negative():
    """Of 1000 random 2 x 2 pairs most are negative, as the literature notes."""
    rng = np.random.default_rng(0)
    values = [
        decompose(
            rng.dirichlet(np.ones(4)).reshape(1, 2, 2),
            np.log(rng.dirichlet(np.ones(4)).reshape(1, 2, 2)),
        ).mutual
        for _ in range(1000)
    ]
    assert 600 < np.sum(np.array(values) < 0) < 730


def test_terms_by_a_slow_loop():
    rng = np.random.default_rng(2)
    p, q = (rng.dirichlet(np.ones(6)).reshape(2, 3) for _ in range(2))
    found = decompose(p[None], np.log(q)[None])
    given = 0.0
    for y in range(3):
        for x in range(2):
            given -= p[x, y] * np.log(q[x, y] / q[:, y].sum())
    assert found.x_given_y == pytest.approx(given)
    apart = np.outer(q.sum(1), q.sum(0))
    mutual = (p * np.log(p / apart)).sum() - (p * np.log(p / q)).sum()
    assert found.mutual == pytest.approx(mutual)


def test_chain_predictions_equal_single_passes(loaded):
    model, _, chosen = loaded
    tokens = chosen.rows.tokens_RT
    t_B = np.array([3, 3, 8])
    chain, second = pair_predictions(model, tokens[:3], t_B)
    for row, t in enumerate(t_B):
        shown = torch.from_numpy(tokens[row, : t + 1].astype(np.int64))
        logs = model(shown[None, None])[:, 0, 0, -1].double().log_softmax(-1)
        assert np.allclose(second[row], logs[1], atol=1e-5)
        for x in (2, 9):
            tried = torch.cat([shown, torch.tensor([x])])
            after = model(tried[None, None])[0, 0, 0, -1].double().log_softmax(-1)
            assert np.allclose(chain[row, x], logs[0][x] + after, atol=1e-5)
    assert np.allclose(np.exp(chain).sum((1, 2)), 1)


def test_a_run_is_measured_by_coupling_against_closed_forms(loaded):
    model, task, chosen = loaded
    reports = {r.prefixes: r for r in measure_information(model, task, chosen, 20)}
    assert set(reports) == {"coupling=0", "coupling=1"}
    for coupling in (0.0, 1.0):
        report = reports[f"coupling={coupling:g}"]
        closed = coupled_information(task, coupling)
        assert report.exact.x == pytest.approx(closed.x, abs=1e-10)
        assert report.exact.mutual == pytest.approx(closed.mutual, abs=1e-10)
        assert set(report.model) == {"chain", "heads"}
        for values in report.model.values():
            assert abs(values.x_error) < 1e-10
            assert abs(values.sum_error) < 1e-10
            assert values.x > closed.x


def test_scores_name_the_distribution(loaded):
    model, task, chosen = loaded
    scores = information_scores(model, task, chosen, 4)
    labels = {(s.metric, s.slice) for s in scores}
    assert ("relative_information", "prefixes=coupling=1,q=heads") in labels
    assert ("mutual_information", "prefixes=coupling=1") in labels
    assert ("divergence", "horizon=1,role=X,coupling=1") in labels
    assert len(labels) == len(scores)

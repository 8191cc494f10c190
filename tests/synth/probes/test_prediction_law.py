"""The law's statistics against plainer computations and known answers."""

import math

import numpy as np
import pytest
import torch

from synth.probes.least_squares import Moments
from synth.probes.prediction_law import (
    fit_law,
    held_out_residuals,
    one_hot_residual,
    residuals,
    separation_fuzziness,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def in_sample_residuals(features_LND, targets_N):
    """The reference statistic of each layer, (L,)."""
    found = []
    for features in features_LND:
        moments = Moments(features.shape[1], 1)
        moments.add(torch.as_tensor(features), torch.as_tensor(targets_N)[:, None])
        found.append(residuals(moments).in_sample_M.item())
    return np.array(found)


def plain_residual(x, y):
    """OLS with intercept by a QR solver, over the variance."""
    design = np.column_stack([np.ones(len(x)), x])
    error = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return np.mean(error**2) / np.var(y)


def reference_layers():
    """The published check: eight layers whose noise falls by 0.7 each."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 500, 2000)
    w = rng.normal(size=32)
    z = (y - y.mean()) / y.std()
    noise = [2 * 0.7**layer * rng.normal(size=(2000, 32)) for layer in range(8)]
    return np.stack([np.outer(z, w) + part for part in noise]), y


def moments_of(x, y, classes=None, num_classes=0):
    moments = Moments(x.shape[1], 1, num_classes)
    chosen = None if classes is None else torch.as_tensor(classes)
    moments.add(torch.as_tensor(x), torch.as_tensor(y)[:, None], chosen)
    return moments


def test_published_numbers():
    x_LND, y = reference_layers()
    found = in_sample_residuals(x_LND, y)
    expected = [0.099171, 0.051092, 0.027015, 0.013287]
    expected += [0.006703, 0.003122, 0.001640, 0.000809]
    assert np.allclose(found, expected, atol=5e-7, rtol=0)
    assert round(fit_law(found).pearson, 4) == -0.9998


def test_equals_a_qr_solver_to_1e10():
    x_LND, y = reference_layers()
    for x, found in zip(x_LND, in_sample_residuals(x_LND, y), strict=True):
        assert abs(found - plain_residual(x, y)) < 1e-10


def test_equals_scikit_learn_to_1e10(rng):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = rng.normal(size=(900, 24)) @ rng.normal(size=(24, 24)), rng.normal(size=900)
    score = linear_model.LinearRegression().fit(x, y).score(x, y)
    assert abs(in_sample_residuals([x], y)[0] - (1 - score)) < 1e-10


def test_large_means_and_unequal_scales_cost_no_digits(rng):
    x = rng.normal(size=(3000, 16)) * np.logspace(-4, 4, 16) + 1e5
    y = x @ np.logspace(4, -4, 16) + rng.normal(size=3000)
    z = (x - x.mean(0)) / x.std(0)
    assert in_sample_residuals([x], y)[0] == pytest.approx(
        plain_residual(z, y), rel=1e-6
    )


def test_streaming_in_pieces_and_merging_equal_one_pass(rng):
    x, y = rng.normal(size=(5000, 9)) + 7, rng.normal(size=5000)
    classes = rng.integers(0, 4, 5000)
    whole = moments_of(x, y, classes, 4)
    parts = [
        moments_of(x[a:b], y[a:b], classes[a:b], 4)
        for a, b in ((0, 1), (1, 17), (17, 4999), (4999, 5000))
    ]
    merged = parts[0] + parts[1] + parts[2] + parts[3]
    assert merged.count == 5000
    assert torch.allclose(merged.mean_P, whole.mean_P, rtol=1e-12)
    assert torch.allclose(merged.products_PP, whole.products_PP, rtol=1e-10)
    assert torch.allclose(merged.class_products_DC, whole.class_products_DC, atol=1e-8)


def test_dependent_and_constant_features_change_nothing(rng):
    x, y = rng.normal(size=(800, 5)), rng.normal(size=800)
    wide = np.column_stack([x, x @ rng.normal(size=(5, 3)), np.full(800, 3.0)])
    found = residuals(moments_of(wide, y))
    assert found.rank == 5
    assert found.in_sample_M.item() == pytest.approx(plain_residual(x, y), abs=1e-10)


def test_noise_shows_the_bias_and_both_remedies(rng):
    count, width = 600, 150
    plain, adjusted, held_out = [], [], []
    for _ in range(12):
        x, y = rng.normal(size=(count, width)), rng.normal(size=count)
        found = residuals(moments_of(x, y))
        plain.append(found.in_sample_M.item())
        adjusted.append(found.adjusted_M.item())
        folds = [moments_of(x[i::4], y[i::4]) for i in range(4)]
        held_out.append(held_out_residuals(folds).item())
    assert np.mean(plain) == pytest.approx(1 - width / (count - 1), abs=0.02)
    assert np.mean(adjusted) == pytest.approx(1, abs=0.03)
    assert np.mean(held_out) > 1.1  # an overfitted noise model predicts worse than none


def test_held_out_equals_fitting_and_predicting(rng):
    x = rng.normal(size=(400, 6)) + 2
    y = x @ rng.normal(size=6) + rng.normal(size=400)
    left = total = 0.0
    for fold in range(3):
        test = np.arange(400) % 3 == fold
        design = np.column_stack([np.ones(400), x])
        slopes = np.linalg.lstsq(design[~test], y[~test], rcond=None)[0]
        left += np.sum((y[test] - design[test] @ slopes) ** 2)
        total += np.sum((y[test] - y[~test].mean()) ** 2)
    folds = [moments_of(x[np.arange(400) % 3 == f], y[np.arange(400) % 3 == f])
             for f in range(3)]  # fmt: skip
    assert held_out_residuals(folds).item() == pytest.approx(left / total, rel=1e-10)


def test_one_hot_equals_written_out_targets(rng):
    classes = rng.integers(0, 5, 700)
    x = rng.normal(size=(700, 8)) + np.eye(5, 8)[classes]
    targets = np.eye(5)[classes]
    left = sum(plain_residual(x, t) * t.var() for t in targets.T)
    found = one_hot_residual(moments_of(x, classes * 1.0, classes, 5))
    assert found == pytest.approx(left / targets.var(0).sum(), rel=1e-10)


def test_fuzziness_equals_its_definition(rng):
    classes = rng.integers(0, 4, 300)
    x = rng.normal(size=(300, 6)) + 2 * np.eye(4, 6)[classes]
    within, between = np.zeros((6, 6)), np.zeros((6, 6))
    for c in range(4):
        rows = x[classes == c]
        within += (rows - rows.mean(0)).T @ (rows - rows.mean(0))
        step = rows.mean(0) - x.mean(0)
        between += len(rows) * np.outer(step, step)
    expected = np.trace(within @ np.linalg.pinv(between, hermitian=True))
    found = separation_fuzziness(moments_of(x, classes * 1.0, classes, 4))
    assert found == pytest.approx(expected, rel=1e-8)


def test_geometric_residuals_are_recovered(rng):
    """States that carry the id with a known noise share have that residual."""
    y = rng.normal(size=40_000)
    wanted = 0.6 * 0.5 ** np.arange(5)
    layers = [np.sqrt(1 - r) * y + np.sqrt(r) * rng.normal(size=y.size) for r in wanted]
    found = in_sample_residuals([x[:, None] for x in layers], y)
    assert np.allclose(found, wanted, rtol=0.03)
    fit = fit_law(found)
    assert fit.factor == pytest.approx(0.5, abs=0.01)
    assert fit.slope_low < math.log10(0.5) < fit.slope_high


def test_fit_equals_polyfit_and_counts_straight_nulls(rng):
    values = 10 ** -np.sort(rng.random(9))
    fit = fit_law(values)
    slope, intercept = np.polyfit(np.arange(1, 10), np.log10(values), 1)
    assert (fit.slope, fit.intercept) == pytest.approx((slope, intercept))
    assert fit.pearson == pytest.approx(np.corrcoef(range(9), np.log10(values))[0, 1])
    # A draw from the null itself is nothing special; a perfect line is.
    assert 0.005 < fit.null_share < 0.995
    assert fit_law(0.9 ** np.arange(9)).null_share == 0


@pytest.mark.parametrize(("layers", "mean"), [(5, 0.95), (10, 0.97), (25, 0.985)])
def test_null_agrees_with_measured_means(layers, mean):
    assert fit_law(0.5 ** np.arange(layers)).null_pearson == pytest.approx(
        mean, abs=8e-3
    )


@pytest.mark.parametrize("bad", [[0.5], [0.5, 0.0, 0.1], [0.5, math.nan, 0.1]])
def test_impossible_residuals_are_refused(bad):
    with pytest.raises(ValueError, match=r"at least 2 layers|finite and above 0"):
        fit_law(bad)


def test_constant_targets_are_refused():
    with pytest.raises(ValueError, match="targets that vary"):
        in_sample_residuals(np.ones((1, 5, 2)), np.ones(5))


def test_two_layers_have_no_interval():
    fit = fit_law([0.5, 0.25])
    assert fit.slope_high == math.inf
    assert fit.factor == pytest.approx(0.5)


@pytest.mark.parametrize("layers", [3, 4, 5, 10, 37])
def test_the_interval_of_the_slope_is_that_of_scipy(layers):
    stats = pytest.importorskip("scipy.stats")
    exponents = np.random.default_rng(layers).uniform(-3, 0, layers)
    fit = fit_law(10**exponents)
    line = stats.linregress(np.arange(1, layers + 1), exponents)
    width = stats.t.ppf(0.975, layers - 2) * line.stderr
    assert fit.slope == pytest.approx(line.slope)
    assert fit.slope_high == pytest.approx(line.slope + width)
    assert fit.slope_low == pytest.approx(line.slope - width)

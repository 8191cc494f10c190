"""The law of next-token prediction (arXiv 2408.13442): residuals by layer, their line.

The prediction residual of a layer is what ordinary least squares with an intercept,
from the layer's state to the integer id of the next token, leaves of the ids' variance:
1 - R^2, fitted and evaluated on the same data. The law: it falls by the same factor in
every layer, PR_l = rho^(l-1) PR_1, a straight line of log10 PR against l.

Two pitfalls, and what answers them. Noise alone gives PR = 1 - D/(N-1) in
sample: `adjusted` removes that bias and held-out residuals never have it. Any falling
sequence has a high Pearson correlation with the layer: `LawFit.null_share` compares
with sorted uniform draws, which fall and obey no law.

Letters in names: L layers, N observations, D width, M targets, F folds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import add

import numpy as np
import torch
from scipy.special import stdtrit
from torch import Tensor

from synth.probes.least_squares import Moments, Solution, Spectrum
from synth.seeding import generator

NULL_DRAWS = 20_000
"""Sorted uniform sequences behind `LawFit.null_share`."""


@dataclass(frozen=True)
class Residuals:
    """Prediction residuals of one layer, one for each target."""

    in_sample_M: Tensor
    """The reference statistic: residual over total sum of squares."""
    adjusted_M: Tensor
    """With the bias removed, (N-1) / (N-1-rank) times as much: 1 on noise. NaN when
    there are no more observations than features."""
    rank: int
    count: int


def residuals(moments: Moments) -> Residuals:
    """In-sample residuals of every target of `moments`.

    Raises `ValueError` when a target does not vary: it has no variance to explain.
    """
    squares_M = moments.target_squares_M
    if moments.count < 2 or not bool((squares_M > 0).all()):
        raise ValueError(
            f"A prediction residual needs targets that vary; got {moments.count} "
            "observations with a constant target. Use more tokens."
        )
    solution = Solution.of(moments)
    in_sample_M = solution.residual_M / squares_M
    free = moments.count - 1 - solution.rank
    factor = (moments.count - 1) / free if free > 0 else math.nan
    return Residuals(in_sample_M, in_sample_M * factor, solution.rank, moments.count)


def held_out_residuals(folds_F: Sequence[Moments]) -> Tensor:
    """Residuals on data that the fit has not seen: each fold in turn is left out.

    Sums of squared errors over all folds, against squared distances from the mean of
    the fitted folds; above 1 where the fit does worse than that mean. Shape (M,).
    """
    if len(folds_F) < 2:
        raise ValueError(
            f"Held-out residuals need at least 2 folds; got {len(folds_F)}."
        )
    left: Tensor | float = 0.0
    total: Tensor | float = 0.0
    for index, fold in enumerate(folds_F):
        if fold.count == 0:
            continue
        rest = reduce(add, [m for i, m in enumerate(folds_F) if i != index])
        left = left + Solution.of(rest).residual_on(fold)
        width = fold.num_features
        shift_M = fold.mean_P[width:] - rest.mean_P[width:]
        total = total + fold.target_squares_M + fold.count * shift_M.square()
    assert isinstance(left, Tensor)
    return left / total


def one_hot_residual(moments: Moments) -> float:
    """The residual with one 0/1 target per class, squares summed over classes.

    Independent of how tokens are numbered, unlike the residual of the id.
    """
    spectrum = Spectrum.of(moments.feature_products_DD)
    explained = spectrum.quadratic(moments.class_products_DC).sum()
    return float(1 - explained / moments.class_squares_C.sum())


def separation_fuzziness(moments: Moments) -> float:
    """Trace of within-class products times the pseudo-inverse of between-class ones.

    The control statistic of the reference, with the next token as the class: small when
    states of different next tokens lie apart.
    """
    seen = moments.class_count_C > 0
    products_DC = moments.class_products_DC[:, seen]
    count_C = moments.class_count_C[seen]
    between_DD = (products_DC / count_C) @ products_DC.T
    within_DD = moments.feature_products_DD - between_DD
    return float((torch.linalg.pinv(between_DD, hermitian=True) * within_DD).sum())


@dataclass(frozen=True)
class LawFit:
    """The line log10 PR_l = intercept + slope l over layers 1..L, and its quality."""

    layers: int
    slope: float
    slope_low: float
    slope_high: float
    """95 % t interval of the slope; infinite with two layers."""
    intercept: float
    factor: float
    """rho = 10^slope: the share of the residual that a layer leaves."""
    r_squared: float
    pearson: float
    rms_residual: float
    """Root mean square distance from the line, in decades."""
    worst_residual: float
    """Largest distance from the line, in decades."""
    overall: float
    """PR_L / PR_1."""
    null_pearson: float
    """Mean |Pearson| of sorted uniform draws at as many layers."""
    null_share: float
    """Share of those draws that lie as close to a line, relative to their spread."""


def fit_law(residuals_L: Sequence[float] | np.ndarray) -> LawFit:
    """Fit the law to the residuals of layers 1..L (the embedding left out).

    Raises `ValueError` with fewer than two layers, or a residual that has no logarithm.

    >>> fit = fit_law([0.4, 0.2, 0.1, 0.05])
    >>> round(fit.factor, 6), round(fit.r_squared, 6)
    (0.5, 1.0)
    """
    values = np.asarray(residuals_L, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"A line needs at least 2 layers; got {values.tolist()}.")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise ValueError(
            f"Residuals must be finite and above 0 to have a logarithm; got "
            f"{values.tolist()}. A 0 is a perfect fit: use more tokens than features."
        )
    layer_L = np.arange(1, len(values) + 1, dtype=np.float64)
    log_L = np.log10(values)
    x_L, y_L = layer_L - layer_L.mean(), log_L - log_L.mean()
    slope = float(x_L @ y_L / (x_L @ x_L))
    error_L = y_L - slope * x_L
    spread = float(np.sqrt((x_L @ x_L) * (y_L @ y_L)))
    pearson = float(x_L @ y_L) / spread if spread > 0 else 0.0
    free = len(values) - 2
    if free > 0:
        error = math.sqrt(error_L @ error_L / free / (x_L @ x_L))
        width = float(stdtrit(free, 0.975)) * error
    else:
        width = math.inf
    null = _sorted_uniform_pearson(len(values))
    return LawFit(
        layers=len(values),
        slope=slope,
        slope_low=slope - width,
        slope_high=slope + width,
        intercept=float(log_L.mean() - slope * layer_L.mean()),
        factor=10**slope,
        r_squared=pearson**2,
        pearson=pearson,
        rms_residual=float(np.sqrt(np.mean(error_L**2))),
        worst_residual=float(np.abs(error_L).max()),
        overall=float(values[-1] / values[0]),
        null_pearson=float(null.mean()),
        null_share=float(np.mean(null >= -pearson)),
    )


@cache
def _sorted_uniform_pearson(layers: int) -> np.ndarray:
    """|Pearson| of many sorted uniform sequences with their index."""
    rng = generator(0, "prediction-law", "null", layers)
    draws = np.sort(rng.random((NULL_DRAWS, layers)), axis=1)
    draws -= draws.mean(1, keepdims=True)
    index = np.arange(layers) - (layers - 1) / 2
    return draws @ index / np.sqrt((draws**2).sum(1) * (index @ index))

"""Ordinary least squares from streamed moments, in float64.

Letters in names: N observations, D features, M targets, P = D + M columns, C classes.

The memory is that of the moments, P x P, whatever the number of observations. Moments
are centred chunk by chunk and merged by the pairwise formula of Chan, Golub and LeVeque
(1983), so a large mean costs no digits.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

CHUNK = 4096
"""Observations centred and multiplied at once."""


class Moments:
    """Count, mean and centred products of features and targets, and sums by class.

    `columns` holds the features first, then the targets. With `num_classes` the sums of
    the features within each class are kept too: the products of the features with
    one-hot targets, without ever writing those out.
    """

    def __init__(
        self,
        num_features: int,
        num_targets: int,
        num_classes: int = 0,
    ) -> None:
        columns = num_features + num_targets
        self.num_features = num_features
        self.count = 0
        self.mean_P = torch.zeros(columns, dtype=torch.float64)
        self.products_PP = torch.zeros(columns, columns, dtype=torch.float64)
        self.class_count_C = torch.zeros(num_classes, dtype=torch.float64)
        self.class_sum_CD = torch.zeros(num_classes, num_features, dtype=torch.float64)

    def add(
        self, features_ND: Tensor, targets_NM: Tensor, classes_N: Tensor | None = None
    ) -> None:
        """Take in observations; the moments move to the device they are on."""
        self._move(features_ND.device)
        for start in range(0, len(features_ND), CHUNK):
            chunk = slice(start, start + CHUNK)
            features_CD = features_ND[chunk].double()
            if len(self.class_count_C):
                assert classes_N is not None, "moments with classes need them"
                self._add_classes(features_CD, classes_N[chunk])
            rows_CP = torch.cat([features_CD, targets_NM[chunk].double()], 1)
            mean_P = rows_CP.mean(0)
            rows_CP -= mean_P
            self._merge(len(rows_CP), mean_P, _gram(rows_CP))

    def __add__(self, other: "Moments") -> "Moments":
        total = Moments(
            self.num_features,
            len(self.mean_P) - self.num_features,
            len(self.class_count_C),
        )
        device = (self if self.count else other).mean_P.device
        total._move(device)
        for part in (self, other):
            part._move(device)  # an empty one may still be where it was made
            total._merge(part.count, part.mean_P, part.products_PP)
            total.class_count_C = total.class_count_C + part.class_count_C
            total.class_sum_CD = total.class_sum_CD + part.class_sum_CD
        return total

    def _merge(self, count: int, mean_P: Tensor, products_PP: Tensor) -> None:
        if count == 0:
            return
        total = self.count + count
        step_P = mean_P - self.mean_P
        self.products_PP += products_PP
        self.products_PP.addr_(step_P, step_P, alpha=self.count * count / total)
        self.mean_P = self.mean_P + step_P * (count / total)
        self.count = total

    def _move(self, device: torch.device) -> None:
        if self.mean_P.device != device:
            for name in ("mean_P", "products_PP", "class_count_C", "class_sum_CD"):
                setattr(self, name, getattr(self, name).to(device))

    def _add_classes(self, features_ND: Tensor, classes_N: Tensor) -> None:
        self.class_sum_CD.index_add_(0, classes_N, features_ND)
        ones_N = torch.ones_like(classes_N, dtype=torch.float64)
        self.class_count_C.index_add_(0, classes_N, ones_N)

    @property
    def feature_products_DD(self) -> Tensor:
        """Centred products of the features."""
        return self.products_PP[: self.num_features, : self.num_features]

    @property
    def cross_products_DM(self) -> Tensor:
        """Centred products of features and targets."""
        return self.products_PP[: self.num_features, self.num_features :]

    @property
    def target_squares_M(self) -> Tensor:
        """Centred sums of squares of the targets."""
        return self.products_PP.diagonal()[self.num_features :]

    @property
    def class_products_DC(self) -> Tensor:
        """Centred products of the features with one-hot targets."""
        mean_D = self.mean_P[: self.num_features]
        return (self.class_sum_CD - self.class_count_C[:, None] * mean_D).T

    @property
    def class_squares_C(self) -> Tensor:
        """Centred sums of squares of one-hot targets: n_c (1 - n_c / N)."""
        return self.class_count_C * (1 - self.class_count_C / max(1, self.count))


@dataclass(frozen=True)
class Solution:
    """A least-squares fit with intercept: slopes, and what they leave."""

    slopes_DM: Tensor
    residual_M: Tensor
    """Sum of squared residuals on the fitted data."""
    rank: int
    """Directions of the features that were used."""
    feature_mean_D: Tensor
    target_mean_M: Tensor

    @classmethod
    def of(cls, moments: Moments) -> Self:
        """Fit the targets of `moments`."""
        inverse = Spectrum.of(moments.feature_products_DD)
        cross_DM = moments.cross_products_DM
        explained_M = inverse.quadratic(cross_DM)
        return cls(
            slopes_DM=inverse.solve(cross_DM),
            residual_M=(moments.target_squares_M - explained_M).clamp(min=0),
            rank=inverse.rank,
            feature_mean_D=moments.mean_P[: moments.num_features],
            target_mean_M=moments.mean_P[moments.num_features :],
        )

    def residual_on(self, other: Moments) -> Tensor:
        """Sum of squared residuals on the data behind `other`, per target."""
        slopes = self.slopes_DM
        fit_M = (slopes * other.cross_products_DM).sum(0)
        square_M = (slopes * (other.feature_products_DD @ slopes)).sum(0)
        features, targets = other.mean_P.split(
            [other.num_features, len(other.mean_P) - other.num_features]
        )
        offset_M = (
            targets - self.target_mean_M - (features - self.feature_mean_D) @ slopes
        )
        centred_M = other.target_squares_M - 2 * fit_M + square_M
        return centred_M + other.count * offset_M.square()


@dataclass(frozen=True)
class Spectrum:
    """Eigenvectors of an equilibrated Gram matrix, small directions left out.

    Columns are scaled to unit length first, so that one loud feature does not decide
    which directions count. Directions below `D eps` of the largest are dropped: there
    the data (states after a norm are linearly dependent, for instance) say nothing.
    """

    vectors_DR: Tensor
    values_R: Tensor
    scale_D: Tensor

    @classmethod
    def of(cls, gram_DD: Tensor) -> Self:
        """Decompose a centred Gram matrix."""
        length_D = gram_DD.diagonal().clamp(min=0).sqrt()
        # A constant column has no direction: it stays zero.
        scale_D = torch.where(length_D > 0, 1 / length_D, torch.zeros_like(length_D))
        values, vectors = torch.linalg.eigh(gram_DD * scale_D[:, None] * scale_D)
        floor = len(values) * torch.finfo(torch.float64).eps * values[-1].clamp(min=0)
        kept = values > floor
        return cls(vectors[:, kept], values[kept], scale_D)

    @property
    def rank(self) -> int:
        """Directions that were kept."""
        return len(self.values_R)

    def solve(self, cross_DM: Tensor) -> Tensor:
        """Slopes for the products `cross_DM` of features and targets."""
        inner_RM = self.vectors_DR.T @ (cross_DM * self.scale_D[:, None])
        return (self.vectors_DR @ (inner_RM / self.values_R[:, None])) * self.scale_D[
            :, None
        ]

    def quadratic(self, cross_DM: Tensor) -> Tensor:
        """Explained sums of squares, one a target."""
        inner_RM = self.vectors_DR.T @ (cross_DM * self.scale_D[:, None])
        return (inner_RM.square() / self.values_R[:, None]).sum(0)


def _gram(rows_NP: Tensor) -> Tensor:
    """rows' rows. On CPU through numpy, which computes one triangle only (dsyrk)."""
    if rows_NP.device.type == "cpu":
        rows = rows_NP.numpy()
        return torch.from_numpy(rows.T @ rows)
    return rows_NP.T @ rows_NP

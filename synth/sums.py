"""Sums of training losses and gradient norms, from one row of metrics to the next."""

import math
from collections.abc import Sequence

import numpy as np

from synth.metrics import Score


class LossSums:
    """What the steps of each lane have added up since its last row of metrics.

    The sums are part of a checkpoint, so a run that was interrupted between two rows
    writes the same means.
    """

    def __init__(self, num_lanes: int, terms: Sequence[str]) -> None:
        self._terms = list(terms)
        self._losses_KN = [[0.0] * len(terms) for _ in range(num_lanes)]
        self._norms_K = [0.0] * num_lanes
        self._counts_K = [0] * num_lanes

    def add(self, lane: int, losses: Sequence[float], norm: float) -> None:
        """One step of a lane: the loss of each term, the gradient norm."""
        for index, loss in enumerate(losses):
            self._losses_KN[lane][index] += loss
        self._norms_K[lane] += norm
        self._counts_K[lane] += 1

    def any(self) -> bool:
        """Whether any lane has added a step."""
        return any(self._counts_K)

    def mean_losses(self, lanes: Sequence[int]) -> list[float]:
        """Mean over steps and lanes of each term; NaN where there is nothing."""
        kept = [lane for lane in lanes if self._counts_K[lane]]
        return [
            float(np.mean([self._losses_KN[k][n] / self._counts_K[k] for k in kept]))
            if kept
            else math.nan
            for n in range(len(self._losses_KN[0]))
        ]

    def close(self, lane: int) -> list[Score]:
        """The means of a lane as scores; its sums start anew."""
        scores, count = [], self._counts_K[lane]
        if count:
            for term, total in zip(self._terms, self._losses_KN[lane], strict=True):
                scores.append(Score("train", "loss", term, total / count, count))
            norm = self._norms_K[lane] / count
            scores.append(Score("train", "gradient_norm", "", norm, count))
        self._losses_KN[lane] = [0.0] * len(self._losses_KN[lane])
        self._norms_K[lane], self._counts_K[lane] = 0.0, 0
        return scores

    def saved(self, lane: int) -> dict[str, list[float]]:
        """One lane's sums, for a checkpoint."""
        return {
            "losses": self._losses_KN[lane],
            "norm": [self._norms_K[lane]],
            "count": [float(self._counts_K[lane])],
        }

    def restore(self, lane: int, saved: dict[str, list[float]]) -> None:
        """Take over what `saved` gave."""
        self._losses_KN[lane] = list(saved["losses"])
        self._norms_K[lane] = saved["norm"][0]
        self._counts_K[lane] = int(saved["count"][0])

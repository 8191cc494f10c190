"""Grids of learning rates: the rates tried for a cell, and the curve over them.

A grid is trained on seeds of its own and judged on the validation split. The best rate
must lie inside the grid; if it lies at an edge, the grid is extended there.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeps.cells import cell_key, first_of_cells, seeds_of, trial_run
from sweeps.tuned_values import RATE, round_value
from synth.config import RunConfig
from synth.metrics import Better

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The default grid, in multiples of a cell's own rate."""
SENSITIVITY_FACTOR = 2.0
"""Sensitivity is the loss of the metric within this factor of the best rate.

The usual step of a grid: wherever the best rate lies inside, its neighbours measure it.
"""
ROUNDING = 1.01
"""The factor by which two rates of three digits may miss their ratio."""
MOST_EXTENSIONS = 3
"""Rates by which the grid of a cell may be extended."""
FIRST_SEED = 1000
"""First seed of the trials, unless the sweep uses seeds from there on."""


@dataclass(frozen=True)
class RateCurve:
    """A metric at each rate of a grid, as means over seeds."""

    rates: tuple[float, ...]
    """In rising order."""
    means: tuple[float | None, ...]
    """None where a run diverged."""
    better: Better

    @classmethod
    def of(
        cls, values: Mapping[float, Sequence[float | None]], better: Better
    ) -> "RateCurve":
        """The curve from the values of the seeds at each rate; None for a diverged run."""
        means: list[float | None] = []
        for rate in sorted(values):
            finite = [value for value in values[rate] if value is not None]
            whole = 0 < len(finite) == len(values[rate])
            means.append(math.fsum(finite) / len(finite) if whole else None)
        return cls(tuple(sorted(values)), tuple(means), better)

    @property
    def _gains(self) -> list[float]:
        sign = 1 if self.better == "higher" else -1
        return [-math.inf if mean is None else sign * mean for mean in self.means]

    @property
    def _best_index(self) -> int | None:
        """Index of the best rate; among ties the one nearest the middle of the grid."""
        gains = self._gains
        if max(gains) == -math.inf:
            return None
        best = [index for index, gain in enumerate(gains) if gain == max(gains)]
        middle = (len(gains) - 1) / 2
        return min(best, key=lambda index: abs(index - middle))

    @property
    def best(self) -> float | None:
        """The rate with the best mean; None if runs diverged at every rate."""
        return None if self._best_index is None else self.rates[self._best_index]

    @property
    def edge(self) -> Literal["low", "high"] | None:
        """The edge of the grid at which the best rate lies; None if it lies inside."""
        if self._best_index == 0:
            return "low"
        return "high" if self._best_index == len(self.rates) - 1 else None

    @property
    def flat(self) -> bool:
        """Whether all rates have the same mean, so that none is best."""
        return len(set(self._gains)) == 1

    @property
    def sensitivity(self) -> float | None:
        """The largest loss of the metric within a factor of two of the best rate.

        The curve is interpolated linearly over the logarithm of the rate. None where it is
        not known over that factor: a run diverged, or the grid ends before.
        """
        if self.best is None:
            return None
        low, high = self.best / SENSITIVITY_FACTOR, self.best * SENSITIVITY_FACTOR
        if self.rates[0] > low * ROUNDING or self.rates[-1] < high / ROUNDING:
            return None
        ends = np.interp(np.log([low, high]), np.log(self.rates), self._gains)
        points = zip(self.rates, self._gains, strict=True)
        inside = [gain for rate, gain in points if low <= rate <= high]
        lost = float(max(inside) - min([*inside, *ends]))
        return lost if math.isfinite(lost) else None


@dataclass(frozen=True)
class RateGrid:
    """The rates tried for one cell."""

    name: str
    example: RunConfig
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    added: tuple[float, ...] = ()
    """Those of the rates by which the grid was extended, in the order of extension."""

    @property
    def key(self) -> str:
        """The key of the cell, independent of the rate."""
        return cell_key(self.example, [RATE])

    @property
    def trials(self) -> list[RunConfig]:
        """A run for each rate and seed, with validation data held out of training."""
        return [
            trial_run(self.example, seed, {RATE: rate})
            for rate in self.rates
            for seed in self.seeds
        ]

    def extend(self, curve: RateCurve) -> "RateGrid":
        """The grid with one more rate where the best lies at an edge, up to a maximum."""
        if curve.edge is None or len(self.added) >= MOST_EXTENSIONS:
            return self
        if curve.edge == "low":
            first, second, *_ = self.rates
        else:
            *_, second, first = self.rates
        rate = round_value(first * first / second)
        if self.rates[0] <= rate <= self.rates[-1]:  # a step below three digits
            return self
        rates = tuple(sorted((*self.rates, rate)))
        return dataclasses.replace(self, rates=rates, added=(*self.added, rate))


def build_grids(
    configs: Sequence[RunConfig], rates: Sequence[float], seeds: int
) -> list[RateGrid]:
    """Build the grid of every cell of a sweep, with seeds that no run of it uses."""
    start = max(FIRST_SEED, 1 + max(seeds_of(configs)))
    own = tuple(range(start, start + seeds))
    return [
        RateGrid(name, config, tuple(rates) or default_rates(config), own)
        for name, config in first_of_cells(configs, [RATE])
    ]


def default_rates(config: RunConfig) -> tuple[float, ...]:
    """The default grid: multiples of a run's own rate."""
    own = config.training.learning_rate
    return tuple(round_value(factor * own) for factor in FACTORS)


def check_rates(rates: Sequence[float], owner: str) -> None:
    """Check that a grid has an inside.

    Raises `ValueError` for fewer than three rates, or unless they are positive, finite
    and rising.
    """
    rising = all(a < b for a, b in itertools.pairwise(rates))
    if not (len(rates) >= 3 and rates[0] > 0 and rising and rates[-1] < math.inf):
        raise ValueError(
            f"{owner} must be three or more rising learning rates, as in 1e-3 2e-3 4e-3; "
            f"got {' '.join(f'{rate:g}' for rate in rates)}."
        )

"""Learning rates as an axis: the grid of a cell, and what its curve says.

A grid is tried on seeds of its own and judged on the validation split. The best rate
must lie inside the grid: where it lies at an edge, the grid is extended there.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeps.cells import cell_key, cell_names, own_seeds
from sweeps.sweep_metric import Better
from sweeps.tuned import RATE, round_value
from synth.config import RunConfig

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The grid of a sweep that declares none, times the rate of each cell."""
NEAR = 3.0
"""Sensitivity is what the metric loses within this factor of the best rate."""
MOST_EXTENSIONS = 3
"""Rates that one cell may get beyond its grid."""
FIRST_SEED = 1000
"""Of the trials, unless the sweep goes so far itself."""


@dataclass(frozen=True)
class RateCurve:
    """What a metric comes to at each rate of a grid, a mean over seeds."""

    rates: tuple[float, ...]
    """Rising."""
    means: tuple[float | None, ...]
    """None where a run diverged."""
    better: Better

    @classmethod
    def of(
        cls, values: Mapping[float, Sequence[float | None]], better: Better
    ) -> "RateCurve":
        """From the values of each seed at each rate; None for a run that diverged."""
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
    def _place(self) -> int | None:
        """Of the best rate; of several, the nearest to the middle of the grid."""
        gains = self._gains
        if max(gains) == -math.inf:
            return None
        best = [place for place, gain in enumerate(gains) if gain == max(gains)]
        middle = (len(gains) - 1) / 2
        return min(best, key=lambda place: abs(place - middle))

    @property
    def best(self) -> float | None:
        """The rate with the best mean; None when all diverged."""
        return None if self._place is None else self.rates[self._place]

    @property
    def edge(self) -> Literal["low", "high"] | None:
        """The edge of the grid at which the best rate lies; None when it lies inside."""
        if self._place == 0:
            return "low"
        return "high" if self._place == len(self.rates) - 1 else None

    @property
    def alike(self) -> bool:
        """Whether every rate came to the same, so that nothing was chosen."""
        return len(set(self._gains)) == 1

    @property
    def sensitivity(self) -> float | None:
        """The most that the metric loses within a factor of three of the best rate.

        Between rates of the grid the curve is straight over the logarithm of the rate.
        None where a run diverged so near the best rate.
        """
        if self.best is None:
            return None
        points = list(zip(np.log(self.rates), self._gains, strict=True))
        low, high = math.log(self.best / NEAR), math.log(self.best * NEAR)
        inside = [gain for log, gain in points if low <= log <= high]
        if -math.inf in inside:
            return None
        logs, gains = zip(*[p for p in points if p[1] > -math.inf], strict=True)
        ends = np.interp([low, high], logs, gains).tolist()
        return float(max(gains) - min([*inside, *ends]))


@dataclass(frozen=True)
class RateGrid:
    """The rates that one cell is tried at."""

    name: str
    example: RunConfig
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    extensions: int = 0
    """Rates that were added at its edges."""

    @property
    def key(self) -> str:
        """Equal for the runs of this cell, whatever their rate."""
        return cell_key(self.example, [RATE])

    @property
    def trials(self) -> list[RunConfig]:
        """A run for each rate and seed, with validation data held out of training."""
        return [
            dataclasses.replace(
                self.example,
                training=dataclasses.replace(self.example.training, learning_rate=rate),
                seed=seed,
                data_seed=None,
                split="validation",
            )
            for rate in self.rates
            for seed in self.seeds
        ]

    def extended(self, curve: RateCurve) -> "RateGrid":
        """With one more rate where the best lies at an edge, unless it has had enough."""
        if curve.edge is None or self.extensions >= MOST_EXTENSIONS:
            return self
        if curve.edge == "low":
            first, second, *_ = self.rates
            rates = (round_value(first * first / second), *self.rates)
        else:
            *_, second, first = self.rates
            rates = (*self.rates, round_value(first * first / second))
        return dataclasses.replace(self, rates=rates, extensions=self.extensions + 1)


def grids_of(
    configs: Sequence[RunConfig], rates: Sequence[float], seeds: int
) -> list[RateGrid]:
    """The grids of a sweep's cells, in its order, with seeds that no run of it has."""
    first: dict[str, RunConfig] = {}
    for config in configs:
        first.setdefault(cell_key(config, [RATE]), config)
    start = max(FIRST_SEED, 1 + max(own_seeds(configs)))
    own = tuple(range(start, start + seeds))
    names = cell_names(list(first.values()))
    return [
        RateGrid(name, config, tuple(rates) or around(config), own)
        for name, config in zip(names, first.values(), strict=True)
    ]


def around(config: RunConfig) -> tuple[float, ...]:
    """The grid around a run's own rate."""
    own = config.training.learning_rate
    return tuple(round_value(factor * own) for factor in FACTORS)


def check_rates(rates: Sequence[float], owner: str) -> None:
    """Refuse a grid that has no inside.

    Raises
    ------
    ValueError
        Unless there are at least three rates, above 0 and rising.
    """
    rising = all(a < b for a, b in itertools.pairwise(rates))
    if not (len(rates) >= 3 and rates[0] > 0 and rising and rates[-1] < math.inf):
        raise ValueError(
            f"{owner} must be three or more rising learning rates, as in 1e-3 2e-3 4e-3; "
            f"got {' '.join(f'{rate:g}' for rate in rates)}."
        )

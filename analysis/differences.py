"""Size, interval and test of the paired differences of one cell.

Outcomes that are levels get a paired t test. Where seeds of a cell fall into two groups
(`analysis.modes`), the median difference replaces the mean, with a distribution-free test:
Wilcoxon's from six pairs without ties on, else the exact sign test.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from analysis.comparisons import Difference, seeds_to_resolve
from analysis.measures import Measure
from analysis.modes import BOUNDS, lower_group_size
from analysis.noise import noise_band

SETTLED = 0.02
"""Share of the span within which a score is at its floor or ceiling."""
LEVEL = 0.05
WILCOXON = 6
"""Pairs from which on Wilcoxon's test can fall below the level."""


def judge_differences(
    pairs: pl.DataFrame, span: float, measure: Measure
) -> dict[str, Any]:
    """The numbers of one contrast.

    `noise`: two means of the baseline, at as many seeds each, differ by less in 95 %;
    None below four pairs and for two groups of seeds.
    """
    first, second = pairs["first"].to_list(), pairs["second"].to_list()
    differences = pairs["difference"].to_list()
    grouped = lower_group_size(first, span) or lower_group_size(second, span)
    middle = np.median if grouped else np.mean
    found: dict[str, Any] = {
        "pairs": len(differences),
        "baseline": float(middle(first)),
        "value": float(middle(second)),
    }
    higher = sum(one > 0 for one in differences)
    if grouped:
        found |= _without_distribution(differences)
    else:
        one = Difference.of(differences)
        many = one.interval.count > 1
        found |= {
            "difference": one.interval.mean,
            "low": one.interval.low if many else None,
            "high": one.interval.high if many else None,
            "p": one.p_value,
            "test": "paired t",
            "resolves_with": seeds_to_resolve(one.interval.spread, one.interval.mean),
        }
    band = noise_band(first, span)
    found["noise"] = None if band is None else (band[1] - band[0]) / 2
    found["higher"] = f"{higher} of {len(differences)}"
    found["settled"] = _settled(pairs, (found["baseline"], found["value"]), measure)
    return found


def _without_distribution(differences: Sequence[float]) -> dict[str, Any]:
    """Median difference, its exact interval from order statistics, and a test."""
    ordered, count = sorted(differences), len(differences)
    moved = [abs(one) for one in ordered if one != 0]
    ties = len(set(moved)) < count
    found: dict[str, Any] = {"difference": float(np.median(ordered)), "low": None}
    found |= {"high": None, "resolves_with": None}
    # The k-th smallest and largest of n hold the median with 1 - 2 P(B(n, 1/2) < k).
    inside = int(stats.binom.ppf(LEVEL / 2, count, 0.5))
    if stats.binom.cdf(inside - 1, count, 0.5) <= LEVEL / 2 and inside >= 1:
        found |= {"low": ordered[inside - 1], "high": ordered[-inside]}
    if count >= WILCOXON and not ties:
        p = stats.wilcoxon(ordered, method="exact").pvalue
        return found | {"p": float(p), "test": "Wilcoxon"}
    above = sum(one > 0 for one in ordered)
    p = stats.binomtest(above, len(moved)).pvalue if moved else 1.0
    return found | {"p": float(p), "test": "sign"}


def _settled(
    pairs: pl.DataFrame, sides: tuple[float, float], measure: Measure
) -> str | None:
    """Where both sides are at an end of the scale, where no difference can show."""
    rising = measure.higher_is_better
    if rising is None:
        return None
    bounds = {name: pairs[name].drop_nulls().to_numpy() for name in BOUNDS}
    floor, ceiling = (
        float(known.mean()) if len(known) else None for known in bounds.values()
    )
    if floor is None or ceiling is None:
        return None
    near = SETTLED * abs(ceiling - floor)
    if rising and max(sides) <= floor + near:
        return "both at the floor or below"
    if rising and min(sides) >= ceiling - near:
        return "both at the ceiling"
    return None

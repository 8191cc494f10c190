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
"""With fewer pairs Wilcoxon's test cannot fall below the level."""


def judge_differences(
    pairs: pl.DataFrame, span: float, measure: Measure
) -> dict[str, Any]:
    """Test the differences of one contrast; returns its columns by name.

    `noise`: in 95 % of cases two means of the baseline, of as many seeds each, differ by
    less. It is None for fewer than four pairs, and for seeds in two groups. `direction`:
    positive if the test finds the values higher than the baseline, which a median
    difference of 0 does not tell.
    """
    first, second = pairs["first"].to_list(), pairs["second"].to_list()
    differences = pairs["difference"].to_list()
    grouped = lower_group_size(first, span) or lower_group_size(second, span)
    middle = np.median if grouped else np.mean
    columns: dict[str, Any] = {
        "pairs": len(differences),
        "baseline": float(middle(first)),
        "value": float(middle(second)),
    }
    higher = sum(one > 0 for one in differences)
    if grouped:
        columns |= _test_without_distribution(differences)
    else:
        one = Difference.of(differences)
        columns |= one.interval.bounds | {
            "difference": one.interval.mean,
            "direction": one.interval.mean,
            "p": one.p_value,
            "test": "paired t",
            "resolves_with": seeds_to_resolve(one.interval.spread, one.interval.mean),
        }
    band = noise_band(first, span)
    columns["noise"] = None if band is None else (band[1] - band[0]) / 2
    columns["higher"] = f"{higher} of {len(differences)}"
    # A median says nothing about the seeds of the smaller group.
    sides = [*first, *second] if grouped else [columns["baseline"], columns["value"]]
    columns["settled"] = _find_saturation(pairs, sides, measure)
    return columns


def _test_without_distribution(differences: Sequence[float]) -> dict[str, Any]:
    """Median difference, its exact interval from order statistics, and a test."""
    ordered, count = sorted(differences), len(differences)
    moved = [abs(one) for one in ordered if one != 0]
    ties = len(set(moved)) < count
    columns: dict[str, Any] = {"difference": float(np.median(ordered)), "low": None}
    columns |= {"high": None, "resolves_with": None}
    # The k-th smallest and largest of n hold the median with 1 - 2 P(B(n, 1/2) < k).
    inside = int(stats.binom.ppf(LEVEL / 2, count, 0.5))
    if stats.binom.cdf(inside - 1, count, 0.5) <= LEVEL / 2 and inside >= 1:
        columns |= {"low": ordered[inside - 1], "high": ordered[-inside]}
    if count >= WILCOXON and not ties:
        p = stats.wilcoxon(ordered, method="exact").pvalue
        # Not 0: without ties no difference is 0, and no two cancel.
        direction = columns["difference"]
        return columns | {"p": float(p), "test": "Wilcoxon", "direction": direction}
    above = sum(one > 0 for one in ordered)
    p = stats.binomtest(above, len(moved)).pvalue if moved else 1.0
    direction = float(2 * above - len(moved))
    return columns | {"p": float(p), "test": "sign", "direction": direction}


def _find_saturation(
    pairs: pl.DataFrame, sides: Sequence[float], measure: Measure
) -> str | None:
    """Words for two sides that are both at the floor or the ceiling, else None.

    `sides` are their means, or all their seeds.
    """
    rising = measure.higher_is_better
    if rising is None:
        return None
    bounds = {name: pairs[name].drop_nulls().to_numpy() for name in BOUNDS}
    floor, ceiling = (
        float(values.mean()) if len(values) else None for values in bounds.values()
    )
    if floor is None or ceiling is None:
        return None
    near = SETTLED * abs(ceiling - floor)
    if rising and max(sides) <= floor + near:
        return "both at the floor or below"
    if rising and min(sides) >= ceiling - near:
        return "both at the ceiling"
    return None

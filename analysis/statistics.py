"""Statistics over seeds. Letters in names: S seeds."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from scipy import special, stats

from analysis.arm_names import sort_rows

NORMAL = 1.96
"""The 97.5 % quantile of a normal variable."""
POWER = 0.8
"""Share of experiments that detect the effect for which their size is computed."""


@dataclass(frozen=True)
class Interval:
    """A mean over independent values, with its two-sided interval."""

    mean: float
    low: float
    high: float
    count: int
    spread: float
    """Standard deviation of the values, n - 1 in the denominator; NaN for one value."""

    @property
    def bounds(self) -> dict[str, float | None]:
        """`low` and `high` as columns of a table: None for fewer than two values."""
        low, high = (self.low, self.high) if self.count > 1 else (None, None)
        return {"low": low, "high": high}


def t_interval(values_S: Iterable[float]) -> Interval:
    """Mean and 95 % t interval; infinite bounds for one value, NaN for none.

    The bootstrap is no substitute: over three points its nominal 95 % covers 74 %.

    >>> interval = t_interval([0.1, 0.2, 0.3])
    >>> round(interval.low, 4), round(interval.high, 4)
    (-0.0484, 0.4484)
    """
    values = np.asarray(list(values_S), dtype=np.float64)
    count = len(values)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0, math.nan)
    mean = float(values.mean())
    if count == 1:
        return Interval(mean, -math.inf, math.inf, 1, math.nan)
    spread = float(values.std(ddof=1))
    width = t_quantile(count - 1) * spread / math.sqrt(count)
    return Interval(mean, mean - width, mean + width, count, spread)


def mean_interval(values_S: Iterable[float], share: bool = False) -> Interval:
    """95 % interval of a mean over seeds: `t_interval`, for shares on the logit scale.

    The t interval of the mean m of shares has the width w; on the logit scale that is
    w / (m (1 - m)) (the delta method), and carried back it stays inside [0, 1]. It is the
    logit interval of a proportion over clusters, one of those that Korn and Graubard
    (1998), Survey Methodology 24, compare, and not the binomial one that bears their
    names. It covers 94 to 96 % of means of 0.05 to 0.95 at a spread over seeds of up to a
    fifth of the largest possible, where t intervals cover 90 to 95 %
    (`tests.bench.bench_coverage`), and 91 to 96 % for wider ones (t: 81 to 95 %).
    Differences of shares keep `t_interval`. Values outside of [0, 1] are no shares.

    >>> interval = mean_interval([0.9, 1.0, 1.0], share=True)
    >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
    (0.967, 0.253, 1.0)
    """
    values = list(values_S)
    interval = t_interval(values)
    if share and interval.count > 1 and are_shares(values):
        low, high = share_bounds(interval.mean, interval.high - interval.mean)
        return replace(interval, low=low, high=high)
    return interval


def are_shares(values_S: Iterable[float]) -> bool:
    """Whether all values lie in [0, 1]."""
    return all(0 <= value <= 1 for value in values_S)


def share_bounds(share: float, width: float) -> tuple[float, float]:
    """`share` minus and plus `width`, both on the logit scale: never outside [0, 1].

    >>> [round(bound, 3) for bound in share_bounds(0.5, 0.1)]
    [0.401, 0.599]
    """
    if not 0 < share < 1:
        return share, share
    centre, shift = special.logit(share), width / (share * (1 - share))
    return float(special.expit(centre - shift)), float(special.expit(centre + shift))


def t_quantile(degrees: float) -> float:
    """The 97.5 % quantile of Student's t distribution, for two-sided 95 % intervals."""
    return float(stats.t.ppf(0.975, degrees))


def binomial_error(share: float, count: int) -> float:
    """Standard error of a share measured on `count` independent items.

    All seeds of a cell are measured on the same test set, so it does not shrink with
    their number.

    >>> binomial_error(0.5, 100)
    0.05
    """
    return math.sqrt(max(share * (1 - share), 0.0) / count)


def over_seeds(frame: pl.DataFrame, by: list[str], share: bool = False) -> pl.DataFrame:
    """Mean, `mean_interval` and number of seeds of `value` in each group of `by`.

    `frame` has one row for each run (seed) in a group. Groups come sorted; those of a
    single seed have null bounds.
    """
    rows = []
    for key, group in frame.group_by(by):
        interval = mean_interval(group["value"].drop_nulls().to_list(), share)
        mean = interval.mean if interval.count else None
        counted = {"mean": mean, "seeds": interval.count}
        rows.append(dict(zip(by, key, strict=True)) | counted | interval.bounds)
    schema = {name: frame.schema[name] for name in by} | {
        "mean": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "seeds": pl.Int64(),
    }
    return sort_rows(pl.DataFrame(rows, schema=schema, orient="row"), *by)


def share_interval(successes: int, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a probability: `successes` of `count` independent runs.

    It covers 95 % on average over probabilities, 89 % or more between 0.1 and 0.9, but 83 %
    at the worst ones, which are close to 0 and 1.

    >>> [round(bound, 3) for bound in share_interval(4, 5)]
    [0.376, 0.964]
    """
    if count == 0:
        return 0.0, 1.0
    found = stats.binomtest(successes, count).proportion_ci(0.95, "wilson")
    return float(found.low), float(found.high)


def share_difference(
    successes: int, base: int, count: int
) -> tuple[float, tuple[float, float]]:
    """Difference of two shares of `count` runs each, with Newcombe's 95 % interval.

    Method 10 of Newcombe (1998): the distances to Wilson's bounds, added in squares. The
    pairing by seed is not used; where runs of one seed tend to succeed together, that
    makes the interval too wide.

    >>> difference, bounds = share_difference(10, 0, 10)
    >>> difference, [round(bound, 2) for bound in bounds]
    (1.0, [0.61, 1.0])
    """
    share, share_base = successes / count, base / count
    low, high = share_interval(successes, count)
    low_base, high_base = share_interval(base, count)
    difference = share - share_base
    down = math.hypot(share - low, high_base - share_base)
    up = math.hypot(high - share, share_base - low_base)
    return difference, (difference - down, difference + up)

"""Comparisons between cells of a sweep, paired by data seed.

Two runs of one data seed train on the same bytes, so their difference has less noise than
either score. Letters in names: S seeds, C clusters (stories, or runs).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from analysis.arm_names import BASELINE, arms_of
from analysis.execution_paths import path_difference
from analysis.modes import lower_group_size
from analysis.settings import with_setting
from analysis.statistics import POWER, Interval, t_interval, t_quantile

COSTS = ("tokens", "flops")
"""Costs at which runs can be matched. Seconds are not among them: they were measured on a
shared machine."""


@dataclass(frozen=True)
class Difference:
    """Paired differences of one comparison."""

    interval: Interval
    p_value: float
    """Two-sided, of `t_test`; 1 for fewer than two pairs."""

    @classmethod
    def of(cls, differences_S: Iterable[float]) -> "Difference":
        """The interval and the p value of independent differences."""
        values_S = list(differences_S)
        return cls(t_interval(values_S), t_test(values_S))


def t_test(differences_S: Sequence[float]) -> float:
    """Two-sided p value of the hypothesis that the mean is zero.

    Equal differences at every seed come from a floor, a ceiling or a count, and have no
    spread for a t test. Then it is that of the sign test: all seeds on one side.

    >>> round(t_test([0.1, 0.2, 0.3]), 4)
    0.0742
    >>> t_test([0.5, 0.5, 0.5])
    0.25
    """
    interval = t_interval(differences_S)
    if interval.count < 2:
        return 1.0
    if interval.spread <= 1e-12 * max(1.0, abs(interval.mean)):
        return sign_test(differences_S)
    t = abs(interval.mean) / (interval.spread / math.sqrt(interval.count))
    return float(2 * stats.t.sf(t, interval.count - 1))


def sign_test(differences_S: Sequence[float]) -> float:
    """Two-sided exact p value of the hypothesis that both signs are equally likely.

    Differences of zero do not count.

    >>> sign_test([0.5, 1.0, 0.5, 0.5, 1.0, 0.5])
    0.03125
    """
    signs = [value > 0 for value in differences_S if value != 0]
    return float(stats.binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values by Holm's method, which bounds the family-wise error rate.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    adjusted = [0.0] * len(p_values)
    so_far = 0.0
    for rank, place in enumerate(order.tolist()):
        so_far = max(so_far, (len(p_values) - rank) * p_values[place])
        adjusted[place] = min(1.0, so_far)
    return adjusted


def seeds_to_resolve(spread: float, difference: float) -> int | None:
    """Number of pairs that give a paired t test at 5 % the `POWER` for `difference`.

    `spread` is the standard deviation of paired differences. None for more than 1000
    pairs, and without a difference or a spread.

    >>> seeds_to_resolve(spread=0.02, difference=0.02)
    10
    """
    if not (spread > 1e-12 and abs(difference) > 0):
        return None
    for seeds in range(2, 1001):
        shift = abs(difference) / spread * math.sqrt(seeds)
        if stats.nct.sf(t_quantile(seeds - 1), seeds - 1, shift) >= POWER:
            return seeds
    return None


def cluster_bootstrap(
    values_C: Sequence[float],
    weights_C: Sequence[float] | None = None,
    draws: int = 4000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of a (weighted) mean over many clusters.

    Clusters are stories where scores by story are known, since mentions within a story
    are correlated. Too few clusters, such as seeds, are refused.

    Raises `ValueError` for fewer than 20 clusters, for which the intervals are too
    short.
    """
    values = np.asarray(values_C, np.float64)
    count = len(values)
    if count < 20:
        raise ValueError(
            f"cluster_bootstrap needs at least 20 clusters; got {count}. Use "
            "t_interval for seeds."
        )
    weights = np.ones(count) if weights_C is None else np.asarray(weights_C, np.float64)
    picked = _drawn_clusters(count, draws, seed) * weights
    means = picked @ values / picked.sum(1)
    low, high = np.quantile(means, [0.025, 0.975]).tolist()
    mean = float(np.average(values, weights=weights))
    return Interval(mean, low, high, count, float(values.std(ddof=1)))


@lru_cache(maxsize=1)
def _drawn_clusters(count: int, draws: int, seed: int) -> np.ndarray:
    """How often each draw takes each cluster, shape (draws, C).

    Cached for the next test set, which mostly has the same number of items.
    """
    rng = np.random.default_rng([seed, count])
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)


def pair_by_seed(
    rows: pl.DataFrame, by: list[str], between: str, first: Any, second: Any
) -> pl.DataFrame:
    """Pair two cells by data seed: `value` of the cell `second` minus that of `first`.

    `rows` has one row a run in each group of `by`. The result is sorted and has the
    columns `by`, `data_seed`, `first`, `second` and `difference`; if rows have a
    `run_id`, also `first_run` and `second_run`.

    Raises `ValueError` when a cell has two runs of one seed.
    """
    keys = [*by, "data_seed"]
    sides = []
    for name, cell in (("first", first), ("second", second)):
        run = (
            [pl.col("run_id").alias(f"{name}_run")] if "run_id" in rows.columns else []
        )
        side = rows.filter(pl.col(between) == cell).select(
            *keys, pl.col("value").alias(name), *run
        )
        side = side.drop_nulls(name)
        twice = side.filter(side.select(keys).is_duplicated())
        if twice.height:
            raise ValueError(
                f"{between}={cell} has several runs for {twice.select(keys).row(0)} "
                f"(columns {keys}). Group also by a field in which they differ, or "
                "choose with --where."
            )
        sides.append(side)
    joined = sides[0].join(sides[1], on=keys, nulls_equal=True)
    difference = (pl.col("second") - pl.col("first")).alias("difference")
    return joined.with_columns(difference).sort(keys)


def pair_arms(
    rows: pl.DataFrame, by: list[str], baseline: str = BASELINE
) -> pl.DataFrame:
    """Pair every other arm with the baseline, as `pair_by_seed`; `arm` is the other arm.

    Raises `ValueError` as `pair_by_seed` does.
    """
    others = [arm for arm in arms_of(rows) if arm != baseline]
    pairs = [
        pair_by_seed(rows, by, "arm", baseline, arm).with_columns(arm=pl.lit(arm))
        for arm in others
    ]
    if pairs:
        return pl.concat(pairs)
    empty = pair_by_seed(rows.clear(), by, "arm", baseline, baseline)
    return empty.with_columns(arm=pl.lit(None, pl.String()))


def summarize_pairs(
    differences: pl.DataFrame, by: list[str], span: float = 0.0
) -> pl.DataFrame:
    """Mean paired difference, interval, p value (plain and Holm) and power, by group.

    `resolves_with` is the number of seeds that detect a difference of the observed size
    with 80 % power. Given the `span` of the metric, pairs of which a side falls into two
    groups (`modes.lower_group_size`) have no mean: only a p value, of the sign test.
    """
    rows = []
    for key, group in differences.group_by(by, maintain_order=True):
        values = group["difference"].to_list()
        test = Difference.of(values)
        interval = test.interval
        row = dict(zip(by, key, strict=True)) | {"pairs": interval.count}
        sides = ("first", "second") if span else ()
        if any(lower_group_size(group[side], span) for side in sides):
            rows.append(row | {"p": sign_test(values)})
            continue
        row |= {"difference": interval.mean, "p": test.p_value} | interval.bounds
        row["resolves_with"] = seeds_to_resolve(interval.spread, interval.mean)
        rows.append(row)
    numbers = ("difference", "low", "high", "pairs", "p", "resolves_with")
    kinds = {name: pl.Float64() for name in numbers} | {
        "pairs": pl.Int64(),
        "resolves_with": pl.Int64(),
    }
    schema = {name: differences.schema[name] for name in by} | kinds
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(
        p_holm=pl.Series(holm(table["p"].to_list()), dtype=pl.Float64())
    )


def subtract_pairs(
    first: pl.DataFrame, second: pl.DataFrame, by: list[str]
) -> pl.DataFrame:
    """Subtract pairs from pairs by seed: the differences in `second` minus `first`."""
    keys = [*by, "data_seed"]
    joined = first.select(*keys, pl.col("difference").alias("first")).join(
        second.select(*keys, pl.col("difference").alias("second")),
        on=keys,
        nulls_equal=True,
    )
    gap = (pl.col("second") - pl.col("first")).alias("difference")
    return joined.with_columns(gap).sort(keys)


def with_costs(curves: pl.DataFrame) -> pl.DataFrame:
    """Add the executed `flops` up to each row; null where unknown."""
    return curves.with_columns(flops=pl.col("tokens") * pl.col("flops_per_token"))


def at_equal_cost(
    curves: pl.DataFrame, by: list[str], between: str, cost: str
) -> pl.DataFrame:
    """One row a run: its `value` at the largest cost that all runs of its seed reached.

    `curves` has rows of one metric, with `step` and `value`; values between evaluations
    are interpolated linearly. A run whose first evaluation is later has no row. Runs of
    equal `by` and data seed are matched across the values of `between`.

    Raises `ValueError` for an unknown cost.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}; got {cost!r}.")
    curves = with_costs(curves).drop_nulls([cost, "value"]).sort("run_id", "step")
    keys = [*by, "data_seed"]
    rows = []
    for _, group in curves.group_by(keys, maintain_order=True):
        runs = group.partition_by("run_id", maintain_order=True)
        if group[between].n_unique() < 2:
            continue
        reach = min(float(run[cost].to_numpy().max()) for run in runs)
        for run in runs:
            costs = run[cost].to_numpy()
            if reach < costs[0]:  # its first evaluation is later
                continue
            value = np.interp(reach, costs, run["value"].to_numpy())
            names = {name: run[name][0] for name in (*keys, between, "run_id")}
            rows.append(names | {cost: reach, "value": float(value)})
    schema = {name: curves.schema[name] for name in (*keys, between, "run_id")}
    schema |= {cost: pl.Float64(), "value": pl.Float64()}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.sort(*keys, between)


def matched_table(
    curves: pl.DataFrame, cost: str, baseline: str = BASELINE, span: float = 0.0
) -> pl.DataFrame:
    """Every arm minus `baseline` at equal cost, by setting, size and arm.

    Cells as in `summarize_pairs`, which takes the `span` of the metric.

    Each pair is matched at the largest cost that both have reached, independently of
    other arms. `paths` describes differences between the execution paths of the two.

    Raises `ValueError` when no arm shares a setting and a data seed with the baseline.
    """
    by = ["task", "scale", "setting"]
    rows, arms = with_setting(curves, "arm"), arms_of(curves)
    two_arms = (rows.filter(pl.col("arm").is_in([baseline, arm])) for arm in arms)
    at = (at_equal_cost(two, by, "arm", cost) for two in two_arms)
    pairs = pl.concat(pair_arms(both, by, baseline) for both in at)
    if pairs.is_empty():
        raise ValueError(
            f"No arm shares a setting and a data seed with {baseline!r}. Finished runs "
            f"have the arms {', '.join(arms)}."
        )
    table = summarize_pairs(pairs, [*by, "arm"], span)
    paths = [
        path_difference(
            rows.filter(
                pl.col("arm").is_in([baseline, row["arm"]]),
                *(pl.col(name) == row[name] for name in by),
            )
        )
        for row in table.iter_rows(named=True)
    ]
    return table.with_columns(paths=pl.Series(paths, dtype=pl.String()))

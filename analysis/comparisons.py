"""Comparisons between cells of a sweep, paired on common training data.

Two runs of one data seed saw the same bytes, so their difference has less noise than
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

from analysis.arm_names import BASELINE, arm_name, arms_of
from analysis.settings import with_setting
from analysis.statistics import Interval, t_interval

COSTS = ("tokens", "flops")
"""What runs can be matched on besides parameters. Seconds are no such thing: they are
those of a machine that other work shared."""


@dataclass(frozen=True)
class Difference:
    """Paired differences of one comparison."""

    interval: Interval
    p_value: float
    """Two-sided, paired t test; 1 for fewer than two pairs."""

    @classmethod
    def of(cls, differences_S: Iterable[float]) -> "Difference":
        """The interval and the test of independent differences."""
        values_S = list(differences_S)
        return cls(t_interval(values_S), t_test(values_S))


def t_test(differences_S: Sequence[float]) -> float:
    """Two-sided p value of a mean of zero; 1 for differences without any spread.

    Equal differences in every seed come from a floor or a count, not from a sample: all
    runs of a cell gave one and the same answer. They are no evidence about new seeds.

    >>> round(t_test([0.1, 0.2, 0.3]), 4)
    0.0742
    """
    interval = t_interval(differences_S)
    if interval.count < 2:
        return 1.0
    if interval.spread <= 1e-12 * max(1.0, abs(interval.mean)):
        return 1.0
    t = abs(interval.mean) / (interval.spread / math.sqrt(interval.count))
    return float(2 * stats.t.sf(t, interval.count - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values after Holm: the share of families with any false alarm is kept.

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


def seeds_to_resolve(
    spread: float, difference: float, power: float = 0.8, level: float = 0.05
) -> int | None:
    """Pairs of seeds with which a paired t test would find `difference`.

    `spread` is the standard deviation of paired differences. None: more than 1000, or
    no difference, or no spread to judge by.

    >>> seeds_to_resolve(spread=0.02, difference=0.02)
    10
    """
    if not (spread > 1e-12 and abs(difference) > 0):
        return None
    for seeds in range(2, 1001):
        shift = abs(difference) / spread * math.sqrt(seeds)
        bound = stats.t.ppf(1 - level / 2, seeds - 1)
        if stats.nct.sf(bound, seeds - 1, shift) >= power:
            return seeds
    return None


def cluster_bootstrap(
    values_C: Sequence[float],
    weights_C: Sequence[float] | None = None,
    draws: int = 4000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a (weighted) mean over many clusters.

    Clusters are the stories where scores of single stories are at hand, since mentions
    within a story hang together. It is not for a handful of seeds.

    Raises
    ------
    ValueError
        For fewer than 20 clusters, where its intervals are too short.
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
    """How often each draw takes each cluster, (draws, C); kept for the next test set,
    which most often has as many items."""
    rng = np.random.default_rng([seed, count])
    return rng.multinomial(count, np.full(count, 1 / count), size=draws)


def paired(
    rows: pl.DataFrame, by: list[str], between: str, first: Any, second: Any
) -> pl.DataFrame:
    """`value` of the cell `second` minus that of `first`, for each common data seed.

    `rows` has one row a run in each group of `by`; the result has the columns of `by`,
    `data_seed`, `first`, `second` and `difference`, sorted, and where rows name their
    run, `first_run` and `second_run`.

    Raises
    ------
    ValueError
        When a cell has two runs of one seed: it is unclear which one is meant.
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
                f"(columns {keys}). Group by what tells them apart."
            )
        sides.append(side)
    joined = sides[0].join(sides[1], on=keys, nulls_equal=True)
    difference = (pl.col("second") - pl.col("first")).alias("difference")
    return joined.with_columns(difference).sort(keys)


def paired_arms(
    rows: pl.DataFrame, by: list[str], baseline: str = BASELINE
) -> pl.DataFrame:
    """`paired` of every other arm with the baseline, arm by arm; `arm` is the other's.

    Raises
    ------
    ValueError
        As `paired`.
    """
    others = [arm for arm in arms_of(rows) if arm != baseline]
    parts = [
        paired(rows, by, "arm", baseline, arm).with_columns(arm=pl.lit(arm))
        for arm in others
    ]
    if parts:
        return pl.concat(parts)
    nothing = paired(rows.clear(), by, "arm", baseline, baseline)
    return nothing.with_columns(arm=pl.lit(None, pl.String()))


def compared(differences: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """Mean paired difference, interval, p value (plain and Holm) and power hint by group.

    `resolves_with` is the number of seeds that would find a difference as large as the
    one seen, at 80 % power.
    """
    rows = []
    for key, group in differences.group_by(by, maintain_order=True):
        found = Difference.of(group["difference"].to_list())
        interval, many = found.interval, found.interval.count > 1
        rows.append(
            dict(zip(by, key, strict=True))
            | {
                "difference": interval.mean,
                "low": interval.low if many else None,
                "high": interval.high if many else None,
                "pairs": interval.count,
                "p": found.p_value,
                "resolves_with": seeds_to_resolve(interval.spread, interval.mean)
                if many
                else None,
            }
        )
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


def interaction(
    first: pl.DataFrame, second: pl.DataFrame, by: list[str]
) -> pl.DataFrame:
    """Difference of differences: `second` minus `first`, two results of `paired`."""
    keys = [*by, "data_seed"]
    joined = first.select(*keys, pl.col("difference").alias("first")).join(
        second.select(*keys, pl.col("difference").alias("second")),
        on=keys,
        nulls_equal=True,
    )
    gap = (pl.col("second") - pl.col("first")).alias("difference")
    return joined.with_columns(gap).sort(keys)


def with_costs(curves: pl.DataFrame) -> pl.DataFrame:
    """Add the `flops` executed up to each row; null where they are unknown."""
    return curves.with_columns(flops=pl.col("tokens") * pl.col("flops_per_token"))


def at_equal_cost(
    curves: pl.DataFrame, by: list[str], between: str, cost: str
) -> pl.DataFrame:
    """One row a run: its `value` at the largest cost that all cells of its seed reached.

    `curves` has rows of one metric, with `step` and `value`; values between evaluations
    are interpolated linearly; a run that was not measured that early has no row. Runs
    of equal `by` and data seed are matched, whatever their value of `between`.

    Raises
    ------
    ValueError
        For an unknown cost.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}; got {cost!r}.")
    known = with_costs(curves).drop_nulls([cost, "value"]).sort("run_id", "step")
    keys = [*by, "data_seed"]
    rows = []
    for _, group in known.group_by(keys, maintain_order=True):
        runs = group.partition_by("run_id", maintain_order=True)
        if group[between].n_unique() < 2:
            continue
        reach = min(float(run[cost].to_numpy().max()) for run in runs)
        for run in runs:
            known_costs = run[cost].to_numpy()
            if reach < known_costs[0]:  # not measured so early: nothing to compare
                continue
            value = np.interp(reach, known_costs, run["value"].to_numpy())
            named = {name: run[name][0] for name in (*keys, between, "run_id")}
            rows.append(named | {cost: reach, "value": float(value)})
    schema = {name: known.schema[name] for name in (*keys, between, "run_id")}
    schema |= {cost: pl.Float64(), "value": pl.Float64()}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.sort(*keys, between)


PATHS = {
    "device": "device",
    "step_form": "step",
    "precision": "precision",
    "lanes": "lanes",
}
"""Columns that say how a run was computed, and what a note calls them."""


def path_difference(rows: pl.DataFrame) -> str:
    """How the arms in `rows` trained through different execution paths.

    Empty if they did not. A column that is unknown for some arm is left out.

    >>> rows = pl.DataFrame({"arm": ["n1", "n2"], "step_form": ["eager", "native"]})
    >>> path_difference(rows)
    'step: n = 1 eager, n = 2 native'
    """
    notes = []
    for column, word in PATHS.items():
        if column not in rows.columns:
            continue
        used = {
            arm: rows.filter(pl.col("arm") == arm)[column].drop_nulls().unique().sort()
            for arm in arms_of(rows)
        }
        paths = {arm: [str(value) for value in known] for arm, known in used.items()}
        if all(paths.values()) and len({tuple(known) for known in paths.values()}) > 1:
            by_arm = (
                f"{arm_name(arm)} {' or '.join(known)}" for arm, known in paths.items()
            )
            notes.append(f"{word}: {', '.join(by_arm)}")
    return "; ".join(notes)


def matched_table(
    curves: pl.DataFrame, cost: str, baseline: str = BASELINE
) -> pl.DataFrame:
    """Every arm minus `baseline` at equal cost, by setting, size and arm.

    Each pair is matched at the largest cost that both have reached, whatever other arms
    are in the table. `paths` says where the two arms trained through different ones.

    Raises
    ------
    ValueError
        When no arm has a setting and a data seed in common with the baseline.
    """
    by = ["task", "scale", "setting"]
    rows, arms = with_setting(curves, "arm"), arms_of(curves)
    two_arms = (rows.filter(pl.col("arm").is_in([baseline, arm])) for arm in arms)
    at = (at_equal_cost(two, by, "arm", cost) for two in two_arms)
    pairs = pl.concat(paired_arms(both, by, baseline) for both in at)
    if pairs.is_empty():
        known = ", ".join(arms)
        raise ValueError(
            f"No arm shares a setting and a data seed with {baseline!r}. Finished runs "
            f"have the arms {known}."
        )
    table = compared(pairs, [*by, "arm"])
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

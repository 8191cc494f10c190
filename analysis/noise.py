"""The noise floor: how much means over seeds differ by chance.

An A/A comparison sets an arm against itself, with other seeds, so its spread is chance
alone: an effect must exceed it. Every sweep has one, the seeds of its baseline split in
halves. More seeds (`sweeps run --arms n1 --seeds 16`) estimate it better.

Letters in names: S seeds, A arms.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from analysis.arm_names import BASELINE, arm_name, arms_of, in_arm_order
from analysis.modes import lower_group_size, span_of
from analysis.selection import at_end
from analysis.settings import name_settings, setting_labels, with_setting
from analysis.statistics import are_shares, share_bounds, share_interval, t_quantile
from synth.identity import require
from synth.scales import format_count

MIN_SEEDS = 4
"""Seeds of an arm below which it is not split in halves."""


@dataclass(frozen=True)
class NoiseFloor:
    """The noise of one arm, from its values over seeds."""

    spread: float
    """Standard deviation over seeds."""
    band: float
    """In 95 % of cases two means of this arm, of `seeds` runs each, differ by less."""
    seeds: int
    """Runs behind `spread`."""
    halves: float | None
    """Mean of the first half of the seeds minus that of the second; None below four."""
    halves_band: float | None
    """In 95 % of cases such a difference is smaller."""


def noise_floor(values_S: Sequence[float]) -> NoiseFloor:
    """The noise floor of one arm, from a value a seed, in the order of seeds.

    >>> found = noise_floor([0.50, 0.54, 0.52, 0.48])
    >>> f"{found.spread:.3f} {found.band:.3f} {found.halves:.2f}"
    '0.026 0.058 0.02'
    """
    values = np.asarray(values_S, np.float64)
    count = len(values)
    if count < 2:
        return NoiseFloor(math.nan, math.nan, count, None, None)
    spread = float(values.std(ddof=1))
    halves = halves_band = None
    if count >= MIN_SEEDS:
        half = count // 2
        halves = float(values[:half].mean() - values[half : 2 * half].mean())
        halves_band = _band(spread, half, count)
    return NoiseFloor(spread, _band(spread, count, count), count, halves, halves_band)


def noise_band(
    values_S: Sequence[float], span: float, share: bool = False
) -> tuple[float, float] | None:
    """Bounds that hold the mean of as many other runs of the arm in 95 % of cases.

    The mean of `values_S` plus and minus `NoiseFloor.band`, for shares on the logit
    scale (`statistics.share_bounds`). None below four seeds, and where they fall into
    two groups (`modes.lower_group_size`, with the `span` of the metric).

    >>> noise_band([0.50, 0.54, 0.52], span=1.0) is None
    True
    """
    if len(values_S) < MIN_SEEDS or lower_group_size(values_S, span) is not None:
        return None
    band, mean = noise_floor(values_S).band, float(np.mean(values_S))
    if share and are_shares(values_S):
        return share_bounds(mean, band)
    return mean - band, mean + band


def _band(spread: float, runs: int, seeds: int) -> float:
    """Two-sided 95 % bound of a difference of two means of `runs` runs."""
    return t_quantile(seeds - 1) * spread * math.sqrt(2 / runs)


def noise_table(rows: pl.DataFrame, baseline: str = BASELINE) -> pl.DataFrame:
    """A row a setting and size: noise of the baseline, and signal of the arms against it.

    `rows` has all evaluations of one metric, of which the last of each run counts.
    `signal` is the largest minus the smallest mean of an arm, `ratio` is signal over the
    spread over seeds, pooled over arms; below about one, no practical number of seeds
    resolves the arms. `apart` lists arms whose mean is outside the band around the
    baseline. It lists none where the spread is 0, as at the floor, and says where the
    seeds of the baseline fall into two groups.

    Raises `ValueError` when no run has the arm `baseline`.
    """
    last = _last(rows)
    span = span_of(last)
    arms = arms_of(last)
    require(
        baseline in arms, "baseline", f"an arm of the runs: {', '.join(arms)}", baseline
    )
    table_rows = []
    by = ["task", "setting", "parameters", "scale"]
    for key, cell in last.group_by(by, maintain_order=True):
        values = {arm: _values(cell, arm) for arm in arms_of(cell)}
        if baseline not in values:
            continue
        floor = noise_floor(values[baseline])
        means = {arm: float(np.mean(some)) for arm, some in values.items()}
        several = [np.asarray(some) for some in values.values() if len(some) > 1]
        degrees = sum(len(some) - 1 for some in several)
        squares = sum(float(((some - some.mean()) ** 2).sum()) for some in several)
        pooled = math.sqrt(squares / degrees) if degrees else math.nan
        signal = max(means.values()) - min(means.values())
        apart = [
            arm_name(arm)
            for arm in means
            if floor.spread and abs(means[arm] - means[baseline]) > floor.band
        ]
        if lower_group_size(values[baseline], span) is not None:
            apart = [f"seeds of {arm_name(baseline)} in two groups"]
        table_rows.append(
            dict(zip(by, key, strict=True))
            | {"seeds": floor.seeds, "spread": floor.spread, "band": floor.band}
            | {"halves": floor.halves, "halves_band": floor.halves_band}
            | {"arms": len(means), "signal": signal if len(means) > 1 else None}
            | {"ratio": signal / pooled if len(means) > 1 and pooled > 0 else None}
            | {"apart": "; ".join(apart)}
        )
    numbers = ("spread", "band", "halves", "halves_band", "signal", "ratio")
    schema: dict[str, pl.DataType] = {name: last.schema[name] for name in by}
    schema |= {"seeds": pl.Int64(), "arms": pl.Int64(), "apart": pl.String()}
    schema |= {name: pl.Float64() for name in numbers}
    table = pl.DataFrame(table_rows, schema=schema, orient="row").fill_nan(None)
    order = [*by, "seeds", "spread", "band", "halves", "halves_band", "arms"]
    ordered = table.select(*order, "signal", "ratio", "apart").sort(by)
    return name_settings(ordered.drop("parameters"), setting_labels(last, "arm"))


def decision_table(rows: pl.DataFrame) -> pl.DataFrame:
    """Whether a smaller model predicts a larger one: one row a setting and pair of sizes.

    Of the `pairs` of arms that both sizes have, `agree` differ with the same sign at
    both; `share` is agree over pairs, with Wilson's interval. Chance is one half. Pairs
    share arms, so the interval is too short where there are few.

    Raises `ValueError` when no two sizes of one setting share two arms.
    """
    last = _last(rows, "scale")
    table_rows = []
    for key, cell in last.group_by("task", "setting", maintain_order=True):
        means = {
            ((size, shape), arm): float(np.mean(_values(part, str(arm))))
            for (size, shape, arm), part in cell.group_by("parameters", "scale", "arm")
        }
        sizes = sorted({size for size, _ in means})
        for small, large in itertools.combinations(sizes, 2):
            arms = [
                arm for size, arm in means if size == small and (large, arm) in means
            ]
            signs = [
                np.sign(means[small, one] - means[small, two])
                * np.sign(means[large, one] - means[large, two])
                for one, two in itertools.combinations(in_arm_order(arms), 2)
            ]
            if not signs:
                continue
            agree = sum(sign > 0 for sign in signs)
            low, high = share_interval(agree, len(signs))
            names = (format_count(small[0]), format_count(large[0]))
            if small[0] == large[0]:
                names = (small[1], large[1])  # two shapes of one size
            sides = (*names, len(signs), agree)
            table_rows.append((*key, *sides, agree / len(signs), low, high))
    schema = {
        "task": pl.String(),
        "setting": pl.String(),
        "smaller": pl.String(),
        "larger": pl.String(),
        "pairs": pl.Int64(),
        "agree": pl.Int64(),
        "share": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
    }
    if not table_rows:
        raise ValueError(
            "No two sizes of one setting share two arms, so no size predicts another. "
            "Train the same arms at two sizes or more."
        )
    table = pl.DataFrame(table_rows, schema=schema, orient="row")
    return name_settings(table, setting_labels(last, "scale", "arm"))


def _last(rows: pl.DataFrame, *varied: str) -> pl.DataFrame:
    last = with_setting(at_end(rows).drop_nulls("value"), "arm", *varied)
    return last.sort("task", "setting", "parameters", "data_seed", "run_id")


def _values(cell: pl.DataFrame, arm: str) -> list[float]:
    """One value a seed, in the order of data seeds."""
    return cell.filter(pl.col("arm") == arm)["value"].to_list()

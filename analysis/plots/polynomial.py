"""Polynomial arithmetic: accuracy against the number of operations (figures 8, S15)."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arm_names import arms_of, sort_rows
from analysis.modes import summarize_seeds
from analysis.plots import series, style
from analysis.selection import (
    EXACT_MATCH,
    GUESS_FLOOR,
    OPERATIONS,
    at_end,
    by_scale,
    is_slice_of,
    select_metric,
    slice_value,
)
from analysis.settings import check_one_setting
from analysis.statistics import NORMAL, binomial_error

DODGE = 0.36
"""The width over which arms are spread at one number of operations."""
SPAN = 1.0
"""The range of exact match, which is a share."""


def accuracy_by_operations(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each run and number of operations: exact match, and its floor."""
    final = at_end(frame).filter(is_slice_of(OPERATIONS))
    final = final.with_columns(slice_value(OPERATIONS, pl.Int64()))
    floor = select_metric(final, GUESS_FLOOR).select(
        "run_id", OPERATIONS, guess_floor=pl.col("value")
    )
    columns = ["scale", "arm", OPERATIONS, "seed", "suite", "value", "count"]
    rows = select_metric(final, EXACT_MATCH).join(
        floor, on=["run_id", OPERATIONS], how="left"
    )
    columns += ["guess_floor", "max_operations", "parameters", "pause_tokens"]
    rows = rows.select("run_id", *columns)
    return sort_rows(rows, "parameters", "arm", OPERATIONS, "seed")


def polynomial_table(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean exact match with its interval, per size, arm and number of operations.

    Cells whose seeds fall into two groups have no mean (`modes.summarize_seeds`).
    `floor_high` is the score that guessing exceeds in 2.5 % of test sets of that many
    problems (binomial). `at_floor` says that the mean does not exceed it, so that the
    cell is no evidence of any ability.

    Raises
    ------
    ValueError
        When the runs are of several settings; see `check_one_setting`.
    """
    final = at_end(frame).filter(is_slice_of(OPERATIONS))
    check_one_setting(final, "scale", "arm")
    rows = accuracy_by_operations(frame)
    by = ["parameters", "scale", "arm", OPERATIONS]
    floors = rows.group_by(by).agg(pl.col("guess_floor").mean(), pl.col("count").min())
    means = summarize_seeds(rows, by, SPAN, share=True)
    table = sort_rows(means.join(floors, on=by, how="left"), *by)
    high = [
        None if floor is None else floor + NORMAL * binomial_error(floor, count)
        for floor, count in table.select("guess_floor", "count").iter_rows()
    ]
    return table.with_columns(
        floor_high=pl.Series(high, dtype=pl.Float64())
    ).with_columns(at_floor=pl.col("mean") <= pl.col("floor_high"))


def polynomial_figure(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Draw exact match against m: a panel for each size, a colour for each arm.

    A dot is a seed, a ring one of a cell in two groups, which has no mean. Means that may
    be guessing (`at_floor`) are hollow; the band above the floor reaches up to
    `floor_high`. Returns the figure and the plotted table.
    """
    rows = accuracy_by_operations(frame)
    if rows.is_empty():
        raise ValueError(
            "No finished polynomial run has an exact match per operations."
        )
    table = polynomial_table(frame)
    scales, noise = by_scale(rows), False
    with style.house_style():
        figure, grid = style.panels(len(scales), sharex=True)
        for axes, scale in zip(grid[0], scales, strict=True):
            here = pl.col("scale") == scale
            noise |= draw_panel(axes, rows.filter(here), table.filter(here))
            axes.set_title(style.size_title(scale))
        grid[0][0].set_ylabel("exact match (greedy)")
        style.label_x(figure, "operations in the expression, m")
        bands = [series.noise_key()] * noise
        style.legend_below(figure, [*legend_keys(arms_of(rows), table), *bands])
    return figure, table


def draw_panel(axes: Axes, rows: pl.DataFrame, table: pl.DataFrame) -> bool:
    """Draw runs of one size, means with intervals, the guess floor and the domain.

    Returns whether there is a band of `series.draw_noise`.
    """
    last = rows["max_operations"].max()
    most = rows[OPERATIONS].max()
    assert isinstance(last, int)
    assert isinstance(most, int)
    looks = series.looks_of(rows, "arm")
    shifts = style.spread_positions(len(looks), DODGE).tolist()
    shift = pl.col("arm").replace_strict(list(looks), shifts)
    place = (pl.col(OPERATIONS) + shift).alias("place")
    seeds, means = rows.with_columns(place), table.with_columns(place)
    series.draw_levels(axes, seeds, means, "arm", looks, "-")
    for row in means.filter("at_floor").iter_rows(named=True):
        color, marker = looks[row["arm"]]
        hollow: dict[str, Any] = {"marker": marker, "mfc": "white", "mec": color}
        axes.plot(row["place"], row["mean"], mew=0.8, zorder=5, **hollow)
    _draw_floor(axes, table)
    if most > last:
        axes.axvspan(last + 0.5, most + 0.5, color="#f3f3f3", zorder=0, lw=0)
        axes.axvline(last + 0.5, color=style.FAINT, lw=0.8, zorder=1)
        small: dict[str, Any] = {"color": style.FAINT, "fontsize": 7.5, "va": "top"}
        small["transform"] = axes.get_xaxis_transform()
        axes.text(last + 0.58, 0.97, "out of domain", **small)
        axes.text(last + 0.42, 0.97, "trained", ha="right", **small)
    axes.set_xticks(range(1, most + 1))
    axes.set_xlim(0.5, most + 0.5)
    axes.set_ylim(*series.SHARE_LIMITS)
    centred = rows.with_columns(place=OPERATIONS)
    return series.draw_noise(axes, centred, SPAN, share=True)


def _draw_floor(axes: Axes, table: pl.DataFrame) -> None:
    """Draw the score of guessing, and the band up to `floor_high`."""
    bounds = pl.col("guess_floor", "floor_high").mean()
    floor = table.group_by(OPERATIONS).agg(bounds).sort(OPERATIONS)
    m, level = floor[OPERATIONS], floor["guess_floor"]
    dots = (0, (1, 1.2))
    axes.plot(m, level, color=style.FAINT, ls=dots, lw=1.2, zorder=1)
    axes.fill_between(
        m, level, floor["floor_high"], color=style.FAINT, alpha=0.18, lw=0, zorder=1
    )


def legend_keys(arms: list[str], table: pl.DataFrame) -> list[Line2D]:
    """Legend entries of `draw_panel`, of what `table` has; the last is the floor's."""
    faint, floor = style.FAINT, "guess floor, and its sampling error"
    hollow: dict[str, Any] = {"color": faint, "marker": "o", "mfc": "white"}
    return [
        *series.series_keys(arms, table=table),
        Line2D([], [], label="mean that may be guessing", **hollow),
        Line2D([], [], color=faint, ls=(0, (1, 1.2)), lw=1.2, label=floor),
    ]

"""Polynomial arithmetic: accuracy against the number of operations (figures 8, S15)."""

import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.schema import CONFIGURED
from analysis.selection import (
    EXACT_MATCH,
    GUESS_FLOOR,
    OPERATIONS,
    at_end,
    by_scale,
    is_slice_of,
    measured,
    slice_value,
)
from analysis.statistics import over_seeds

DODGE = 0.36
"""Width over which the horizons are spread at one number of operations."""


def accuracy_by_operations(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each run and number of operations: exact match, and its floor."""
    final = at_end(frame).filter(is_slice_of(OPERATIONS))
    final = final.with_columns(slice_value(OPERATIONS, pl.Int64()))
    floor = measured(final, GUESS_FLOOR).select(
        "run_id", OPERATIONS, guess_floor=pl.col("value")
    )
    columns = ["scale", "horizon", OPERATIONS, "seed", "suite", "value", "count"]
    return (
        measured(final, EXACT_MATCH)
        .join(floor, on=["run_id", OPERATIONS], how="left")
        .select("run_id", *columns, "guess_floor", "max_operations", "parameters")
        .sort("parameters", "horizon", OPERATIONS, "seed")
    )


def _check_one_setting(final: pl.DataFrame) -> None:
    cell = ["scale", "horizon", "seed", "data_seed"]
    runs = final.unique("run_id", maintain_order=True)
    twice = runs.filter(pl.struct(cell).is_duplicated())
    if twice.is_empty():
        return
    first = twice.row(0, named=True)
    same = twice.filter(pl.all_horizontal(pl.col(n) == first[n] for n in cell))
    names = [n for n in CONFIGURED if n not in cell and same[n].n_unique() > 1]
    raise ValueError(
        f"Runs {' and '.join(same['run_id'].sort()[:2])} have one size, horizon and "
        f"seed, but differ in {', '.join(names) or 'a setting without a column'}. Draw "
        "each setting on its own."
    )


def polynomial_table(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean exact match with its t interval, per size, horizon and number of operations.

    Raises
    ------
    ValueError
        When two runs of a size, horizon and seed differ in another setting: a mean over
        them would pass for one over seeds.
    """
    _check_one_setting(at_end(frame).filter(is_slice_of(OPERATIONS)))
    rows = accuracy_by_operations(frame)
    by = ["parameters", "scale", "horizon", OPERATIONS]
    floors = rows.group_by(by).agg(pl.col("guess_floor").mean())
    return over_seeds(rows, by).join(floors, on=by, how="left").sort(by)


def polynomial_figure(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Exact match against m: a panel a size, a colour a horizon, a dot a seed.

    Returns the figure and the plotted table.
    """
    rows = accuracy_by_operations(frame)
    if rows.is_empty():
        raise ValueError(
            "No finished polynomial run has an exact match per operations."
        )
    table = polynomial_table(frame)
    scales = by_scale(rows)
    with style.house_style():
        figure, panels = plt.subplots(
            1,
            len(scales),
            figsize=(style.PANEL_WIDTH * len(scales) + 1.4, style.PANEL_HEIGHT + 0.4),
            sharex=True,
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for axes, scale in zip(panels[0], scales, strict=True):
            here = pl.col("scale") == scale
            draw_panel(axes, rows.filter(here), table.filter(here))
            axes.set_title(f"{scale} non-embedding parameters")
        panels[0][0].set_ylabel("exact match (greedy)")
        figure.supxlabel("operations in the expression, m", fontsize=8.5)
        horizons = rows["horizon"].unique().sort().to_list()
        figure.legend(handles=keys(horizons), loc="outside right upper")
    return figure, table


def draw_panel(axes: Axes, rows: pl.DataFrame, table: pl.DataFrame) -> None:
    """Runs of one size as dots, means with intervals, guess floor, border of the domain."""
    horizons = rows["horizon"].unique().sort().to_list()
    last = rows["max_operations"].max()
    most = rows[OPERATIONS].max()
    assert isinstance(last, int)
    assert isinstance(most, int)
    shifts = style.spread_positions(len(horizons), DODGE)
    for horizon, shift in zip(horizons, shifts, strict=True):
        color, marker = style.color_of(horizon), style.marker_of(horizon)
        seeds = rows.filter(pl.col("horizon") == horizon)
        axes.scatter(
            seeds[OPERATIONS].to_numpy() + shift,
            seeds["value"].to_numpy(),
            s=9,
            color=color,
            alpha=0.45,
            linewidths=0,
            zorder=3,
        )
        means = table.filter(pl.col("horizon") == horizon)
        x = means[OPERATIONS].to_numpy() + shift
        axes.plot(
            x, means["mean"], color=color, marker=marker, zorder=4, mec="white", mew=0.5
        )
        axes.vlines(x, means["low"], means["high"], color=color, lw=0.8, zorder=2)
    floor = (
        table.group_by(OPERATIONS).agg(pl.col("guess_floor").mean()).sort(OPERATIONS)
    )
    axes.plot(
        floor[OPERATIONS],
        floor["guess_floor"],
        color=style.FAINT,
        ls=(0, (1, 1.2)),
        lw=1.2,
        zorder=1,
    )
    if most > last:
        axes.axvspan(last + 0.5, most + 0.5, color="#f3f3f3", zorder=0, lw=0)
        axes.axvline(last + 0.5, color=style.FAINT, lw=0.8, zorder=1)
        where = axes.get_xaxis_transform()
        style.direct_note(
            axes, last + 0.58, 0.97, "out of domain", va="top", transform=where
        )
        style.direct_note(
            axes, last + 0.42, 0.97, "trained", va="top", ha="right", transform=where
        )
    axes.set_xticks(range(1, most + 1))
    axes.set_xlim(0.5, most + 0.5)
    axes.set_ylim(0, 1.0)
    axes.grid(visible=False, axis="x")


def keys(horizons: list[int]) -> list[Line2D]:
    """Entries of a legend: the horizons, a seed, the interval, the floor."""
    found = [
        Line2D(
            [],
            [],
            color=style.color_of(horizon),
            marker=style.marker_of(horizon),
            mec="white",
            mew=0.5,
            label=style.horizon_label(horizon),
        )
        for horizon in horizons
    ]
    dot = Line2D([], [], color=style.FAINT, marker="o", ms=3, ls="", label="one seed")
    bar = Line2D(
        [], [], color=style.FAINT, marker="|", ms=9, ls="", label="95 % t interval"
    )
    floor = Line2D(
        [], [], color=style.FAINT, ls=(0, (1, 1.2)), lw=1.2, label="guess floor"
    )
    return [*found, dot, bar, floor]

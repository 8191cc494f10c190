"""Figures of one score: a panel a condition, a colour an arm, every seed a dot."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arm_names import arm_label, arms_of
from analysis.plots import style
from analysis.resampling import over_items
from analysis.statistics import over_seeds, t_band

DODGE = 0.16
"""Share of the distance between two x over which the arms are spread."""
CROWDED = 6
"""With more values of x than this, they stand on one another."""
REFERENCE: Any = {"color": style.FAINT, "ls": ":", "lw": 1}
"""The line at a level to compare with."""


def series_figure(
    rows: pl.DataFrame,
    x: str,
    panel: str,
    *,
    label: str,
    title: str = "{}",
    unit: str = "",
    log: bool = False,
    limits: tuple[float, float] | None = (0, 1),
    reference: Any = None,
    reference_label: str = "",
    order: Sequence[Any] = (),
    apart: bool = True,
) -> tuple[Figure, pl.DataFrame]:
    """Draw `value` against `x`.

    Parameters
    ----------
    rows
        One row a run and x, all of one setting: `arm`, `seed`, `value`, the columns
        `x` (numbers or names) and `panel`, and where there are any, counts by test item.
    label, unit
        Of the x and the y axis.
    title
        Of a panel; `{}` stands for its value.
    limits
        Of the y axis; none for what the data need.
    reference, reference_label
        A level to mark with a dotted line, and what the legend calls it.
    order
        Of the panels; sorted if not given.
    apart
        Whether arms stand beside each other at one x, where x is a few conditions.

    Returns the figure and the plotted table: mean, t interval over seeds, number of
    seeds and, where counts by test item are known, the bootstrap interval over them.
    """
    by = [panel, x, "arm"]
    table = over_items(rows, over_seeds(rows, by), by)
    arms = arms_of(rows)
    found = rows[panel].unique().sort().to_list()
    panels = [name for name in order if name in found] or found
    with style.house_style():
        figure, grid = style.wrapped_panels(len(panels), unit)
        for axes, value in zip(grid, panels, strict=True):
            here = pl.col(panel) == value
            ticks = _ticks(rows.filter(here)[x], log)
            place = _place(x, ticks, arms, DODGE * apart)
            _means_and_seeds(axes, rows.filter(here).with_columns(place=place))
            _single_runs(axes, table.filter(here).with_columns(place=place))
            axes.set_title(title.format(value))
            style.mark_values(axes, ticks)
            if limits is not None:
                axes.set_ylim(*limits)
            if reference is not None:
                axes.axhline(reference, **REFERENCE, zorder=1)
        figure.supxlabel(label, fontsize=8.5)
        handles = keys(arms, single=_of_single_runs(table).height > 0)
        if reference is not None and reference_label:
            handles.append(Line2D([], [], **REFERENCE, label=reference_label))
        figure.legend(handles=handles, loc="outside right upper")
    return figure, table


def _ticks(values: pl.Series, log: bool) -> dict[Any, float]:
    """Where each value of x stands: names side by side, numbers on the (log) scale."""
    known = values.unique().sort().to_list()
    if not values.dtype.is_numeric():
        return {name: float(place) for place, name in enumerate(known)}
    return {value: math.log10(value) if log else float(value) for value in known}


def _place(x: str, ticks: dict[Any, float], arms: list[str], share: float) -> pl.Expr:
    """Where a row is drawn: at its x, beside other arms where there is room."""
    gap = min(np.diff(sorted(ticks.values())), default=1.0)
    width = share * gap if len(ticks) <= CROWDED else 0.0
    shifts = style.spread_positions(len(arms), width)
    beside = pl.col("arm").replace_strict(arms, shifts.tolist())
    return pl.col(x).replace_strict(ticks) + beside


def _means_and_seeds(axes: Axes, rows: pl.DataFrame) -> None:
    """Means with t intervals, joined by a line, and a dot a seed, at their `place`."""
    data = rows.select("arm", "value", "seed", "place").to_pandas()
    arms, axes_label = data["arm"].unique(), axes.get_ylabel()
    colors = {arm: style.color_of(arm) for arm in arms}
    sns.lineplot(
        data=data,
        x="place",
        y="value",
        hue="arm",
        palette=colors,
        style="arm",
        markers={arm: style.marker_of(arm) for arm in arms},
        dashes=False,
        errorbar=t_band,
        err_style="bars",
        err_kws={"lw": 0.8},
        legend=False,
        ax=axes,
    )
    sns.scatterplot(
        data=data,
        x="place",
        y="value",
        hue="arm",
        palette=colors,
        s=9,
        alpha=0.45,
        linewidth=0,
        legend=False,
        ax=axes,
    )
    axes.set(xlabel="", ylabel=axes_label)
    axes.grid(visible=False, axis="x")


def _of_single_runs(table: pl.DataFrame) -> pl.DataFrame:
    """Cells of one seed whose counts by test item are known."""
    return table.filter(pl.col("seeds") == 1, pl.col("items_low").is_not_null())


def _single_runs(axes: Axes, table: pl.DataFrame) -> None:
    """One seed has no t interval: what its test items leave open, dashed."""
    for row in _of_single_runs(table).iter_rows(named=True):
        axes.vlines(
            row["place"],
            row["items_low"],
            row["items_high"],
            color=style.color_of(row["arm"]),
            lw=0.8,
            linestyles=(0, (2, 1.5)),
            zorder=2,
        )


def keys(arms: list[str], band: bool = True, single: bool = False) -> list[Line2D]:
    """Entries of a legend: the arms, a seed, the intervals."""
    found = [
        Line2D(
            [],
            [],
            color=style.color_of(arm),
            marker=style.marker_of(arm),
            mec="white",
            mew=0.5,
            label=arm_label(arm),
        )
        for arm in arms
    ]
    if band:
        faint: Any = {"color": style.FAINT, "ls": ""}
        found.append(Line2D([], [], marker="o", ms=3, label="one seed", **faint))
        found.append(Line2D([], [], marker="|", ms=9, label="95 % t interval", **faint))
    if single:
        found.append(
            Line2D(
                [],
                [],
                color=style.FAINT,
                lw=0.8,
                ls=(0, (2, 1.5)),
                label="one seed: 95 % over stories",
            )
        )
    return found

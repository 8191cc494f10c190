"""Curves against the learning rate, with the best rate of each."""

import textwrap
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from analysis.arm_names import arm_name, arms_of
from analysis.fields import list_values
from analysis.measures import Measure, parse_slice
from analysis.plots import series, style
from analysis.rate_curves import rate_curves
from analysis.selection import by_scale
from analysis.trajectories import declared
from sweeps.sweep_metric import split_mean
from synth.metrics import split_metric

DODGE = 0.04
"""Factors of ten over which the arms are spread at one rate."""
MOST_LETTERS = 40
"""Letters of a line beside the y axis."""


def rate_figure(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Draw the metric that chose the rates of one task: a panel for each size.

    A ring marks the best rate of a curve, a cross one at the edge of its grid. The
    legend has what each arm loses within a factor of two of its best rate.
    Returns the figure and the plotted table, see `rate_curves.rate_curves`.

    Raises
    ------
    ValueError
        When the table holds no trials, or their curves are of several settings or metrics.
    """
    table = rate_curves(frame)
    if table.is_empty():
        raise ValueError("no trials of `sweeps tune` are in the table")
    if table["setting"].n_unique() > 1:
        raise ValueError(
            "the trials are of several settings: choose one with --where, or take a table "
            "of one sweep"
        )
    metrics = table["metric"].unique().sort().to_list()
    if len(metrics) > 1:
        raise ValueError(
            f"rates were chosen by several metrics: {list_values(metrics)}"
        )
    measure = _measure_of(frame, metrics[0])
    with style.house_style():
        unit = textwrap.fill(f"{measure.label}, validation", MOST_LETTERS)
        scales = by_scale(table)
        figure, grid = style.wrapped_panels(len(scales), unit)
        for axes, scale in zip(grid, scales, strict=True):
            _draw_panel(axes, table.filter(scale=scale))
            axes.set_title(style.size_title(scale))
            if measure.is_share:
                axes.set_ylim(*series.SHARE_LIMITS)
        style.label_x(figure, "learning rate")
        lost = "in brackets: lost within a factor of 2 of the best rate"
        has_lost = table["sensitivity"].drop_nulls().len() > 0
        style.legend_below(figure, _keys(table), lost if has_lost else None)
    return figure, table


def _measure_of(frame: pl.DataFrame, metric: str) -> Measure:
    """The measure with this name, as `sweeps tune --metric` takes it."""
    reading, rest = split_mean(metric)
    suite, name, slice_ = split_metric(rest, frame["metric"].unique().to_list())
    fixed, meant = parse_slice(slice_), declared(frame, name)
    return Measure(name, (suite,), fixed, (), meant, reading=reading)


def _draw_panel(axes: Axes, table: pl.DataFrame) -> None:
    """Draw the curves of one size."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    rates = table["learning_rate"].unique().sort().to_list()
    names = [f"{rate:.3g}" for rate in rates]
    axes.set_xticks(rates, names, **style.slant(names))
    arms = arms_of(table)
    shifts = 10 ** style.spread_positions(len(arms), DODGE)
    for arm, shift in zip(arms, shifts, strict=True):
        color = style.color_of(arm)
        curve = table.filter(arm=arm).sort("learning_rate")
        mark: Any = {"marker": style.marker_of(arm), "color": color, "ms": 4}
        place = curve["learning_rate"] * shift
        axes.plot(place, curve["mean"], **mark)
        axes.vlines(place, curve["lowest"], curve["highest"], color=color, lw=0.8)
        best = curve.filter("best").drop_nulls("mean")
        for row in best.iter_rows(named=True):
            shape: Any = {"marker": "o" if row["interior"] else "x", "mfc": "none"}
            at = row["learning_rate"] * shift
            axes.plot(at, row["mean"], color=color, ms=10, **shape)


def _keys(table: pl.DataFrame) -> list[Line2D]:
    faint: Any = {"color": style.FAINT, "ls": "", "ms": 8}
    handles = series.series_keys(arms_of(table), band=False)
    for handle, arm in zip(handles, arms_of(table), strict=True):
        handle.set_label(arm_name(arm) + _lost(table.filter(arm=arm)))
    text = "mean, lowest and highest seed"
    handles.append(Line2D([], [], marker="|", label=text, **faint))
    best = table.filter("best").drop_nulls("mean")["interior"].unique()
    if True in best:
        handles.append(
            Line2D([], [], marker="o", mfc="none", label="best rate", **faint)
        )
    if False in best:
        handles.append(Line2D([], [], marker="x", label="best, at the edge", **faint))
    return handles


def _lost(table: pl.DataFrame) -> str:
    """What an arm loses within a factor of two of its best rate, size by size."""
    best = table.filter("best").drop_nulls("sensitivity").sort("parameters")
    losses = [f"{loss:.2g}" for loss in best["sensitivity"]]
    if not losses:
        return ""
    if table["scale"].n_unique() == 1:
        return f" ({losses[0]})"
    return f" ({', '.join(map(' '.join, zip(best['scale'], losses, strict=True)))})"

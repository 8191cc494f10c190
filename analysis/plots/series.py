"""Figures of one score: a panel a condition, a colour a horizon, every seed a dot."""

from typing import Any

import matplotlib.pyplot as plt
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.plots import style
from analysis.statistics import over_seeds, t_band


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
    reference: float | None = None,
) -> tuple[Figure, pl.DataFrame]:
    """Draw `value` against `x`.

    Parameters
    ----------
    rows
        One row a run and x: `horizon`, `seed`, `value`, the columns `x` and `panel`.
    label, unit
        Of the x and the y axis.
    title
        Of a panel; `{}` stands for its value.
    limits
        Of the y axis; none for what the data need.
    reference
        A level to mark with a dotted line.

    Returns the figure and the plotted table: mean, t interval, number of seeds.
    """
    table = over_seeds(rows, [panel, x, "horizon"])
    horizons = rows["horizon"].unique().sort().to_list()
    panels = rows[panel].unique().sort().to_list()
    with style.house_style():
        figure, grid = plt.subplots(
            1,
            len(panels),
            figsize=(style.PANEL_WIDTH * len(panels) + 1.4, style.PANEL_HEIGHT + 0.4),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for axes, value in zip(grid[0], panels, strict=True):
            _panel(axes, rows.filter(pl.col(panel) == value), x, horizons)
            axes.set(xlabel="", ylabel="", title=title.format(value))
            if log:
                axes.set_xscale("log")
            style.mark_values(axes, rows[x])
            if limits is not None:
                axes.set_ylim(*limits)
            if reference is not None:
                axes.axhline(reference, color=style.FAINT, ls=":", lw=1, zorder=1)
        grid[0][0].set_ylabel(unit)
        figure.supxlabel(label, fontsize=8.5)
        figure.legend(handles=keys(horizons), loc="outside right upper")
    return figure, table


def _panel(axes: Axes, rows: pl.DataFrame, x: str, horizons: list[int]) -> None:
    data = rows.select(x, "horizon", "value", "seed").to_pandas()
    colors = {n: style.color_of(n) for n in horizons}
    sns.lineplot(
        data=data,
        x=x,
        y="value",
        hue="horizon",
        palette=colors,
        style="horizon",
        markers={n: style.marker_of(n) for n in horizons},
        dashes=False,
        errorbar=t_band,
        err_style="bars",
        err_kws={"lw": 0.8},
        legend=False,
        ax=axes,
    )
    sns.scatterplot(
        data=data,
        x=x,
        y="value",
        hue="horizon",
        palette=colors,
        s=9,
        alpha=0.45,
        linewidth=0,
        legend=False,
        ax=axes,
    )
    axes.grid(visible=False, axis="x")


def keys(horizons: list[int], band: bool = True) -> list[Line2D]:
    """Entries of a legend: the horizons, a seed, the interval."""
    found = [
        Line2D(
            [],
            [],
            color=style.color_of(n),
            marker=style.marker_of(n),
            mec="white",
            mew=0.5,
            label=style.horizon_label(n),
        )
        for n in horizons
    ]
    if band:
        faint: Any = {"color": style.FAINT, "ls": ""}
        found.append(Line2D([], [], marker="o", ms=3, label="one seed", **faint))
        found.append(Line2D([], [], marker="|", ms=9, label="95 % t interval", **faint))
    return found

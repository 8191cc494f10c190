"""A map: one metric as colour over two axes, such as position and moment of training."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.arm_names import arm_name, arms_of
from analysis.fields import distinct, label_of, shown
from analysis.modes import levels
from analysis.plots import style
from analysis.plots.by_field import facts_of, limits_of, with_titles
from analysis.plots.gallery import annotate
from analysis.selection import size_name
from analysis.views import View

MOST_NAMES = 12
"""Values of an axis that are named; of more, every so many."""


def heat_figure(view: View) -> tuple[Figure, pl.DataFrame]:
    """A panel a value of the panel, x to the right, the second axis (`hue`) upwards.

    A cell is the median over seeds, so that two groups of seeds are no middle ground.
    Returns the figure and the plotted table.
    """
    rows = with_titles(view)
    by = list(dict.fromkeys(("title", view.x, view.hue)))
    table = levels(rows, by, span=0.0)
    across, upwards = distinct(rows[view.x]), distinct(rows[view.hue])
    titles = rows["title"].unique(maintain_order=True).to_list()
    values = table["median"].to_numpy()
    low, high = (0.0, 1.0) if limits_of(view) else (values.min(), values.max())
    with style.house_style():
        figure, grid = style.wrapped_panels(len(titles), label_of(view.hue))
        for axes, title in zip(grid, titles, strict=True):
            cells = np.full((len(upwards), len(across)), np.nan)
            for row in table.filter(pl.col("title") == title).iter_rows(named=True):
                cells[upwards.index(row[view.hue]), across.index(row[view.x])] = row[
                    "median"
                ]
            image = axes.imshow(
                cells,
                aspect="auto",
                origin="lower",
                vmin=low,
                vmax=high,
                cmap="viridis",
            )
            axes.set_title(title)
            axes.grid(visible=False)
            for axis, known in ((axes.xaxis, across), (axes.yaxis, upwards)):
                every = -(-len(known) // MOST_NAMES)
                names = [_name(value) for value in known[::every]]
                how = style.slant(names) if axis is axes.xaxis else {}
                axis.set_ticks(range(0, len(known), every), names, **how)
        style.label_x(figure, label_of(view.x))
        figure.colorbar(
            image, ax=grid, label=f"{view.measure.label}, median over seeds"
        )
    annotate(figure, facts_of(view))
    return figure, table.drop("mean", "low", "high", "groups")


def matrix_figure(table: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """P(learned) as colour, an arm a row and a task a column, with Wilson intervals.

    `table` is a result of `trajectories.learned_matrix`. A cell says how many of its runs
    have learned the task, and below it the 95 % interval of P(learned); a cell without
    runs stays empty. Returns the figure and the plotted table.
    """
    arms, places = arms_of(table), table["place"].unique(maintain_order=True).to_list()
    shares = np.full((len(arms), len(places)), np.nan)
    with style.house_style():
        figure = style.empty_figure(1.6 + 0.72 * len(places), 1.1 + 0.36 * len(arms))
        axes = figure.subplots()
        for row in table.iter_rows(named=True):
            y, x = arms.index(row["arm"]), places.index(row["place"])
            shares[y, x] = share = row["learned"] / row["runs"]
            words = (
                f"{row['learned']} of {row['runs']}\n{row['low']:.2f}-{row['high']:.2f}"
            )
            color = "black" if share > 0.6 else "white"
            axes.text(x, y, words, ha="center", va="center", color=color, fontsize=6)
        image = axes.imshow(shares, aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axes.grid(visible=False)
        how: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(len(places)), places, **how)
        axes.set_yticks(range(len(arms)), [arm_name(arm) for arm in arms])
        figure.colorbar(image, ax=axes, label="share of runs that learned it")
    return figure, table


def _name(value: object) -> str:
    return size_name(value) if isinstance(value, int) else shown(value)

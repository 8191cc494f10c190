"""Heat maps: a metric as colour over two axes, such as position and step."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from analysis.arm_names import arm_name, arms_of
from analysis.configurations import format_value
from analysis.fields import column_label, sort_distinct
from analysis.modes import summarize_seeds
from analysis.plots import style
from analysis.plots.by_field import describe_view, limits_of, with_titles
from analysis.plots.gallery import annotate
from analysis.views import View
from synth.scales import format_count

MOST_NAMES = 12
"""Ticks of an axis that have names; of more values, every n-th."""


def heat_figure(view: View) -> tuple[Figure, pl.DataFrame]:
    """A map for each panel of the view, with x across and `hue` upwards.

    A cell is the median over seeds, since the mean of two groups of seeds would lie
    between them. Returns the figure and the plotted table.
    """
    rows = with_titles(view)
    by = list(dict.fromkeys(("title", view.x, view.hue)))
    table = summarize_seeds(rows, by, span=0.0)
    across, upwards = sort_distinct(rows[view.x]), sort_distinct(rows[view.hue])
    titles = rows["title"].unique(maintain_order=True).to_list()
    medians = table["median"].to_numpy()
    low, high = (0.0, 1.0) if limits_of(view) else (medians.min(), medians.max())
    with style.house_style():
        figure, grid = style.wrapped_panels(len(titles), column_label(view.hue))
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
            for axis, values in ((axes.xaxis, across), (axes.yaxis, upwards)):
                every = -(-len(values) // MOST_NAMES)
                names = [_tick_name(value) for value in values[::every]]
                rotation = style.slant(names) if axis is axes.xaxis else {}
                axis.set_ticks(range(0, len(values), every), names, **rotation)
        style.label_x(figure, column_label(view.x))
        figure.colorbar(
            image, ax=grid, label=f"{view.measure.label}, median over seeds"
        )
    annotate(figure, describe_view(view))
    return figure, table.drop("mean", "low", "high", "groups")


def matrix_figure(table: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """P(learned) as colour: a row for each arm, a column for each task.

    `table` is a result of `trajectories.learned_matrix`. A cell has the number of runs
    that learned the task and Wilson's 95 % interval of P(learned); a cell without runs
    is empty. Returns the figure and the plotted table.
    """
    arms, places = arms_of(table), table["place"].unique(maintain_order=True).to_list()
    shares = np.full((len(arms), len(places)), np.nan)
    with style.house_style():
        figure = style.empty_figure(1.6 + 0.72 * len(places), 1.1 + 0.36 * len(arms))
        axes = figure.subplots()
        for row in table.iter_rows(named=True):
            y, x = arms.index(row["arm"]), places.index(row["place"])
            shares[y, x] = share = row["learned"] / row["runs"]
            counts = f"{row['learned']} of {row['runs']}"
            words = f"{counts}\n{row['low']:.2f}-{row['high']:.2f}"
            color = "black" if share > 0.6 else "white"
            axes.text(x, y, words, ha="center", va="center", color=color, fontsize=6)
        image = axes.imshow(shares, aspect="auto", vmin=0, vmax=1, cmap="viridis")
        axes.grid(visible=False)
        axes.set_xticks(range(len(places)), places, **style.SLANTED)
        axes.set_yticks(range(len(arms)), [arm_name(arm) for arm in arms])
        figure.colorbar(image, ax=axes, label="P(learned)")
    return figure, table


def _tick_name(value: object) -> str:
    return format_count(value) if isinstance(value, int) else format_value(value)

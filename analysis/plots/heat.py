"""A map: one metric as colour over two axes, such as position and moment of training."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

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


def _name(value: object) -> str:
    return size_name(value) if isinstance(value, int) else shown(value)

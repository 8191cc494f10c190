"""The matrix of standings: which value of a field leads on which task."""

import textwrap
from typing import Any

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from analysis.arm_names import in_arm_order
from analysis.fields import sort_distinct, value_label
from analysis.measures import Measure
from analysis.plots import style
from analysis.plots.forest import TOLD_APART
from analysis.plots.gallery import annotate
from analysis.settings import with_places
from analysis.standings import Standings

COLORS = dict(
    zip(TOLD_APART, ("#9fd0ec", "#f2b083", "#9fd0ec", "#f2b083"), strict=True)
)
"""Fill of a cell by its result: blue for better or higher, orange for the opposite."""
UNDECIDED = "#f1f1f1"
COLUMN_WIDTH, ROW_HEIGHT = 1.2, 0.36
"""Inches of a cell."""
LETTERS = 20
"""Letters that fit above a column."""
CENTER: dict[str, Any] = {"ha": "center", "va": "center"}


def standings_figure(standings: Standings) -> tuple[Figure, pl.DataFrame]:
    """A row for each value of the field, a column for each task and what varies in it.

    A cell has the difference from the baseline and its 95 % interval, and the colour of
    its result. The first row has the values of the baseline. Returns the figure and the
    table.
    """
    table, first = standings.table, standings.first
    column = first.column
    beside = [name for name in ("where", "scale", "arm") if name in table.columns]
    table = with_places(table, *(name for name in beside if name != column))
    places = table["place"].unique(maintain_order=True).to_list()
    values = sort_distinct(table[column])
    values = in_arm_order(values) if column == "arm" else values
    with style.house_style():
        figure = style.empty_figure(
            1.5 + COLUMN_WIDTH * len(places), 1.4 + ROW_HEIGHT * (len(values) + 1)
        )
        axes = figure.subplots()
        for row in table.iter_rows(named=True):
            _draw_cell(
                axes, places.index(row["place"]), 1 + values.index(row[column]), row
            )
        heads = table.unique("place", maintain_order=True)
        for x, row in enumerate(heads.iter_rows(named=True)):
            words = _median(row) + _brief(row["baseline"])
            words += f"\n({row['minus']})" if "minus" in row else ""
            axes.text(x, 0, words, fontsize=6.5, **CENTER)
        axes.set_xlim(-0.5, len(places) - 0.5)
        axes.set_ylim(len(values) + 0.5, -0.5)
        labels = {
            task: (one.measure.label, _better(one.measure))
            for task, one in standings.by_task.items()
        }
        names = [
            "\n".join(line for part in (place, *labels[task]) for line in _lines(part))
            for task, place in heads.select("task", "place").iter_rows()
        ]
        axes.xaxis.tick_top()
        axes.set_xticks(range(len(places)), names, fontsize=6.5)
        top = value_label(column, first.baseline) if standings.same_base else "baseline"
        names = [top, *(value_label(column, value) for value in values)]
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.grid(visible=False)
        for side in axes.spines.values():
            side.set_visible(False)
        style.legend_below(figure, _keys(table))
    annotate(
        figure,
        f"first row: value of {standings.base}{first.moment}; below: minus it, 95 % "
        "interval; paired by data seed; p values after Holm in each task",
    )
    return figure, table


def _draw_cell(axes: Axes, x: int, y: int, row: dict[str, Any]) -> None:
    """A difference with its interval, on the colour of its result."""
    color = COLORS.get(row["result"], UNDECIDED)
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=color, ec="white", lw=1.5))
    words = _median(row) + _brief(row["difference"], "+")
    if row["low"] is not None:
        words += f"\n[{_brief(row['low'], '+')}, {_brief(row['high'], '+')}]"
    axes.text(x, y, words, fontsize=6, **CENTER)


def _median(row: dict[str, Any]) -> str:
    """What stands before a number that is not a mean."""
    return "" if row["test"] == "paired t" else "median "


def _better(measure: Measure) -> str:
    """Which direction of a measure is better; nothing if no task says so."""
    rising = measure.higher_is_better
    return "" if rising is None else f"better: {'higher' if rising else 'lower'}"


def _lines(words: str) -> list[str]:
    return textwrap.wrap(words, LETTERS)


def _brief(value: float, sign: str = "") -> str:
    """Three digits; thousands and millions as 12k and 1.2M."""
    for unit, factor in (("M", 1e6), ("k", 1e3)):
        if abs(float(f"{value:.3g}")) >= factor:  # 999.9 is 1k
            return f"{value / factor:{sign}.3g}{unit}"
    return f"{value:{sign}.3f}" if abs(value) < 1 else f"{value:{sign}.3g}"


def _keys(table: pl.DataFrame) -> list[Artist]:
    results = [name for name in TOLD_APART if name in set(table["result"])]
    keys: list[Artist] = [Patch(fc=COLORS[name], label=name) for name in results]
    return [*keys, Patch(fc=UNDECIDED, label="not told apart, or both at a bound")]

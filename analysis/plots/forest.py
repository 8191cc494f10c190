"""Contrasts under one another: differences with their intervals, beside zero."""

import re

import polars as pl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import arm_name
from analysis.contrasts import Contrasts
from analysis.fields import label_of, shown, value_label
from analysis.plots import series, style
from analysis.plots.gallery import annotate

LINE_HEIGHT = 0.24
"""Inches of a contrast."""
BAND_HEIGHT = 0.8
"""Of a band, as a share of a line."""
MARGIN = 1.1
"""Inches above and below them."""


def forest_figure(found: Contrasts) -> tuple[Figure, pl.DataFrame]:
    """A line a contrast: the mean difference with its t interval.

    Where seeds fall into two groups the mark is hollow, and the median stands with its
    exact interval, if there are pairs enough for one. The band around zero is what the
    baseline differs from itself by, with other seeds (`differences.judge_differences`).
    Returns the figure and its table.
    """
    table = found.table
    lines = [_words(found, row) for row in table.iter_rows(named=True)]
    with style.house_style():
        height = MARGIN + LINE_HEIGHT * table.height
        figure = style.empty_figure(5.8, height)
        axes = figure.subplots()
        for place, row in enumerate(table.iter_rows(named=True)):
            if row["noise"] is not None:
                half = BAND_HEIGHT / 2
                spans = [place - half, place + half]
                axes.fill_betweenx(spans, -row["noise"], row["noise"], **series.NOISE)
            median = row["test"] != "paired t"
            color = style.INK if row["result"] in ("better", "worse") else style.FAINT
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [place] * 2, color=color, lw=1.2)
            fill = "white" if median else color
            axes.plot(row["difference"], place, "o", color=color, mfc=fill, ms=5)
        axes.axvline(0, color=style.FAINT, ls=":", lw=1, zorder=1)
        axes.set_yticks(range(table.height), lines)
        axes.set_ylim(table.height - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        rising = found.measure.higher_is_better
        side = "" if rising is None else f" (better: {'right' if rising else 'left'})"
        axes.set_xlabel(f"difference in {found.measure.label}{side}")
        style.legend_below(figure, _keys(found))
    annotate(figure, f"{found.title}; paired by data seed; p values after Holm")
    return figure, table


def forest_name(found: Contrasts, sweep: str) -> str:
    """A name in words for its files."""
    field = found.column.rpartition(".")[2]
    words = f"{sweep}-{found.measure.metric}-contrasts-of-{field}"
    at = f"_equal-{found.at}" if found.at else ""
    return re.sub(r"[^\w.+-]+", "-", words.replace("_", "-")) + at


def _words(found: Contrasts, row: dict[str, object]) -> str:
    """What a line is about: the setting, the value, the p value."""
    parts = [row["where"], row.get("scale")]
    arm = row.get("arm")
    parts.append(arm_name(str(arm)) if arm else None)
    if found.column not in ("arm", "scale"):
        parts.append(f"{label_of(found.column)} {shown(row[found.column])}")
    told = ", ".join(str(part) for part in parts if part)
    return f"{told}  (p {row['p_holm']:.2g}, {row['pairs']} pairs)"


def _keys(contrasts: Contrasts) -> list[Artist]:
    table = contrasts.table
    tests = set(table["test"])
    found: list[Artist] = []
    if "paired t" in tests:
        text = "mean, 95 % t interval"
        found.append(Line2D([], [], color=style.INK, marker="o", ms=5, label=text))
    if tests - {"paired t"}:
        text = "median (seeds in two groups)"
        hollow = Line2D(
            [], [], color=style.INK, marker="o", ms=5, mfc="white", label=text
        )
        found.append(hollow)
    faint = Line2D([], [], color=style.FAINT, marker="o", ms=5, label="not told apart")
    if table["noise"].drop_nulls().len():
        name = value_label(contrasts.column, contrasts.baseline)
        found.append(Patch(**series.NOISE, label=f"{name} against itself, 95 %"))
    return [*found, faint]

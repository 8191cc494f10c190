"""Forest plots: the differences of contrasts with their intervals, around zero."""

import re

import polars as pl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import arm_name
from analysis.contrasts import Contrasts
from analysis.fields import value_label
from analysis.plots import series, style
from analysis.plots.gallery import annotate

LINE_HEIGHT = 0.24
"""Inches of one contrast."""
BAND_HEIGHT = 0.8
"""Height of a band, as a share of `LINE_HEIGHT`."""
MARGIN = 1.1
"""Inches above and below all contrasts together."""

TOLD_APART = ("better", "worse", "higher", "lower")
"""Results of differences that are significant."""


def forest_figure(contrasts: Contrasts) -> tuple[Figure, pl.DataFrame]:
    """Draw the mean difference of each contrast with its t interval.

    Where seeds fall into two groups, a hollow marker is the median, with its exact
    interval if there are enough pairs. The band around zero has the differences of the
    baseline from itself with other seeds (`differences.judge_differences`). Returns the
    figure and its table.
    """
    table = contrasts.table
    labels = [_label_line(contrasts, row) for row in table.iter_rows(named=True)]
    with style.house_style():
        height = MARGIN + LINE_HEIGHT * table.height
        figure = style.empty_figure(5.8, height)
        axes = figure.subplots()
        for place, row in enumerate(table.iter_rows(named=True)):
            if row["noise"] is not None:
                half = BAND_HEIGHT / 2
                spans = [place - half, place + half]
                axes.fill_betweenx(spans, -row["noise"], row["noise"], **series.NOISE)
            is_median = row["test"] != "paired t"
            color = style.INK if row["result"] in TOLD_APART else style.FAINT
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [place] * 2, color=color, lw=1.2)
            fill = "white" if is_median else color
            axes.plot(row["difference"], place, "o", color=color, mfc=fill, ms=5)
        axes.axvline(0, color=style.FAINT, ls=":", lw=1, zorder=1)
        axes.set_yticks(range(table.height), labels)
        axes.set_ylim(table.height - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        rising = contrasts.measure.higher_is_better
        side = "" if rising is None else f" (better: {'right' if rising else 'left'})"
        axes.set_xlabel(f"difference in {contrasts.measure.label}{side}")
        style.legend_below(figure, _keys(contrasts))
    annotate(figure, f"{contrasts.title}; paired by data seed; p values after Holm")
    return figure, table


def contrasts_name(contrasts: Contrasts, sweep: str, subject: str | None = None) -> str:
    """A name in words for its files; `subject` stands in place of the metric."""
    field = contrasts.column.rpartition(".")[2]
    measure = contrasts.measure
    words = f"{sweep}-{measure.reading}{subject or measure.metric}-contrasts-of-{field}"
    at = f"_equal-{contrasts.at}" if contrasts.at else ""
    over = "".join(f"_over-{name.rpartition('.')[2]}" for name in contrasts.over)
    return re.sub(r"[^\w.+-]+", "-", words.replace("_", "-")) + at + over


def _label_line(contrasts: Contrasts, row: dict[str, object]) -> str:
    """The setting and value of a contrast, its p value and pairs."""
    parts = [row["where"], row.get("scale")]
    arm = row.get("arm")
    parts.append(arm_name(str(arm)) if arm else None)
    if contrasts.column not in ("arm", "scale"):
        parts.append(value_label(contrasts.column, row[contrasts.column]))
    words = ", ".join(str(part) for part in parts if part)
    return f"{words}  (p {row['p_holm']:.2g}, {row['pairs']} pairs)"


def _keys(contrasts: Contrasts) -> list[Artist]:
    table = contrasts.table
    tests = set(table["test"])
    handles: list[Artist] = []
    if "paired t" in tests:
        text = "mean, 95 % t interval"
        handles.append(Line2D([], [], color=style.INK, marker="o", ms=5, label=text))
    if tests - {"paired t"}:
        text = "median (seeds in two groups)"
        hollow = Line2D(
            [], [], color=style.INK, marker="o", ms=5, mfc="white", label=text
        )
        handles.append(hollow)
    faint = Line2D([], [], color=style.FAINT, marker="o", ms=5, label="not told apart")
    if table["noise"].drop_nulls().len():
        name = value_label(contrasts.column, contrasts.baseline)
        handles.append(Patch(**series.NOISE, label=f"{name} against itself, 95 %"))
    return [*handles, faint]

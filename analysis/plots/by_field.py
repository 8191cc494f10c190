"""The figure of a view: any metric of any task against any field, or along training."""

import re
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arm_names import sort_rows
from analysis.fields import distinct, label_of, value_label
from analysis.measures import NEXT_TOKEN
from analysis.modes import levels, span_of
from analysis.plots import curves, series, style
from analysis.plots.gallery import annotate
from analysis.selection import at_end
from analysis.settings import facts
from analysis.views import WHOLE, View

WIDE_RANGE = 8
"""Numbers whose largest is so many times the smallest stand on a log axis."""
MOST_PANELS = 12
MOST_SERIES = 10


def field_figure(view: View, label: str = "") -> tuple[Figure, pl.DataFrame]:
    """Seeds as dots or thin lines, means with intervals, floor and ceiling.

    Above the panels stands what was trained, and `label`, what tells the setting apart.
    Returns the figure and the plotted table, all evaluations of it for curves.

    Raises
    ------
    ValueError
        When there are too many panels or series to be told apart.
    """
    for name, most in ((view.panel, MOST_PANELS), (view.hue, MOST_SERIES)):
        count = view.rows[name].n_unique()
        if count > most:
            option = "--panel" if name == view.panel else "--hue"
            raise ValueError(
                f"{option} {name} has {count} values; a figure shows {most}. Choose some "
                f"with --where {name}=VALUE,VALUE, or put it on --x."
            )
    rows = with_titles(view)
    if view.along:
        figure = _curves(view, rows)
        annotate(figure, facts_of(view), label)
        return figure, levels_table(view)
    numbers = view.rows[view.x]
    figure, _ = series.series_figure(
        rows,
        view.x,
        "title",
        label=label_of(view.x),
        hue=view.hue,
        unit=view.measure.label,
        limits=limits_of(view),
        log=_is_wide(numbers),
        floor=floor_label(view),
        order=rows["title"].unique(maintain_order=True).to_list(),
        apart=view.x != "parameters",
    )
    annotate(figure, facts_of(view), label)
    return figure, levels_table(view)


def levels_table(view: View, rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Mean, interval, seeds and bounds in each place of the figure; see `modes.levels`.

    Of all rows of the view, or of some.
    """
    by = [*_columns(view), *([view.x] if view.along else [])]
    rows = view.rows if rows is None else rows
    table = levels(rows, by, span_of(at_end(view.rows)), view.measure.is_share)
    bounds = rows.group_by(by).agg(pl.col("floor", "ceiling").mean())
    table = table.join(
        bounds, on=by, how="left", nulls_equal=True, maintain_order="left"
    )
    return sort_rows(table, *by)


def _columns(view: View) -> list[str]:
    """What tells the places of the figure apart; curves are told apart as runs."""
    x = () if view.along else (view.x,)
    columns = dict.fromkeys((view.panel, *x, view.hue))
    return [name for name in columns if name != WHOLE]


def facts_of(view: View) -> str:
    """What was trained; the fields on axes tell cells apart."""
    axes = [
        name
        for name in _columns(view)
        if name != "suite" and name not in view.measure.keys
    ]
    return facts(view.rows, *axes)


def floor_label(view: View) -> str:
    """What the legend calls the floor: a lower value is better of a loss."""
    return "exact optimum" if view.measure.higher_is_better is False else "guess floor"


def table_at_end(view: View) -> pl.DataFrame:
    """`levels_table` of the last evaluations, the better series first in each place."""
    table = levels_table(view, at_end(view.rows))
    rising = view.measure.higher_is_better
    if rising is None:
        return table
    places = [name for name in _columns(view) if name != view.hue]
    down = [False] * len(places) + [rising]
    return table.sort([*places, "median"], descending=down, maintain_order=True)


def limits_of(view: View) -> tuple[float, float] | None:
    """The whole y axis for a share; for anything else what the data need."""
    return series.SHARE if view.measure.is_share else None


def file_name(view: View, where: tuple[str, ...] = ()) -> str:
    """A name in words: task, metric, axes, and what all runs share of size and context.

    `polynomial-accuracy_by-operations_100k_ctx64`
    """
    rows = view.rows
    task = "-".join(rows["task"].unique().sort().to_list())
    words = [f"{task}-{view.measure.metric}"]
    fixed = view.measure.fixed.items()
    words += [f"{name}-{value}" for name, value in fixed - NEXT_TOKEN.items()]
    if view.measure.also and len(view.measure.suites) == 1:
        words.append(view.measure.suites[0])
    if view.x not in ("parameters", view.hue):
        words.append(f"by-{_short(view.x)}")
    words += [f"per-{_short(view.hue)}"] if view.hue != "arm" else []
    words += [f"panels-{_short(view.panel)}"] if view.panel != WHOLE else []
    words += [condition.rpartition(".")[2] for condition in where]
    for column, before in (("scale", ""), ("context", "ctx")):
        found = rows[column].unique().to_list()
        if len(found) == 1 and column not in (view.x, view.hue, view.panel):
            words.append(f"{before}{found[0]}")
    return "_".join(re.sub(r"[^\w.+-]+", "-", word.replace("_", "-")) for word in words)


def _short(column: str) -> str:
    return column.rpartition(".")[2]


def _is_wide(values: pl.Series) -> bool:
    """Whether the numbers of an axis want a logarithmic scale."""
    if not values.dtype.is_numeric():
        return False
    known: list[Any] = values.drop_nulls().unique().sort().to_list()
    return len(known) > 1 and known[0] > 0 and known[-1] >= WIDE_RANGE * known[0]


def with_titles(view: View) -> pl.DataFrame:
    """Add the title of each row's panel, rows in the order of the panels.

    Bounds at the ends of a share's axis are no lines.
    """
    rows, meant = view.rows, view.measure.meant
    for name in series.BOUND:
        if view.measure.is_share and not isinstance(getattr(meant, name), str):
            rows = rows.with_columns(pl.lit(None, pl.Float64()).alias(name))
    if view.panel == WHOLE:
        return rows.with_columns(title=pl.lit(""))
    titles = {
        value: value_label(view.panel, value)
        for value in distinct(view.rows[view.panel])
    }
    order = {value: place for place, value in enumerate(titles)}
    column = pl.col(view.panel)
    return (
        rows.with_columns(title=column.replace_strict(titles))
        .with_columns(place=column.replace_strict(order))
        .sort("place", maintain_order=True)
        .drop("place")
    )


def _curves(view: View, rows: pl.DataFrame) -> Figure:
    titles = rows["title"].unique(maintain_order=True).to_list()
    looks, noise = series.looks_of(rows, view.hue), False
    with style.house_style():
        figure, grid = style.wrapped_panels(len(titles), view.measure.label)
        for axes, title in zip(grid, titles, strict=True):
            here = rows.filter(pl.col("title") == title)
            share = view.measure.is_share
            noise |= curves.draw_curves(
                axes, here, view.x, hue=view.hue, looks=looks, share=share
            )
            axes.set_title(title)
            _fit(axes, view, here)
            series.draw_bounds(axes, here.with_columns(place=pl.col(view.x)))
        style.label_x(figure, label_of(view.x))
        handles = curves.curve_keys(looks, view.hue, noise)
        style.legend_below(
            figure, [*handles, *series.bound_keys(rows, floor_label(view))]
        )
    return figure


def _fit(axes: Axes, view: View, rows: pl.DataFrame) -> None:
    """Limits of the y axis: an untrained model far above the rest is cut off."""
    limits = limits_of(view)
    if limits is not None:
        axes.set_ylim(*limits)
        return
    after = rows.filter(pl.col("step") > 0)["value"].to_numpy().max(initial=0.0)
    before = rows.filter(pl.col("step") == 0)["value"].to_numpy().max(initial=0.0)
    if before > 1.5 * after > 0:
        axes.set_ylim(top=1.1 * float(after))

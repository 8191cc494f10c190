"""The figure of a view: any metric of any task against any field or during training."""

import re
from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.arm_names import arm_name, arms_of, sort_rows
from analysis.fields import column_label, sort_distinct, value_label
from analysis.measures import NEXT_TOKEN
from analysis.modes import span_of, summarize_seeds
from analysis.plots import curves, series, style
from analysis.plots.gallery import annotate
from analysis.selection import at_end
from analysis.settings import describe_training
from analysis.views import WHOLE, View

LEAST_LOG_RANGE = 8
"""The x axis is logarithmic if its largest number is so many times its smallest."""
MOST_PANELS = 12
MOST_SERIES = 10


def field_figure(view: View, label: str = "") -> tuple[Figure, pl.DataFrame]:
    """Draw seeds as dots or thin lines, means with intervals, floor and ceiling.

    Above the panels it says what was trained, and the `label` of the setting. Returns
    the figure and the plotted table, for curves with all evaluations.

    Raises
    ------
    ValueError
        When there are more panels or series than a figure can show.
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
    if view.is_curves:
        figure = _draw_curves(view, rows)
    else:
        x = view.x
        if x == "arm":
            x, names = "objective", {arm: arm_name(arm) for arm in arms_of(rows)}
            kind = pl.Enum(list(names.values()))
            arm = pl.col("arm").replace_strict(names, return_dtype=kind)
            rows = rows.with_columns(objective=arm)
        figure, _ = series.series_figure(
            rows,
            x,
            "title",
            label=column_label(x),
            hue=view.hue,
            unit=view.measure.label,
            limits=limits_of(view),
            log=_needs_log(view.rows[view.x]),
            floor=_floor_label(view),
        )
    annotate(figure, describe_view(view), label)
    return figure, plotted_table(view)


def plotted_table(view: View, rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Mean, interval, seeds (`modes.summarize_seeds`) and bounds of each cell.

    Of all rows of the view, or of some.
    """
    by = [*_cell_columns(view), *([view.x] if view.is_curves else [])]
    rows = view.rows if rows is None else rows
    share = view.measure.is_share
    table = summarize_seeds(rows, by, span_of(at_end(view.rows), share), share)
    bounds = rows.group_by(by).agg(pl.col("floor", "ceiling").mean())
    table = table.join(
        bounds, on=by, how="left", nulls_equal=True, maintain_order="left"
    )
    return sort_rows(table, *by)


def _cell_columns(view: View) -> list[str]:
    """The columns in which cells of the figure differ; x is none for curves."""
    x = () if view.is_curves else (view.x,)
    columns = dict.fromkeys((view.panel, *x, view.hue))
    return [name for name in columns if name != WHOLE]


def describe_view(view: View) -> str:
    """What was trained (`describe_training`), and its size where no axis has sizes.

    A cell has one value of each axis.
    """
    axes = [
        name
        for name in _cell_columns(view)
        if name != "suite" and name not in view.measure.keys
    ]
    words = describe_training(view.rows, *axes)
    sizes = view.rows["scale"].unique().to_list()
    if len(sizes) > 1 or {"scale", "parameters"} & set(axes):
        return words
    task, _, rest = words.partition("; ")
    return "; ".join([task, sizes[0], rest])


def _floor_label(view: View) -> str:
    """The name of the floor in the legend: that of a loss is its optimum."""
    return "exact optimum" if view.measure.higher_is_better is False else "guess floor"


def table_at_end(view: View) -> pl.DataFrame:
    """`plotted_table` of the last evaluations, the better series first in each cell."""
    table = plotted_table(view, at_end(view.rows))
    rising = view.measure.higher_is_better
    if rising is None:
        return table
    cells = [name for name in _cell_columns(view) if name != view.hue]
    down = [False] * len(cells) + [rising]
    return table.sort([*cells, "median"], descending=down, maintain_order=True)


def limits_of(view: View) -> tuple[float, float] | None:
    """Ends of the y axis: those of a share, or None for the range of the data."""
    return series.SHARE_LIMITS if view.measure.is_share else None


def file_name(view: View, where: tuple[str, ...] = ()) -> str:
    """A name in words: task, metric, axes, and the size and context of all runs.

    `polynomial-accuracy_by-operations_100k_ctx64`
    """
    rows = view.rows
    task = "-".join(rows["task"].unique().sort().to_list())
    words = [f"{task}-{view.measure.reading}{view.measure.metric}"]
    fixed = view.measure.fixed.items()
    words += [f"{name}-{value}" for name, value in fixed - NEXT_TOKEN.items()]
    if view.measure.other_suites and len(view.measure.suites) == 1:
        words.append(view.measure.suites[0])
    if view.x not in ("parameters", view.hue):
        words.append(f"by-{_last_word(view.x)}")
    words += [f"per-{_last_word(view.hue)}"] if view.hue != "arm" else []
    words += [f"panels-{_last_word(view.panel)}"] if view.panel != WHOLE else []
    chosen = dict(condition.split("=", 1) for condition in where)
    words += [f"{_last_word(name)}-{value}" for name, value in chosen.items()]
    for column, before in (("scale", ""), ("context", "ctx")):
        values = rows[column].unique().to_list()
        if len(values) == 1 and column not in (view.x, view.hue, view.panel, *chosen):
            words.append(f"{before}{values[0]}")
    return "_".join(re.sub(r"[^\w.+-]+", "-", word.replace("_", "-")) for word in words)


def _last_word(column: str) -> str:
    return column.rpartition(".")[2]


def _needs_log(values: pl.Series) -> bool:
    """Whether the axis of these values is logarithmic."""
    if not values.dtype.is_numeric():
        return False
    numbers: list[Any] = values.drop_nulls().unique().sort().to_list()
    if len(numbers) < 2 or numbers[0] <= 0:
        return False
    return bool(numbers[-1] >= LEAST_LOG_RANGE * numbers[0])


def with_titles(view: View) -> pl.DataFrame:
    """Add `title`, that of each row's panel, and sort rows in the order of the panels.

    Bounds at the ends of a share's axis are removed: they would be lines on its frame.
    """
    rows, definition = view.rows, view.measure.definition
    for name in series.BOUND_LINES:
        if view.measure.is_share and getattr(definition, name) in (0, 1):
            rows = rows.with_columns(pl.lit(None, pl.Float64()).alias(name))
    if view.panel == WHOLE:
        return rows.with_columns(title=pl.lit(""))
    values, panel = sort_distinct(rows[view.panel]), pl.col(view.panel)
    titles = [value_label(view.panel, value) for value in values]
    place = panel.replace_strict(values, list(range(len(values))))
    rows = rows.with_columns(title=panel.replace_strict(values, titles))
    return rows.sort(place, maintain_order=True)


def _draw_curves(view: View, rows: pl.DataFrame) -> Figure:
    titles = rows["title"].unique(maintain_order=True).to_list()
    looks, noise = series.looks_of(rows, view.hue), False
    share = view.measure.is_share
    look = curves.CurveStyle.of(rows, ["title"], view.hue, share)
    with style.house_style():
        figure, grid = style.wrapped_panels(len(titles), view.measure.label)
        for axes, title in zip(grid, titles, strict=True):
            here = rows.filter(pl.col("title") == title)
            noise |= curves.draw_curves(
                axes, here, view.x, hue=view.hue, looks=looks, share=share, look=look
            )
            axes.set_title(title)
            _set_limits(axes, view, here)
            series.draw_bounds(axes, here.with_columns(place=pl.col(view.x)))
        style.label_x(figure, column_label(view.x))
        handles = curves.curve_keys(looks, view.hue, noise, look)
        style.legend_below(
            figure, [*handles, *series.bound_keys(rows, _floor_label(view))]
        )
    return figure


def _set_limits(axes: Axes, view: View, rows: pl.DataFrame) -> None:
    """Set the ends of the y axis; a loss far above the rest before training is cut off."""
    limits = limits_of(view)
    if limits is not None:
        axes.set_ylim(*limits)
        return
    after = rows.filter(pl.col("step") > 0)["value"].to_numpy().max(initial=0.0)
    before = rows.filter(pl.col("step") == 0)["value"].to_numpy().max(initial=0.0)
    if before > 1.5 * after > 0:
        axes.set_ylim(top=1.1 * float(after))

"""The layer law: the residual by layer, its fitted line, and controls.

The law says that each layer leaves the same share of the residual of the next token's
id. Controls are ids renumbered at random and one-hot targets: a model predicts these as
well, and the law says nothing about their residual.
"""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import arms_of, sort_rows
from analysis.fields import sort_distinct
from analysis.modes import summarize_seeds
from analysis.plots import series, style
from analysis.selection import at_end, is_slice_of, select_metric, slice_value
from analysis.statistics import t_interval

SUITE = "probe/prediction-law"
HEAD = pl.col("slice").str.starts_with("path=head 1,")
TARGETS = {
    "token ids": ("residual", "t+1"),
    "renumbered ids": ("residual", "t+1 permuted"),
    "one-hot targets": ("one_hot", "t+1"),
}
"""Rows of the figure: statistic and target of the probe. The law is about the first."""
CONTROL = "renumbered ids"
"""The target whose slopes are drawn as a band."""

FIT: Any = {"lw": 1.0, "ls": (0, (4, 2)), "zorder": 5}
BAND: Any = {"alpha": 0.18, "lw": 0, "zorder": 2}


def law_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """log10 of the residual: a row for each run, layer and target (of `TARGETS`)."""
    rows = at_end(frame).filter(is_slice_of("path", "layer", "target"), HEAD)
    rows = rows.filter(pl.col("suite") == SUITE, pl.col("value") > 0)
    tables = [
        rows.filter(metric=metric).filter(slice_value("target") == target)
        .with_columns(target=pl.lit(name))
        for name, (metric, target) in TARGETS.items()
    ]  # fmt: skip
    rows = pl.concat(tables).with_columns(
        slice_value("layer", pl.Int64()), value=pl.col("value").log10()
    )
    return sort_rows(rows, "scale", "arm", "seed", "target", "layer")


def law_lines(frame: pl.DataFrame) -> pl.DataFrame:
    """The lines that the probe fitted: `slope` and `intercept` of each run and target."""
    rows = at_end(frame).filter(is_slice_of("path", "of", "target"), HEAD)
    rows = rows.filter(suite=SUITE)
    slope, intercept = (select_metric(rows, f"fit_{n}") for n in ("slope", "intercept"))
    lines = slope.rename({"value": "slope"}).join(
        intercept.select("run_id", "slice", intercept="value"), on=["run_id", "slice"]
    )
    tables = [
        lines.filter(slice_value("of") == metric, slice_value("target") == target)
        .with_columns(target=pl.lit(name))
        for name, (metric, target) in TARGETS.items()
    ]  # fmt: skip
    return pl.concat(tables)


def law_figure(frame: pl.DataFrame, panel: str) -> tuple[Figure, pl.DataFrame]:
    """Draw a row for each target and a column for each value of `panel`, arms overlaid.

    Dashed lines are the means of the lines fitted to the runs, from layer 1 to the last.
    The bands in the row of the ids start at these lines, with the slope of renumbered
    ids: its 95 % t interval over seeds.

    Returns the figure and the plotted table: means and intervals by layer, and for each
    arm and target the mean `slope` and `intercept`, in decades.

    Raises
    ------
    ValueError
        When no run has the statistics of the law.
    """
    rows, lines = law_rows(frame), law_lines(frame)
    if rows.is_empty():
        raise ValueError("no finished run has saved law probes")
    targets = [name for name in TARGETS if name in rows["target"]]
    values = sort_distinct(rows[panel])
    table = summarize_seeds(rows, [panel, "target", "arm", "layer"], span=0.0)
    with style.house_style():
        width = max(style.PANEL_WIDTH * len(values), style.NARROWEST)
        figure = style.empty_figure(width, style.PANEL_HEIGHT * len(targets))
        grid = figure.subplots(len(targets), len(values), sharey="row", squeeze=False)
        for target, line in zip(targets, grid, strict=True):
            for value, axes in zip(values, line, strict=True):
                here = pl.col(panel) == value, pl.col("target") == target
                _draw(axes, rows.filter(*here), table.filter(*here))
                _draw_lines(axes, rows.filter(*here), lines.filter(*here))
                if target == targets[0]:
                    control = lines.filter(here[0], pl.col("target") == CONTROL)
                    _draw_bands(axes, lines.filter(*here), control, rows.filter(*here))
                    axes.set_title(value)
            line[0].set_ylabel(f"log10 of the residual,\n{target}")
        style.label_x(figure, "layer (0: the embedding)")
        style.legend_below(figure, _keys(arms_of(rows), lines))
    means = lines.group_by(panel, "target", "arm").agg(
        pl.col("slope", "intercept").mean()
    )
    by = [panel, "target", "arm"]
    return figure, sort_rows(table.join(means, on=by, how="left"), *by, "layer")


def _draw(axes: Axes, rows: pl.DataFrame, means: pl.DataFrame) -> None:
    """Draw seeds and their means by layer."""
    place = pl.col("layer").cast(pl.Float64).alias("place")
    looks = series.looks_of(rows, "arm")
    series.draw_levels(
        axes, rows.with_columns(place), means.with_columns(place), "arm", looks, "-"
    )
    axes.set_xticks(range(int(rows["layer"].to_numpy().max()) + 1))


def _draw_lines(axes: Axes, rows: pl.DataFrame, lines: pl.DataFrame) -> None:
    """Draw the mean fitted line of each arm, over the layers that it was fitted to."""
    for arm, (layers, heights) in _mean_lines(rows, lines).items():
        axes.plot(layers, heights, color=style.color_of(arm), **FIT)


def _draw_bands(
    axes: Axes, lines: pl.DataFrame, control: pl.DataFrame, rows: pl.DataFrame
) -> None:
    """Draw the lines that the ids would have with the slope of renumbered ids."""
    for arm, (layers, heights) in _mean_lines(rows, lines).items():
        slopes = t_interval(control.filter(arm=arm)["slope"])
        if slopes.count < 2:
            continue
        rise = layers - layers[0]
        low, high = (heights[0] + slope * rise for slope in (slopes.low, slopes.high))
        axes.fill_between(layers, low, high, color=style.color_of(arm), **BAND)


def _mean_lines(
    rows: pl.DataFrame, lines: pl.DataFrame
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Layers 1 to the last of each arm, and the mean of its lines at these."""
    by_arm = {}
    for arm in arms_of(lines):
        own = lines.filter(arm=arm)
        layers = np.arange(1, int(rows.filter(arm=arm)["layer"].to_numpy().max()) + 1)
        slope, intercept = own["slope"].to_numpy(), own["intercept"].to_numpy()
        by_arm[arm] = layers, intercept.mean() + slope.mean() * layers
    return by_arm


def _keys(arms: list[str], lines: pl.DataFrame) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [*series.series_keys(arms)]
    if lines.height:
        handles.append(Line2D([], [], color=style.FAINT, label="fitted line", **FIT))
    if lines.filter(target=CONTROL).height:
        text = "slope of renumbered ids (95 %)"
        handles.append(Patch(color=style.FAINT, label=text, **BAND))
    return handles

"""The layer law: the residual by layer, its fitted line, and lines without a law.

The law says that each layer leaves the same share of the residual of the next token's
id. Ids renumbered at random, and one-hot targets, are controls: a model predicts them as
well, but nothing says that their residual falls as that of the ids does.
"""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import arms_of, sort_rows
from analysis.fields import distinct
from analysis.modes import levels
from analysis.plots import series, style
from analysis.selection import at_end, is_slice_of, measured, slice_value
from analysis.statistics import t_interval

SUITE = "probe/prediction-law"
HEAD = pl.col("slice").str.starts_with("path=head 1,")
TARGETS = {
    "token ids": ("residual", "t+1"),
    "renumbered ids": ("residual", "t+1 permuted"),
    "one-hot targets": ("one_hot", "t+1"),
}
"""Rows of the figure: statistic and target of the probe. The first is the law's own."""
CONTROL = "renumbered ids"
"""Whose slopes are the band of what a line is without the law."""

FIT: Any = {"lw": 1.0, "ls": (0, (4, 2)), "zorder": 5}
BAND: Any = {"alpha": 0.18, "lw": 0, "zorder": 2}


def law_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """log10 of the residual: a row a run, layer and target (a name of `TARGETS`)."""
    rows = at_end(frame).filter(is_slice_of("path", "layer", "target"), HEAD)
    rows = rows.filter(pl.col("suite") == SUITE, pl.col("value") > 0)
    parts = [
        rows.filter(metric=metric).filter(slice_value("target") == target)
        .with_columns(target=pl.lit(name))
        for name, (metric, target) in TARGETS.items()
    ]  # fmt: skip
    found = pl.concat(parts).with_columns(
        slice_value("layer", pl.Int64()), value=pl.col("value").log10()
    )
    return sort_rows(found, "scale", "arm", "seed", "target", "layer")


def law_lines(frame: pl.DataFrame) -> pl.DataFrame:
    """The lines that the probe fitted: a row a run and target, `slope`, `intercept`."""
    rows = at_end(frame).filter(is_slice_of("path", "of", "target"), HEAD)
    rows = rows.filter(suite=SUITE)
    slope, intercept = (measured(rows, f"fit_{n}") for n in ("slope", "intercept"))
    lines = slope.rename({"value": "slope"}).join(
        intercept.select("run_id", "slice", intercept="value"), on=["run_id", "slice"]
    )
    parts = [
        lines.filter(slice_value("of") == metric, slice_value("target") == target)
        .with_columns(target=pl.lit(name))
        for name, (metric, target) in TARGETS.items()
    ]  # fmt: skip
    return pl.concat(parts)


def law_figure(frame: pl.DataFrame, panel: str) -> tuple[Figure, pl.DataFrame]:
    """A row a target, a column a value of `panel`, arms overlaid.

    Dashed lines are the mean of the lines that were fitted to the runs, layer 1 to the
    last. The bands in the row of the ids begin where these lines do, and fall as those
    of renumbered ids: the 95 % t interval of their slope over seeds.

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
    values = distinct(rows[panel])
    table = levels(rows, [panel, "target", "arm", "layer"], span=0.0)
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
                    _band(axes, lines.filter(*here), control, rows.filter(*here))
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
    """Seeds and their means by layer."""
    place = pl.col("layer").cast(pl.Float64).alias("place")
    looks = series.looks_of(rows, "arm")
    series.draw_levels(
        axes, rows.with_columns(place), means.with_columns(place), "arm", looks, "-"
    )
    axes.set_xticks(range(int(rows["layer"].to_numpy().max()) + 1))


def _draw_lines(axes: Axes, rows: pl.DataFrame, lines: pl.DataFrame) -> None:
    """The mean fitted line of each arm, over the layers that it was fitted to."""
    for arm, (layers, heights) in _mean_lines(rows, lines).items():
        axes.plot(layers, heights, color=style.color_of(arm), **FIT)


def _band(
    axes: Axes, lines: pl.DataFrame, control: pl.DataFrame, rows: pl.DataFrame
) -> None:
    """What each line would be if the ids fell as renumbered ids do."""
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
    """Layers 1 to the last of each arm, and the mean of its lines there."""
    found = {}
    for arm in arms_of(lines):
        own = lines.filter(arm=arm)
        layers = np.arange(1, int(rows.filter(arm=arm)["layer"].to_numpy().max()) + 1)
        slope, intercept = own["slope"].to_numpy(), own["intercept"].to_numpy()
        found[arm] = layers, intercept.mean() + slope.mean() * layers
    return found


def _keys(arms: list[str], lines: pl.DataFrame) -> list[Line2D | Patch]:
    found: list[Line2D | Patch] = [*series.keys(arms)]
    if lines.height:
        found.append(Line2D([], [], color=style.FAINT, label="fitted line", **FIT))
    if lines.filter(target=CONTROL).height:
        text = "slope of renumbered ids (95 %)"
        found.append(Patch(color=style.FAINT, label=text, **BAND))
    return found

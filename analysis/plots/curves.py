"""Training curves: any metric against tokens, FLOP or seconds, with its formation."""

import matplotlib.pyplot as plt
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparisons import COSTS, formation, with_costs
from analysis.plots import series, style
from analysis.selection import by_scale, measured

LABELS = {
    "tokens": "training tokens",
    "flops": "training FLOP",
    "seconds": "seconds of the whole run, evaluation included",
}


def curve_rows(
    frame: pl.DataFrame, metric: str, suite: str, part: str = ""
) -> pl.DataFrame:
    """All evaluations of one metric of runs that are done."""
    done = frame.filter(pl.col("state") == "done", pl.col("slice") == part)
    return measured(done, metric, suite).drop_nulls("value").sort("run_id", "step")


def curve_figure(
    frame: pl.DataFrame,
    metric: str,
    suite: str,
    part: str = "",
    cost: str = "tokens",
    level: float | None = None,
) -> tuple[Figure, pl.DataFrame]:
    """A panel a size: every run as a thin line, the mean over runs as a thick one.

    Ticks below the axis mark when each run formed the ability: its score first reached
    `level`, or half of its own last score. Returns the figure and the plotted rows.
    """
    if cost not in COSTS:
        raise ValueError(f"cost must be one of {', '.join(COSTS)}; got {cost!r}.")
    rows = with_costs(curve_rows(frame, metric, suite, part)).drop_nulls(cost)
    if rows.is_empty():
        raise ValueError(f"No finished run has {suite}/{metric} against {cost}.")
    rising = metric.endswith(("accuracy", "match"))
    formed = formation(rows, level) if rising else None
    scales = by_scale(rows)
    with style.house_style():
        figure, grid = plt.subplots(
            1,
            len(scales),
            figsize=(style.PANEL_WIDTH * len(scales) + 1.4, style.PANEL_HEIGHT + 0.4),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for axes, scale in zip(grid[0], scales, strict=True):
            here = rows.filter(pl.col("scale") == scale)
            draw_curves(axes, here, cost, formed)
            axes.set_title(f"{scale} non-embedding parameters")
            if rising:
                axes.set_ylim(0, 1)
        grid[0][0].set_ylabel(f"{metric.replace('_', ' ')}, {suite.replace('_', ' ')}")
        figure.supxlabel(LABELS[cost], fontsize=8.5)
        horizons = rows["horizon"].unique().sort().to_list()
        figure.legend(
            handles=series.keys(horizons, band=False), loc="outside right upper"
        )
    return figure, rows.select("run_id", "scale", "horizon", "seed", cost, "value")


def draw_curves(
    axes: Axes, rows: pl.DataFrame, cost: str, formed: pl.DataFrame | None = None
) -> None:
    """Runs of one panel as thin lines, their mean thick; ticks where each run formed.

    `formed` is a result of `comparisons.formation`; its ticks need tokens on the x axis.
    """
    for (horizon,), group in rows.group_by("horizon", maintain_order=True):
        color = style.color_of(_number(horizon))
        for run in group.partition_by("run_id", maintain_order=True):
            axes.plot(run[cost], run["value"], color=color, lw=0.6, alpha=0.4)
        mean = group.group_by("step").agg(pl.col(cost, "value").mean()).sort("step")
        marker = style.marker_of(_number(horizon))
        axes.plot(mean[cost], mean["value"], color=color, marker=marker, ms=3)
        if formed is not None and cost == "tokens":
            ticks = formed.join(group.select("run_id").unique(), on="run_id")
            at = ticks["formed"].drop_nulls().sort()
            where = axes.get_xaxis_transform()
            axes.plot(at, [0.02] * len(at), "|", color=color, ms=8, transform=where)
    style.short_numbers(axes)


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value

"""Training curves: any metric against tokens or FLOP, and when it was learned."""

from collections.abc import Iterable
from typing import Any

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arm_names import arms_of
from analysis.comparisons import COSTS, with_costs
from analysis.events import event_times
from analysis.modes import levels, span_of
from analysis.plots import series, style
from analysis.selection import by_scale
from analysis.trajectories import curve_rows, declared, floor_of

LABELS = {
    "tokens": "training tokens",
    "flops": "executed training FLOP",
}


def cost_figure(
    frame: pl.DataFrame,
    metric: str,
    suite: str,
    part: str = "",
    costs: tuple[str, ...] = COSTS,
    level: float | None = None,
) -> tuple[Figure, pl.DataFrame]:
    """A column a size, a row a cost: runs as thin lines, their mean as a thick one.

    Ticks at the bottom mark when each run learned it: its score reached `level`, or the
    one that the task declares (`events.event_times`). Costs that are unknown for these
    runs are left out. Returns the figure and the plotted rows, with `learned_at` in
    tokens where a level is known.

    Raises
    ------
    ValueError
        For an unknown cost, or when nothing is left to draw.
    """
    for cost in costs:
        if cost not in COSTS:
            raise ValueError(f"cost must be one of {', '.join(COSTS)}; got {cost!r}.")
    rows = with_costs(curve_rows(frame, metric, suite, part))
    known = [cost for cost in costs if rows[cost].drop_nulls().len()]
    if not known:
        asked = ", ".join(costs)
        raise ValueError(f"No finished run has {suite}/{metric} against {asked}.")
    meant = declared(rows, metric)
    floor = floor_of(frame, metric, suite, part)
    level = level if level is not None or meant is None else meant.learned
    learned = None
    if level is not None and meant is not None and meant.better is not None:
        learned = event_times(rows, level, meant.better)
    scales, arms, noise = by_scale(rows), arms_of(rows), False
    share = meant is not None and meant.unit == "share"
    with style.house_style():
        figure, grid = style.panels(len(scales), len(known))
        for axes, scale in zip(grid[0], scales, strict=True):
            axes.set_title(style.size_title(scale))
        for cost, line in zip(known, grid, strict=True):
            for axes, scale in zip(line, scales, strict=True):
                here = rows.filter(pl.col("scale") == scale).drop_nulls(cost)
                noise |= draw_curves(axes, here, cost, learned, share=share)
                axes.set_xlabel(LABELS[cost])
                if floor:
                    axes.axhline(floor, color=style.FAINT, ls=":", lw=1, zorder=1)
                if share:
                    axes.set_ylim(*series.SHARE)
            line[0].set_ylabel(_words(f"{metric}, {suite}"))
        style.legend_below(figure, _keys(arms, level, floor, noise))
    table = rows.select("run_id", "scale", "arm", "seed", *known, "value")
    if learned is not None:
        when = learned.filter("happened").select("run_id", learned_at="tokens")
        table = table.join(when, on="run_id", how="left", maintain_order="left")
    return figure, table


def draw_curves(
    axes: Axes,
    rows: pl.DataFrame,
    cost: str,
    learned: pl.DataFrame | None = None,
    hue: str = "arm",
    looks: dict[Any, tuple[str, str]] | None = None,
    line: Any = "-",
    share: bool = False,
) -> bool:
    """Runs of one panel as thin lines, their mean thick; ticks where each run learned it.

    `learned` is a result of `events.event_times`, `looks` one of `series.looks_of`. The
    mean, drawn in the style `line`, leaves out evaluations at which seeds fall into two
    groups. Arms have the band of `series.draw_noise`, whether of a `share` or not;
    returns whether it is there.
    """
    happened = [] if learned is None else learned.filter("happened").rows()
    at = {run_id: tokens for run_id, tokens, _ in happened}
    span = span_of(rows.filter(pl.col("step") > 0))
    known = looks or series.looks_of(rows, hue)
    for place, (value, look) in enumerate(known.items()):
        group = rows.filter(pl.col(hue) == value)
        color, marker = look
        runs = group.partition_by("run_id", maintain_order=True)
        for run in runs:
            axes.plot(run[cost], run["value"], color=color, lw=0.6, alpha=0.4)
        mean = levels(group, list(dict.fromkeys(("step", cost))), span).sort("step")
        mark: Any = {"color": color, "marker": marker, "ms": 3}
        axes.plot(mean[cost], mean["mean"], ls=line, **mark)
        # A run's cost grows as its tokens do.
        shown = [
            at[run["run_id"][0]] * run[cost][-1] / run["tokens"][-1]
            for run in runs
            if run["run_id"][0] in at
        ]
        height = [0.03 + 0.05 * place] * len(shown)
        where = axes.get_xaxis_transform()
        axes.plot(shown, height, "|", color=color, ms=7, transform=where)
    style.short_numbers(axes)
    if hue != "arm":
        return False
    return series.draw_noise(axes, rows.with_columns(place=cost), span, share)


def curve_keys(
    looks: Iterable[Any], hue: str = "arm", noise: bool = False
) -> list[Artist]:
    """Entries of a legend for `draw_curves`; `noise`: with the band around n = 1."""
    faint: Any = {"color": style.FAINT}
    run = Line2D([], [], lw=0.6, label="one run", **faint)
    text = "mean; none of seeds in two groups"
    mean = Line2D([], [], marker=".", ms=6, label=text, **faint)
    bands = [series.noise_key()] * noise
    return [*series.keys(looks, hue, band=False), run, mean, *bands]


def _keys(
    arms: list[str], level: float | None, floor: float, noise: bool
) -> list[Artist]:
    found = curve_keys(arms, noise=noise)
    if level is not None:
        tick: dict[str, Any] = {"color": style.FAINT, "ls": "", "marker": "|", "ms": 7}
        found.append(Line2D([], [], label=f"reached {level:g}", **tick))
    if floor:
        found.append(Line2D([], [], color=style.FAINT, ls=":", label="guessing"))
    return found


def _words(text: str) -> str:
    return text.replace("_", " ")

"""Learning curves: any metric against tokens or FLOP, and when it was learned."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import arms_of
from analysis.comparisons import COSTS, with_costs
from analysis.events import event_times
from analysis.fields import column_label
from analysis.modes import span_of, summarize_seeds
from analysis.plots import series, style
from analysis.selection import by_scale
from analysis.trajectories import curve_rows, declared, floor_of

LEAST_FLOP_RATIO = 1.1
"""Curves against FLOP differ from those against tokens if runs of one size differ so much
in FLOP a token."""
MOST_LINES = 24
"""With more runs in a panel, a band stands for the thin lines."""


@dataclass(frozen=True)
class CurveStyle:
    """How the runs of a cell are drawn, the same in all panels of a figure."""

    median: bool = False
    """Medians, as seeds of some cell fall into two groups, which have no mean."""
    bands: bool = False
    """The middle half of the runs as a band in place of a line for each."""

    @classmethod
    def of(
        cls,
        rows: pl.DataFrame,
        panel: list[str],
        hue: str = "arm",
        share: bool = False,
    ) -> "CurveStyle":
        """The style of a figure with a panel for each value of the columns `panel`."""
        span = span_of(rows.filter(pl.col("step") > 0), share)
        cells = summarize_seeds(rows, list(dict.fromkeys((*panel, hue, "step"))), span)
        runs = rows.unique("run_id")
        most = runs.group_by(panel).len()["len"] if panel else [runs.height]
        return cls(cells["groups"].drop_nulls().len() > 0, max(most) > MOST_LINES)


def cost_figure(
    frame: pl.DataFrame, metric: str, suite: str
) -> tuple[Figure, pl.DataFrame]:
    """A column a size, a row a cost: runs as thin lines, their middle as a thick one.

    Ticks at the bottom mark when each run learned it: its score reached the level that
    the task declares (`events.event_times`). Costs that no run has are left out, and
    FLOP beside tokens where both rows would look alike. Returns the figure and the
    plotted rows, with `learned_at` in tokens if there is a level.

    Raises
    ------
    ValueError
        When nothing is left to draw, or when no run learns anything.
    """
    rows = with_costs(curve_rows(frame, metric, suite))
    measured = [cost for cost in COSTS if rows[cost].drop_nulls().len()]
    if not measured:
        names = ", ".join(COSTS)
        raise ValueError(f"No finished run has {suite}/{metric} against {names}.")
    drawn = [
        cost for cost in measured if cost != "flops" or _needs_flops(rows, measured)
    ]
    metric_ = declared(rows, metric)
    floor = floor_of(frame, metric, suite)
    level = metric_.learned if metric_ else None
    learned = None
    if level is not None and metric_ is not None and metric_.better is not None:
        learned = event_times(rows, level, metric_.better)
    scales, noise = by_scale(rows), False
    share = metric_ is not None and metric_.unit == "share"
    if share and floor:
        _refuse_flat(rows, metric, floor)
    look = CurveStyle.of(rows, ["scale"], share=share)
    with style.house_style():
        figure, grid = style.panels(len(scales), len(drawn))
        for axes, scale in zip(grid[0], scales, strict=True):
            axes.set_title(style.size_title(scale))
        for cost, line in zip(drawn, grid, strict=True):
            for axes, scale in zip(line, scales, strict=True):
                here = rows.filter(pl.col("scale") == scale).drop_nulls(cost)
                noise |= draw_curves(axes, here, cost, learned, share=share, look=look)
                axes.set_xlabel(column_label(cost))
                if floor:
                    axes.axhline(floor, color=style.FAINT, ls=":", lw=1, zorder=1)
                if share:
                    axes.set_ylim(*series.SHARE_LIMITS)
            line[0].set_ylabel(f"{metric}, {suite}".replace("_", " "))
        style.legend_below(figure, _keys(arms_of(rows), level, floor, noise, look))
    return figure, _plotted(rows, measured, learned)


def _plotted(
    rows: pl.DataFrame, measured: list[str], learned: pl.DataFrame | None
) -> pl.DataFrame:
    """The plotted rows, with `learned_at` in tokens where events were looked for."""
    table = rows.select("run_id", "scale", "arm", "seed", *measured, "value")
    if learned is None:
        return table
    when = learned.filter("happened").select("run_id", learned_at="tokens")
    return table.join(when, on="run_id", how="left", maintain_order="left")


def _refuse_flat(rows: pl.DataFrame, metric: str, floor: float) -> None:
    """Refuse curves of a share whose means neither pass guessing nor move by `FLAT`."""
    means = rows.group_by("scale", "arm", "step").agg(pl.col("value").mean())["value"]
    low, high = means.to_numpy().min(), means.to_numpy().max()
    if high <= floor and high - low <= series.FLAT:
        name = metric.replace("_", " ")
        raise ValueError(
            f"the {name} of no arm exceeds {high:.2f}, where guessing scores {floor:.2f}"
        )


def _needs_flops(rows: pl.DataFrame, costs: list[str]) -> bool:
    """Whether curves against FLOP look different from those against tokens."""
    if "tokens" not in costs:
        return True
    flops = pl.col("flops_per_token")
    ratios = rows.group_by("scale").agg(ratio=flops.max() / flops.min())["ratio"]
    return bool((ratios > LEAST_FLOP_RATIO).any())


def draw_curves(
    axes: Axes,
    rows: pl.DataFrame,
    cost: str,
    learned: pl.DataFrame | None = None,
    hue: str = "arm",
    looks: dict[Any, tuple[str, str]] | None = None,
    line: Any = "-",
    share: bool = False,
    look: CurveStyle = CurveStyle(),
) -> bool:
    """Draw the runs of a panel as thin lines, their middle thick, and ticks of events.

    A tick marks when a run learned it: `learned` is a result of `events.event_times`.
    `looks` is one of `series.looks_of`. The mean, in the style `line`, leaves out
    evaluations at which seeds fall into two groups; see `CurveStyle` for the median.
    Arms with means have the band of `series.draw_noise`, with bounds for a `share`;
    returns whether it was drawn.
    """
    events = [] if learned is None else learned.filter("happened").rows()
    tokens_by_run = {run_id: tokens for run_id, tokens, _ in events}
    span = span_of(rows.filter(pl.col("step") > 0), share)
    looks = looks or series.looks_of(rows, hue)
    for place, (value, (color, marker)) in enumerate(looks.items()):
        group = rows.filter(pl.col(hue) == value)
        runs = group.partition_by("run_id", maintain_order=True)
        if look.bands:
            _draw_band(axes, group, cost, color)
        for run in [] if look.bands else runs:
            axes.plot(run[cost], run["value"], color=color, lw=0.6, alpha=0.4)
        middle = summarize_seeds(group, list(dict.fromkeys(("step", cost))), span).sort(
            "step"
        )
        mark: Any = {"color": color, "marker": marker, "ms": 3}
        axes.plot(
            middle[cost], middle["median" if look.median else "mean"], ls=line, **mark
        )
        # A run's cost is proportional to its tokens.
        ticks = [
            tokens_by_run[run["run_id"][0]] * run[cost][-1] / run["tokens"][-1]
            for run in runs
            if run["run_id"][0] in tokens_by_run
        ]
        heights = [0.03 + 0.05 * place] * len(ticks)
        transform = axes.get_xaxis_transform()
        axes.plot(ticks, heights, "|", color=color, ms=7, transform=transform)
    style.short_numbers(axes)
    if hue != "arm" or look.median:
        return False
    return series.draw_noise(axes, rows.with_columns(place=cost), span, share)


def _draw_band(axes: Axes, group: pl.DataFrame, cost: str, color: str) -> None:
    """Draw the band between the quartiles of the runs."""
    value = pl.col("value")
    band = group.group_by("step").agg(
        pl.col(cost).mean().alias("at"),
        low=value.quantile(0.25, "linear"),
        high=value.quantile(0.75, "linear"),
    )
    band = band.sort("step")
    axes.fill_between(
        band["at"], band["low"], band["high"], color=color, alpha=0.18, lw=0
    )


def curve_keys(
    looks: Iterable[Any],
    hue: str = "arm",
    noise: bool = False,
    look: CurveStyle = CurveStyle(),
) -> list[Artist]:
    """Legend entries of `draw_curves`; with `noise`, also of the band around n = 1."""
    faint: Any = {"color": style.FAINT}
    run: Artist = Line2D([], [], lw=0.6, label="one run", **faint)
    if look.bands:
        run = Patch(alpha=0.18, lw=0, label="middle half of runs", **faint)
    text = "median" if look.median else "mean"
    middle = Line2D([], [], marker=".", ms=6, label=text, **faint)
    bands = [series.noise_key()] * noise
    return [*series.series_keys(looks, hue, band=False), run, middle, *bands]


def _keys(
    arms: list[str], level: float | None, floor: float, noise: bool, look: CurveStyle
) -> list[Artist]:
    handles = curve_keys(arms, noise=noise, look=look)
    if level is not None:
        tick: dict[str, Any] = {"color": style.FAINT, "ls": "", "marker": "|", "ms": 7}
        handles.append(Line2D([], [], label=f"reached {level:g}", **tick))
    if floor:
        handles.append(Line2D([], [], color=style.FAINT, ls=":", label="guessing"))
    return handles

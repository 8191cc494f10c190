"""Events as curves: the share of runs that have learned something, arms overlaid."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arm_names import arm_label, arms_of
from analysis.events import IN_A_ROW, Times, kaplan_meier
from analysis.plots import style
from analysis.selection import by_scale
from analysis.trajectories import curve_rows, declared, learned_level, timed_runs


def event_figure(
    frame: pl.DataFrame,
    metric: str,
    suite: str,
    part: str = "",
    level: float | None = None,
    in_a_row: int = IN_A_ROW,
) -> tuple[Figure, pl.DataFrame]:
    """A panel a size, a Kaplan-Meier curve an arm: share of runs that reached a level.

    Returns the figure and the plotted table: `scale`, `arm`, and the columns of
    `events.kaplan_meier`.

    Parameters
    ----------
    frame
        Runs of one setting.
    level
        The one that the task declares if not given.

    Raises
    ------
    ValueError
        When there is no such metric, or it has no level or no direction.
    """
    rows = curve_rows(frame, metric, suite, part)
    if rows.is_empty():
        raise ValueError(f"no finished run has {'/'.join((suite, metric, part))}")
    meant = declared(rows, metric)
    if meant is None or meant.better is None:
        raise ValueError(f"no task says which direction of {metric!r} is better")
    level = learned_level(rows, metric) if level is None else level
    times = timed_runs(rows, level, meant.better, in_a_row)
    scales, arms, parts = by_scale(rows), arms_of(rows), []
    with style.house_style():
        figure, axes_of = style.wrapped_panels(
            len(scales), "share of runs that reached it"
        )
        for axes, scale in zip(axes_of, scales, strict=True):
            here = times.filter(pl.col("scale") == scale)
            curves = draw_events(axes, here)
            parts.append(curves.select(pl.lit(scale).alias("scale"), pl.all()))
            axes.set_title(style.size_title(scale))
            axes.set_xlabel("training tokens")
        word = "at least" if meant.better == "higher" else "at most"
        what = f"{metric.replace('_', ' ')} {word} {level:g}"
        style.legend_below(
            figure,
            _keys(arms),
            title=f"{what} in {in_a_row} evaluations in a row",
        )
    return figure, pl.concat(parts)


def draw_events(
    axes: Axes, times: pl.DataFrame, line: Any = "-", band: bool = True
) -> pl.DataFrame:
    """Kaplan-Meier curves of the arms in `times`, with pointwise 95 % bands if wanted.

    A tick on a curve is a run that was watched until there without the event. `times`
    is a result of `trajectories.timed_runs`; returns what is drawn.
    """
    parts = []
    end = float(times["tokens"].to_numpy().max())
    for arm in arms_of(times):
        side = Times.of(times.filter(pl.col("arm") == arm))
        curve = kaplan_meier(side)
        parts.append(curve.select(pl.lit(arm).alias("arm"), pl.all()))
        last = curve.tail(1).with_columns(tokens=pl.lit(end))
        steps = pl.concat([curve, last]) if curve["tokens"][-1] < end else curve
        color = style.color_of(arm)
        axes.step(steps["tokens"], steps["share"], where="post", color=color, ls=line)
        bounded = steps.drop_nulls() if band else steps.clear()
        axes.fill_between(
            bounded["tokens"],
            bounded["low"],
            bounded["high"],
            step="post",
            color=color,
            alpha=0.12,
            linewidth=0,
        )
        censored = [
            tokens
            for tokens, happened in zip(side.tokens_S, side.happened_S, strict=True)
            if not happened
        ]
        heights = [
            curve.filter(pl.col("tokens") <= tokens)["share"][-1] for tokens in censored
        ]
        axes.plot(censored, heights, style.marker_of(arm), color=color, ms=4)
    axes.set_ylim(-0.03, 1.03)
    style.short_numbers(axes)
    return pl.concat(parts)


def _keys(arms: list[str]) -> list[Line2D]:
    found = [
        Line2D([], [], color=style.color_of(arm), label=arm_label(arm)) for arm in arms
    ]
    markers: dict[str, Any] = {"color": style.FAINT, "ls": "", "marker": "o", "ms": 4}
    return [*found, Line2D([], [], label="ended without it", **markers)]

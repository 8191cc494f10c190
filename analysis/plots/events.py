"""Kaplan-Meier curves: the share of runs in which an event has happened."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from analysis.arm_names import arms_of
from analysis.events import Times, kaplan_meier
from analysis.plots import style

BAND: Any = {"alpha": 0.12, "lw": 0}
"""The look of the intervals of `draw_events`."""


def draw_events(
    axes: Axes, times: pl.DataFrame, line: Any = "-", band: bool = True
) -> pl.DataFrame:
    """Draw a curve for each arm in `times`, with pointwise 95 % bands if `band`.

    A marker on a curve is a censored run: it ended there without the event. `times` is a
    result of `trajectories.timed_runs`. Returns the plotted table.
    """
    tables = []
    end = float(times["tokens"].to_numpy().max())
    for arm in arms_of(times):
        side = Times.of(times.filter(pl.col("arm") == arm))
        curve = kaplan_meier(side)
        tables.append(curve.select(pl.lit(arm).alias("arm"), pl.all()))
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
            **BAND,
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
    return pl.concat(tables)


def band_key() -> Patch:
    """The legend entry of the bands of `draw_events`."""
    return Patch(color=style.FAINT, **BAND, label="share of runs: 95 % interval")

"""Figures of one score: a panel a condition, a colour a series, every seed a dot."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import BASELINE, arm_label, arm_name, arms_of
from analysis.fields import distinct, value_label
from analysis.modes import levels, span_of
from analysis.noise import noise_band
from analysis.plots import style
from analysis.resampling import over_items

DODGE = 0.16
"""Share of the distance between two x over which the series are spread."""
CROWDED = 6
"""With more values of x than this, they stand on one another."""
REFERENCE: Any = {"color": style.FAINT, "ls": ":", "lw": 1}
"""The line at a level to compare with."""
BOUND: Any = {"floor": REFERENCE, "ceiling": REFERENCE | {"ls": (0, (5, 2))}}
"""The lines at what guessing scores, and at the best that is possible."""
LEVELS: Any = BOUND | {"one_of_k": REFERENCE | {"ls": (0, (6, 1.5, 1, 1.5))}}
"""All lines of `draw_bounds`: also what one of the k names of a story scores by chance."""
NOISE: Any = {"color": "#3b3b3b", "alpha": 0.13, "lw": 0, "zorder": 1}
"""The band of `draw_noise`."""
BAR = 0.4
"""Half the width of such a band where names are one unit apart."""
SHARE = (-0.03, 1.03)
"""The y axis of a share: marks at its ends are whole."""


def series_figure(
    rows: pl.DataFrame,
    x: str,
    panel: str,
    *,
    label: str,
    hue: str = "arm",
    title: str = "{}",
    unit: str = "",
    log: bool = False,
    limits: tuple[float, float] | None = SHARE,
    reference: Any = None,
    reference_label: str = "",
    order: Sequence[Any] = (),
    apart: bool = True,
    floor: str = "guess floor",
) -> tuple[Figure, pl.DataFrame]:
    """Draw `value` against `x`.

    Parameters
    ----------
    rows
        One row a run and x, all of one setting: `seed`, `value`, `x`, `hue`, `panel`;
        optionally counts by test item and the columns of `LEVELS`.
    label, unit, title, limits
        Names of x axis, y axis and panels (`{}` is the panel's value); ends of the y axis.
    reference, reference_label, floor
        A level to mark with a dotted line; names of the level and floor in the legend.
    order, apart
        Order of the panels; whether series stand side by side where x has few values.

    Returns the figure and the plotted table: `modes.levels`, `resampling.over_items`.
    """
    span, noise, by = span_of(rows), False, list(dict.fromkeys((panel, x, hue)))
    table = over_items(rows, levels(rows, by, span, limits == SHARE), by)
    looks, values = looks_of(rows, hue), distinct(rows[panel])
    panels = [name for name in order if name in values] or values
    with style.house_style():
        figure, grid = style.wrapped_panels(len(panels), unit)
        for axes, value in zip(grid, panels, strict=True):
            here = pl.col(panel) == value
            seeds, means = rows.filter(here), table.filter(here)
            ticks = _ticks(seeds[x], log)
            joined = rows[x].dtype.is_numeric() and x != hue
            _draw_panel(axes, seeds, means, x, hue, looks, ticks, apart, joined)
            if limits is not None:
                axes.set_ylim(*limits)
            seeds = seeds.with_columns(place=pl.col(x).replace_strict(ticks))
            draw_bounds(axes, seeds)
            if hue == "arm":
                noise |= draw_noise(axes, seeds, span, limits == SHARE, joined)
            axes.set_title(title.format(value))
            if reference is not None:
                axes.axhline(reference, **REFERENCE, zorder=1)
        style.label_x(figure, label)
        level = _level_key(reference_label if reference is not None else "")
        series: list[Artist] = [*keys(looks, hue, table=table), *level]
        handles = [*series, *bound_keys(rows, floor), *[noise_key()] * noise]
        style.legend_below(figure, handles)
    return figure, table


def _draw_panel(
    axes: Axes,
    rows: pl.DataFrame,
    table: pl.DataFrame,
    x: str,
    hue: str,
    looks: dict[Any, tuple[str, str]],
    ticks: dict[Any, float],
    apart: bool,
    joined: bool,
) -> None:
    """The series of one panel: seeds, means with intervals, and marks on the x axis."""
    place = _place(x, hue, ticks, list(looks), DODGE * (apart and x != hue))
    means = table.with_columns(place=place)
    line = "-" if joined else ""
    draw_levels(axes, rows.with_columns(place=place), means, hue, looks, line)
    _single_runs(axes, means, hue, looks)
    style.mark_values(axes, ticks)


def looks_of(rows: pl.DataFrame, hue: str) -> dict[Any, tuple[str, str]]:
    """Colour and marker of each series, in their order."""
    if hue == "arm":
        return {
            arm: (style.color_of(arm), style.marker_of(arm)) for arm in arms_of(rows)
        }
    return style.looks_in_order(distinct(rows[hue]))


def draw_bounds(axes: Axes, rows: pl.DataFrame) -> None:
    """The columns of `LEVELS` at each `place`, where they lie in the panel or near it."""
    for name, line in LEVELS.items():
        if name not in rows.columns:
            continue
        known = rows.drop_nulls(name).group_by("place").agg(pl.col(name).mean())
        known = known.sort("place")
        low, high = axes.get_ylim()
        margin = 0.25 * (high - low)
        inside = known[name].is_between(low - margin, high + margin)
        if known.is_empty() or not inside.all():
            continue
        levels_there = known[name].to_numpy()
        if np.ptp(levels_there) <= 1e-9:
            axes.axhline(levels_there[0], **line, zorder=1)
        else:
            axes.plot(known["place"], levels_there, **line, zorder=1)


def draw_noise(
    axes: Axes, rows: pl.DataFrame, span: float, share: bool, joined: bool = True
) -> bool:
    """A band around the baseline: where its mean would lie with other seeds, in 95 %.

    `rows` are runs of one panel at their `place`; what stays inside of the band may be
    chance (`noise.noise_band`). It joins the places where a line does, has a bar a place
    otherwise, and one place has it over the whole width. Nothing is drawn without a
    second arm, or where the baseline has fewer than four seeds, or two groups of them.
    Returns whether there is a band.
    """
    own = rows.filter(pl.col("arm") == BASELINE).sort("place")
    if rows["arm"].n_unique() < 2 or own.is_empty():
        return False
    bands = {
        place: noise_band(here["value"].to_list(), span, share) or (math.nan, math.nan)
        for (place,), here in own.group_by("place", maintain_order=True)
    }
    if len(bands) == 1:
        axes.axhspan(*next(iter(bands.values())), **NOISE)
    elif joined:
        axes.fill_between(list(bands), *zip(*bands.values(), strict=True), **NOISE)
    for place, (low, high) in bands.items() if not joined and len(bands) > 1 else ():
        axes.fill_between([place - BAR, place + BAR], low, high, **NOISE)
    return any(low < high for low, high in bands.values())


def _level_key(label: str) -> list[Line2D]:
    return [Line2D([], [], **REFERENCE, label=label)] if label else []


def noise_key() -> Patch:
    """Entry of a legend for `draw_noise`."""
    return Patch(**NOISE, label=f"{arm_name(BASELINE)} against itself, 95 %")


def bound_keys(rows: pl.DataFrame, floor: str = "guess floor") -> list[Line2D]:
    """Entries of a legend for `draw_bounds`; `floor` says what the floor is."""
    names = {"floor": floor, "ceiling": "best possible"}
    names["one_of_k"] = "guess one of the story's k names, 1/k"
    return [
        Line2D([], [], **line, label=names[name])
        for name, line in LEVELS.items()
        if name in rows.columns and rows[name].drop_nulls().len()
    ]


def _ticks(values: pl.Series, log: bool) -> dict[Any, float]:
    """Where each value of x stands: names side by side, numbers on the (log) scale."""
    known = distinct(values.drop_nulls())
    if not values.dtype.is_numeric():
        return {name: float(place) for place, name in enumerate(known)}
    return {value: math.log10(value) if log else float(value) for value in known}


def _place(
    x: str, hue: str, ticks: dict[Any, float], series: list[Any], share: float
) -> pl.Expr:
    """Where a row is drawn: at its x, beside other series where there is room."""
    gap = min(np.diff(sorted(ticks.values())), default=1.0)
    width = share * gap if len(ticks) <= CROWDED else 0.0
    shifts = style.spread_positions(len(series), width)
    beside = pl.col(hue).replace_strict(series, shifts.tolist(), default=0.0)
    return pl.col(x).replace_strict(ticks) + beside


def draw_levels(
    axes: Axes,
    rows: pl.DataFrame,
    table: pl.DataFrame,
    hue: str,
    looks: dict[Any, tuple[str, str]],
    line: str,
) -> None:
    """Means with t intervals, joined by a `line`, and a dot a seed, at their `place`."""
    for value, (color, marker) in looks.items():
        means = table.filter(pl.col(hue) == value).sort("place")
        seeds = rows.filter(pl.col(hue) == value)
        mark: Any = {"marker": marker, "mec": "white", "mew": 0.5}
        axes.plot(means["place"], means["mean"], color=color, ls=line, zorder=4, **mark)
        bars = means.drop_nulls("low")
        axes.vlines(bars["place"], bars["low"], bars["high"], color=color, lw=0.8)
        two = pl.col("place").is_in(means.drop_nulls("groups")["place"].implode())
        dots, rings = seeds.filter(~two), seeds.filter(two)
        dot: Any = {"s": 9, "alpha": 0.45, "linewidths": 0, "color": color}
        ring: Any = {"s": 16, "facecolors": "none", "edgecolors": color}
        axes.scatter(dots["place"], dots["value"], zorder=3, **dot)
        axes.scatter(rings["place"], rings["value"], zorder=3, linewidths=0.9, **ring)
    axes.grid(visible=False, axis="x")


def _of_single_runs(table: pl.DataFrame) -> pl.DataFrame:
    """Cells of one seed whose counts by test item are known."""
    return table.filter(pl.col("seeds") == 1, pl.col("items_low").is_not_null())


def _single_runs(
    axes: Axes, table: pl.DataFrame, hue: str, looks: dict[Any, tuple[str, str]]
) -> None:
    """One seed has no t interval: what its test items leave open, dashed."""
    for row in _of_single_runs(table).iter_rows(named=True):
        axes.vlines(
            row["place"],
            row["items_low"],
            row["items_high"],
            color=looks[row[hue]][0],
            lw=0.8,
            linestyles=(0, (2, 1.5)),
            zorder=2,
        )


def keys(
    series: Iterable[Any],
    hue: str = "arm",
    band: bool = True,
    table: pl.DataFrame | None = None,
) -> list[Line2D]:
    """Entries of a legend: the series, and of what `table` has a seed and intervals."""
    values = list(series)
    looks = (
        {arm: (style.color_of(arm), style.marker_of(arm)) for arm in values}
        if hue == "arm"
        else style.looks_in_order(values)
    )
    found = [
        Line2D(
            [],
            [],
            color=color,
            marker=marker,
            mec="white",
            mew=0.5,
            label=arm_label(value) if hue == "arm" else value_label(hue, value),
        )
        for value, (color, marker) in looks.items()
    ]
    faint: Any = {"color": style.FAINT, "ls": ""}
    if band:
        found.append(Line2D([], [], marker="o", ms=3, label="one seed", **faint))
        if table is None or table["low"].drop_nulls().len():
            text = "mean, 95 % interval"
            found.append(Line2D([], [], marker="|", ms=9, label=text, **faint))
    if table is not None and table["groups"].drop_nulls().len():
        text = "seeds in two groups: no mean"
        found.append(Line2D([], [], marker="o", ms=4, mfc="none", label=text, **faint))
    if table is not None and _of_single_runs(table).height:
        text, dashes = "one seed: 95 % over stories", (0, (2, 1.5))
        found.append(Line2D([], [], color=style.FAINT, lw=0.8, ls=dashes, label=text))
    return found

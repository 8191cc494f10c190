"""Figures of one metric: a panel a condition, a colour a series, a dot a seed."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.arm_names import BASELINE, arm_name, arms_of
from analysis.fields import sort_distinct, value_label
from analysis.modes import span_of, summarize_seeds
from analysis.noise import noise_band
from analysis.plots import style
from analysis.resampling import add_items_interval

DODGE = 0.16
"""Share of the distance between two x over which the series are spread."""
MOST_SPREAD = 6
"""With more values of x than this, series are not spread."""
REFERENCE: Any = {"color": style.FAINT, "ls": ":", "lw": 1}
"""The line at a level to compare with."""
BOUND_LINES: Any = {"floor": REFERENCE, "ceiling": REFERENCE | {"ls": (0, (5, 2))}}
"""Lines at the score of guessing, and at the best possible score."""
LEVEL_LINES: Any = BOUND_LINES | {"one_of_k": REFERENCE | {"ls": (0, (6, 1.5, 1, 1.5))}}
"""All lines of `draw_bounds`; `one_of_k` is the score of one of a story's k names."""
FLAT = 0.1
"""Means of a share that lie closer together, and no higher than guessing, show nothing."""
NOISE: Any = {"color": "#3b3b3b", "alpha": 0.13, "lw": 0, "zorder": 1}
"""The band of `draw_noise`."""
BAR = 0.4
"""Half the width of a separate band at each x, where these are one unit apart."""
SHARE_LIMITS = (-0.03, 1.03)
"""The y axis of a share, with room for whole markers at 0 and 1."""


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
    limits: tuple[float, float] | None = SHARE_LIMITS,
    floor: str = "guess floor",
    skip_flat: bool = False,
) -> tuple[Figure, pl.DataFrame]:
    """Draw `value` against `x`: a panel for each value of `panel`, in order of appearance.

    Parameters
    ----------
    rows
        One row a run and x, all of one setting: `seed`, `value`, `x`, `hue`, `panel`;
        optionally counts by test item and the columns of `LEVEL_LINES`.
    label, unit, title, floor
        Names of x axis, y axis, panels (`{}` is the panel's value), floor in the legend.
    limits
        Ends of the y axis.
    skip_flat
        Leave out panels of a share in which no arm does better than guessing, and name
        them below the figure.

    Returns the figure and the plotted table: summaries of seeds (`summarize_seeds`) with
    intervals over test items (`resampling.add_items_interval`).
    """
    rows, flat = _split_flat(rows, panel, [x, hue]) if skip_flat else (rows, [])
    is_share, is_line = limits == SHARE_LIMITS, rows[x].dtype.is_numeric() and x != hue
    span, noise = span_of(rows, is_share), False
    by = list(dict.fromkeys((panel, x, hue)))
    table = add_items_interval(rows, summarize_seeds(rows, by, span, is_share), by)
    looks, panels = looks_of(rows, hue), rows[panel].unique(maintain_order=True)
    with style.house_style():
        figure, grid = style.wrapped_panels(len(panels), unit)
        for axes, value in zip(grid, panels, strict=True):
            here = pl.col(panel) == value
            seeds, means = rows.filter(here), table.filter(here)
            ticks = _tick_places(seeds[x], log)
            place = _place_series(seeds, x, hue, ticks, list(looks)).alias("place")
            seeds, means = seeds.with_columns(place), means.with_columns(place)
            draw_levels(axes, seeds, means, hue, looks, "-" if is_line else "")
            _draw_single_runs(axes, means, hue, looks)
            style.mark_values(axes, ticks)
            if limits is not None:
                axes.set_ylim(*limits)
            seeds = seeds.with_columns(place=pl.col(x).replace_strict(ticks))
            draw_bounds(axes, seeds)
            if hue == "arm":
                noise |= draw_noise(axes, seeds, span, is_share, is_line)
            axes.set_title(title.format(value))
        style.label_x(figure, label)
        handles: list[Artist] = [*series_keys(looks, hue, table=table)]
        handles += [*bound_keys(rows, floor), *[noise_key()] * noise]
        style.legend_below(figure, handles, _name_flat([*map(title.format, flat)]))
    return figure, table


def _split_flat(
    rows: pl.DataFrame, panel: str, cell: list[str]
) -> tuple[pl.DataFrame, list[Any]]:
    """The rows of panels with something to see, and the other panels.

    There is nothing to see where no mean exceeds the lowest of `LEVEL_LINES` and all
    means lie within `FLAT` of each other. Raises `ValueError` if all panels are such.
    """
    levels = [name for name in ("floor", "one_of_k") if name in rows.columns]
    means = rows.group_by(panel, *cell).agg(pl.col("value", *levels).mean())
    value = pl.col("value")
    at_floor = (value <= pl.min_horizontal(levels)).all()
    is_flat = at_floor & (value.max() - value.min() <= FLAT)
    panels = means.group_by(panel).agg(is_flat=is_flat.fill_null(False))
    flat = panels.filter("is_flat")[panel]
    if len(flat) == panels.height:
        raise ValueError("no arm does better than guessing anywhere")
    shown = rows.filter(~pl.col(panel).is_in(flat.implode()))
    order = rows[panel].unique(maintain_order=True)
    return shown, [value for value in order if value in flat]


def _name_flat(titles: list[str]) -> str | None:
    """The line of the legend about panels that are left out."""
    return f"left out, at guessing or below: {'; '.join(titles)}" if titles else None


def looks_of(rows: pl.DataFrame, hue: str) -> dict[Any, tuple[str, str]]:
    """Colour and marker of each series, in their order."""
    values = arms_of(rows) if hue == "arm" else sort_distinct(rows[hue])
    return style.assign_looks(values, hue)


def draw_bounds(axes: Axes, rows: pl.DataFrame) -> None:
    """Draw the columns of `LEVEL_LINES` over `place`, if they lie in or near the panel."""
    for name, line in LEVEL_LINES.items():
        if name not in rows.columns:
            continue
        means = rows.drop_nulls(name).group_by("place").agg(pl.col(name).mean())
        means = means.sort("place")
        low, high = axes.get_ylim()
        margin = 0.25 * (high - low)
        is_near = means[name].is_between(low - margin, high + margin)
        if means.is_empty() or not is_near.all():
            continue
        levels = means[name].to_numpy()
        if np.ptp(levels) <= 1e-9:
            axes.axhline(levels[0], **line, zorder=1)
        else:
            axes.plot(means["place"], levels, **line, zorder=1)


def draw_noise(
    axes: Axes, rows: pl.DataFrame, span: float, share: bool, is_line: bool = True
) -> bool:
    """Draw the 95 % band of the baseline's mean over other seeds (`noise.noise_band`).

    Differences inside the band may be chance. `rows` are runs of one panel at their
    `place`. The band is continuous for a line, else a bar at each place; for a single
    place it spans the panel. Nothing is drawn without a second arm, or where the
    baseline has fewer than four seeds, or two groups of them. Returns whether there is a
    band.
    """
    baseline = rows.filter(pl.col("arm") == BASELINE).sort("place")
    if rows["arm"].n_unique() < 2 or baseline.is_empty():
        return False
    bands = {
        place: noise_band(here["value"].to_list(), span, share) or (math.nan, math.nan)
        for (place,), here in baseline.group_by("place", maintain_order=True)
    }
    if len(bands) == 1:
        axes.axhspan(*next(iter(bands.values())), **NOISE)
    elif is_line:
        axes.fill_between(list(bands), *zip(*bands.values(), strict=True), **NOISE)
    for place, (low, high) in bands.items() if not is_line and len(bands) > 1 else ():
        axes.fill_between([place - BAR, place + BAR], low, high, **NOISE)
    return any(low < high for low, high in bands.values())


def noise_key() -> Patch:
    """The legend entry of `draw_noise`."""
    return Patch(**NOISE, label=f"{arm_name(BASELINE)} against itself, 95 %")


def bound_keys(rows: pl.DataFrame, floor: str = "guess floor") -> list[Line2D]:
    """The legend entries of `draw_bounds`; `floor` names the floor."""
    names = {
        "floor": floor,
        "ceiling": "best possible",
        "one_of_k": "guess one of the story's k names, 1/k",
    }
    return [
        Line2D([], [], **line, label=names[name])
        for name, line in LEVEL_LINES.items()
        if name in rows.columns and rows[name].drop_nulls().len()
    ]


def _tick_places(values: pl.Series, log: bool) -> dict[Any, float]:
    """The place of each value of x: 0, 1, 2 for names; numbers, or their log10.

    Names of an Enum keep its order.
    """
    values = values.drop_nulls()
    if isinstance(values.dtype, pl.Enum):
        ordered = values.unique().sort().to_list()
    else:
        ordered = sort_distinct(values)
    if not values.dtype.is_numeric():
        return {name: float(place) for place, name in enumerate(ordered)}
    return {value: math.log10(value) if log else float(value) for value in ordered}


def _place_series(
    rows: pl.DataFrame, x: str, hue: str, ticks: dict[Any, float], series: list[Any]
) -> pl.Expr:
    """The place of a row: its x, shifted if several series share an x and there is room."""
    gap = min(np.diff(sorted(ticks.values())), default=1.0)
    sharing = rows.group_by(x).agg(pl.col(hue).n_unique().alias("series"))["series"]
    is_spread = len(ticks) <= MOST_SPREAD and x != hue and (sharing > 1).any()
    shifts = style.spread_positions(len(series), DODGE * gap if is_spread else 0.0)
    shift = pl.col(hue).replace_strict(series, shifts.tolist(), default=0.0)
    return pl.col(x).replace_strict(ticks) + shift


def draw_levels(
    axes: Axes,
    rows: pl.DataFrame,
    table: pl.DataFrame,
    hue: str,
    looks: dict[Any, tuple[str, str]],
    line: str,
) -> None:
    """Draw means with t intervals, in the style `line`, and a dot a seed, at `place`."""
    for value, (color, marker) in looks.items():
        means = table.filter(pl.col(hue) == value).sort("place")
        seeds = rows.filter(pl.col(hue) == value)
        mark: Any = {"marker": marker, "mec": "white", "mew": 0.5}
        axes.plot(means["place"], means["mean"], color=color, ls=line, zorder=4, **mark)
        bars = means.drop_nulls("low")
        axes.vlines(bars["place"], bars["low"], bars["high"], color=color, lw=0.8)
        grouped = pl.col("place").is_in(means.drop_nulls("groups")["place"].implode())
        dots, rings = seeds.filter(~grouped), seeds.filter(grouped)
        dot: Any = {"s": 9, "alpha": 0.45, "linewidths": 0, "color": color}
        ring: Any = {"s": 16, "facecolors": "none", "edgecolors": color}
        axes.scatter(dots["place"], dots["value"], zorder=3, **dot)
        axes.scatter(rings["place"], rings["value"], zorder=3, linewidths=0.9, **ring)
    axes.grid(visible=False, axis="x")


def _select_single_runs(table: pl.DataFrame) -> pl.DataFrame:
    """Cells of one seed whose counts by test item are known."""
    if "items_low" not in table.columns:
        return table.clear()
    return table.filter(pl.col("seeds") == 1, pl.col("items_low").is_not_null())


def _draw_single_runs(
    axes: Axes, table: pl.DataFrame, hue: str, looks: dict[Any, tuple[str, str]]
) -> None:
    """Draw dashed intervals over test items for cells of one seed, without t interval."""
    for row in _select_single_runs(table).iter_rows(named=True):
        axes.vlines(
            row["place"],
            row["items_low"],
            row["items_high"],
            color=looks[row[hue]][0],
            lw=0.8,
            linestyles=(0, (2, 1.5)),
            zorder=2,
        )


def series_keys(
    series: Iterable[Any],
    hue: str = "arm",
    band: bool = True,
    table: pl.DataFrame | None = None,
) -> list[Line2D]:
    """Legend entries of series, and with a `band` of seeds and intervals.

    With a `table`, the intervals and groups of seeds that it has.
    """
    handles = [
        Line2D(
            [],
            [],
            color=color,
            marker=marker,
            mec="white",
            mew=0.5,
            label=value_label(hue, value),
        )
        for value, (color, marker) in style.assign_looks(list(series), hue).items()
    ]
    faint: Any = {"color": style.FAINT, "ls": ""}
    if band:
        handles.append(Line2D([], [], marker="o", ms=3, label="one seed", **faint))
        if table is None or table["low"].drop_nulls().len():
            text = "mean, 95 % interval"
            handles.append(Line2D([], [], marker="|", ms=9, label=text, **faint))
    if table is not None and table["groups"].drop_nulls().len():
        text = "seeds in two groups: no mean"
        handles.append(
            Line2D([], [], marker="o", ms=4, mfc="none", label=text, **faint)
        )
    if table is not None and _select_single_runs(table).height:
        text, dashes = "one seed: 95 % over stories", (0, (2, 1.5))
        handles.append(Line2D([], [], color=style.FAINT, lw=0.8, ls=dashes, label=text))
    return handles

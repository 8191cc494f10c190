"""The board as a picture: every published difference that has runs here, beside ours."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.beside.published import Published, published_tables
from analysis.beside.replication import ReplicationRow, replication_rows
from analysis.beside.verdict import Verdict
from analysis.plots import style
from analysis.plots.gallery import Picture, annotate

NAME = "board"
ABOUT = "Published differences between objectives, and ours."
WHAT = "Ours is the upper mark, the published number the lower; bars are 95 % intervals"
LOOKS: dict[Verdict, tuple[str, str, str]] = {
    "replicates": ("#009e73", "o", "#009e73"),
    "same sign, different size": ("#0072b2", "s", "#0072b2"),
    "opposite sign": ("#d55e00", "X", "#d55e00"),
    "undecided": (style.FAINT, "o", "white"),
}
"""Colour, marker and fill of ours, by verdict."""
PUBLISHED: dict[str, Any] = {
    "color": style.INK,
    "marker": "D",
    "mfc": "white",
    "ms": 4,
    "lw": 0.8,
}
LINE_HEIGHT, PANEL_MARGIN = 0.2, 0.75
"""Inches of one difference, and of a panel besides them."""
COLUMN_WIDTH = 5.2
SHIFT = 0.17
"""Ours and the published number lie so far from the middle of their line."""
TABLE = {
    "table": pl.String(),
    "column": pl.String(),
    "row": pl.String(),
    "arm": pl.String(),
    "published_difference": pl.Float64(),
    "published_low": pl.Float64(),
    "published_high": pl.Float64(),
    "difference": pl.Float64(),
    "low": pl.Float64(),
    "high": pl.Float64(),
    "pairs": pl.Int64(),
    "verdict": pl.String(),
}


def board_picture(frame: pl.DataFrame) -> Picture | None:
    """The picture of the board; None if no published difference has runs here."""
    entries = [row for row in replication_rows(frame) if row.difference is not None]
    if not entries:
        return None
    figure, table = board_figure(entries)
    annotate(figure, WHAT)
    return Picture(NAME, ABOUT, "", WHAT, figure, table)


def board_figure(entries: Sequence[ReplicationRow]) -> tuple[Figure, pl.DataFrame]:
    """Draw ours with its 95 % interval above the published difference, a line for each.

    One panel a published table. A published number without a spread has no interval;
    where outcomes are "solved" or not, its interval is all differences of one sign.
    `entries` are those with a difference. Returns the figure and its table.
    """
    published = {table.id: table for table in published_tables()}
    panels = [
        (published[name], list(rows))
        for name, rows in groupby(entries, key=lambda entry: entry.table)
    ]
    columns = _in_columns(panels)
    heights = [[_height(rows) for _, rows in column] for column in columns]
    with style.house_style():
        height = max(map(sum, heights))
        figure = style.empty_figure(COLUMN_WIDTH * len(columns), height)
        parts = figure.subfigures(1, len(columns), squeeze=False)[0]
        for part, column, sizes in zip(parts, columns, heights, strict=True):
            rest = height - sum(sizes)
            ratios = [*sizes, rest] if rest > LINE_HEIGHT else sizes
            grid = part.add_gridspec(len(ratios), 1, height_ratios=ratios)
            for place, (table, rows) in enumerate(column):
                _draw_panel(part.add_subplot(grid[place]), table, rows)
        style.legend_below(figure, list(_keys(entries)))
    drawn = [{name: getattr(entry, name) for name in TABLE} for entry in entries]
    return figure, pl.DataFrame(drawn, schema=TABLE, orient="row")


Panel = tuple[Published, list[ReplicationRow]]


def _in_columns(panels: Sequence[Panel]) -> list[list[Panel]]:
    """The panels in two columns of about equal height, largest first."""
    columns: list[list[Panel]] = [[], []]
    for panel in sorted(panels, key=lambda panel: -len(panel[1])):
        shorter = min(columns, key=lambda column: sum(_height(p[1]) for p in column))
        shorter.append(panel)
    return [column for column in columns if column]


def _height(rows: Sequence[ReplicationRow]) -> float:
    return PANEL_MARGIN + LINE_HEIGHT * len(rows)


def _draw_panel(axes: Axes, table: Published, rows: Sequence[ReplicationRow]) -> None:
    for place, row in enumerate(rows):
        assert row.verdict is not None
        color, marker, fill = LOOKS[row.verdict]
        ours = (row.difference, row.low, row.high)
        look = {"color": color, "marker": marker, "mfc": fill, "ms": 5, "lw": 1.4}
        _draw_mark(axes, place - SHIFT, *ours, look)
        published = (row.published_difference, row.published_low, row.published_high)
        _draw_mark(axes, place + SHIFT, *published, PUBLISHED)
    axes.axvline(0, color=style.FAINT, ls=":", lw=1, zorder=1)
    axes.set_yticks(range(len(rows)), [_line_name(table, row) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    what = table.columns[0].name if len(table.columns) == 1 else table.metric
    axes.set_xlabel(f"{what.replace('_', ' ')}: difference from {table.baseline}")
    axes.set_title(f"{table.id} ({table.source})", loc="left")


def _draw_mark(
    axes: Axes,
    place: float,
    value: float | None,
    low: float | None,
    high: float | None,
    look: dict[str, Any],
) -> None:
    """A difference with its interval."""
    assert value is not None
    assert low is not None
    assert high is not None
    axes.plot([low, value, high], [place] * 3, **look, markevery=[1])


def _line_name(table: Published, row: ReplicationRow) -> str:
    """The arm, and the column or the setting where a table has several."""
    column = row.column if len(table.columns) > 1 else ""
    return ", ".join(filter(None, (column, row.row, row.setting)))


def _keys(entries: Sequence[ReplicationRow]) -> Iterator[Artist]:
    yield Line2D([], [], label="published", **PUBLISHED)
    for verdict, (color, marker, fill) in LOOKS.items():
        if any(entry.verdict == verdict for entry in entries):
            look: dict[str, Any] = {"color": color, "marker": marker, "mfc": fill}
            yield Line2D([], [], ms=5, label=f"ours: {verdict}", **look)

"""The style of every figure, and how figures are saved.

Colours are those of Okabe and Ito, which readers with any colour vision can distinguish.
Every colour comes with a marker, so that figures can be read in grey.
"""

import io
import textwrap
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from synth.disk.files import make_folder, write_atomically
from synth.scales import format_count

INK, FAINT, GRID = "#222222", "#767676", "#e4e4e4"
ARMS = {
    "n1": ("#3b3b3b", "o"),
    "n2": ("#0072b2", "s"),
    "n4": ("#d55e00", "^"),
    "n8": ("#009e73", "D"),
    "n3": ("#cc79a7", "v"),
}
"""Colour and marker of the usual arms."""
OTHER_COLORS = ("#7a5195", "#56b4e9", "#8c8c00", "#e69f00", "#a05a2c", "#d62f6b")
OTHER_MARKERS = ("P", "X", "<", ">", "p", "h", "8", "d")
"""Colours and markers of other arms, chosen by their names."""
OTHER_ARMS = {
    "latent1": (OTHER_COLORS[0], "h"),
    "top": (OTHER_COLORS[2], "d"),
    "n2_linear_added": ARMS["n2"],
    "n3_linear_added": ARMS["n3"],
    "joint2": (ARMS["n2"][0], "P"),
    "n1_myopic": (ARMS["n4"][0], "8"),
    "registers4": (ARMS["n3"][0], ">"),
    "teacherless": ARMS["n8"],
    "transfer3": (ARMS["n8"][0], "8"),
}
"""Arms of one figure that would look alike by their names."""
LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
"""Styles of lines for a second field beside the arm, such as the mixer."""

PANEL_HEIGHT, PANEL_WIDTH = 2.5, 2.9
"""Inches of a panel in print."""
NARROWEST = 4.2
"""Inches of a figure of one panel: the lines above it and the legend need room."""
MOST_LETTERS = 32
"""Letters that fit under a panel, in names of equal length."""
MOST_COLUMNS = 3
"""Panels that fit beside each other on a page."""
SLANTED: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
"""Text options of slanted names under an axis."""


@contextmanager
def house_style() -> Iterator[None]:
    """Set the matplotlib options of this suite; restores the former ones at the end."""
    settings: Any = sns.axes_style("ticks") | {
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "axes.linewidth": 0.7,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.5,
        "lines.markersize": 4.5,
        "legend.frameon": False,
        "figure.dpi": 100,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "synth",
    }
    with mpl.rc_context():
        mpl.rcdefaults()  # overrides a matplotlibrc and what a notebook has set
        mpl.rcParams.update(settings)
        yield


def empty_figure(width: float, height: float) -> Figure:
    """A figure of that size in inches, outside pyplot and any window system."""
    return Figure(figsize=(width, height), layout="constrained")


def color_of(arm: str) -> str:
    """The colour of an arm in every figure."""
    return _look(arm)[0]


def marker_of(arm: str) -> str:
    """The marker of an arm in every figure."""
    return _look(arm)[1]


def assign_looks(values: Sequence[Any], field: str) -> dict[Any, tuple[str, str]]:
    """A colour and a marker for each value of a field.

    Arms have the same in every figure; other values take them in order. Where there are
    more values than colours, colours repeat with another marker.
    """
    if field == "arm":
        return {arm: _look(arm) for arm in values}
    colors = [color for color, _ in ARMS.values()] + list(OTHER_COLORS)
    markers = [marker for _, marker in ARMS.values()] + list(OTHER_MARKERS)
    return {
        value: (colors[i % len(colors)], markers[i % len(markers)])
        for i, value in enumerate(values)
    }


def lines_in_order(values: Sequence[Any]) -> dict[Any, Any]:
    """A line style for each value of a field, in the order of the values."""
    return {value: LINES[i % len(LINES)] for i, value in enumerate(values)}


def _look(arm: str) -> tuple[str, str]:
    """Colour and marker of an arm, independent of the other arms of a figure."""
    if arm in ARMS or arm in OTHER_ARMS:
        return (ARMS | OTHER_ARMS)[arm]
    number = zlib.crc32(arm.encode())
    row, column = divmod(number, len(OTHER_COLORS))
    return OTHER_COLORS[column], OTHER_MARKERS[row % len(OTHER_MARKERS)]


def panels(columns: int, rows: int = 1, **shared: Any) -> tuple[Figure, np.ndarray]:
    """An empty figure of equal panels with a common y axis."""
    width = max(PANEL_WIDTH * columns, NARROWEST)
    figure = empty_figure(width, PANEL_HEIGHT * rows + 0.4)
    return figure, figure.subplots(rows, columns, sharey=True, squeeze=False, **shared)


def wrapped_panels(count: int, unit: str) -> tuple[Figure, list[Axes]]:
    """`count` panels, at most `MOST_COLUMNS` in a row; `unit` labels each row."""
    rows = -(-count // MOST_COLUMNS)
    columns = -(-count // rows)
    figure, grid = panels(columns, rows)
    for axes in grid[:, 0]:
        axes.set_ylabel(unit)
    flat = grid.flatten().tolist()
    for axes in flat[count:]:
        axes.remove()
    return figure, flat[:count]


def label_x(figure: Figure, text: str) -> None:
    """Label the x axis under the lowest panel of each column."""
    lowest = {}
    for axes in figure.axes:  # row by row, so lower panels replace higher ones
        place = axes.get_subplotspec()
        assert place is not None
        lowest[place.colspan.start] = axes
    letters = int(13 * figure.get_figwidth() / max(1, len(lowest)))
    for axes in lowest.values():
        axes.set_xlabel(textwrap.fill(text, letters))


def legend_below(
    figure: Figure, handles: Sequence[Artist], title: str | None = None
) -> None:
    """Add a legend below the panels in as many columns as fit; the figure grows by it."""
    if not handles:
        return
    lengths = [len(str(handle.get_label())) for handle in handles]
    columns = len(handles)
    while columns > 1 and _legend_width(lengths, columns) > figure.get_figwidth():
        columns -= 1
    if title is not None:
        title = textwrap.fill(title, int(15 * figure.get_figwidth()))
    lines = -(-len(handles) // columns) + (title.count("\n") + 1 if title else 0)
    figure.set_figheight(figure.get_figheight() + 0.19 * lines + 0.1)
    figure.legend(
        # matplotlib fills columns; this order makes the entries read row by row.
        handles=[h for place in range(columns) for h in handles[place::columns]],
        loc="outside lower center",
        ncols=columns,
        columnspacing=1.2,
        handlelength=1.7,
        title=title,
        title_fontsize=mpl.rcParams["legend.fontsize"],
    )


def _legend_width(lengths: Sequence[int], columns: int) -> float:
    """About the width in inches of a legend whose labels have these lengths."""
    return sum(0.058 * max(lengths[i::columns]) + 0.45 for i in range(columns))


def spread_positions(count: int, width: float) -> np.ndarray:
    """Offsets that separate `count` series at one x, centred on 0."""
    return np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(1)


def mark_values(axes: Axes, at: dict[Any, float]) -> None:
    """Put a tick at the place of each value, about eleven at most.

    Values too close to the tick before them, as on a log axis, have none.
    """
    span = max(at.values()) - min(at.values())
    values: list[Any] = []
    for value, place in at.items():
        if not values or place - at[values[-1]] >= span / 10 * (1 - 1e-9):
            values.append(value)
    names = [_tick_name(value) for value in values]
    axes.set_xticks([at[value] for value in values], names, **slant(names))
    places = sorted(at.values())
    room = 0.6 * min(np.diff(places), default=1.0)
    axes.set_xlim(places[0] - room, places[-1] + room)


def size_title(scale: str) -> str:
    """The title of the panel of one size; a shape such as d40-L8-h4 is one already.

    >>> size_title("100k"), size_title("d40-L8-h4")
    ('100k non-embedding parameters', 'd40-L8-h4')
    """
    return f"{scale} non-embedding parameters" if scale[0].isdigit() else scale


def slant(names: Sequence[str]) -> dict[str, Any]:
    """Text options of names under an axis: slanted where they would overlap."""
    widest = max((len(line) for name in names for line in name.split("\n")), default=0)
    if widest * len(names) <= MOST_LETTERS:
        return {}
    return SLANTED


def _tick_name(value: float | str) -> str:
    if isinstance(value, str):  # long names would overlap on one line
        return value.replace(", ", ",\n")
    return format_count(value) if isinstance(value, int) else f"{value:g}"


def short_numbers(axes: Axes) -> None:
    """Have at most four intervals on the x axis, with SI prefixes such as 800k."""
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def save(figure: Figure, table: pl.DataFrame, path: Path) -> list[Path]:
    """Write PNG, PDF and the plotted table; equal figures give equal bytes.

    `path` has no suffix: a point in its name (`rate-0.003`) does not start one. The files
    have no date and no version of any program.
    """
    make_folder(path.parent)
    written = [path.with_name(path.name + end) for end in (".png", ".pdf", ".csv")]
    png, pdf, csv = written
    with house_style():  # savefig reads font types and resolution
        write_atomically(png, as_png(figure))
        write_atomically(pdf, _as_pdf(figure))
    write_atomically(csv, table.write_csv(float_precision=6).encode())
    return written


TIGHT: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.05}


def as_png(figure: Figure, dpi: float | None = None) -> bytes:
    """The figure as the content of a PNG file, by default at 200 dots an inch."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(
            buffer,
            format="png",
            dpi=dpi or mpl.rcParams["savefig.dpi"],
            metadata={"Software": None},
            **TIGHT,
        )
    return buffer.getvalue()


def _as_pdf(figure: Figure) -> bytes:
    metadata = {
        "CreationDate": None,
        "ModDate": None,
        "Producer": None,
        "Creator": None,
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata=metadata, **TIGHT)
    return buffer.getvalue()

"""How every figure looks, and the one way to save it.

Colours are those of Okabe and Ito, told apart by readers with any colour vision; marker
and line style repeat what the colour says, so a figure survives a grey printer.
"""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import polars as pl
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from analysis.selection import size_name
from synth.run.files import make_folder, write_atomically

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
OTHER_MARKERS = ("P", "X", "<", ">", "p", "h", "*", "d")
"""Any other arm has one of these pairs, chosen by its name alone."""

PANEL_HEIGHT, PANEL_WIDTH = 2.5, 2.9
"""Inches at the size a figure is printed."""
LEGEND_WIDTH = 1.6
WIDEST = 3
"""Panels beside each other: a page is seldom wider."""


@contextmanager
def house_style() -> Iterator[None]:
    """Settings for figures that are printed at their own size; put back afterwards."""
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
        mpl.rcdefaults()  # whatever a matplotlibrc or a notebook has set
        mpl.rcParams.update(settings)
        yield


def empty_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that no window system and no pyplot knows of."""
    return Figure(figsize=(width, height), layout="constrained")


def color_of(arm: str) -> str:
    """The colour of an arm in every figure."""
    return _look(arm)[0]


def marker_of(arm: str) -> str:
    """The marker of an arm in every figure."""
    return _look(arm)[1]


def _look(arm: str) -> tuple[str, str]:
    """The same in every figure and every process, whichever arms are drawn beside."""
    if arm in ARMS:
        return ARMS[arm]
    number = zlib.crc32(arm.encode())
    row, column = divmod(number, len(OTHER_COLORS))
    return OTHER_COLORS[column], OTHER_MARKERS[row % len(OTHER_MARKERS)]


def panels(columns: int, rows: int = 1, **shared: Any) -> tuple[Figure, np.ndarray]:
    """An empty figure of equal panels with room for a legend at the right."""
    figure = empty_figure(
        PANEL_WIDTH * columns + LEGEND_WIDTH, PANEL_HEIGHT * rows + 0.5
    )
    return figure, figure.subplots(rows, columns, sharey=True, squeeze=False, **shared)


def wrapped_panels(count: int, unit: str) -> tuple[Figure, list[Axes]]:
    """So many panels, at most `WIDEST` beside each other; `unit` labels each line."""
    rows = -(-count // WIDEST)
    columns = -(-count // rows)
    figure, grid = panels(columns, rows)
    for axes in grid[:, 0]:
        axes.set_ylabel(unit)
    found = grid.flatten().tolist()
    for axes in found[count:]:
        axes.remove()
    return figure, found[:count]


def spread_positions(count: int, width: float) -> np.ndarray:
    """Offsets that keep `count` series apart at one x, centred on 0."""
    return np.linspace(-width / 2, width / 2, count) if count > 1 else np.zeros(1)


def direct_note(axes: Axes, x: float, y: float, text: str, **how: Any) -> None:
    """A quiet remark inside a panel, in data coordinates unless told otherwise."""
    axes.text(x, y, text, color=FAINT, fontsize=7.5, **how)


def mark_values(axes: Axes, at: dict[Any, float], most: int = 11) -> None:
    """Put a tick at the place of each value, if there are few; 31.5M for millions."""
    if len(at) > most:
        return
    names = [_tick_name(value) for value in at]
    axes.set_xticks(list(at.values()), names)
    places = sorted(at.values())
    room = 0.6 * min(np.diff(places), default=1.0)
    axes.set_xlim(places[0] - room, places[-1] + room)


def _tick_name(value: float | str) -> str:
    if isinstance(value, str):  # long names of neighbours would overlap on one line
        return value.replace(", ", ",\n")
    return size_name(value) if isinstance(value, int) else f"{value:g}"


def short_numbers(axes: Axes, ticks: int = 4) -> None:
    """At most so many ticks, with SI prefixes: 800k."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def save(figure: Figure, table: pl.DataFrame, path: Path) -> list[Path]:
    """Write PNG, PDF and the plotted table; equal figures give equal bytes.

    `path` has no suffix. The files carry no date and no version of any program.
    """
    make_folder(path.parent)
    written = [path.with_suffix(suffix) for suffix in (".png", ".pdf", ".csv")]
    png, pdf, csv = written
    with house_style():  # font types and resolution are read when a file is written
        write_atomically(png, as_png(figure))
        write_atomically(pdf, _as_pdf(figure))
    write_atomically(csv, table.write_csv(float_precision=6).encode())
    return written


WHOLE: dict[str, Any] = {"bbox_inches": "tight", "pad_inches": 0.05}


def as_png(figure: Figure, dpi: float | None = None) -> bytes:
    """The figure as the content of a PNG file, at 200 dots an inch if not told."""
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(
            buffer,
            format="png",
            dpi=dpi or mpl.rcParams["savefig.dpi"],
            metadata={"Software": None},
            **WHOLE,
        )
    return buffer.getvalue()


def _as_pdf(figure: Figure) -> bytes:
    nothing = {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None}
    buffer = io.BytesIO()
    figure.savefig(buffer, format="pdf", metadata=nothing, **WHOLE)
    return buffer.getvalue()

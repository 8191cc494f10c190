"""The figure of `make quick`: polynomials, induction and choice points.

Each panel is drawn from its own sweep; panels of untrained sweeps are left out.
"""

from collections.abc import Callable
from functools import partial

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.arm_names import arms_of
from analysis.events import event_times
from analysis.modes import span_of, summarize_seeds
from analysis.plots import polynomial, series, style
from analysis.plots.curves import draw_curves
from analysis.selection import CHOICE, EXACT_MATCH, OPERATIONS, by_scale, select_metric
from analysis.trajectories import curve_rows, floor_of, learned_level

Panel = tuple[str, Callable[[Axes], bool]]
"""The title of a panel, and what draws it: whether with a band of noise."""


def quick_figure(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Draw three panels in a row; returns the figure and the plotted table.

    Columns of the table: `panel`, `scale`, `arm`, `x` (operations, or training tokens),
    mean, interval, number of seeds, their two `groups` where there is no mean, and
    `reference`, the dotted line of the panel.

    Raises
    ------
    ValueError
        When no run of any of the three sweeps is done.
    """
    drawings = [
        draw(frame)
        for task, draw in (
            ("polynomial", _polynomial),
            ("repeats", _induction),
            ("choice-points", _choices),
        )
        if not frame.filter(
            pl.col("task") == task,
            pl.col("state") == "done",
            pl.col("value").is_not_null(),
        ).is_empty()
    ]
    if not drawings:
        raise ValueError("No run of the quick sweeps is finished yet. Type make quick.")
    panels = [panel for of_task, _ in drawings for panel in of_task]
    table = pl.concat([rows for _, rows in drawings])
    columns = min(3, len(panels))
    lines, noise = -(-len(panels) // columns), False
    with style.house_style():
        figure = style.empty_figure(
            style.PANEL_WIDTH * columns + 1.6, (style.PANEL_HEIGHT + 0.35) * lines
        )
        grid = figure.subplots(lines, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for axes, (title, draw) in zip(grid.flat, panels, strict=False):
            noise |= draw(axes)
            axes.set_title(title)
        figure.legend(handles=_keys(table, noise), loc="outside right upper")
    return figure, table


def induction_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Accuracy on repeated segments at every evaluation, and its guess floor."""
    rows = curve_rows(frame.filter(pl.col("task") == "repeats"), "accuracy", "test")
    floor = select_metric(frame, "floor", "test").select(
        "run_id", "step", floor="value"
    )
    return rows.join(floor, on=["run_id", "step"], how="left")


def choice_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Excess loss of head 1 at choices, in nats, at every evaluation."""
    choice_points = frame.filter(pl.col("task") == "choice-points")
    return curve_rows(choice_points, "excess_loss", "test", CHOICE)


def _polynomial(frame: pl.DataFrame) -> tuple[list[Panel], pl.DataFrame]:
    here = frame.filter(pl.col("task") == "polynomial")
    rows = polynomial.accuracy_by_operations(here)
    table = polynomial.polynomial_table(here)

    def draw(axes: Axes, scale: str) -> bool:
        here = pl.col("scale") == scale
        noise = polynomial.draw_panel(axes, rows.filter(here), table.filter(here))
        axes.set_xlabel("operations in the expression, m")
        axes.set_ylabel("exact match (greedy)")
        return noise

    panels: list[Panel] = [
        (f"polynomials, {scale} parameters", partial(draw, scale=scale))
        for scale in by_scale(rows)
    ]
    plotted = table.select(
        pl.lit(EXACT_MATCH).alias("panel"),
        "scale",
        "arm",
        pl.col(OPERATIONS).alias("x"),
        "mean",
        "low",
        "high",
        "seeds",
        "groups",
        pl.col("guess_floor").alias("reference"),
    )
    return panels, plotted


def _induction(frame: pl.DataFrame) -> tuple[list[Panel], pl.DataFrame]:
    rows = induction_rows(frame)
    floor = floor_of(frame.filter(task="repeats"), "accuracy", "test")

    def draw(axes: Axes) -> bool:
        learned = event_times(rows, learned_level(rows, "accuracy"))
        noise = draw_curves(axes, rows, "tokens", learned, share=True)
        axes.axhline(floor, color=style.FAINT, ls=(0, (1, 1.2)), lw=1.2, zorder=1)
        axes.set(xlabel="training tokens", ylabel="accuracy on repeats", ylim=(0, 1.02))
        return noise

    return [("induction on random segments", draw)], _summarize_curves(
        rows, "induction", floor, share=True
    )


def _choices(frame: pl.DataFrame) -> tuple[list[Panel], pl.DataFrame]:
    rows = choice_rows(frame)

    def draw(axes: Axes) -> bool:
        noise = draw_curves(axes, rows, "tokens")
        axes.axhline(0.0, color=style.FAINT, ls=(0, (1, 1.2)), lw=1.2, zorder=1)
        axes.set(xlabel="training tokens", ylabel="excess loss at choices, nats")
        top = rows.filter(pl.col("step") > 0)["value"].max()
        if isinstance(top, float):  # the loss before training is far above the rest
            axes.set_ylim(-0.1 * top, 1.2 * top)
        return noise

    return [("choice points", draw)], _summarize_curves(
        rows, "choice excess loss", 0.0, share=False
    )


def _summarize_curves(
    rows: pl.DataFrame, panel: str, reference: float, share: bool
) -> pl.DataFrame:
    """Means over seeds at every evaluation, in the columns of the whole table."""
    span = span_of(rows.filter(pl.col("step") > 0), share)  # as in `draw_curves`
    table = summarize_seeds(rows, ["scale", "arm", "tokens"], span, share)
    return table.select(
        pl.lit(panel).alias("panel"),
        "scale",
        "arm",
        pl.col("tokens").alias("x"),
        "mean",
        "low",
        "high",
        "seeds",
        "groups",
        pl.lit(reference).alias("reference"),
    )


def _keys(table: pl.DataFrame, noise: bool) -> list[Artist]:
    keys = polynomial.legend_keys(arms_of(table), table)
    floor = keys[-1]
    if "induction" in table["panel"]:
        tick = Line2D([], [], color=style.FAINT, marker="|", ms=6, ls="")
        tick.set_label("induction formed\n(half right)")
        keys.append(tick)
    if "choice excess loss" in table["panel"]:
        floor.set_label(f"{floor.get_label()},\nor exact optimum (0)")
    runs = Line2D([], [], color=style.FAINT, lw=0.6, label="one run")
    has_curves = table["panel"].n_unique() > ("exact_match" in table["panel"])
    return [*keys, *[runs] * has_curves, *[series.noise_key()] * noise]

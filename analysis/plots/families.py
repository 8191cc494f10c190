"""The figures of the papers and of the probes, each from the runs of one setting."""

from typing import TypeVar

import polars as pl
from matplotlib.lines import Line2D

from analysis.arm_names import arm_name, arms_of, sort_rows
from analysis.fields import distinct
from analysis.plots import curves, events, layer_law, series, style
from analysis.plots.acceptance import acceptance_figure
from analysis.plots.gallery import FIGURES, Drawn, drawing
from analysis.plots.induction import induction_figure, names_figure
from analysis.plots.polynomial import accuracy_by_operations, polynomial_figure
from analysis.plots.precision import precision_curves, precision_effects
from analysis.selection import (
    CHOICE,
    EXACT_MATCH,
    GUESS_FLOOR,
    NAMES_SUITE,
    OPERATIONS,
    SECOND_TOKEN,
    at_end,
    by_scale,
    is_slice_of,
    measured,
    slice_value,
)
from analysis.trajectories import curve_rows, learned_level, timed_runs

FrameOrSeries = TypeVar("FrameOrSeries", pl.DataFrame, pl.Series)
MIXER = "model.mixer"
STORIES = pl.col("task") == "stories"
ALONE = STORIES & (pl.col("books_parts") == 0)
POLYNOMIAL = pl.col("task") == "polynomial"
PLAIN = POLYNOMIAL & (pl.col("pause_tokens") == 0)


def _some(rows: FrameOrSeries, what: str) -> FrameOrSeries:
    if rows.is_empty():
        raise ValueError(f"no finished run has {what}")
    return rows


def _probed(suite: str) -> pl.Expr:
    """Rows of runs that a probe of the suite was saved for."""
    return (pl.col("suite") == suite).any().over("run_id")


@drawing(
    "figure-7-induction",
    *("scale", "arm", "open_names"),
    runs=ALONE,
    missing="task stories without books",
)
def figure_7(frame: pl.DataFrame) -> Drawn:
    """Induction against size, stories alone: a panel a share of open names."""
    return induction_figure(frame, "open_names", "{:.0%} of stories with open names")


@drawing(
    "figure-S14-books",
    *("scale", "arm", "books_parts"),
    runs=STORIES,
    missing="task stories",
)
def figure_s14(frame: pl.DataFrame) -> Drawn:
    """Induction against size: stories alone, and nine to one with books."""
    _some(frame.filter(pl.col("books_parts") > 0), "books")
    return induction_figure(frame, "books_parts", "{} parts books to 1 stories")


@drawing(
    "induction-by-names",
    *("scale", "arm", "open_names"),
    runs=ALONE,
    missing="task stories without books",
)
def induction_by_names(frame: pl.DataFrame) -> Drawn:
    """Second-token accuracy against the number of names in a story, stories alone."""
    return names_figure(frame)


@drawing(
    "figure-8-polynomial",
    *("scale", "arm"),
    runs=PLAIN,
    missing="task polynomial",
)
def figure_8(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy against m, without pause tokens."""
    return polynomial_figure(frame)


@drawing(
    "figure-S15-pause-tokens",
    *("arm", "pause_tokens"),
    runs=POLYNOMIAL,
    missing="task polynomial",
)
def figure_s15(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy against m, a panel a number of pause tokens."""
    _some(frame.filter(pl.col("pause_tokens") > 0), "pause tokens")
    rows = accuracy_by_operations(frame)
    return series.series_figure(
        _some(rows, "an exact match with pause tokens").rename(
            {"guess_floor": "floor"}
        ),
        OPERATIONS,
        "pause_tokens",
        label="operations in the expression, m",
        title="{} pause tokens",
        unit="exact match (greedy)",
    )


@drawing(
    "figure-S16-sizes",
    *("scale", "arm", "context", "batch_rows"),
    runs=PLAIN,
    missing="task polynomial",
)
def figure_s16(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy, mean over m, against size: in domain and out of it.

    Sizes are compared at one context, and, as in the paper, each at its largest.
    """
    final = at_end(frame).filter(is_slice_of(OPERATIONS))
    rows = measured(final, EXACT_MATCH)
    by = ["run_id", "suite", "scale", "parameters", "context", "arm", "seed"]
    means = sort_rows(rows.group_by(by).agg(pl.col("value").mean()), *by)
    if means["parameters"].n_unique() < 2:
        raise ValueError("its finished runs have one size only")
    guessed = measured(final, GUESS_FLOOR).group_by("run_id", "suite")
    floor = guessed.agg(pl.col("value").mean().alias("floor"))
    means = means.join(floor, on=["run_id", "suite"], how="left", maintain_order="left")
    return series.series_figure(
        _by_context(means),
        "parameters",
        "condition",
        label="non-embedding parameters",
        unit="exact match, mean over m",
        log=True,
        floor="guess floor, mean over m",
    )


def _by_context(means: pl.DataFrame) -> pl.DataFrame:
    """`condition`: sizes at one context, then at their own where that differs."""
    where = pl.col("suite").str.replace_all("_", " ")
    parts = []
    for context in means["context"].unique().sort().to_list():
        here = means.filter(pl.col("context") == context)
        if here["parameters"].n_unique() > 1:
            text = pl.concat_str(where, pl.lit(f", context {context}"))
            parts.append(here.with_columns(condition=text))
    largest = pl.col("context") == pl.col("context").max().over("parameters")
    own = means.filter(largest)
    if own["context"].n_unique() > 1:
        text = pl.concat_str(where, pl.lit(", each at its own context"))
        parts.append(own.with_columns(condition=text))
    return pl.concat(parts)


@drawing("curves-polynomial", *("scale", "arm"), runs=PLAIN, missing="task polynomial")
def polynomial_curves(frame: pl.DataFrame) -> Drawn:
    """Exact match during training, in domain: against tokens and FLOP."""
    return curves.cost_figure(frame, EXACT_MATCH, "in_domain")


@drawing(
    "curves-induction",
    *("scale", "arm"),
    runs=ALONE,
    missing="task stories without books",
)
def induction_curves(frame: pl.DataFrame) -> Drawn:
    """Second-token accuracy during training, stories alone: against tokens and FLOP."""
    return curves.cost_figure(frame, SECOND_TOKEN, NAMES_SUITE)


@drawing(
    "choice-points",
    *("scale", "arm", MIXER),
    runs=pl.col("task") == "choice-points",
    missing="task choice-points",
)
def choice_points(frame: pl.DataFrame) -> Drawn:
    """Excess loss at choices along training; below it, how many runs have learned them.

    The share of runs is a Kaplan-Meier curve of the first time below the level that the
    task declares; a mark on it is a run that ended without. Colours are arms, styles of
    lines mixers; curves of one mixer have bands.
    """
    rows = curve_rows(frame, "excess_loss", "test", CHOICE)
    rows = _some(rows, "an excess loss at choices")
    level = learned_level(rows, "excess_loss")
    times = timed_runs(rows, level, "lower")
    scales, noise = by_scale(rows), False
    parts: list[pl.DataFrame] = []
    lines = style.lines_in_order(distinct(rows[MIXER]))
    with style.house_style():
        width = max(style.PANEL_WIDTH * len(scales), style.NARROWEST)
        figure = style.empty_figure(width, 2 * style.PANEL_HEIGHT)
        grid = figure.subplots(2, len(scales), sharey="row", squeeze=False)
        for (above, below), scale in zip(grid.T, scales, strict=True):
            here = rows.filter(scale=scale)
            for mixer in distinct(here[MIXER]):
                one, line = pl.col(MIXER) == mixer, lines[mixer]
                noise |= curves.draw_curves(
                    above, here.filter(one), "tokens", line=line
                )
                of_mixer = times.filter(one, scale=scale)
                drawn = events.draw_events(below, of_mixer, line, len(lines) == 1)
                named = pl.lit(scale).alias("scale"), pl.lit(mixer).alias("mixer")
                parts.append(drawn.select(*named, pl.all()))
            above.set_title(style.size_title(scale))
            top = here.filter(pl.col("step") > 0)["value"].to_numpy().max()
            above.set_ylim(-0.05 * top, 1.1 * top)
            for height in (0.0, level):
                above.axhline(height, **series.REFERENCE, zorder=1)
        grid[0][0].set_ylabel("excess loss at choices, nats")
        grid[1][0].set_ylabel(f"share of runs below {level:g}")
        style.label_x(figure, "training tokens")
        text = f"the source itself (0), and {level:g}"
        known = Line2D([], [], **series.REFERENCE, label=text)
        handles = [*curves.curve_keys(arms_of(rows), noise=noise), known]
        if len(lines) > 1:
            handles += [
                Line2D([], [], color=style.FAINT, ls=line, label=mixer)
                for mixer, line in lines.items()
            ]
        style.legend_below(figure, handles)
    return figure, pl.concat(parts)


@drawing(
    "choice-weights",
    "arm",
    runs=_probed("probe/test") & pl.col("task").is_in(["choice-points", "maze"]),
    missing="saved choice-point probes",
)
def choice_weights(frame: pl.DataFrame) -> Drawn:
    """Share of loss terms, loss and gradient at choice points, arm by arm."""
    shares = ["term_share", "loss_share", "gradient_share", "projection_share"]
    rows = at_end(frame).filter(
        pl.col("slice") == "role=choice-point",
        pl.col("suite") == "probe/test",
        pl.col("metric").is_in(shares),
    )
    names = {arm: arm_name(arm) for arm in arms_of(rows)}
    rows = rows.with_columns(
        share=pl.col("metric").str.replace("_", " "),
        objective=pl.col("arm").replace_strict(
            names, return_dtype=pl.Enum([*names.values()])
        ),
    )
    return series.series_figure(
        _some(sort_rows(rows, "arm", "seed"), "saved choice-point probes"),
        "objective",
        "share",
        label="objective",
        unit="share of the whole at choice points",
        order=[name.replace("_", " ") for name in shares],
        apart=False,
    )


@drawing(
    "information",
    "arm",
    runs=pl.col("task") == "sources",
    missing="task sources",
)
def information(frame: pl.DataFrame) -> Drawn:
    """Excess loss on X and Y of coupled pairs, against how much X says about Y."""
    rows = at_end(frame).filter(is_slice_of("horizon", "role", "coupling"))
    rows = rows.filter(pl.col("slice").str.starts_with("horizon=1,"))
    rows = measured(rows, "excess_loss", "test").with_columns(
        slice_value("coupling", pl.Float64()), slice_value("role").alias("role")
    )
    return series.series_figure(
        _some(sort_rows(rows, "coupling", "arm", "seed"), "an excess loss by coupling"),
        "coupling",
        "role",
        label="coupling: share of pairs in which Y follows from X",
        title="symbol {}",
        unit="excess loss of head 1, nats",
        limits=None,
        reference=0.0,
        reference_label="the source itself",
    )


@drawing(
    "layer-law",
    *("scale", "arm", MIXER),
    runs=_probed(layer_law.SUITE),
    missing="saved law probes",
    any_task=True,
)
def residual_by_layer(frame: pl.DataFrame) -> Drawn:
    """The residual of predicting the next token by layer, with lines and controls."""
    size = style.size_title if frame["scale"].n_unique() > 1 else lambda scale: ""
    words = [pl.col("scale").map_elements(size, pl.String()), pl.col(MIXER)]
    named = pl.concat_str(words, separator=" ").str.strip_chars()
    return layer_law.law_figure(frame.with_columns(panel=named), "panel")


drawing(
    "acceptance",
    "arm",
    runs=(pl.col("metric") == "acceptance").any().over("run_id"),
    missing="saved speculation probes",
    any_task=True,
)(acceptance_figure)

_TWINS = pl.col("precision").n_unique().over("sweep") > 1
for _name, _draw in (
    ("precision-curves", precision_curves),
    ("precision-effects", precision_effects),
):
    drawing(
        _name,
        *("precision", "arm"),
        runs=_TWINS,
        missing="a twin in the other precision",
    )(_draw)


__all__ = ["FIGURES"]

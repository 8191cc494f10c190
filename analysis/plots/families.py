"""The figures of the papers and of the probes, each of runs of one setting."""

import polars as pl
from matplotlib.lines import Line2D

from analysis.arm_names import arms_of, sort_rows
from analysis.fields import sort_distinct
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
    select_metric,
    slice_value,
)
from analysis.trajectories import curve_rows, learned_level, timed_runs

MIXER = "model.mixer"
STORIES = pl.col("task") == "stories"
NO_BOOKS = STORIES & (pl.col("books_parts") == 0)
POLYNOMIAL = pl.col("task") == "polynomial"
NO_PAUSES = POLYNOMIAL & (pl.col("pause_tokens") == 0)


def _require(rows: pl.DataFrame, what: str) -> pl.DataFrame:
    """`rows`, refused if there are none."""
    if rows.is_empty():
        raise ValueError(f"no finished run has {what}")
    return rows


def _has_suite(suite: str) -> pl.Expr:
    """Selects the rows of runs that were measured on a suite."""
    return (pl.col("suite") == suite).any().over("run_id")


@drawing(
    "figure-7-induction",
    *("scale", "arm", "open_names"),
    runs=NO_BOOKS,
    missing="task stories without books",
)
def figure_7(frame: pl.DataFrame) -> Drawn:
    """Induction against size, stories alone: a panel for each share of open names."""
    return induction_figure(frame, "open_names", "{:.0%} of stories with open names")


@drawing(
    "figure-S14-books",
    *("scale", "arm", "books_parts"),
    runs=STORIES,
    missing="task stories",
)
def figure_s14(frame: pl.DataFrame) -> Drawn:
    """Induction against size: stories alone, and nine to one with books."""
    _require(frame.filter(pl.col("books_parts") > 0), "books")
    return induction_figure(frame, "books_parts", "{} parts books to 1 stories")


@drawing(
    "induction-by-names",
    *("scale", "arm", "open_names"),
    runs=NO_BOOKS,
    missing="task stories without books",
)
def induction_by_names(frame: pl.DataFrame) -> Drawn:
    """Second-token accuracy against the number of names in a story, stories alone."""
    return names_figure(frame)


@drawing(
    "figure-8-polynomial",
    *("scale", "arm"),
    runs=NO_PAUSES,
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
    """Polynomial accuracy against m: a panel for each number of pause tokens."""
    _require(frame.filter(pl.col("pause_tokens") > 0), "pause tokens")
    rows = accuracy_by_operations(frame).rename({"guess_floor": "floor"})
    rows = _require(rows, "an exact match with pause tokens")
    return series.series_figure(
        rows.sort("pause_tokens", maintain_order=True),
        OPERATIONS,
        "pause_tokens",
        label="operations in the expression, m",
        title="{} pause tokens",
        unit="exact match (greedy)",
    )


@drawing(
    "figure-S16-sizes",
    *("scale", "arm", "context", "batch_rows"),
    runs=NO_PAUSES,
    missing="task polynomial",
)
def figure_s16(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy, mean over m, against size: in domain and out of it.

    Sizes are compared at equal contexts and, as in the paper, each at its largest.
    """
    final = at_end(frame).filter(is_slice_of(OPERATIONS))
    rows = select_metric(final, EXACT_MATCH)
    by = ["run_id", "suite", "scale", "parameters", "context", "arm", "seed"]
    means = sort_rows(rows.group_by(by).agg(pl.col("value").mean()), *by)
    if means["parameters"].n_unique() < 2:
        raise ValueError("its finished runs have one size only")
    guessing = select_metric(final, GUESS_FLOOR).group_by("run_id", "suite")
    floor = guessing.agg(floor=pl.col("value").mean())
    means = means.join(floor, on=["run_id", "suite"], how="left", maintain_order="left")
    return series.series_figure(
        _by_context(means),
        "parameters",
        "condition",
        label="non-embedding parameters",
        unit="exact match, mean over m",
        log=True,
        floor="guess floor, mean over m",
        skip_flat=True,
    )


def _by_context(means: pl.DataFrame) -> pl.DataFrame:
    """Add `condition`: sizes at each context, and at their own if these differ."""
    where = pl.col("suite").str.replace_all("_", " ")
    conditions = []
    for context in means["context"].unique().sort().to_list():
        here = means.filter(pl.col("context") == context)
        if here["parameters"].n_unique() > 1:
            text = pl.concat_str(where, pl.lit(f", context {context}"))
            conditions.append(here.with_columns(condition=text))
    largest = pl.col("context") == pl.col("context").max().over("parameters")
    own = means.filter(largest)
    if own["context"].n_unique() > 1:
        text = pl.concat_str(where, pl.lit(", each at its own context"))
        conditions.append(own.with_columns(condition=text))
    return pl.concat(conditions).sort("suite", maintain_order=True)


@drawing(
    "curves-polynomial", *("scale", "arm"), runs=NO_PAUSES, missing="task polynomial"
)
def polynomial_curves(frame: pl.DataFrame) -> Drawn:
    """Exact match during training, in domain: against tokens, and FLOP if arms differ."""
    return curves.cost_figure(frame, EXACT_MATCH, "in_domain")


@drawing(
    "curves-induction",
    *("scale", "arm"),
    runs=NO_BOOKS,
    missing="task stories without books",
)
def induction_curves(frame: pl.DataFrame) -> Drawn:
    """Second-token accuracy during training, stories alone; against FLOP if arms differ."""
    return curves.cost_figure(frame, SECOND_TOKEN, NAMES_SUITE)


@drawing(
    "choice-points",
    *("scale", "arm", MIXER),
    runs=pl.col("task") == "choice-points",
    missing="task choice-points",
)
def choice_points(frame: pl.DataFrame) -> Drawn:
    """Excess loss at choices during training; below it, the share of runs below a level.

    The share is a Kaplan-Meier curve of the first time below the level that the task
    declares as learned; a marker on it is a run that ended before. Colours are arms,
    styles of lines are mixers; the curves have bands if there is one mixer.
    """
    rows = curve_rows(frame, "excess_loss", "test", CHOICE)
    rows = _require(rows, "an excess loss at choices")
    level = learned_level(rows, "excess_loss")
    times = timed_runs(rows, level, "lower")
    scales, noise = by_scale(rows), False
    tables: list[pl.DataFrame] = []
    lines = style.lines_in_order(sort_distinct(rows[MIXER]))
    look = curves.CurveStyle.of(rows, ["scale", MIXER])
    with style.house_style():
        width = max(style.PANEL_WIDTH * len(scales), style.NARROWEST)
        figure = style.empty_figure(width, 2 * style.PANEL_HEIGHT)
        grid = figure.subplots(2, len(scales), sharey="row", squeeze=False)
        for (above, below), scale in zip(grid.T, scales, strict=True):
            here = rows.filter(scale=scale)
            for mixer in sort_distinct(here[MIXER]):
                has_mixer, line = pl.col(MIXER) == mixer, lines[mixer]
                noise |= curves.draw_curves(
                    above, here.filter(has_mixer), "tokens", line=line, look=look
                )
                own = times.filter(has_mixer, scale=scale)
                table = events.draw_events(below, own, line, len(lines) == 1)
                key = pl.lit(scale).alias("scale"), pl.lit(mixer).alias("mixer")
                tables.append(table.select(*key, pl.all()))
            above.set_title(style.size_title(scale))
            top = here.filter(pl.col("step") > 0)["value"].to_numpy().max()
            above.set_ylim(-0.05 * top, 1.1 * top)
            for height in (0.0, level):
                above.axhline(height, **series.REFERENCE, zorder=1)
        grid[0][0].set_ylabel("excess loss at choices, nats")
        grid[1][0].set_ylabel(f"share of runs below {level:g}")
        style.label_x(figure, "training tokens")
        text = f"the optimum (0), and learned ({level:g})"
        reference = Line2D([], [], **series.REFERENCE, label=text)
        handles = [*curves.curve_keys(arms_of(rows), noise=noise, look=look), reference]
        if len(lines) == 1:
            handles.append(events.band_key())
        if len(lines) > 1:
            handles += [
                Line2D([], [], color=style.FAINT, ls=line, label=mixer)
                for mixer, line in lines.items()
            ]
        style.legend_below(figure, handles)
    return figure, pl.concat(tables)


@drawing(
    "choice-weights",
    "arm",
    runs=_has_suite("probe/test") & pl.col("task").is_in(["choice-points", "maze"]),
    missing="saved choice-point probes",
)
def choice_weights(frame: pl.DataFrame) -> Drawn:
    """Share of loss terms, loss and gradient at choice points, arm by arm."""
    names = {
        "term_share": "terms",
        "loss_share": "loss",
        "gradient_share": "gradient",
        "projection_share": "projection",
    }
    rows = at_end(frame).filter(
        pl.col("slice") == "role=choice-point",
        pl.col("suite") == "probe/test",
        pl.col("metric").is_in(list(names)),
    )
    share = pl.col("metric").replace_strict(
        names, return_dtype=pl.Enum([*names.values()])
    )
    rows = rows.with_columns(share=share, panel=pl.lit(""))
    return series.series_figure(
        _require(sort_rows(rows, "share", "arm", "seed"), "saved choice-point probes"),
        "share",
        "panel",
        label="of the terms of the loss, the loss, the norm of the gradient, and the "
        "projection of the gradient",
        unit="share at choice points",
    )


@drawing(
    "information",
    "arm",
    runs=pl.col("task") == "sources",
    missing="task sources",
)
def information(frame: pl.DataFrame) -> Drawn:
    """Excess loss on X and Y of coupled pairs, against the coupling of Y to X."""
    rows = at_end(frame).filter(is_slice_of("horizon", "role", "coupling"))
    rows = rows.filter(pl.col("slice").str.starts_with("horizon=1,"))
    rows = select_metric(rows, "excess_loss", "test").with_columns(
        slice_value("coupling", pl.Float64()), slice_value("role"), floor=0.0
    )
    return series.series_figure(
        _require(
            sort_rows(rows, "role", "coupling", "arm", "seed"),
            "an excess loss by coupling",
        ),
        "coupling",
        "role",
        label="coupling: share of pairs in which Y follows from X",
        title="symbol {}",
        unit="excess loss of head 1, nats",
        limits=None,
        floor="the source itself",
    )


@drawing(
    "layer-law",
    *("scale", "arm", MIXER),
    runs=_has_suite(layer_law.SUITE),
    missing="saved law probes",
    any_task=True,
)
def residual_by_layer(frame: pl.DataFrame) -> Drawn:
    """The residual of predicting the next token by layer, with lines and controls."""
    size = style.size_title if frame["scale"].n_unique() > 1 else lambda scale: ""
    words = [pl.col("scale").map_elements(size, pl.String()), pl.col(MIXER)]
    panel = pl.concat_str(words, separator=" ").str.strip_chars()
    return layer_law.law_figure(frame.with_columns(panel=panel), "panel")


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

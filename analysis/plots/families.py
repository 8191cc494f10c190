"""The figures of the papers and of the probes, each from the table of all runs."""

from collections.abc import Callable
from typing import TypeVar

import polars as pl
from matplotlib.figure import Figure

from analysis.plots import curves, series
from analysis.plots.polynomial import accuracy_by_operations, polynomial_figure
from analysis.plots.precision import precision_curves, precision_effects
from analysis.selection import (
    EXACT_MATCH,
    OPERATIONS,
    at_end,
    is_slice_of,
    measured,
    slice_value,
)

Table = TypeVar("Table", pl.DataFrame, pl.Series)
Drawn = tuple[Figure, pl.DataFrame]


def _some(rows: Table, what: str) -> Table:
    if rows.is_empty():
        raise ValueError(f"no finished run has {what}")
    return rows


def _task(frame: pl.DataFrame, task: str) -> pl.DataFrame:
    return _some(frame.filter(pl.col("task") == task), f"task {task}")


def figure_7(frame: pl.DataFrame) -> Drawn:
    """Induction against size, stories alone: a panel a share of open names."""
    return _induction(frame, pl.col("books_parts") == 0, "open_names", "open names {}")


def figure_s14(frame: pl.DataFrame) -> Drawn:
    """Induction against size: stories alone, and nine to one with books."""
    mixed = frame.filter(pl.col("books_parts") > 0)["open_names"].drop_nulls()
    both = pl.col("open_names").is_in(_some(mixed.unique().sort(), "books").to_list())
    return _induction(frame, both, "books_parts", "{} parts books to 1 stories")


def _induction(frame: pl.DataFrame, which: pl.Expr, panel: str, title: str) -> Drawn:
    rows = measured(at_end(_task(frame, "stories")), "second_token_accuracy")
    rows = rows.filter(
        pl.col("suite") == "test_seen", pl.col("slice") == "", which
    ).sort("parameters", "horizon", "seed")
    return series.series_figure(
        _some(rows, "a second-token accuracy for it"),
        "parameters",
        panel,
        label="non-embedding parameters",
        title=title,
        unit="second-token accuracy (last step)",
        log=True,
    )


def figure_8(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy against m, without pause tokens."""
    here = _task(frame, "polynomial").filter(pl.col("pause_tokens") == 0)
    return polynomial_figure(here)


def figure_s15(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy against m, a panel a number of pause tokens."""
    here = _task(frame, "polynomial")
    paused = here.filter(pl.col("pause_tokens") > 0).select(
        "parameters", "pause_tokens"
    )
    size = _some(paused, "pause tokens")["parameters"].max()
    pauses = here.select("run_id", "pause_tokens").unique()
    rows = accuracy_by_operations(here.filter(pl.col("parameters") == size))
    return series.series_figure(
        _some(rows.join(pauses, on="run_id"), "an exact match with pause tokens"),
        OPERATIONS,
        "pause_tokens",
        label="operations in the expression, m",
        title="{} pause tokens",
        unit="exact match (greedy)",
    )


def figure_s16(frame: pl.DataFrame) -> Drawn:
    """Polynomial accuracy, mean over m, against size: in domain and out of it."""
    here = _task(frame, "polynomial").filter(pl.col("pause_tokens") == 0)
    rows = measured(at_end(here).filter(is_slice_of(OPERATIONS)), EXACT_MATCH)
    by = ["run_id", "suite", "parameters", "context", "modulus", "horizon", "seed"]
    means = rows.group_by(by).agg(pl.col("value").mean()).sort(by)
    if means["parameters"].n_unique() < 2:
        raise ValueError("finished polynomial runs have one size only")
    panels = pl.concat_str(
        pl.lit("F_"),
        "modulus",
        pl.lit(", "),
        pl.col("suite").str.replace_all("_", " "),
        pl.lit(", context "),
        "context",
    )
    return series.series_figure(
        means.with_columns(condition=panels),
        "parameters",
        "condition",
        label="non-embedding parameters",
        unit="exact match, mean over m",
        log=True,
    )


def polynomial_curves(frame: pl.DataFrame) -> Drawn:
    """Exact match against tokens during training, in domain."""
    here = _task(frame, "polynomial").filter(pl.col("pause_tokens") == 0)
    return curves.curve_figure(here, EXACT_MATCH, "in_domain")


def induction_curves(frame: pl.DataFrame) -> Drawn:
    """Second-token accuracy against tokens, stories alone."""
    here = _task(frame, "stories").filter(pl.col("books_parts") == 0)
    return curves.curve_figure(here, "second_token_accuracy", "test_seen")


def choice_points(frame: pl.DataFrame) -> Drawn:
    """Excess loss of head 1 at the end of training, a panel a role of the position."""
    role = slice_value("role").alias("role")
    rows = at_end(_task(frame, "choice-points")).filter(is_slice_of("horizon", "role"))
    branches = pl.col("config").str.json_path_match("$.task.branches")
    panel = pl.format("{}, {} branches", role, branches)
    rows = rows.with_columns(role, condition=panel)
    rows = measured(rows, "excess_loss", "test")
    rows = rows.filter(
        pl.col("slice").str.starts_with("horizon=1,"),
        pl.col("role").is_in(["choice", "forced", "inconsequential"]),
    )
    return series.series_figure(
        _some(rows.sort("parameters", "horizon", "seed"), "an excess loss by role"),
        "parameters",
        "condition",
        label="non-embedding parameters",
        unit="excess loss of head 1, nats",
        limits=None,
        reference=0.0,
    )


def choice_weights(frame: pl.DataFrame) -> Drawn:
    """Share of loss terms and of gradient at choice points, against the horizon."""
    rows = at_end(frame).filter(pl.col("slice") == "role=choice-point")
    rows = rows.filter(
        pl.col("suite") == "probe/test",
        pl.col("metric").is_in(["term_share", "gradient_share", "projection_share"]),
    ).with_columns(share=pl.col("metric").str.replace("_", " "), n=pl.col("horizon"))
    return series.series_figure(
        _some(rows.sort("horizon", "seed"), "saved choice-point probes"),
        "n",
        "share",
        label="horizon n",
        unit="share of the whole at choice points",
    )


def information(frame: pl.DataFrame) -> Drawn:
    """Excess loss on X and Y of coupled pairs, against how much X says about Y."""
    rows = at_end(_task(frame, "sources")).filter(
        is_slice_of("horizon", "role", "coupling")
    )
    rows = rows.filter(pl.col("slice").str.starts_with("horizon=1,"))
    rows = measured(rows, "excess_loss", "test").with_columns(
        slice_value("coupling", pl.Float64()), slice_value("role").alias("role")
    )
    return series.series_figure(
        _some(rows.sort("coupling", "horizon", "seed"), "an excess loss by coupling"),
        "coupling",
        "role",
        label="coupling: share of pairs in which Y follows from X",
        title="symbol {}",
        unit="excess loss of head 1, nats",
        limits=None,
        reference=0.0,
    )


def layer_law(frame: pl.DataFrame) -> Drawn:
    """log10 of the residual of predicting the next token, against the layer."""
    rows = at_end(frame).filter(is_slice_of("path", "layer", "target"))
    rows = measured(rows, "residual", "probe/prediction-law").filter(
        pl.col("slice").str.starts_with("path=head 1,"),
        pl.col("slice").str.ends_with("target=t+1"),
        pl.col("value") > 0,
    )
    rows = _some(rows, "saved law probes").with_columns(
        slice_value("layer", pl.Int64()),
        value=pl.col("value").log10(),
        trunk=pl.concat_str("task", "scale", "layout", separator=", "),
    )
    return series.series_figure(
        rows.sort("trunk", "horizon", "seed", "layer"),
        "layer",
        "trunk",
        label="layer (0: the embedding)",
        unit="log10 of the residual",
        limits=None,
    )


FIGURES: dict[str, Callable[[pl.DataFrame], Drawn]] = {
    "figure-7-induction": figure_7,
    "figure-S14-books": figure_s14,
    "figure-8-polynomial": figure_8,
    "figure-S15-pause-tokens": figure_s15,
    "figure-S16-sizes": figure_s16,
    "curves-polynomial": polynomial_curves,
    "curves-induction": induction_curves,
    "choice-points": choice_points,
    "choice-weights": choice_weights,
    "information": information,
    "layer-law": layer_law,
    "precision-curves": precision_curves,
    "precision-effects": precision_effects,
}
"""Every figure by the name of its files."""

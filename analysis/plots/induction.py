"""Second-token accuracy of names in stories, against size and number of names."""

import polars as pl

from analysis.arm_names import sort_rows
from analysis.plots import series
from analysis.plots.gallery import Drawn
from analysis.selection import (
    NAMES_SUITE,
    SECOND_TOKEN,
    at_end,
    is_slice_of,
    select_metric,
    slice_value,
)

LABEL = "second-token accuracy (last step)"


def induction_figure(frame: pl.DataFrame, panel: str, title: str) -> Drawn:
    """Accuracy against size, with the scores of two ways of guessing.

    One guesses the commonest name so far, the other any of the story's k names.
    """
    last = select_metric(at_end(frame), SECOND_TOKEN, NAMES_SUITE)
    rows = last.filter(pl.col("slice") == "")
    if rows.is_empty():
        raise ValueError("no finished run has a second-token accuracy")
    rows = sort_rows(rows, panel, "parameters", "arm", "seed")
    majority = select_metric(at_end(frame), "second_token_majority", NAMES_SUITE)
    by_names = last.filter(is_slice_of("names"))
    chance = pl.col("count") / slice_value("names", pl.Float64())
    mean = chance.sum() / pl.col("count").sum()
    picked = by_names.group_by("run_id").agg(one_of_k=mean)
    for level in (majority.select("run_id", floor="value"), picked):
        rows = rows.join(level, on="run_id", how="left", maintain_order="left")
    return series.series_figure(
        rows,
        "parameters",
        panel,
        label="non-embedding parameters",
        title=title,
        unit=LABEL,
        log=True,
        floor="guess the commonest name",
        skip_flat=True,
    )


def names_figure(frame: pl.DataFrame) -> Drawn:
    """Accuracy against the number k of names in a story, and the line 1/k.

    A panel for each size and share of stories with open names.
    """
    rows = select_metric(at_end(frame), SECOND_TOKEN, NAMES_SUITE)
    rows = rows.filter(is_slice_of("names"))
    if rows.is_empty():
        raise ValueError("no finished run has a second-token accuracy by names")
    names = slice_value("names", pl.Int64())
    rows = rows.with_columns(names, one_of_k=1 / names)
    rows = sort_rows(rows, "open_names", "parameters", "arm", "names", "seed")
    words = [
        f"{scale}, {share:.0%} with open names"
        for scale, share in rows.select("scale", "open_names").iter_rows()
    ]
    rows = rows.with_columns(condition=pl.Series(words))
    return series.series_figure(
        rows,
        "names",
        "condition",
        label="names in the story, k",
        unit=LABEL,
        skip_flat=True,
    )

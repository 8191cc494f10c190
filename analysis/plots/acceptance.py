"""Acceptance of drafts by depth, from `synth probe speculation --save`."""

import polars as pl
from matplotlib.figure import Figure

from analysis.arm_names import sort_rows
from analysis.plots import series
from analysis.selection import at_end, is_slice_of, select_metric, slice_value
from synth.metrics import PROBE

MODES = {"forced": "along the test rows", "free": "free running"}
"""How the probe continues a row, and the title of its panel."""


def acceptance_figure(frame: pl.DataFrame) -> tuple[Figure, pl.DataFrame]:
    """Share of drafts accepted at each depth, given that shallower ones were.

    On the test set, or on the first suite by name if a task has no test set.

    Raises
    ------
    ValueError
        When no run has a saved probe of it.
    """
    rows = select_metric(at_end(frame), "acceptance").drop_nulls("value")
    rows = rows.filter(
        is_slice_of("running", "depth"), pl.col("suite").str.starts_with(PROBE)
    )
    if rows.is_empty():
        raise ValueError("no finished run has a saved acceptance of drafts")
    suites = sorted(
        rows["suite"].unique(), key=lambda name: (name != f"{PROBE}test", name)
    )
    rows = rows.filter(pl.col("suite") == suites[0]).with_columns(
        slice_value("depth", pl.Int64()).alias("depth"),
        slice_value("running").replace_strict(MODES).alias("mode"),
    )
    return series.series_figure(
        sort_rows(rows, "mode", "arm", "depth", "seed"),
        "depth",
        "mode",
        label="depth of the draft",
        unit="acceptance, given the shallower drafts",
    )

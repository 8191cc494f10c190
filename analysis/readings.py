"""Readings: one number of a run for its whole training, in place of a learning curve.

They are written before a metric. `mean:` is the mean over its evaluations, `learned:` the
tokens at which the run had learned what the metric measures.
"""

import polars as pl

from analysis.modes import BOUNDS
from analysis.settings import setting_labels
from analysis.trajectories import declared, learned_level, timed_runs
from sweeps.sweep_metric import MEAN

LEARNED = "learned:"
"""Begins the name of the tokens at which a run had learned what a metric measures."""
CURVE = ["run_id", "suite", "slice"]
"""Columns that name one curve of a metric."""
CELL = ["setting", "scale", "arm", "suite", "slice"]
"""Columns that name the curves of one cell."""


def split_reading(metric: str) -> tuple[str, str]:
    """The reading, or "" for the evaluations themselves, and the metric without it.

    >>> split_reading("mean:test/accuracy"), split_reading("accuracy")
    (('mean:', 'test/accuracy'), ('', 'accuracy'))
    """
    reading = next((one for one in (MEAN, LEARNED) if metric.startswith(one)), "")
    return reading, metric.removeprefix(reading)


def mean_over_training(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a curve: its last, with the mean over its evaluations.

    These lie at equal steps, so a curve that missed one has no mean, as in `sweeps`.
    `rows` are in the order of their steps; bounds that they have are averaged too.
    """
    whole = rows.filter(pl.col("value").is_not_null().all().over(CURVE))
    names = [name for name in ("value", *BOUNDS) if name in rows.columns]
    means = whole.with_columns(pl.col(names).mean().over(CURVE))
    return means.unique(CURVE, keep="last", maintain_order=True)


def when_learned(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """One row a curve of a metric: its last, with the tokens at which it was learned.

    The tokens are its value. Adds `setting` and `happened`; the value of a run that never
    learned is where it ended.

    Raises `ValueError` when no task says from which level it counts as learned.
    """
    level, meant = learned_level(rows, name), declared(rows, name)
    assert meant is not None  # else there is no level
    assert meant.better is not None
    last_first = rows.with_columns(trained="tokens").sort("step", descending=True)
    curves = last_first.partition_by("suite", "slice", maintain_order=True)
    timed = pl.concat(timed_runs(one, level, meant.better) for one in curves)
    no_bounds = [pl.lit(None, pl.Float64()).alias(name) for name in BOUNDS]
    read = timed.with_columns(*no_bounds, value="tokens", tokens="trained")
    return read.drop("trained").sort(CURVE)


def learned_cells(timed: pl.DataFrame) -> pl.DataFrame:
    """The rows of the cells of `when_learned` in which every run learned it."""
    return timed.filter(pl.col("happened").all().over(CELL)).drop("setting", "happened")


def describe_unlearned(timed: pl.DataFrame) -> list[str]:
    """The cells in which runs never learned it: `n2 at 100k (1 of 5)`.

    Where there are several settings or slices, a cell is named with its own.
    """
    labels = setting_labels(timed, "scale", "arm")
    several = timed["slice"].n_unique() > 1
    cells = timed.group_by(CELL, maintain_order=True).agg(
        never=(~pl.col("happened")).sum(), runs=pl.len()
    )
    return [
        ", ".join(filter(None, (f"{arm} at {scale}", labels[setting], several * part)))
        + f" ({never} of {count})"
        for setting, scale, arm, _, part, never, count in cells.iter_rows()
        if never
    ]

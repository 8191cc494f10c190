"""Curves against the learning rate, from the trials of `python -m sweeps tune`.

Collect the trials first: `python -m analysis collect NAME-tuning`. Only runs
that hold out the validation split count, so that no test set chooses a rate.
"""

import polars as pl

from analysis.arm_names import sort_rows
from analysis.selection import IS_TRIAL, at_end, drop_unreadable
from analysis.settings import with_setting
from analysis.statistics import mean_interval
from analysis.trajectories import declared
from sweeps.rate_grid import RateCurve

CELL = ("task", "setting", "parameters", "scale", "arm")
MEASURE = ("suite", "metric", "slice")

SCHEMA: dict[str, pl.DataType] = {
    "task": pl.String(),
    "setting": pl.String(),
    "parameters": pl.Int64(),
    "scale": pl.String(),
    "arm": pl.String(),
    "suite": pl.String(),
    "metric": pl.String(),
    "slice": pl.String(),
    "learning_rate": pl.Float64(),
    "mean": pl.Float64(),  # over seeds; null where a run diverged
    "low": pl.Float64(),  # interval over seeds; null for one seed
    "high": pl.Float64(),
    "lowest": pl.Float64(),  # the seeds at the ends
    "highest": pl.Float64(),
    "seeds": pl.Int64(),  # runs that ended
    "diverged": pl.Int64(),  # runs that failed
    "best": pl.Boolean(),  # whether this is the best rate of its curve
    "interior": pl.Boolean(),  # whether the best rate lies inside the grid
    "sensitivity": pl.Float64(),  # lost within a factor of 3; null: a run diverged
}
"""Columns of `rate_curves`; the last two are those of the whole curve."""


def rate_curves(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a rate of every curve: a metric of a cell, over its grid of rates.

    Cells are task, setting, size and arm; metrics are those with a direction (slice ""
    is a whole suite). Empty when the table holds no trials.
    """
    trials = drop_unreadable(frame).filter(
        IS_TRIAL, pl.col("state").is_in(["done", "failed"])
    )
    if trials.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    trials = with_setting(trials, "scale", "arm", "learning_rate")
    rows = at_end(trials).drop_nulls("metric")
    parts: list[dict[str, object]] = []
    for cell, runs in trials.unique("run_id").group_by(CELL, maintain_order=True):
        own = rows.join(runs, on="run_id", how="semi")
        for measure, measured in own.group_by(MEASURE, maintain_order=True):
            names = dict(zip((*CELL, *MEASURE), (*cell, *measure), strict=True))
            parts += [names | point for point in _curve(runs, measured)]
    table = pl.DataFrame(parts, schema=SCHEMA, orient="row")
    return sort_rows(table, *CELL, *MEASURE, "learning_rate")


def _curve(runs: pl.DataFrame, measured: pl.DataFrame) -> list[dict[str, object]]:
    """The points of one curve; none for a metric of which neither way is better."""
    meant = declared(measured, measured["metric"][0])
    if meant is None or meant.better is None:
        return []
    each = runs.select("run_id", "learning_rate").join(
        measured.select("run_id", "value"), on="run_id", how="left"
    )
    values = {
        rate: group["value"].to_list()
        for (rate,), group in each.sort("run_id").group_by(
            ["learning_rate"], maintain_order=True
        )
    }
    curve = RateCurve.of(values, meant.better)
    points: list[dict[str, object]] = []
    for rate, mean in zip(curve.rates, curve.means, strict=True):
        ended = [value for value in values[rate] if value is not None]
        interval = mean_interval(ended, meant.unit == "share")
        bounded = mean is not None and interval.count > 1
        points.append(
            {
                "learning_rate": rate,
                "mean": mean,
                "low": interval.low if bounded else None,
                "high": interval.high if bounded else None,
                "lowest": min(ended, default=None),
                "highest": max(ended, default=None),
                "seeds": len(ended),
                "diverged": len(values[rate]) - len(ended),
                "best": rate == curve.best,
                "interior": curve.best is not None and curve.edge is None,
                "sensitivity": curve.sensitivity,
            }
        )
    return points

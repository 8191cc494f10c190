"""Curves against the learning rate, from the trials of `python -m sweeps tune`.

Collect the trials first: `python -m analysis collect NAME-tuning`. Only runs
that hold out the validation split count, so that no test set chooses a rate.
"""

import contextlib
import json
from dataclasses import dataclass

import polars as pl

from analysis.arm_names import sort_rows
from analysis.configurations import strip_fields
from analysis.selection import IS_TRIAL, drop_unreadable
from analysis.settings import with_setting
from analysis.statistics import mean_interval
from sweeps.catalogue import CATALOGUE
from sweeps.rate_grid import RateCurve
from sweeps.sweep_metric import (
    declared_metric,
    scores_by_name,
    validation_metric,
    value_of,
)
from synth.config import RunConfig
from synth.identity import digest
from synth.metrics import Better

CELL = ("task", "setting", "parameters", "scale", "arm")
SCHEMA: dict[str, pl.DataType] = {
    "task": pl.String(),
    "setting": pl.String(),
    "parameters": pl.Int64(),
    "scale": pl.String(),
    "arm": pl.String(),
    "metric": pl.String(),  # that of the sweep: [mean:][SUITE/]METRIC[/SLICE]
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
    "sensitivity": pl.Float64(),  # see RateCurve.sensitivity
}
"""Columns of `rate_curves`; the last two are those of the whole curve."""
RUN = ("run_id", "sweep", "config", "learning_rate", "state")


@dataclass(frozen=True)
class TriedRates:
    """The trials of a cell, by the metric that chooses its rate."""

    metric: str
    """On validation data: `[mean:][SUITE/]METRIC[/SLICE]`."""
    better: Better
    unit: str
    values: dict[float, list[float | None]]
    """A value for each seed, by rate; None for a run that failed."""

    @property
    def curve(self) -> RateCurve:
        """The means over seeds, by rate."""
        return RateCurve.of(self.values, self.better)


def rate_curves(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a rate of every curve: that of a cell, by the metric of its sweep.

    Cells are task, setting, size and arm. Empty when the table holds no trials.
    """
    trials = drop_unreadable(frame).filter(
        IS_TRIAL, pl.col("state").is_in(["done", "failed"])
    )
    if trials.is_empty():
        return pl.DataFrame(schema=SCHEMA)
    trials = with_setting(trials, "scale", "arm", "learning_rate")
    runs = trials.unique("run_id").select("config", *CELL).sort("config")
    cells = {cell_of(run.pop("config")): run for run in runs.iter_rows(named=True)}
    parts = [
        cells[cell] | {"metric": tried.metric} | point
        for cell, tried in tried_rates(trials).items()
        for point in _points(tried)
    ]
    table = pl.DataFrame(parts, schema=SCHEMA, orient="row")
    return sort_rows(table, *CELL, "metric", "learning_rate")


def _points(tried: TriedRates) -> list[dict[str, object]]:
    """The points of one curve."""
    curve, points = tried.curve, list[dict[str, object]]()
    for rate, mean in zip(curve.rates, curve.means, strict=True):
        values = tried.values[rate]
        ended = [value for value in values if value is not None]
        bounded = [] if mean is None else ended
        points.append(
            {
                "learning_rate": rate,
                "mean": mean,
                **mean_interval(bounded, tried.unit == "share").bounds,
                "lowest": min(ended, default=None),
                "highest": max(ended, default=None),
                "seeds": len(ended),
                "diverged": len(values) - len(ended),
                "best": rate == curve.best,
                "interior": curve.best is not None and curve.edge is None,
                "sensitivity": curve.sensitivity,
            }
        )
    return points


def tried_rates(trials: pl.DataFrame) -> dict[str, TriedRates]:
    """What the trials of each cell (`cell_of`) measured at each rate.

    The metric is that of their sweep, else the first one with a direction that their task
    declares, as in `sweeps tune`; trials do not record what `--metric` named instead.
    Where sweeps chose a cell's rate by several metrics, the one with most trials counts,
    of equally many the first by name.
    """
    keys = ("suite", "metric", "slice", "value")
    ended = trials.filter(pl.col("state").is_in(["done", "failed"]))
    done = ended.filter(pl.col("state") == "done").sort("run_id", "step")
    measured = done.select("run_id", *keys).partition_by("run_id", as_dict=True)
    by_metric: dict[tuple[str, str, Better, str], dict[float, list[float | None]]] = {}
    for run_id, sweep, config, rate, _ in unique_runs(ended):
        with contextlib.suppress(ValueError):  # a task or metric that is unknown here
            run = RunConfig.from_dict(json.loads(config))
            metric, better = validation_metric(_metric_of(sweep), run)
            meant = declared_metric(metric, run.task)
            key = (cell_of(config), metric, better, meant.unit if meant else "")
            rows = measured[(run_id,)].to_dicts() if (run_id,) in measured else []
            by_rate = by_metric.setdefault(key, {})
            by_rate.setdefault(rate, []).append(value_of(scores_by_name(rows), metric))
    trials_of = {
        key: sum(map(len, by_rate.values())) for key, by_rate in by_metric.items()
    }
    tried: dict[str, TriedRates] = {}
    for key in sorted(by_metric, key=lambda key: (-trials_of[key], key)):
        cell, metric, better, unit = key
        tried.setdefault(cell, TriedRates(metric, better, unit, by_metric[key]))
    return tried


def unique_runs(frame: pl.DataFrame) -> list[tuple[str, str, str, float, str]]:
    """The columns of `RUN`, a row for each run whose configuration could be read."""
    runs = frame.unique("run_id").select(RUN).drop_nulls()
    return runs.sort("run_id").rows()


def _metric_of(sweep: str) -> str:
    """The metric of a sweep of the catalogue by the name of its trials; "" if unknown."""
    folders = {s.folder(scale): s for s in CATALOGUE.values() for scale in s.scales}
    found = folders.get(sweep.removesuffix("-tuning"))
    return found.metric if found else ""


def cell_of(config: str) -> str:
    """Equal for runs and trials that differ in rate and seeds alone."""
    return digest(strip_fields(config, ("learning_rate", "split")))

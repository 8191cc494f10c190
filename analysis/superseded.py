"""Runs of tuned sweeps at a rate that later trials did not choose.

A sweep that is tuned again, with more seeds or another grid, may train a cell at another
rate. The earlier runs stay in its table, but an answer is about one rate a cell.
"""

import contextlib
import json
from collections.abc import Container

import polars as pl

from analysis.configurations import strip_fields
from analysis.selection import IS_TRIAL, drop_unreadable
from sweeps.catalogue import CATALOGUE
from sweeps.rate_grid import RateCurve
from sweeps.sweep_metric import Better, scores_by_name, validation_metric, value_of
from synth.config import RunConfig
from synth.identity import digest

RUN = ("run_id", "sweep", "config", "learning_rate", "state")


def drop_superseded(frame: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """`frame` without runs of tuned sweeps whose rate is not the choice of all trials.

    Trials choose as `sweeps tune` does: by the metric of their sweep, else by the first
    one with a direction that their task declares. A cell without a finished run at the
    chosen rate keeps all its runs.
    """
    tuned = frame.filter(pl.col("sweep").str.ends_with("-tuned"), ~IS_TRIAL)
    runs = [
        (run_id, _cell(config), rate, state)
        for run_id, _, config, rate, state in _unique_runs(tuned)
    ]
    rates: dict[str, set[float]] = {}
    for _, cell, rate, _ in runs:
        rates.setdefault(cell, set()).add(rate)
    several = {cell for cell, tried in rates.items() if len(tried) > 1}
    best = _best_rates(trials.filter(IS_TRIAL), several) if several else {}
    finished = {(cell, rate) for _, cell, rate, state in runs if state == "done"}
    superseded = [
        run_id
        for run_id, cell, rate, _ in runs
        if rate != best.get(cell) and (cell, best.get(cell)) in finished
    ]
    return frame.filter(~pl.col("run_id").is_in(superseded)) if superseded else frame


def keep_tuned_rates(runs: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """`runs` without those at other rates than the tuned one of their cell.

    That is the rate of the cell's runs in a tuned sweep, else the choice of the trials. A
    cell without a run at it keeps all its runs.
    """
    by_cell: dict[str, dict[float, list[str]]] = {}
    tuned: dict[str, set[float]] = {}
    for run_id, sweep, config, rate, _ in _unique_runs(runs):
        cell = _cell(config)
        by_cell.setdefault(cell, {}).setdefault(rate, []).append(run_id)
        if sweep.endswith("-tuned"):
            tuned.setdefault(cell, set()).add(rate)
    several = {cell for cell, rates in by_cell.items() if len(rates) > 1}
    best = _best_rates(trials, several - tuned.keys())
    chosen = {cell: {rate} for cell, rate in best.items()} | tuned
    others = [
        run_id
        for cell in several & chosen.keys()
        if chosen[cell] & by_cell[cell].keys()
        for rate in by_cell[cell].keys() - chosen[cell]
        for run_id in by_cell[cell][rate]
    ]
    return runs.filter(~pl.col("run_id").is_in(others))


def answering_runs(frame: pl.DataFrame) -> pl.DataFrame:
    """The finished runs that verdicts are about: no trials, tuned cells at their rate."""
    readable = drop_unreadable(frame)
    done = readable.filter(~IS_TRIAL, pl.col("state") == "done")
    return keep_tuned_rates(done, readable.filter(IS_TRIAL))


def _best_rates(trials: pl.DataFrame, cells: Container[str]) -> dict[str, float]:
    """The rate with the best mean over seeds, for those of the cells that have trials.

    Where sweeps chose a cell's rate by several metrics, the one with most trials counts,
    of equally many the first by name.
    """
    keys = ("suite", "metric", "slice", "value")
    cell_of = {
        run_id: cell
        for run_id, _, config, _, state in _unique_runs(trials)
        if (cell := _cell(config)) in cells and state in ("done", "failed")
    }
    chosen = trials.filter(pl.col("run_id").is_in(list(cell_of)))
    done = chosen.filter(pl.col("state") == "done").sort("run_id", "step")
    measured = done.select("run_id", *keys).partition_by("run_id", as_dict=True)
    values: dict[tuple[str, str, Better], dict[float, list[float | None]]] = {}
    for run_id, sweep, config, rate, _ in _unique_runs(chosen):
        cell = cell_of[run_id]
        with contextlib.suppress(ValueError):  # a task or metric that is unknown here
            run = RunConfig.from_dict(json.loads(config))
            metric, better = validation_metric(_metric_of(sweep), run)
            rows = measured[(run_id,)].to_dicts() if (run_id,) in measured else []
            by_rate = values.setdefault((cell, metric, better), {})
            by_rate.setdefault(rate, []).append(value_of(scores_by_name(rows), metric))
    trials_of = {
        key: sum(map(len, by_rate.values())) for key, by_rate in values.items()
    }
    best: dict[str, float | None] = {}
    for key in sorted(values, key=lambda key: (-trials_of[key], key)):
        cell, _, better = key
        best.setdefault(cell, RateCurve.of(values[key], better).best)
    return {cell: rate for cell, rate in best.items() if rate is not None}


def _unique_runs(frame: pl.DataFrame) -> list[tuple[str, str, str, float, str]]:
    """The columns of `RUN`, a row for each run whose configuration could be read."""
    runs = frame.unique("run_id").select(RUN).drop_nulls()
    return runs.sort("run_id").rows()


def _metric_of(sweep: str) -> str:
    """The metric of a sweep of the catalogue by the name of its trials; "" if unknown."""
    folders = {s.folder(scale): s for s in CATALOGUE.values() for scale in s.scales}
    found = folders.get(sweep.removesuffix("-tuning"))
    return found.metric if found else ""


def _cell(config: str) -> str:
    """Equal for runs and trials that differ in rate and seeds alone."""
    return digest(strip_fields(config, ("learning_rate", "split")))

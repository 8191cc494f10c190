"""Runs of tuned sweeps at a rate that later trials did not choose.

A sweep that is tuned again, with more seeds or another grid, may train a cell at another
rate. The earlier runs stay in its table, but an answer is about one rate a cell.
"""

from collections.abc import Container

import polars as pl

from analysis.rate_curves import cell_of, tried_rates, unique_runs
from analysis.selection import IS_TRIAL


def drop_superseded(frame: pl.DataFrame, trials: pl.DataFrame) -> pl.DataFrame:
    """`frame` without runs of tuned sweeps whose rate is not the choice of all trials.

    Trials choose as in `sweeps tune` (`tried_rates`). A cell without a finished run at
    the chosen rate keeps all its runs.
    """
    tuned = frame.filter(pl.col("sweep").str.ends_with("-tuned"), ~IS_TRIAL)
    runs = [
        (run_id, cell_of(config), rate, state)
        for run_id, _, config, rate, state in unique_runs(tuned)
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
    for run_id, sweep, config, rate, _ in unique_runs(runs):
        cell = cell_of(config)
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


def _best_rates(trials: pl.DataFrame, cells: Container[str]) -> dict[str, float]:
    """The rate with the best mean over seeds, for those of the cells that have trials."""
    configs = trials["config"].drop_nulls().unique().to_list()
    of_cells = [config for config in configs if cell_of(config) in cells]
    tried = tried_rates(trials.filter(pl.col("config").is_in(of_cells)))
    best = {cell: one.curve.best for cell, one in tried.items()}
    return {cell: rate for cell, rate in best.items() if rate is not None}

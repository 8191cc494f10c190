"""Merges collected runs into an earlier table, and tables of several machines into one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analysis.folders import is_probe
from analysis.lines import ITEM_COLUMNS, Lines, parse, parse_items, sort_measurements
from analysis.parquet import (
    TableSource,
    find_differences,
    load,
    rank_copies,
    take_best_copies,
)
from analysis.schema import METRIC_SCHEMA, ORDER, RUN_SCHEMA, SWEEP_SCHEMA
from synth.metrics import PROBE


@dataclass(frozen=True)
class Merged:
    """The merged table, and which runs it takes from their folders."""

    table: pl.DataFrame
    taken: list[str]
    """Runs whose rows come from their folder."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Runs whose rows in the earlier table are kept, and why."""
    errors: list[str] = field(default_factory=list)
    """Messages about runs with different results in folder and table."""


def merge(
    runs: Sequence[dict[str, Any]],
    lines: Sequence[Lines],
    previous: TableSource | None,
    kept: Collection[str],
    replace: bool,
) -> Merged:
    """Merge `runs` with their `lines` into the runs `kept` of the table `previous`.

    A run that is done in `previous` keeps its rows if its folder is not done, or has
    another result, unless `replace`. A run taken from its folder keeps the probes that
    only `previous` has and, unless `replace`, the metrics, with their counts by item.
    """
    measured, items = _parse_files(lines)
    if previous is None:
        taken = [run["run_id"] for run in runs]
        return Merged(_join_runs(runs, measured, items), taken)
    whole = load(previous).filter(pl.col("run_id").is_in(list(kept)))
    old = whole.filter(pl.col("run_id").is_in([run["run_id"] for run in runs]))
    left_out, errors = ({}, []) if replace else _find_conflicts(runs, old, measured)
    fresh = [run for run in runs if run["run_id"] not in left_out]
    taken = [run["run_id"] for run in fresh]
    here = pl.col("run_id").is_in(taken)
    measured, items = measured.filter(here), items.filter(here)
    earlier = old.filter(here)
    if replace:
        earlier = earlier.filter(pl.col("suite").str.starts_with(PROBE))
    more = _keep_unmeasured(earlier, measured)
    if more.height:
        measured = sort_measurements(pl.concat([measured, more.select(*METRIC_SCHEMA)]))
        counted = more.select(*ITEM_COLUMNS).drop_nulls("items_right")
        items = pl.concat([counted, items])  # the last counts are used: the folder's
    table = pl.concat([whole.filter(~here), _join_runs(fresh, measured, items)])
    return Merged(table.sort("run_id", maintain_order=True), taken, left_out, errors)


def merge_tables(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Merge tables of several machines by run id.

    Of several copies of a run the finished one is taken, else the one with the most
    steps, together with probes and metrics that only other copies have.

    Raises `ValueError` when two tables, named by their keys, hold different results of
    one run.
    """
    names, frames = list(tables), list(tables.values())
    whole, best = rank_copies(frames)
    done = best.filter(pl.col("done")).select("run_id", "table")
    for place, name in enumerate(names):
        here = done.filter(pl.col("table") == place)["run_id"]
        for other in range(place + 1, len(names)):
            there = done.filter(pl.col("table") == other)["run_id"]
            both = pl.col("run_id").is_in(sorted({*here} & {*there}))
            unequal = find_differences(
                frames[place].filter(both), frames[other].filter(both)
            )
            for run_id, where in unequal.items():
                raise ValueError(
                    f"{name} and {names[other]} hold different results of the run "
                    f"{run_id} ({where}). Remove one of them, then merge again."
                )
    chosen = take_best_copies(whole, best)
    more = _keep_unmeasured(whole.drop("table"), chosen)
    more = more.unique(ORDER, keep="first", maintain_order=True)
    own = [name for name in RUN_SCHEMA if name != "run_id"]
    runs = chosen.unique("run_id").select("run_id", *own)
    more = more.drop(own).join(runs, on="run_id").select(*SWEEP_SCHEMA)
    table = pl.concat([chosen.select(*SWEEP_SCHEMA), more])
    return table.sort(ORDER, maintain_order=True)


def _keep_unmeasured(rows: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """Rows of what `chosen` has not measured of their run.

    That is a metric or a slice, or a whole probe, whose rows belong together.
    """
    suite = pl.col("suite")
    parts = [pl.col(name).fill_null("") for name in ("suite", "metric", "slice")]
    probe = pl.when(suite.str.starts_with(PROBE)).then(suite)
    keys = [pl.col("run_id"), probe.otherwise(pl.concat_str(parts, separator="/"))]
    return rows.filter(suite.is_not_null()).join(chosen, on=keys, how="anti")


def _find_conflicts(
    runs: Sequence[dict[str, Any]], old: pl.DataFrame, measured: pl.DataFrame
) -> tuple[dict[str, str], list[str]]:
    """Runs that keep the rows of the earlier table, with the reason; and errors."""
    done = set(old.filter(pl.col("state") == "done")["run_id"])
    left_out = {
        run["run_id"]: f"its folder is {run['state']}, the table has it done: left out"
        for run in runs
        if run["run_id"] in done and run["state"] != "done"
    }
    both = [run["run_id"] for run in runs if run["run_id"] in done - left_out.keys()]
    twice = pl.col("run_id").is_in(both)
    different = find_differences(old.filter(twice), measured.filter(twice))
    left_out |= dict.fromkeys(
        different, "its result differs from the table's: left out"
    )
    errors = []
    if different:
        run_id, where = next(iter(different.items()))
        others = len(different) - 1
        errors.append(
            f"the table and the folder {run_id} hold different results of one run "
            f"({where}){f', and {others} others differ too' if others else ''}. Another "
            "kind of processor or another version can be why. The table keeps its own; "
            f"to take {'those of the folders' if others else 'that of the folder'}, add "
            "--replace."
        )
    return left_out, errors


def _parse_files(lines: Sequence[Lines]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Sorted rows of measurements, and counts by test item."""
    suite = pl.col("suite").str.replace("^", PROBE)
    plain = parse(one for one in lines if one.name == "metrics.jsonl")
    frames = [pl.DataFrame(schema=METRIC_SCHEMA), *plain]
    probed = parse(one for one in lines if is_probe(one.name))
    frames += [rows.with_columns(suite) for rows in probed]
    items = [parse_items(one) for one in lines if one.name == "items.jsonl"]
    counts = [pl.DataFrame(schema=ITEM_COLUMNS), *items]
    return sort_measurements(pl.concat(frames)), pl.concat(counts)


def _join_runs(
    runs: Sequence[dict[str, Any]], measured: pl.DataFrame, items: pl.DataFrame
) -> pl.DataFrame:
    """Join measurements with the columns of their run and their counts by item."""
    table = pl.DataFrame(runs, schema=RUN_SCHEMA, orient="row")
    items = items.unique(ORDER, keep="last", maintain_order=True)
    measured = measured.join(items, on=ORDER, how="left", maintain_order="left")
    joined = table.sort("run_id").join(
        measured, on="run_id", how="left", maintain_order="left_right"
    )
    return joined.select(*SWEEP_SCHEMA)

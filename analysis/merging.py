"""Runs that were read, added to the table of an earlier collection."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from analysis.folders import is_probe
from analysis.lines import ITEM_COLUMNS, Lines, in_order, parse, parse_items
from analysis.parquet import PROBE, TableSource, differences, load
from analysis.schema import MEASURED, ORDER, RUN_SCHEMA, SWEEP_SCHEMA


@dataclass(frozen=True)
class Merged:
    """One table of what was read and of what was kept."""

    table: pl.DataFrame
    taken: list[str]
    """Runs whose rows are those of their folder."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Runs whose folder has less than the earlier table."""
    errors: list[str] = field(default_factory=list)
    """Runs of which folder and earlier table hold different results."""


def merge(
    runs: Sequence[dict[str, Any]],
    lines: Sequence[Lines],
    previous: TableSource | None,
    kept: Collection[str],
    replace: bool,
) -> Merged:
    """`runs` with their `lines`, and of `previous` the runs `kept` that are not taken.

    A run that is done in `previous` stays as it is there where its folder is not done,
    or is done with another result, unless `replace`. What only `previous` has of probes
    is kept with a run that is taken.
    """
    measured, items = _measured(lines)
    if previous is None:
        taken = [run["run_id"] for run in runs]
        return Merged(_joined(runs, measured, items), taken)
    whole = load(previous).filter(pl.col("run_id").is_in(list(kept)))
    old = whole.filter(pl.col("run_id").is_in([run["run_id"] for run in runs]))
    left_out, errors = ({}, []) if replace else _refused(runs, old, measured)
    fresh = [run for run in runs if run["run_id"] not in left_out]
    taken = [run["run_id"] for run in fresh]
    here = pl.col("run_id").is_in(taken)
    measured, items = measured.filter(here), items.filter(here)
    probed = pl.col("suite").str.starts_with(PROBE)
    probes = old.filter(here, probed).select(*MEASURED)
    probes = probes.join(measured, on=["run_id", "suite"], how="anti")
    if probes.height:
        measured = in_order(pl.concat([measured, probes]))
    table = pl.concat([whole.filter(~here), _joined(fresh, measured, items)])
    return Merged(table.sort("run_id", maintain_order=True), taken, left_out, errors)


def _refused(
    runs: Sequence[dict[str, Any]], old: pl.DataFrame, measured: pl.DataFrame
) -> tuple[dict[str, str], list[str]]:
    """Runs that stay as the earlier table has them, and why; what of it is an error."""
    done = set(old.filter(pl.col("state") == "done")["run_id"])
    left_out = {
        run["run_id"]: f"its folder is {run['state']}, the table has it done: left out"
        for run in runs
        if run["run_id"] in done and run["state"] != "done"
    }
    both = [run["run_id"] for run in runs if run["run_id"] in done - left_out.keys()]
    twice = pl.col("run_id").is_in(both)
    errors = []
    for run_id, where in differences(old.filter(twice), measured.filter(twice)).items():
        left_out[run_id] = "another result than that of the table: left out"
        errors.append(
            f"the table and the folder {run_id} hold different results of one run "
            f"({where}). The table keeps its own; to take the folder's, add --replace."
        )
    return left_out, errors


def _measured(lines: Sequence[Lines]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of measurements in order, and counts by test item."""
    suite = pl.col("suite").str.replace("^", PROBE)
    plain = parse(one for one in lines if one.name == "metrics.jsonl")
    parts = [pl.DataFrame(schema=MEASURED), *plain]
    probed = parse(one for one in lines if is_probe(one.name))
    parts += [rows.with_columns(suite) for rows in probed]
    items = [parse_items(one) for one in lines if one.name == "items.jsonl"]
    counts = [pl.DataFrame(schema=ITEM_COLUMNS), *items]
    return in_order(pl.concat(parts)), pl.concat(counts)


def _joined(
    runs: Sequence[dict[str, Any]], measured: pl.DataFrame, items: pl.DataFrame
) -> pl.DataFrame:
    """Measured rows, in their order, with the columns of their run and their items."""
    table = pl.DataFrame(runs, schema=RUN_SCHEMA, orient="row")
    items = items.unique(ORDER, keep="last", maintain_order=True)
    measured = measured.join(items, on=ORDER, how="left", maintain_order="left")
    joined = table.sort("run_id").join(
        measured, on="run_id", how="left", maintain_order="left_right"
    )
    return joined.select(*SWEEP_SCHEMA)

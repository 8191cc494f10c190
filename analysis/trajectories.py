"""Learning along training: curves, what is reached at equal cost, when it forms."""

import polars as pl

from analysis.arm_names import sort_rows
from analysis.comparisons import COSTS, formation, matched_table
from analysis.selection import (
    EXACT_MATCH,
    IN_DOMAIN,
    NAMES_SUITE,
    SECOND_TOKEN,
    at_end,
    measured,
    usable,
)
from analysis.settings import with_setting
from analysis.statistics import over_seeds
from synth.families import members
from synth.metrics import Metric
from synth.tasks.task import metric_of

ABILITIES = ((EXACT_MATCH, IN_DOMAIN), (SECOND_TOKEN, NAMES_SUITE))
"""Metric and suite of the abilities whose growth the suite is about."""


def declared(rows: pl.DataFrame, metric: str) -> Metric | None:
    """What the tasks of these runs say of a metric; None if none of them is known here."""
    known = members("task")
    kinds = rows["task"].drop_nulls().unique().sort().to_list()
    return metric_of([known[kind] for kind in kinds if kind in known], metric)


def curve_rows(
    frame: pl.DataFrame, metric: str, suite: str, part: str = ""
) -> pl.DataFrame:
    """All evaluations of one metric of runs that are done."""
    done = usable(frame).filter(pl.col("state") == "done", pl.col("slice") == part)
    return measured(done, metric, suite).drop_nulls("value").sort("run_id", "step")


def floor_of(frame: pl.DataFrame, metric: str, suite: str, part: str = "") -> float:
    """What guessing scores there, mean over the slices that say; 0 if none does.

    0 too for what should fall, like a loss.
    """
    ended = at_end(frame)
    meant = declared(measured(ended, metric, suite), metric)
    if meant is None or meant.better != "higher":
        return 0.0
    if not isinstance(meant.floor, str):
        return meant.floor or 0.0
    rows = measured(ended, meant.floor, suite)
    exact = rows.filter(pl.col("slice") == part)
    found = (exact if exact.height else rows)["value"].mean()
    return float(found) if isinstance(found, float) else 0.0


def equal_cost_table(frame: pl.DataFrame) -> pl.DataFrame:
    """Every arm minus n = 1 at equal tokens and executed FLOP, of each ability.

    Equal size holds throughout; `equal` names what else is equal. Costs that are not
    known of both sides have no row. Empty when nothing can be compared.
    """
    parts = []
    for metric, suite in ABILITIES:
        rows = curve_rows(frame, metric, suite)
        for cost in COSTS if rows.height else ():
            try:
                table = matched_table(rows, cost)
            except ValueError:  # no two arms share a setting and a data seed
                continue
            named = pl.lit(metric).alias("metric"), pl.lit(cost).alias("equal")
            parts.append(table.select("task", *named, pl.exclude("task", "p")))
    if not parts:
        return pl.DataFrame(schema={"task": pl.String(), "equal": pl.String()})
    by = ["task", "metric", "setting", "scale", "arm", "equal"]
    return sort_rows(pl.concat(parts).select(*by, pl.exclude(by)), *by)


def formation_table(frame: pl.DataFrame) -> pl.DataFrame:
    """Tokens until each ability had formed: mean and t interval over seeds.

    Formed: half-way from guessing to the run's own last score. `seeds` counts the runs
    that formed it, of `runs`: those that end no better than guessing never do.
    """
    by = ["task", "metric", "setting", "parameters", "scale", "arm"]
    parts = []
    for metric, suite in ABILITIES:
        rows = curve_rows(frame, metric, suite)
        if rows.is_empty():
            continue
        for one in with_setting(rows, "scale", "arm").partition_by("setting"):
            runs = frame.join(one, on="run_id", how="semi")
            formed = formation(one, floor=floor_of(runs, metric, suite))
            cells = one.unique("run_id").select("run_id", pl.lit(metric).alias("metric"),
                *(name for name in by if name != "metric"))  # fmt: skip
            parts.append(cells.join(formed, on="run_id").rename({"formed": "value"}))
    if not parts:
        return pl.DataFrame(schema={"task": pl.String(), "seeds": pl.Int64()})
    each = pl.concat(parts)
    counts = each.group_by(by).agg(pl.len().alias("runs"))
    table = sort_rows(over_seeds(each, by).join(counts, on=by), *by)
    return table.rename({"mean": "tokens"}).drop("parameters")

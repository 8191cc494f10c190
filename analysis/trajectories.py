"""Learning along training: curves, what is reached at equal cost, when it is learned."""

import polars as pl

from analysis.arm_names import BASELINE, arms_of, sort_rows
from analysis.comparisons import COSTS, matched_table
from analysis.events import (
    IN_A_ROW,
    Times,
    event_times,
    log_rank,
    median_tokens,
)
from analysis.selection import (
    EXACT_MATCH,
    IN_DOMAIN,
    NAMES_SUITE,
    SECOND_TOKEN,
    at_end,
    drop_unreadable,
    select_metric,
)
from analysis.settings import settings_of, with_places, with_setting
from analysis.statistics import share_interval
from synth.command_words import as_typed
from synth.families.family import members
from synth.metrics import Better, Metric, metric_of

ABILITIES = ((EXACT_MATCH, IN_DOMAIN), (SECOND_TOKEN, NAMES_SUITE))
"""Metric and suite of the abilities, all shares, whose growth the suite is about."""


def declared(rows: pl.DataFrame, metric: str) -> Metric | None:
    """What the tasks of these runs say of a metric; None if none of them is known here."""
    known = members("task")
    kinds = rows["task"].drop_nulls().unique().sort().to_list()
    return metric_of([known[kind].metrics for kind in kinds if kind in known], metric)


def learned_level(rows: pl.DataFrame, metric: str) -> float:
    """The level at which the tasks of these runs call a metric learned.

    `rows` are of the metric. A level that is declared for one slice (`Metric.part`) holds
    for no other.

    Raises `ValueError` when no task declares a level for these slices, or when tasks
    declare different ones.
    """
    meant = {declared(of_task, metric) for of_task in rows.partition_by("task")}
    levels = {
        (one.learned, one.part)
        for one in meant
        if one and one.better and one.learned is not None
    }
    way_out = f"`{as_typed('analysis events --level NUMBER')}` counts at any level."
    if not levels:
        raise ValueError(
            f"No task of these runs says from which level {metric} counts as learned "
            f"(Metric.learned). {way_out}"
        )
    if len(levels) > 1:
        raise ValueError(
            f"Tasks declare different levels at which {metric} counts as learned. Choose "
            "one: --where task=TASK."
        )
    ((level, part),) = levels
    if part and set(rows["slice"]) != {part}:
        raise ValueError(
            f"The level at which {metric} counts as learned, {level:g}, is that of its "
            f"slice {part} alone. Write {metric}/{part}. {way_out}"
        )
    return level


def curve_rows(
    frame: pl.DataFrame, metric: str, suite: str, part: str = ""
) -> pl.DataFrame:
    """All evaluations of one metric of runs that are done."""
    done = drop_unreadable(frame).filter(
        pl.col("state") == "done", pl.col("slice") == part
    )
    return select_metric(done, metric, suite).drop_nulls("value").sort("run_id", "step")


def floor_of(frame: pl.DataFrame, metric: str, suite: str, part: str = "") -> float:
    """What guessing scores there, mean over the slices that say; 0 if none does.

    0 too for what should fall, like a loss.
    """
    ended = at_end(frame)
    meant = declared(select_metric(ended, metric, suite), metric)
    if meant is None or meant.better != "higher":
        return 0.0
    if not isinstance(meant.floor, str):
        return meant.floor or 0.0
    rows = select_metric(ended, meant.floor, suite)
    exact = rows.filter(pl.col("slice") == part)
    found = (exact if exact.height else rows)["value"].mean()
    return float(found) if isinstance(found, float) else 0.0


def equal_cost_table(frame: pl.DataFrame) -> pl.DataFrame:
    """Every arm minus n = 1 at equal tokens and executed FLOP, of each ability.

    Equal size holds throughout; `equal` names what else is equal. Costs that are not
    known of both sides have no row, and seeds in two groups no mean. Empty when nothing
    can be compared.
    """
    parts = []
    for metric, suite in ABILITIES:
        rows = curve_rows(frame, metric, suite)
        span = 1.0 - floor_of(frame, metric, suite)
        for cost in COSTS if rows.height else ():
            try:
                table = matched_table(rows, cost, span=span)
            except ValueError:  # no two arms share a setting and a data seed
                continue
            named = pl.lit(metric).alias("metric"), pl.lit(cost).alias("equal")
            parts.append(table.select("task", *named, pl.exclude("task", "p")))
    if not parts:
        return pl.DataFrame(schema={"task": pl.String(), "equal": pl.String()})
    by = ["task", "metric", "setting", "scale", "arm", "equal"]
    return sort_rows(pl.concat(parts).select(*by, pl.exclude(by)), *by)


def abilities(frame: pl.DataFrame) -> list[tuple[str, Metric, str, str]]:
    """What the tasks in `frame` call learned: task, metric, suite and slice.

    Suites are those of test sets, without validation, training and probes.
    """
    known = members("task")
    apart = pl.col("suite").str.contains("^(train|validation)|^probe/|unseen")
    tested = frame.filter(pl.col("value").is_not_null(), ~apart)
    places = tested.select("task", "metric", "suite", "slice").unique()
    found = []
    for kind in sorted(set(places["task"]) & known.keys()):
        for metric in known[kind].metrics:
            part = metric.part
            here = places.filter(task=kind, metric=metric.name, slice=part)
            if metric.learned is not None:
                suites = here["suite"].sort().to_list()
                found += [(kind, metric, suite, part) for suite in suites]
    return found


def events_table(frame: pl.DataFrame, in_a_row: int = IN_A_ROW) -> pl.DataFrame:
    """In how many runs, and after how many tokens, each ability was learned.

    An ability is learned at the level that its task declares (`Metric.learned`). One
    row a cell: `runs`, `learned` of them, `low` and `high`, the 95 % interval of P(learned)
    (Wilson), `tokens` by which half of the runs had learned it (null if fewer ever did),
    and `p`, the log-rank test against n = 1 of the same setting and size.
    """
    parts = []
    for kind, metric, suite, part in abilities(drop_unreadable(frame)):
        rows = curve_rows(
            frame.filter(pl.col("task") == kind), metric.name, suite, part
        )
        if rows.height and metric.better is not None and metric.learned is not None:
            times = timed_runs(rows, metric.learned, metric.better, in_a_row)
            named = {"metric": metric.name, "suite": suite, "level": metric.learned}
            table = event_rows(times, ["task", "setting", "parameters", "scale"])
            parts.append(table.with_columns(**{k: pl.lit(v) for k, v in named.items()}))
    if not parts:
        return pl.DataFrame(schema={"task": pl.String(), "runs": pl.Int64()})
    by = ["task", "metric", "suite", "level", "setting", "parameters", "scale", "arm"]
    table = sort_rows(pl.concat(parts).select(*by, pl.exclude(by)), *by)
    return table.drop("parameters")


def learned_matrix(frame: pl.DataFrame, in_a_row: int = IN_A_ROW) -> pl.DataFrame:
    """P(learned) of every arm on every task: `events_table` of one ability a task.

    That is the first that the task declares with a level, on its test set (of several,
    the first by name). `place` names the task, and size and setting where it has several.
    """
    table = events_table(frame, in_a_row)
    if table.is_empty():
        return table.with_columns(place=pl.lit(""))
    known = members("task")
    first = {
        kind: next(m for m in known[kind].metrics if m.learned is not None)
        for kind in table["task"].unique()
    }
    names = {kind: metric.name for kind, metric in first.items()}
    rows = table.filter(pl.col("metric") == pl.col("task").replace_strict(names))
    rows = rows.filter(pl.col("suite") == pl.col("suite").min().over("task"))
    briefs = {}
    for kind, suite in rows.select("task", "suite").unique().rows():
        metric = first[kind]
        of_kind = frame.filter(task=kind)
        curves = curve_rows(of_kind, metric.name, suite, metric.part)
        for setting in settings_of(curves, "scale", "arm"):
            briefs[setting.id] = setting.brief
    rows = rows.with_columns(pl.col("setting").replace(briefs))
    return with_places(rows, "scale", "setting")


def timed_runs(
    rows: pl.DataFrame, level: float, better: Better, in_a_row: int = IN_A_ROW
) -> pl.DataFrame:
    """One row a run of `curve_rows`: its columns, `setting`, `tokens` and `happened`."""
    runs = with_setting(rows, "scale", "arm").unique("run_id", maintain_order=True)
    times = event_times(rows, level, better, in_a_row)
    return runs.drop("tokens").join(times, on="run_id", maintain_order="left")


def event_rows(times: pl.DataFrame, by: list[str]) -> pl.DataFrame:
    """One row a group of `by` and arm of `timed_runs`; see `events_table`."""
    rows = []
    for key, cell in times.group_by(by, maintain_order=True):
        sides = {
            arm: Times.of(cell.filter(pl.col("arm") == arm)) for arm in arms_of(cell)
        }
        for arm, side in sides.items():
            count, learned = len(side.happened_S), sum(side.happened_S)
            low, high = share_interval(learned, count)
            test = None
            if arm != BASELINE and BASELINE in sides:
                test = log_rank([(sides[BASELINE], side)])
            rows.append(
                dict(zip(by, key, strict=True))
                | {"arm": arm, "runs": count, "learned": learned}
                | {"low": low, "high": high, "tokens": median_tokens(side)}
                | {"p": test.p_value if test else None}
            )
    schema: dict[str, pl.DataType] = {name: times.schema[name] for name in by}
    schema |= {"arm": pl.String(), "runs": pl.Int64(), "learned": pl.Int64()}
    schema |= {name: pl.Float64() for name in ("low", "high", "tokens", "p")}
    return pl.DataFrame(rows, schema=schema, orient="row")

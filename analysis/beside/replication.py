"""Published numbers with ours beside them, and a verdict on each by one rule.

A verdict is about the difference between an arm and the baseline of its table, since levels
depend on data and schedules that sources do not state. The rule is in
`analysis.beside.verdict`.

Levels: ours is the mean paired difference (by data seed; graph paths: by graph) with its
95 % t interval, theirs the printed difference with 1.96 standard errors.
Events ("solved" or not): both sides are shares of runs that solved the task. Ours is the
difference of the shares with Newcombe's interval; of theirs only the sign is known.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.beside.published import Published, Row, published_tables
from analysis.beside.verdict import Bounds, Verdict, judge, why_undecided
from analysis.fields import Fields
from analysis.finished_runs import answering_runs
from analysis.modes import lower_group_size, span_of
from analysis.selection import at_end
from analysis.settings import rates_are_tuned, settings_of
from analysis.statistics import NORMAL, share_difference, t_interval

TINY = 1e-9
"""The open end of an interval that excludes 0."""


@dataclass(frozen=True, kw_only=True)
class ReplicationRow:
    """One published number and ours; shares lie in [0, 1], whatever the source prints."""

    table: str
    source: str
    label: str
    column: str
    row: str
    arm: str | None
    printed: float
    """The printed number, such as an accuracy."""
    published: float
    """The published side of the comparison: `printed`, or 1 if solved, else 0."""
    published_difference: float | None = None
    """`published` minus that of the baseline; None in the baseline's row."""
    published_low: float | None = None
    published_high: float | None = None
    value: float | None = None
    """Ours: the mean over runs, or the share of runs that solved the task."""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    setting: str = ""
    """The setting of our runs, if there are several."""
    verdict: Verdict | None = None
    """None in the baseline's row."""
    why: str = ""
    """Every reason why it is undecided."""


def replication_rows(frame: pl.DataFrame) -> list[ReplicationRow]:
    """Every published number, with the numbers of the runs in `frame` beside it."""
    ends = at_end(answering_runs(frame)).drop_nulls("value")
    fields = Fields(ends)
    return [
        _replication_row(table, place, row, setting, runs)
        for table in published_tables()
        for place in range(len(table.columns))
        for setting, runs in _settings(ends, fields, table, place)
        for row in table.rows
    ]


def _settings(
    ends: pl.DataFrame, fields: Fields, table: Published, place: int
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Our final values for a column: a frame for each setting, or one empty frame."""
    column = table.columns[place]
    values = ends.filter(
        pl.col("suite") == table.suite,
        pl.col("metric") == table.metric,
        pl.col("slice") == column.slice,
        pl.col("arm").is_in([row.arms[place] for row in table.rows if row.arms[place]]),
    )
    try:
        values = fields.select_runs(values, [*table.where, *column.where])
    except ValueError:  # no run has this field or value
        values = values.clear()
    if values.is_empty():
        yield "", values
        return
    for setting in settings_of(values, "arm"):
        yield setting.brief, setting.frame


def _replication_row(
    table: Published, place: int, row: Row, setting: str, runs: pl.DataFrame
) -> ReplicationRow:
    base = table.row(table.baseline)
    theirs, theirs_base = row.values[place], base.values[place]
    arm, base_arm = row.arms[place], base.arms[place]
    values, base_values = (_by_seed(runs, one, table.solved) for one in (arm, base_arm))
    published = table.outcome(theirs)
    facts: dict[str, Any] = {
        "table": table.id,
        "source": table.source,
        "label": table.label,
        "column": table.columns[place].name,
        "row": row.name,
        "arm": arm,
        "printed": theirs[0] * table.unit,
        "published": published,
        "setting": setting,
        "value": t_interval(values.values()).mean if values else None,
    }
    if row is base:
        return ReplicationRow(**facts, pairs=len(values))
    difference = published - table.outcome(theirs_base)
    their_bounds = _their_bounds(table, theirs, theirs_base)
    facts["published_difference"] = difference
    facts["published_low"], facts["published_high"] = their_bounds
    pairs = [(base_values[s], values[s]) for s in values if s in base_values]
    if len(pairs) < 2:
        return ReplicationRow(**facts, pairs=len(pairs), verdict="not run")
    ours, bounds = _our_difference(pairs, table.solved)
    compared = runs.filter(pl.col("arm").is_in([arm, base_arm]))
    span = span_of(runs, table.percent)
    in_groups = table.solved is None and _in_two_groups(pairs, span)
    why = why_undecided(
        bounds, len(pairs), their_bounds, rates_are_tuned(compared), in_groups
    )
    verdict = "undecided" if why else judge(bounds, len(pairs), their_bounds)
    return ReplicationRow(
        **facts,
        difference=ours,
        low=bounds[0],
        high=bounds[1],
        pairs=len(pairs),
        verdict=verdict,
        why="; ".join(why),
    )


def _in_two_groups(pairs: Sequence[tuple[float, float]], span: float) -> bool:
    """Whether the seeds of a side fall into two groups, which have no mean."""
    return any(lower_group_size(side, span) for side in zip(*pairs, strict=True))


def _by_seed(
    runs: pl.DataFrame, arm: str | None, solved: float | None
) -> dict[int, float]:
    """The outcome of an arm at each data seed, a mean over runs that share the seed."""
    own = runs.filter(pl.col("arm") == arm) if arm else runs.clear()
    means = own.group_by("data_seed").agg(pl.col("value").mean()).sort("data_seed")
    if solved is not None:
        means = means.with_columns(value=(pl.col("value") >= solved).cast(pl.Float64()))
    return dict(means.iter_rows())


def _their_bounds(
    table: Published, value: Sequence[float], base: Sequence[float]
) -> Bounds:
    """The interval of the published difference, in our unit.

    Sources print the spread of an arm, not of pairs. It is taken as if the two arms were
    independent, so it is too wide where both saw the same graphs.
    """
    difference = table.outcome(value) - table.outcome(base)
    if table.solved is not None:
        side = [math.copysign(TINY, difference), difference]
        return (min(side), max(side)) if difference else (0.0, 0.0)
    error = math.hypot(*(one[1] for one in (value, base) if len(one) > 1), 0.0)
    width = NORMAL * error * table.unit
    return difference - width, difference + width


def _our_difference(
    pairs: Sequence[tuple[float, float]], solved: float | None
) -> tuple[float, Bounds]:
    """Difference from the baseline, and its 95 % interval."""
    if solved is None:
        interval = t_interval([value - base for base, value in pairs])
        return interval.mean, (interval.low, interval.high)
    bases, values = map(sum, zip(*pairs, strict=True))
    return share_difference(int(values), int(bases), len(pairs))

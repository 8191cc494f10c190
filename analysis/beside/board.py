"""The board: every published number with ours beside it, and a verdict by one rule.

What is judged is the difference of an arm from the baseline of its table, since levels
depend on data and schedules that sources leave open:

```
not run      fewer than two pairs of our runs
undecided    fewer than five pairs, our interval holds 0, or theirs does
does not     our interval excludes 0 on the other side than the published difference
replicates   same sign as published, and the intervals overlap
same sign    same sign as published, and they do not
```

Ours: the 95 % t interval of the difference paired by data seed (graph paths: by graph).
Theirs: 1.96 standard errors where spreads are printed, else the bare number. Where
outcomes are events ("solved" or not), ours is the difference of P(solved) with Newcombe's
interval, from Wilson's, and theirs that of the rows which reach the level, 0 or 1.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from analysis.beside.published import Column, Published, Row, published_tables
from analysis.fields import Fields
from analysis.selection import at_end
from analysis.settings import settings_of
from analysis.statistics import share_interval, t_interval

Verdict = Literal["replicates", "same sign", "does not", "undecided", "not run"]
VERDICTS: tuple[Verdict, ...] = (
    "replicates",
    "same sign",
    "does not",
    "undecided",
    "not run",
)
ENOUGH = 5
"""Pairs from which on there is a verdict."""
NORMAL = 1.96
Bounds = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """One published number and ours; shares are shares, whatever the source prints."""

    table: str
    source: str
    label: str
    column: str
    row: str
    arm: str | None
    published: float
    published_difference: float | None
    """From the baseline's row; None in the baseline itself."""
    value: float | None = None
    """Mean over our runs, or P(solved)."""
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    setting: str = ""
    """Which of our settings it is, where there are several."""
    verdict: Verdict | None = None
    """None in the baseline itself."""


def board(frame: pl.DataFrame) -> list[BoardRow]:
    """Every published number, with what a frame of finished runs has beside it."""
    found = []
    for table in published_tables():
        for column in table.columns:
            for setting, runs in _settings(frame, table, column):
                found += [
                    _entry(table, column, row, setting, runs) for row in table.rows
                ]
    return found


def to_dict(entry: BoardRow) -> dict[str, Any]:
    """An entry for JSON."""
    return asdict(entry)


def _settings(
    frame: pl.DataFrame, table: Published, column: Column
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Our final values for a column: one frame a setting, or a single empty one.

    Columns of each: `arm`, `data_seed`, `value`.
    """
    runs = frame.filter(pl.col("state") == "done")
    try:
        runs = Fields(runs).where(runs, [*table.where, *column.where])
    except ValueError:  # no run has such a value or field
        runs = runs.clear()
    values = at_end(
        runs.filter(
            pl.col("suite") == table.suite,
            pl.col("metric") == table.metric,
            pl.col("slice") == column.slice,
        ).drop_nulls("value")
    )
    arms = [row.arm for row in table.rows if row.arm]
    values = values.filter(pl.col("arm").is_in(arms))
    if values.is_empty():
        yield "", values
        return
    for setting in settings_of(values, "arm"):
        yield setting.label, setting.frame


def _entry(
    table: Published, column: Column, row: Row, setting: str, runs: pl.DataFrame
) -> BoardRow:
    place = table.columns.index(column)
    base = table.row(table.baseline)
    theirs, theirs_base = row.values[place], base.values[place]
    values = _by_seed(runs, row.arm)
    facts: dict[str, Any] = {
        "table": table.id,
        "source": table.source,
        "label": table.label,
        "column": column.name,
        "row": row.name,
        "arm": row.arm,
        "published": theirs[0] * table.unit,
        "published_difference": None,
        "setting": setting,
    }
    if values:
        facts["value"] = _level(list(values.values()), table.solved)
    if row is base:
        return BoardRow(**facts, pairs=len(values))
    published = _published_difference(table, theirs, theirs_base)
    facts["published_difference"] = (theirs[0] - theirs_base[0]) * table.unit
    base_values = _by_seed(runs, base.arm)
    pairs = [(base_values[s], values[s]) for s in values if s in base_values]
    if len(pairs) < 2:
        return BoardRow(**facts, pairs=len(pairs), verdict="not run")
    difference, bounds = _our_difference(pairs, table.solved)
    return BoardRow(
        **facts,
        difference=difference,
        low=bounds[0],
        high=bounds[1],
        pairs=len(pairs),
        verdict=judge(bounds, len(pairs), published),
    )


def judge(ours: Bounds, pairs: int, theirs: Bounds) -> Verdict:
    """The verdict on one difference, from both intervals.

    >>> judge((0.01, 0.05), 20, (0.04, 0.06)), judge((0.01, 0.02), 20, (0.04, 0.06))
    ('replicates', 'same sign')
    >>> judge((-0.05, -0.01), 20, (0.04, 0.06)), judge((-0.01, 0.05), 20, (0.04, 0.06))
    ('does not', 'undecided')
    """
    if pairs < 2:
        return "not run"
    if pairs < ENOUGH or ours[0] <= 0 <= ours[1] or theirs[0] <= 0 <= theirs[1]:
        return "undecided"
    if (ours[0] > 0) != (theirs[0] > 0):
        return "does not"
    overlap = ours[0] <= theirs[1] and theirs[0] <= ours[1]
    return "replicates" if overlap else "same sign"


def _by_seed(runs: pl.DataFrame, arm: str | None) -> dict[int, float]:
    """Final value of each data seed of an arm; the mean over runs that share one."""
    chosen = runs.filter(pl.col("arm") == arm) if arm else runs.clear()
    means = chosen.group_by("data_seed").agg(pl.col("value").mean()).sort("data_seed")
    return dict(means.iter_rows())


def _level(values: Sequence[float], solved: float | None) -> float:
    if solved is None:
        return t_interval(values).mean
    return sum(value >= solved for value in values) / len(values)


def _published_difference(
    table: Published, value: Sequence[float], base: Sequence[float]
) -> Bounds:
    """The published difference in our unit, with 1.96 of its standard errors."""
    if table.solved is not None:
        step = float(value[0] * table.unit >= table.solved)
        step -= float(base[0] * table.unit >= table.solved)
        return step, step
    difference = (value[0] - base[0]) * table.unit
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
    bases = [base >= solved for base, _ in pairs]
    values = [value >= solved for _, value in pairs]
    return newcombe(sum(values), sum(bases), len(pairs))


def newcombe(successes: int, base: int, count: int) -> tuple[float, Bounds]:
    """Difference of two shares of `count` runs each, with Newcombe's 95 % interval.

    Method 10 of Newcombe (1998): the distances to Wilson's bounds, added in squares. The
    pairing by seed is not used, which makes the interval the wider of the two.

    >>> difference, bounds = newcombe(10, 0, 10)
    >>> difference, [round(bound, 3) for bound in bounds]
    (1.0, [0.607, 1.0])
    """
    share, share_base = successes / count, base / count
    low, high = share_interval(successes, count)
    low_base, high_base = share_interval(base, count)
    difference = share - share_base
    down = math.hypot(share - low, high_base - share_base)
    up = math.hypot(high - share, share_base - low_base)
    return difference, (difference - down, difference + up)

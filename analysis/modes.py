"""Outcomes that happen or do not: cells whose seeds fall into two groups.

Whether a model leaves a plateau is an event. Seeds that did and seeds that did not have
a mean that describes neither, and a t interval that means nothing.
"""

from collections.abc import Iterable

import numpy as np
import polars as pl

from analysis.statistics import over_seeds

BOUNDS = ("floor", "ceiling")
"""Columns of rows whose metric has a lowest or a highest value that means something."""
FEWEST = 4
"""Seeds below which nothing is said of groups."""
APART = 1 / 3
"""Share of the whole span of the metric that must lie between the groups."""


def span_of(rows: pl.DataFrame) -> float:
    """How far the value can go: from the floor to the ceiling, or to the furthest seed."""
    values = rows["value"].drop_nulls().to_numpy()
    known = {
        name: float(rows[name].drop_nulls().to_numpy().mean())
        for name in BOUNDS
        if name in rows.columns and rows[name].drop_nulls().len()
    }
    if len(known) == len(BOUNDS):
        return known["ceiling"] - known["floor"]
    return float(np.abs(values - known.get("floor", 0.0)).max(initial=0.0))


def two_groups(values_S: Iterable[float], span: float) -> int | None:
    """How many of the values lie in the lower of two groups; None if there is one.

    There are two if the widest gap between neighbours is a third of `span` or more (from
    the floor of the metric to its ceiling), and no narrower than either group.

    >>> two_groups([0.02, 0.05, 0.97, 0.99, 1.0], span=1.0)
    2
    >>> two_groups([0.2, 0.3, 0.4, 0.5], span=1.0) is None
    True
    """
    values = np.sort(np.asarray(list(values_S), np.float64))
    if len(values) < FEWEST or not span > 0:
        return None
    gaps = np.diff(values)
    at = int(gaps.argmax())
    within = max(values[at] - values[0], values[-1] - values[at + 1])
    return at + 1 if gaps[at] >= max(within, APART * span) else None


def levels(
    rows: pl.DataFrame, by: list[str], span: float, share: bool = False
) -> pl.DataFrame:
    """`over_seeds`, with no mean and no interval where seeds fall into two groups.

    Columns besides: `lowest`, `median` and `highest` seed, and `groups` ("2 low, 3
    high") where there are two.
    """
    found = []
    for key, cell in rows.group_by(by):
        values = cell["value"].drop_nulls().to_list()
        low = two_groups(values, span)
        words = None if low is None else f"{low} low, {len(values) - low} high"
        ends = (min(values), float(np.median(values)), max(values)) if values else ()
        found.append((*key, *(ends or (None,) * 3), words))
    numbers = dict.fromkeys(("lowest", "median", "highest"), pl.Float64())
    schema = {name: rows.schema[name] for name in by} | numbers
    added = pl.DataFrame(found, schema=schema | {"groups": pl.String()}, orient="row")
    table = over_seeds(rows, by, share).join(
        added, on=by, how="left", nulls_equal=True, maintain_order="left"
    )
    one = pl.col("groups").is_null()
    return table.with_columns(
        pl.when(one).then(pl.col(name)).alias(name) for name in ("mean", "low", "high")
    )

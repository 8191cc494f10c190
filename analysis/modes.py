"""Cells whose seeds fall into two groups, as where some runs leave a plateau.

A mean over both groups describes neither, and its t interval means nothing.
"""

from collections.abc import Iterable

import numpy as np
import polars as pl

from analysis.statistics import over_seeds

BOUNDS = ("floor", "ceiling")
"""Columns of the lowest and the highest meaningful value of a metric, where known."""
FEWEST = 4
"""Fewer seeds are never split into groups."""
LEAST_GAP = 1 / 3
"""Least gap between two groups, as a share of the span of the metric."""


def span_of(rows: pl.DataFrame, share: bool = False) -> float:
    """The range of a metric: from the floor to the ceiling, or to the farthest seed.

    Bounds of a `share` that `rows` do not have are 0 and 1.
    """
    values = rows["value"].drop_nulls().to_numpy()
    bounds = {"floor": 0.0, "ceiling": 1.0} if share else {}
    bounds |= {
        name: float(rows[name].drop_nulls().to_numpy().mean())
        for name in BOUNDS
        if name in rows.columns and rows[name].drop_nulls().len()
    }
    if len(bounds) == len(BOUNDS):
        return bounds["ceiling"] - bounds["floor"]
    return float(np.abs(values - bounds.get("floor", 0.0)).max(initial=0.0))


def lower_group_size(values_S: Iterable[float], span: float) -> int | None:
    """How many of the values form the lower of two groups; None if there is one group.

    There are two if the widest gap between neighbours is a third of `span` or more (from
    the floor of the metric to its ceiling), and no narrower than either group.

    >>> lower_group_size([0.02, 0.05, 0.97, 0.99, 1.0], span=1.0)
    2
    >>> lower_group_size([0.2, 0.3, 0.4, 0.5], span=1.0) is None
    True
    """
    values = np.sort(np.asarray(list(values_S), np.float64))
    if len(values) < FEWEST or not span > 0:
        return None
    gaps = np.diff(values)
    at = int(gaps.argmax())
    within = max(values[at] - values[0], values[-1] - values[at + 1])
    return at + 1 if gaps[at] >= max(within, LEAST_GAP * span) else None


def summarize_seeds(
    rows: pl.DataFrame, by: list[str], span: float, share: bool = False
) -> pl.DataFrame:
    """`over_seeds`, with no mean and no interval where seeds fall into two groups.

    Adds `lowest`, `median` and `highest` seed, and `groups` ("2 low, 3 high") where
    there are two.
    """
    cells = []
    for key, cell in rows.group_by(by):
        values = cell["value"].drop_nulls().to_list()
        low = lower_group_size(values, span)
        words = None if low is None else f"{low} low, {len(values) - low} high"
        ends = (min(values), float(np.median(values)), max(values)) if values else ()
        cells.append((*key, *(ends or (None,) * 3), words))
    numbers = dict.fromkeys(("lowest", "median", "highest"), pl.Float64())
    schema = {name: rows.schema[name] for name in by} | numbers
    added = pl.DataFrame(cells, schema=schema | {"groups": pl.String()}, orient="row")
    table = over_seeds(rows, by, share).join(
        added, on=by, how="left", nulls_equal=True, maintain_order="left"
    )
    one_group = pl.col("groups").is_null()
    return table.with_columns(
        pl.when(one_group).then(pl.col(name)).alias(name)
        for name in ("mean", "low", "high")
    )

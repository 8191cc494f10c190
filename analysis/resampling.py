"""What a score owes to the items it was measured on: the bootstrap over stories.

Seeds and stories are two samples. The t interval over seeds says what other seeds would
give on the same test set, and is the main one everywhere. The intervals here keep the
runs and draw other test items: all runs of a sweep are measured on the same stories, so
each draw takes whole stories, with what every run got right of them. A statement about
new seeds and new stories needs both. Letters in names: R runs, I items.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.comparisons import cluster_bootstrap
from analysis.statistics import Interval

MIN_ITEMS = 20
"""Below so many items with a scored token there is no interval."""


def items_interval(
    right_RI: Sequence[Sequence[int] | None],
    number_RI: Sequence[Sequence[int] | None],
    weights_R: Sequence[float],
) -> Interval | None:
    """Bootstrap interval over items of a weighted sum of the scores of several runs.

    With weights 1 / R it is the mean over runs; with +1 / S and -1 / S the mean paired
    difference over S seeds. None when a run has no counts, when runs were not measured
    on the same items, or when there are too few of them.
    """
    known = [n for n in number_RI if n is not None]
    if not known or len(known) < len(number_RI) or None in right_RI:
        return None
    if any(list(n) != list(known[0]) for n in known[1:]):
        return None
    number_I = np.asarray(known[0], np.float64)
    told = number_I > 0
    if told.sum() < MIN_ITEMS:
        return None
    right = np.asarray([list(r or ()) for r in right_RI], np.float64)
    weighted_I = np.asarray(weights_R, np.float64) @ right
    shares, weights = weighted_I[told] / number_I[told], number_I[told]
    return cluster_bootstrap(shares.tolist(), weights.tolist())


def over_items(
    rows: pl.DataFrame, table: pl.DataFrame, by: Sequence[str]
) -> pl.DataFrame:
    """`table`, one row a group of `by`, with the interval over items of the mean.

    Columns `items_low`, `items_high` and `items` (their number); null where a run of
    the group kept no counts.
    """
    kinds: dict[str, pl.DataType] = {
        "items_low": pl.Float64(),
        "items_high": pl.Float64(),
        "items": pl.Int64(),
    }
    keys = {name: table.schema[name] for name in by}
    found = []
    kept = "items_right" in rows.columns and rows["items_right"].null_count() < len(
        rows
    )
    if kept:
        for key, group in rows.group_by(by, maintain_order=True):
            count = group.height
            interval = items_interval(
                group["items_right"].to_list(),
                group["items_number"].to_list(),
                [1 / count] * count,
            )
            if interval is not None:
                numbers = (interval.low, interval.high, interval.count)
                found.append((*key, *numbers))
    added = pl.DataFrame(found, schema=keys | kinds, orient="row")
    return table.join(added, on=list(by), how="left", maintain_order="left")

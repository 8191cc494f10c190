"""Bootstrap intervals over test items (stories).

Seeds and stories are two samples. The t interval over seeds, the main one everywhere,
covers other seeds on the same test set. The intervals here cover other test items for the
same runs: all runs of a sweep are measured on the same stories, so a draw takes whole
stories, with the counts of every run. A claim about new seeds and new stories needs both.
Letters in names: R runs, I items.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from analysis.comparisons import cluster_bootstrap
from analysis.statistics import Interval

MIN_ITEMS = 20
"""With fewer items that have a scored token there is no interval."""


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
    numbers = [n for n in number_RI if n is not None]
    if not numbers or len(numbers) < len(number_RI) or None in right_RI:
        return None
    if any(list(n) != list(numbers[0]) for n in numbers[1:]):
        return None
    number_I = np.asarray(numbers[0], np.float64)
    scored = number_I > 0
    if scored.sum() < MIN_ITEMS:
        return None
    right = np.asarray([list(r or ()) for r in right_RI], np.float64)
    weighted_I = np.asarray(weights_R, np.float64) @ right
    shares, weights = weighted_I[scored] / number_I[scored], number_I[scored]
    return cluster_bootstrap(shares.tolist(), weights.tolist())


def add_items_interval(
    rows: pl.DataFrame, table: pl.DataFrame, by: Sequence[str]
) -> pl.DataFrame:
    """Add the interval over items of the mean to `table`, one row a group of `by`.

    Columns `items_low`, `items_high` and `items` (their number); null where a run of
    the group kept no counts.
    """
    kinds: dict[str, pl.DataType] = {
        "items_low": pl.Float64(),
        "items_high": pl.Float64(),
        "items": pl.Int64(),
    }
    keys = {name: table.schema[name] for name in by}
    intervals = []
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
                intervals.append((*key, *numbers))
    added = pl.DataFrame(intervals, schema=keys | kinds, orient="row")
    return table.join(added, on=list(by), how="left", maintain_order="left")

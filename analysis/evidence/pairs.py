"""Tests of an arm against next-token prediction, cell by cell, on common data seeds."""

import json
import re
from collections.abc import Callable, Iterator, Sequence

import polars as pl

from analysis.arm_names import BASELINE, arm_name, arms_of
from analysis.claims import Direction, Test
from analysis.comparisons import paired_arms
from analysis.resampling import items_interval
from analysis.selection import at_end
from analysis.settings import with_setting
from analysis.statistics import Interval

CELL = ["setting", "scale", "parameters"]
TWO_TOKENS = (BASELINE, "n2")
"""Arms of the claims about n = 2."""
Key = dict[str, object]


def finished(frame: pl.DataFrame, task: str, *varied: str) -> pl.DataFrame:
    """Last rows of finished runs of a task, with the setting that `varied` leaves."""
    return in_settings(at_end(frame).filter(pl.col("task") == task), *varied)


def in_settings(rows: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """`with_setting` for any arm; also for no rows at all.

    Sizes of models that do not attend are called "100k mamba2" and so on.
    """
    if rows.is_empty():
        return rows.with_columns(setting=pl.lit(None, pl.String()))
    mixers = {
        config: json.loads(config).get("model", {}).get("mixer", "attention")
        for config in rows["config"].drop_nulls().unique().to_list()
    }
    mixer = pl.col("config").replace_strict(mixers, default="attention")
    named = pl.concat_str("scale", mixer, separator=" ")
    scale = pl.when(mixer == "attention").then("scale").otherwise(named)
    return with_setting(rows, "arm", *varied).with_columns(scale=scale)


def of_arms(rows: pl.DataFrame, arms: Sequence[str]) -> pl.DataFrame:
    """The rows of some arms."""
    return rows.filter(pl.col("arm").is_in(arms))


def is_multi_token(arm: str) -> bool:
    """Whether it is `n1`, `n2`, `n4` and so on: heads side by side."""
    return re.fullmatch(r"n\d+", arm) is not None


def multi_token(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of next-token and parallel multi-token arms."""
    return of_arms(rows, [arm for arm in arms_of(rows) if is_multi_token(arm)])


def groups(
    differences: pl.DataFrame, by: list[str]
) -> Iterator[tuple[Key, tuple[float, ...], pl.DataFrame]]:
    """Each group of `by` with its values and its rows."""
    for key, group in differences.group_by(by, maintain_order=True):
        values = group["difference"].drop_nulls().to_list()
        yield dict(zip(by, key, strict=True)), tuple(values), group


def against_next_token(
    rows: pl.DataFrame,
    by: list[str],
    what: str,
    direction: Direction,
    remark: Callable[[pl.DataFrame], str] = lambda rows: "",
) -> Iterator[Test]:
    """Every other arm in `rows` minus next-token prediction, in each group of `by`.

    Where runs kept counts by test item, the test has the bootstrap interval over items
    of the same mean difference. `remark` says what a reader must know of the rows of
    both arms.
    """
    pairs = paired_arms(rows, [*CELL, *by])
    for key, values, group in groups(pairs, ["arm", *CELL, *by]):
        arm = str(key.pop("arm"))
        words = ", ".join(f"{name} {key[name]}" for name in by)
        both = rows.filter(
            pl.col("arm").is_in([BASELINE, arm]),
            *(pl.col(name).eq_missing(value) for name, value in key.items()),
        )
        yield Test(
            f"{what}, {arm_name(arm)} minus {arm_name(BASELINE)}, {key['scale']}"
            + (f", {words}" if words else "")
            + f" ({key['setting']})",
            direction,
            values,
            parameters(key),
            over_items=difference_over_items(both, group),
            note=remark(both),
        )


def difference_over_items(rows: pl.DataFrame, pairs: pl.DataFrame) -> Interval | None:
    """Interval over test items of the mean difference of `pairs` of runs in `rows`."""
    kept = rows.filter(pl.col("items_right").is_not_null())
    runs = kept.select("run_id", "items_right", "items_number").iter_rows()
    known = {run_id: (right, number) for run_id, right, number in runs}
    size = pairs.height
    sides = [(run, 1 / size) for run in pairs["second_run"]]
    sides += [(run, -1 / size) for run in pairs["first_run"]]
    if not sides or any(run not in known for run, _ in sides):
        return None
    right, number = zip(*(known[run] for run, _ in sides), strict=True)
    return items_interval(right, number, [weight for _, weight in sides])


def parameters(key: Key) -> int:
    """The size of a cell."""
    value = key["parameters"]
    assert isinstance(value, int)
    return value

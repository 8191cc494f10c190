"""Comparisons of arms with next-token prediction in each cell, paired by data seed."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import polars as pl

from analysis.arm_names import BASELINE, arm_name, arms_of
from analysis.claims import Direction, ExploratoryTest
from analysis.comparisons import pair_arms
from analysis.resampling import items_interval
from analysis.selection import at_end
from analysis.settings import append_label, setting_labels, with_setting
from analysis.statistics import Interval

CELL = ["setting", "label", "scale", "parameters"]
"""Columns of a cell; `label` is that of the setting."""
TWO_TOKENS = (BASELINE, "n2")
"""Arms of the claims about n = 2."""
Key = dict[str, Any]


def final_rows(frame: pl.DataFrame, task: str, *varied: str) -> pl.DataFrame:
    """Rows of a task at the last step of finished runs, with `add_settings`."""
    return add_settings(at_end(frame).filter(pl.col("task") == task), *varied)


def add_settings(rows: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Add `setting` for runs of any arm, and its `label` among those of its task and size.

    The scale of a model without attention becomes "100k mamba2" and so on.
    """
    if rows.is_empty():
        missing = pl.lit(None, pl.String())
        return rows.with_columns(setting=missing, label=missing)
    mixers = {
        config: json.loads(config).get("model", {}).get("mixer", "attention")
        for config in rows["config"].drop_nulls().unique().to_list()
    }
    mixer = pl.col("config").replace_strict(mixers, default="attention")
    with_mixer = pl.concat_str("scale", mixer, separator=" ")
    scale = pl.when(mixer == "attention").then("scale").otherwise(with_mixer)
    rows = with_setting(rows, "arm", *varied).with_columns(scale=scale)
    labels: dict[str, str] = {}
    for cell in rows.partition_by([n for n in ("task", "scale") if n not in varied]):
        labels |= setting_labels(cell, "arm", *varied)
    return rows.with_columns(label=pl.col("setting").replace_strict(labels))


def check_one_run_a_seed(rows: pl.DataFrame, *cell: str) -> None:
    """Refuse cells with several runs of one data seed: no pair of them is unique.

    Raises `ValueError` that names two of the runs.
    """
    keys = [*cell, "data_seed"]
    for _, runs in rows.unique("run_id").sort("run_id").group_by(keys):
        if runs.height > 1:
            first, second = runs["run_id"][:2]
            raise ValueError(f"{first} and {second} have one data seed and setting")


def select_arms(rows: pl.DataFrame, arms: Sequence[str]) -> pl.DataFrame:
    """The rows of some arms."""
    return rows.filter(pl.col("arm").is_in(arms))


def is_multi_token(arm: str) -> bool:
    """Whether it is `n1`, `n2`, `n4` and so on: parallel heads."""
    return re.fullmatch(r"n\d+", arm) is not None


def select_multi_token(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of next-token and parallel multi-token arms."""
    return select_arms(rows, [arm for arm in arms_of(rows) if is_multi_token(arm)])


def split_groups(
    differences: pl.DataFrame, by: list[str]
) -> Iterator[tuple[Key, tuple[float, ...], pl.DataFrame]]:
    """For each group of `by`: its key, its differences, its rows."""
    for key, group in differences.group_by(by, maintain_order=True):
        values = group["difference"].drop_nulls().to_list()
        yield dict(zip(by, key, strict=True)), tuple(values), group


def compare_with_next_token(
    rows: pl.DataFrame,
    by: list[str],
    measure: str,
    direction: Direction,
    remark: Callable[[pl.DataFrame], str] = lambda rows: "",
) -> Iterator[ExploratoryTest]:
    """Every other arm in `rows` minus next-token prediction, in each group of `by`.

    Where runs kept counts by test item, the test has the bootstrap interval over items
    of the mean difference. `remark` maps the rows of both arms to the test's note.
    """
    pairs = pair_arms(rows, [*CELL, *by])
    for key, values, group in split_groups(pairs, ["arm", *CELL, *by]):
        arm = key.pop("arm")
        names = f"{arm_name(arm)} minus {arm_name(BASELINE)}"
        words = [measure, names, key["scale"], *(f"{name} {key[name]}" for name in by)]
        both = rows.filter(
            pl.col("arm").is_in([BASELINE, arm]),
            *(pl.col(name).eq_missing(value) for name, value in key.items()),
        )
        yield ExploratoryTest(
            append_label(", ".join(words), key["label"]),
            direction,
            values,
            over_items=difference_over_items(both, group),
            note=remark(both),
        )


def difference_over_items(rows: pl.DataFrame, pairs: pl.DataFrame) -> Interval | None:
    """Interval over test items of the mean difference of `pairs` of runs in `rows`."""
    kept = rows.filter(pl.col("items_right").is_not_null())
    runs = kept.select("run_id", "items_right", "items_number").iter_rows()
    counts = {run_id: (right, number) for run_id, right, number in runs}
    size = pairs.height
    sides = [(run, 1 / size) for run in pairs["second_run"]]
    sides += [(run, -1 / size) for run in pairs["first_run"]]
    if not sides or any(run not in counts for run, _ in sides):
        return None
    right, number = zip(*(counts[run] for run, _ in sides), strict=True)
    return items_interval(right, number, [weight for _, weight in sides])

"""Notes on pairs of runs: what else differs in them, and why other runs have no pair."""

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from analysis.configurations import format_value
from analysis.execution_paths import PATHS
from analysis.fields import SCORED, Fields, list_values, sort_distinct
from analysis.settings import TUNED
from analysis.views import Runs


def note_unpaired(
    fields: Fields,
    runs: pl.DataFrame,
    baseline: pl.DataFrame,
    column: str,
    equal: Sequence[str],
) -> list[str]:
    """Notes on runs without a pair, by reason; `baseline` has all runs of the baseline.

    Both have one row a run. Runs of a pair have equal values of the columns `equal`.
    """
    if runs.is_empty():
        return []
    first = format_value(baseline[column][0])
    notes = []
    unread = runs.join(baseline, on=equal, how="semi", nulls_equal=True)
    if unread.height:
        notes.append(
            f"Left out, as the runs of {first} to pair them with have no value: "
            f"{_list_cells(unread, column)}."
        )
    without = runs.join(baseline, on=equal, how="anti", nulls_equal=True)
    if without.height:
        note = f"Left out, as no run of {first} pairs with them: "
        note += f"{_list_cells(without, column)}."
        configs = without["config"].unique().sort(), baseline["config"].unique()
        least = [_least_differences(fields, c, configs[1], column) for c in configs[0]]
        if unlike := sorted({path for paths in least for path in paths}):
            note += f" The most similar run of {first} differs in {', '.join(unlike)}."
        if any(path.endswith(TUNED) for path in unlike):
            note += " A table NAME-tuned has each arm at its best rate."
        notes.append(note)
    return notes


def _list_cells(runs: pl.DataFrame, column: str) -> str:
    cells = runs.group_by(column, "learning_rate").len()
    return "; ".join(
        f"{format_value(value)} at learning rate {rate:.3g} ({count})"
        for value, rate, count in cells.sort(column, "learning_rate").iter_rows()
    )


def note_differences(
    fields: Fields, rows: pl.DataFrame, pairs: pl.DataFrame, column: str
) -> list[str]:
    """Notes on further differences between pairs: execution paths and tuned values."""
    lanes = pl.when(pl.col("lanes") > 1).then(pl.lit("a pack")).otherwise(pl.lit("one"))
    runs = rows.unique("run_id").with_columns(lanes=lanes)
    sides = [
        runs.filter(pl.col("run_id").is_in(pairs[f"{side}_run"].implode()))
        for side in ("first", "second")
    ]
    values = [side[column][0] for side in sides]
    notes = []
    for name, words in PATHS.items():
        if column.endswith(f".{name}"):
            continue
        paths = [sort_distinct(side[name].drop_nulls()) for side in sides]
        if all(paths) and paths[0] != paths[1]:
            text = " and ".join(
                f"{format_value(value)} ({list_values(path)})"
                for value, path in zip(values, paths, strict=True)
            )
            notes.append(f"Trained through different execution paths, {words}: {text}.")
    configs = pl.concat(sides)["config"].unique().sort()
    for path in fields.varying(configs):
        if path.rpartition(".")[2] in TUNED and path != column:
            text = list_values(fields.values(path))
            notes.append(f"{path} differs from cell to cell ({text}).")
    return notes


def explain_no_pairs(runs: Runs, column: str, first: Any, values: Sequence[Any]) -> str:
    """Why no runs form a pair: the fields in which the most similar runs also differ."""
    frame = runs.with_fields([column]).unique("run_id")
    fields = Fields(frame)
    sides = [
        frame.filter(pl.col(column) == first),
        frame.filter(pl.col(column) != first),
    ]
    ones, others = (side["config"].unique().sort() for side in sides)
    least = (_least_differences(fields, one, others, column) for one in ones)
    fewest = min(least, key=len)
    reason = "they have no data seed in common"
    if fewest:
        reason = (
            f"they also differ in {', '.join(fewest)}. If that is meant, add --beside "
            f"{' '.join(fewest)}"
        )
    return f"No two runs of {column}={list_values(values)} form a pair: {reason}."


def _least_differences(
    fields: Fields, config: str, others: Iterable[str], column: str
) -> list[str]:
    """Fields besides the one that varies, in which the most similar of `others` differs."""
    differences = (
        [p for p in fields.varying([config, other]) if not _belongs_to(p, column)]
        for other in others
    )
    return min(differences, key=len)


def _belongs_to(path: str, column: str) -> bool:
    """Whether a field is the one that varies."""
    if column == "arm":
        return path.startswith("objective.") and path != SCORED
    return path == ("model.scale" if column == "scale" else column)

"""Notes on pairs of runs: what else differs in them, and why other runs have no pair."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from analysis.configurations import format_value
from analysis.execution_paths import PATHS
from analysis.fields import Fields, list_values, sort_distinct
from analysis.settings import TUNED
from analysis.views import Runs


def note_unpaired(
    fields: Fields, runs: pl.DataFrame, column: str, first: Any
) -> list[str]:
    """A note on runs for which the baseline, also in `runs`, has none of their settings."""
    others = runs.filter(pl.col(column) != first)
    cells = others.unique("run_id").group_by(column, "learning_rate").len()
    words = [
        f"{format_value(value)} at learning rate {rate:.3g} ({count})"
        for value, rate, count in cells.sort(column, "learning_rate").iter_rows()
    ]
    if not words:
        return []
    text = f"Left out, as no run of {format_value(first)} pairs with them"
    note = f"{text}: {'; '.join(words)}."
    unlike = fields.varying_besides(runs, [column])
    if unlike:
        note += f" They and {format_value(first)} differ in {', '.join(unlike)}."
    if any(path.endswith(TUNED) for path in unlike):
        note += " A table NAME-tuned has each arm at its best rate."
    return [note]


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
    fewest: list[str] | None = None
    for one in sides[0]["config"].unique().sort():
        for two in sides[1]["config"].unique().sort():
            differing = fields.varying([one, two])
            own = [p for p in differing if not _belongs_to(p, column)]
            if fewest is None or len(own) < len(fewest):
                fewest = own
    reason = "they have no data seed in common"
    if fewest:
        reason = (
            f"they also differ in {', '.join(fewest)}. If that is meant, add --beside "
            f"{' '.join(fewest)}"
        )
    return f"No two runs of {column}={list_values(values)} form a pair: {reason}."


def _belongs_to(path: str, column: str) -> bool:
    """Whether a field is the one that varies."""
    if column == "arm":
        return path.startswith("objective.")
    return path == ("model.scale" if column == "scale" else column)

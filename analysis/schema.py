"""The columns of a sweep's parquet file.

A row is one measured number, with the columns of its run. A run without numbers has one
row, whose measurement columns are null.
"""

from typing import Any

import polars as pl

from synth.families.family import member, members
from synth.metrics import SCHEMA

_TYPES: dict[type, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
}

METRIC_SCHEMA: dict[str, pl.DataType] = {
    name: _TYPES[kind] for name, kind in SCHEMA.items()
}
"""Columns of `metrics.jsonl`."""

CONFIGURED: dict[str, tuple[str, pl.DataType]] = {
    "task": ("task.kind", pl.String()),
    "arm": ("objective", pl.String()),
    "scale": ("model.scale", pl.String()),
    "scored": ("objective.scored", pl.String()),
    "seed": ("seed", pl.Int64()),
    "data_seed": ("data_seed", pl.Int64()),
    "steps": ("training.steps", pl.Int64()),
    "batch_rows": ("training.batch_rows", pl.Int64()),
    "context": ("training.context", pl.Int64()),
    "learning_rate": ("training.learning_rate", pl.Float64()),
    "weight_decay": ("training.weight_decay", pl.Float64()),
    "precision": ("training.precision", pl.String()),
    # polynomial
    "modulus": ("task.modulus", pl.Int64()),
    "degree": ("task.degree", pl.Int64()),
    "max_operations": ("task.max_operations", pl.Int64()),
    "tree": ("task.tree", pl.String()),
    "pause_tokens": ("task.pause_tokens", pl.Int64()),
    # stories
    "open_names": ("task.names.p_open", pl.Float64()),
    "fixed_stories": ("task.fixed_stories", pl.Int64()),
    "stories_parts": ("task.stories_parts", pl.Int64()),
    "books_parts": ("task.books_parts", pl.Int64()),
}
"""Columns read from `config.json`: dotted path and type; null where a run lacks the field.

`arm` is the name of the objective. It stands for all of its fields but `scored`.
"""

COLLECTED: dict[str, pl.DataType] = {
    "sweep": pl.String(),
    "state": pl.String(),
    "problem": pl.String(),  # the message of failure.json, or what could not be read
    "parameters": pl.Int64(),  # non-embedding, 12 L d^2 (table S14)
    "flops_per_token": pl.Float64(),  # of training; null when the vocabulary is unknown
    "training_seconds": pl.Float64(),
    "lanes": pl.Int64(),  # runs that trained in the same program
    "device": pl.String(),
    "step_form": pl.String(),  # how steps were computed: "eager", "native", "graph", ...
    "commit": pl.String(),
    "config": pl.String(),  # the whole configuration as canonical JSON
    "stamp": pl.String(),  # sizes and times of the files, for incremental collection
}
"""Columns of a run that are in neither `config.json` nor `metrics.jsonl`."""

RUN_SCHEMA: dict[str, pl.DataType] = {
    "sweep": COLLECTED["sweep"],
    "run_id": pl.String(),
    **{name: kind for name, (_, kind) in CONFIGURED.items()},
    **{name: kind for name, kind in COLLECTED.items() if name != "sweep"},
}
"""The columns of a run."""

ITEM_SCHEMA: dict[str, pl.DataType] = {
    "items_right": pl.List(pl.UInt32()),  # scored tokens that were right, by test item
    "items_number": pl.List(pl.UInt32()),  # scored tokens, by test item (story)
}
"""Counts by test item (`items.jsonl`), null where the run kept none. The value is the
ratio of their sums."""

SWEEP_SCHEMA: dict[str, pl.DataType] = (
    RUN_SCHEMA
    | {name: kind for name, kind in METRIC_SCHEMA.items() if name != "run_id"}
    | ITEM_SCHEMA
)
"""All columns of a sweep's parquet file."""

REQUIRED = ("sweep", "run_id", "arm", "state", "config", *METRIC_SCHEMA)
"""Columns that a parquet file must have to be the table of a sweep."""

ORDER = ("run_id", "step", "suite", "metric", "slice")
"""The sort order of rows; together these columns identify a number."""


def arm_of(config: dict[str, Any]) -> str | None:
    """The arm of a stored configuration; the kind, if its class is not known here.

    None if it has no objective, or one with invalid fields.
    """
    stored = config.get("objective")
    try:
        return str(member("objective", stored, "objective").arm)
    except (ValueError, TypeError):
        kind = stored.get("kind") if isinstance(stored, dict) else None
        unknown = isinstance(kind, str) and kind not in members("objective")
        return kind if unknown and fits(kind, pl.String()) else None


def fits(value: Any, kind: pl.DataType) -> bool:
    """Whether a column of type `kind` can hold a value read from JSON, or null."""
    if value is None:
        return True
    if isinstance(value, bool):
        return False
    if kind == pl.String():
        return isinstance(value, str) and _encodable(value)
    if kind == pl.Float64():
        return isinstance(value, int | float) and abs(value) < 1e300
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _encodable(text: str) -> bool:
    """Whether it is valid Unicode: JSON can hold half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_columns(config: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The `CONFIGURED` columns of one configuration, and error messages.

    A column is null if the field is missing, or of another type, which is an error.
    """
    columns: dict[str, Any] = {"task": None, "arm": arm_of(config)}
    errors = []
    objective = config.get("objective")
    if columns["arm"] is None and objective is not None:
        errors.append(f"config.json: objective is {objective!r:.60}")
    for name, (path, kind) in CONFIGURED.items():
        if name == "arm":
            continue
        value: Any = config
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if not fits(value, kind):
            errors.append(f"config.json: {path} is {value!r:.60}")
            value = None
        whole = kind == pl.Float64() and value is not None
        columns[name] = float(value) if whole else value
    if config.get("data_seed") is None:  # as RunConfig.resolved_data_seed
        columns["data_seed"] = columns["seed"]
    return columns, errors

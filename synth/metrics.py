"""The long form of results: one row per measured number, declared once.

`SCHEMA` is the only list of columns; writing, reading and the tables of `analysis` all
go through it. Values are finite or null: a bare NaN would make a file unreadable.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

SCHEMA: dict[str, type] = {
    "run_id": str,
    "step": int,  # optimiser steps taken when the number was measured
    "tokens": int,  # training positions seen by then
    "suite": str,  # what was measured on: "train", "in_domain", "out_of_domain", ...
    "metric": str,  # "exact_match", "loss", ...
    "slice": str,  # the part of the suite: "operations=3", "horizon=2", "layer=4", ""
    "value": float,  # in the metric's unit: nats for losses, a share for accuracies
    "count": int,  # how many items the value is a mean over
}


@dataclass(frozen=True)
class Score:
    """One measured number, before it is known which run and step it belongs to."""

    suite: str
    metric: str
    slice: str
    value: float
    count: int


@dataclass(frozen=True)
class Measurement:
    """One row of `metrics.jsonl`."""

    run_id: str
    step: int
    tokens: int
    suite: str
    metric: str
    slice: str
    value: float | None
    count: int

    @classmethod
    def of(cls, score: Score, run_id: str, step: int, tokens: int) -> "Measurement":
        """The row for `score`; a value that is not finite becomes null."""
        value = float(score.value)
        return cls(
            run_id,
            step,
            tokens,
            score.suite,
            score.metric,
            score.slice,
            value if math.isfinite(value) else None,
            int(score.count),
        )


assert [field.name for field in fields(Measurement)] == list(SCHEMA)


def to_lines(measurements: Iterable[Measurement]) -> str:
    """Whole JSON lines, keys in schema order."""
    rows = ({name: getattr(row, name) for name in SCHEMA} for row in measurements)
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def from_line(line: str) -> Measurement:
    """The row written in one line; raises `ValueError` for anything else."""
    row: dict[str, Any] = json.loads(line)
    if list(row) != list(SCHEMA):
        raise ValueError(f"Expected the columns {list(SCHEMA)}; got {list(row)}.")
    return Measurement(**row)

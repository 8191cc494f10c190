"""Parses files of measurements (one JSON object a line) into typed, sorted tables.

Many files are parsed at once. A batch with a bad line is parsed line by line, so that only
bad lines are lost; their number is reported.
"""

import io
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.folders import add_problem
from analysis.schema import ITEM_SCHEMA, METRIC_SCHEMA, ORDER, fits
from synth.metrics import SCHEMA

BATCH_BYTES = 64 << 20
"""Bytes parsed at a time."""
ITEM_COLUMNS = {name: METRIC_SCHEMA[name] for name in ORDER} | ITEM_SCHEMA
"""The columns that name a score, and its counts by test item."""


@dataclass(frozen=True)
class Lines:
    """The complete lines of one file of measurements, and their run."""

    run: dict[str, Any]
    name: str
    content: bytes

    @classmethod
    def of(cls, path: Path, run: dict[str, Any]) -> "Lines":
        """Read a file without an incomplete last line, which a killed run leaves."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            add_problem(run, f"{path.name}: torn last line")
        return cls(run, path.name, whole)


def parse(files: Iterable[Lines]) -> Iterator[pl.DataFrame]:
    """Parse many files at once; a batch that fails is parsed file by file."""
    for batch in _batches(files):
        if not any(lines.content for lines in batch):
            continue
        frame = _parse_batch(batch)
        if frame is not None:
            yield frame
        else:
            yield from (_parse_lines(lines) for lines in batch)


def _batches(files: Iterable[Lines]) -> Iterator[list[Lines]]:
    batch: list[Lines] = []
    size = 0
    for lines in files:
        batch.append(lines)
        size += len(lines.content)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _parse_batch(batch: list[Lines]) -> pl.DataFrame | None:
    """All rows of the files; None unless every line is a row of the file's own run."""
    content = b"".join(lines.content for lines in batch)
    try:
        frame = pl.read_ndjson(io.BytesIO(content), schema=METRIC_SCHEMA)
    except pl.exceptions.PolarsError:
        return None
    counts = [lines.content.count(b"\n") for lines in batch]
    owners = pl.Series([lines.run["run_id"] for lines in batch], dtype=pl.String())
    expected = owners.gather(np.repeat(np.arange(len(batch)), counts))
    if frame.height != len(expected) or (frame["run_id"].ne_missing(expected)).any():
        return None
    complete = all(frame[name].null_count() == 0 for name in SCHEMA if name != "value")
    return frame if complete else None


def _parse_lines(lines: Lines) -> pl.DataFrame:
    """Parse line by line; lines that are not rows of the run are counted and skipped."""
    rows, bad, foreign = [], 0, 0
    for line in lines.content.splitlines():
        try:
            row = json.loads(line)
            if set(row) != set(SCHEMA):
                raise ValueError(f"columns {sorted(row)}")
            value = row["value"]
            row["value"] = value if value is None or math.isfinite(value) else None
            _check(row, SCHEMA, optional=("value",))
        except (ValueError, TypeError, OverflowError, RecursionError):
            bad += 1
            continue
        if row["run_id"] != lines.run["run_id"]:
            foreign += 1
        else:
            rows.append({name: row[name] for name in SCHEMA})
    _report(lines, bad, "unreadable lines")
    _report(lines, foreign, "lines of another run")
    return pl.DataFrame(rows, schema=METRIC_SCHEMA, orient="row")


def _report(lines: Lines, number: int, what: str) -> None:
    if number:
        add_problem(lines.run, f"{lines.name}: {number} {what}")


def _check(row: dict[str, Any], names: Iterable[str], optional: Iterable[str]) -> None:
    """Check that values fit their columns.

    Raises `ValueError`, naming the column and the value.
    """
    for name in names:
        missing = row[name] is None and name not in optional
        if missing or not fits(row[name], METRIC_SCHEMA[name]):
            raise ValueError(f"{name} is {row[name]!r:.60}")


def parse_items(lines: Lines) -> pl.DataFrame:
    """The counts by test item of one run; bad lines are counted and reported."""
    rows, bad = [], 0
    names = [name for name in ORDER if name != "run_id"]
    for line in lines.content.splitlines():
        try:
            read = json.loads(line)
            _check(read, names, optional=())
            right, number = (_counts(read[name]) for name in ("right", "number"))
            if len(right) != len(number):
                raise ValueError("right and number differ in length")
            kept = {name: read[name] for name in names}
            counts = {"items_right": right, "items_number": number}
            rows.append({"run_id": lines.run["run_id"]} | kept | counts)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            bad += 1
    _report(lines, bad, "unreadable lines")
    return pl.DataFrame(rows, schema=ITEM_COLUMNS, orient="row")


def _counts(values: Any) -> list[int]:
    """Check and return a list of counts.

    Raises `ValueError` for anything but non-negative integers below 2^32.
    """
    counts = np.asarray(values)
    if counts.size == 0:
        return []
    if counts.ndim != 1 or counts.dtype.kind != "i" or counts.min() < 0:
        raise ValueError("not a list of counts")
    if counts.max() >= 2**32:
        raise ValueError("a count is too large")
    return counts.tolist()


def sort_measurements(measured: pl.DataFrame) -> pl.DataFrame:
    """Sort by `ORDER`, and keep the last written of rows with equal keys."""
    ordered = measured.sort(ORDER, nulls_last=True, maintain_order=True)
    return ordered.unique(ORDER, keep="last", maintain_order=True)

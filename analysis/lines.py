"""Files of measured numbers, one JSON object a line, as typed and sorted tables.

Whole files are parsed at once; where that fails, line by line, so that a bad line costs
itself and is said.
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

from analysis.folders import complain
from analysis.schema import ITEMS, MEASURED, ORDER, fits
from synth.metrics import SCHEMA

BATCH_BYTES = 64 << 20
"""Lines parsed at a time."""
ITEM_COLUMNS = {name: MEASURED[name] for name in ORDER} | ITEMS
"""A score's names and its counts by test item."""


@dataclass(frozen=True)
class Lines:
    """The whole lines of one file of measurements, and the run they belong to."""

    run: dict[str, Any]
    name: str
    content: bytes

    @classmethod
    def of(cls, path: Path, run: dict[str, Any]) -> "Lines":
        """Read the file, without a last line that has no end (the run was killed)."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            complain(run, f"{path.name}: torn last line")
        return cls(run, path.name, whole)


def parse(files: Iterable[Lines]) -> Iterator[pl.DataFrame]:
    """Parse many files at once; a batch that fails is parsed file by file."""
    for batch in _batches(files):
        if not any(lines.content for lines in batch):
            continue
        frame = _whole(batch)
        if frame is not None:
            yield frame
        else:
            yield from (_slowly(lines) for lines in batch)


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


def _whole(batch: list[Lines]) -> pl.DataFrame | None:
    """All rows of the files, if each line is a row of the file's own run."""
    content = b"".join(lines.content for lines in batch)
    try:
        frame = pl.read_ndjson(io.BytesIO(content), schema=MEASURED)
    except pl.exceptions.PolarsError:
        return None
    counts = [lines.content.count(b"\n") for lines in batch]
    owners = pl.Series([lines.run["run_id"] for lines in batch], dtype=pl.String())
    expected = owners.gather(np.repeat(np.arange(len(batch)), counts))
    if frame.height != len(expected) or (frame["run_id"].ne_missing(expected)).any():
        return None
    complete = all(frame[name].null_count() == 0 for name in SCHEMA if name != "value")
    return frame if complete else None


def _slowly(lines: Lines) -> pl.DataFrame:
    """Line by line: what is no row of the run is counted, not guessed at."""
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
    _count(lines, bad, "unreadable lines")
    _count(lines, foreign, "lines of another run")
    return pl.DataFrame(rows, schema=MEASURED, orient="row")


def _count(lines: Lines, number: int, what: str) -> None:
    if number:
        complain(lines.run, f"{lines.name}: {number} {what}")


def _check(row: dict[str, Any], names: Iterable[str], optional: Iterable[str]) -> None:
    """Raise `ValueError` for a value that its column cannot hold."""
    for name in names:
        missing = row[name] is None and name not in optional
        if missing or not fits(row[name], MEASURED[name]):
            raise ValueError(f"{name} is {row[name]!r:.60}")


def parse_items(lines: Lines) -> pl.DataFrame:
    """The counts by test item of one run; lines that are none are counted and said."""
    rows, bad = [], 0
    names = [name for name in ORDER if name != "run_id"]
    for line in lines.content.splitlines():
        try:
            read = json.loads(line)
            _check(read, names, optional=())
            right, number = (_counts(read[name]) for name in ("right", "number"))
            if len(right) != len(number):
                raise ValueError("right and number do not fit")
            kept = {name: read[name] for name in names}
            counts = {"items_right": right, "items_number": number}
            rows.append({"run_id": lines.run["run_id"]} | kept | counts)
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            bad += 1
    _count(lines, bad, "unreadable lines")
    return pl.DataFrame(rows, schema=ITEM_COLUMNS, orient="row")


def _counts(values: Any) -> list[int]:
    """Numbers of tokens, or `ValueError`."""
    found = np.asarray(values)
    if found.size == 0:
        return []
    if found.ndim != 1 or found.dtype.kind != "i" or found.min() < 0:
        raise ValueError("no list of counts")
    if found.max() >= 2**32:
        raise ValueError("a count that is too large")
    return found.tolist()


def in_order(measured: pl.DataFrame) -> pl.DataFrame:
    """Sorted by `ORDER`; of rows that name one number, the last that was written.

    Names are sorted as ranks, several times faster than as text.
    """
    names = [name for name in ORDER if MEASURED[name] == pl.String()]
    ranks = [
        pl.col(name).cast(pl.Enum(measured[name].drop_nulls().unique().sort()))
        for name in names
    ]
    ranked = measured.with_columns(ranks).sort(
        ORDER, nulls_last=True, maintain_order=True
    )
    changes = [
        pl.col(n).to_physical().ne_missing(pl.col(n).to_physical().shift(-1))
        for n in ORDER
    ]
    last = pl.any_horizontal(changes)
    last |= pl.int_range(pl.len()) == pl.len() - 1
    return ranked.filter(last).with_columns(
        pl.col(name).cast(pl.String) for name in names
    )

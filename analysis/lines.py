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

import polars as pl

from analysis.folders import complain
from analysis.schema import ITEMS, MEASURED, ORDER
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
        content = b"".join(lines.content for lines in batch)
        if not content:
            continue
        try:
            frame = _ndjson(content)
            complete = frame["run_id"].null_count() == frame["step"].null_count() == 0
        except pl.exceptions.PolarsError:
            complete = False
        if complete:
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


def _ndjson(content: bytes) -> pl.DataFrame:
    return pl.read_ndjson(io.BytesIO(content), schema=MEASURED)


def _slowly(lines: Lines) -> pl.DataFrame:
    """Line by line: what is no row of the schema is counted, not guessed at."""
    rows, bad = [], 0
    for line in lines.content.splitlines():
        try:
            row = json.loads(line)
            if set(row) != set(SCHEMA):
                raise ValueError(f"columns {sorted(row)}")
            value = row["value"]
            row["value"] = value if value is None or math.isfinite(value) else None
            rows.append({name: row[name] for name in SCHEMA})
        except (ValueError, TypeError):
            bad += 1
    if bad:
        complain(lines.run, f"{lines.name}: {bad} unreadable lines")
    return pl.DataFrame(rows, schema=MEASURED, orient="row")


def parse_items(lines: Lines) -> pl.DataFrame:
    """The counts by test item of one run; lines that are none are counted and said."""
    rows, bad = [], 0
    for line in lines.content.splitlines():
        try:
            read = json.loads(line)
            right, number = (
                list(map(int, read["right"])),
                list(map(int, read["number"])),
            )
            if len(right) != len(number) or min(right, default=0) < 0:
                raise ValueError("right and number do not fit")
            names = {name: read[name] for name in ORDER if name != "run_id"}
            counts = {"items_right": right, "items_number": number}
            rows.append({"run_id": lines.run["run_id"]} | names | counts)
        except (ValueError, TypeError, KeyError):
            bad += 1
    if bad:
        complain(lines.run, f"{lines.name}: {bad} unreadable lines")
    return pl.DataFrame(rows, schema=ITEM_COLUMNS, orient="row")


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

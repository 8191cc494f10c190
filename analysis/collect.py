"""Run folders to one typed, sorted table per sweep.

Folders are the truth and may be in any state: running, killed, torn, failed, copied.
Nothing is dropped in silence: every folder has at least one row, with its state, and
what could not be read is said in `problem` and counted.
"""

import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from analysis.cost import flops_per_token
from analysis.schema import MEASURED, ORDER, RUN_SCHEMA, SWEEP_SCHEMA, configured
from synth.identity import canonical_json
from synth.metrics import SCHEMA
from synth.scales import resolve
from synth.store import RunFolder

BATCH_BYTES = 64 << 20
"""Lines parsed at a time."""
PROBES, PROBE = "probe-*.jsonl", "probe/"
"""What `synth probe --save` leaves in a run's folder, and what its suites get in front:
probes measure other examples than training, under the same names."""


@dataclass(frozen=True)
class Collection:
    """A sweep's table, and what was found on the way."""

    frame: pl.DataFrame
    states: dict[str, int]
    problems: dict[str, str] = field(default_factory=dict)
    """Run -> what was wrong with it."""
    reread: int = 0
    """Folders that were read; the others had not changed."""


def collect(
    folder: Path, sweep: str | None = None, previous: pl.DataFrame | None = None
) -> Collection:
    """Collect all run folders directly below `folder`.

    Parameters
    ----------
    folder
        Holds run folders; anything in it without a `config.json` is passed over.
    sweep
        Name in the `sweep` column; the folder's own name if not given.
    previous
        The table of an earlier collection: runs whose files did not change since keep
        their rows without being read.

    Raises
    ------
    ValueError
        When `folder` does not exist or holds no run.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder of runs. Train some first, or name another folder."
        )
    sweep = folder.resolve().name if sweep is None else sweep
    known = _stamps(previous)
    runs: dict[str, dict[str, Any]] = {}
    kept: list[str] = []
    fresh: list[_Lines] = []
    probes: list[_Lines] = []
    for path in sorted(folder.iterdir()):
        if not (path / "config.json").exists():
            continue
        stamp, state = _stamp(path), RunFolder(folder, path.name).state()
        if known.get(path.name) == (stamp, state):
            kept.append(path.name)
            continue
        run = _read_run(path, sweep, stamp, state)
        if run["run_id"] in runs:
            continue
        runs[run["run_id"]] = run
        fresh.append(_Lines.of(path / "metrics.jsonl", run))
        probes += [_Lines.of(probe, run) for probe in sorted(path.glob(PROBES))]
    if not runs and not kept:
        raise ValueError(
            f"{folder} holds no run: no folder in it has a config.json. Give the folder "
            "of a sweep, for instance runs/quick."
        )
    probed = pl.col("suite").str.replace("^", PROBE)
    found = [frame.with_columns(probed) for frame in _parse(probes)]
    measured = pl.concat([pl.DataFrame(schema=MEASURED), *_parse(fresh), *found])
    frame = _joined(runs, measured)
    if kept and previous is not None:
        frame = pl.concat([previous.filter(pl.col("run_id").is_in(kept)), frame])
    frame = frame.with_columns(sweep=pl.lit(sweep)).sort(ORDER, nulls_last=True)
    return _summarised(frame, len(runs))


def _stamps(previous: pl.DataFrame | None) -> dict[str, tuple[str, str]]:
    if previous is None:
        return {}
    rows = previous.select("run_id", "stamp", "state").unique().iter_rows()
    return {run_id: (stamp, state) for run_id, stamp, state in rows}


def _stamp(path: Path) -> str:
    """Sizes and times of the files that collection reads."""
    parts = []
    names = ("config.json", "metrics.jsonl", "result.json", "failure.json")
    for file in (*(path / name for name in names), *sorted(path.glob(PROBES))):
        try:
            status = file.stat()
            parts.append(f"{status.st_size}@{status.st_mtime_ns}")
        except FileNotFoundError:
            parts.append("-")
    return " ".join(parts)


def _read_run(path: Path, sweep: str, stamp: str, state: str) -> dict[str, Any]:
    """The run's own columns, as much of them as its files give."""
    run: dict[str, Any] = dict.fromkeys(RUN_SCHEMA)
    run |= {"sweep": sweep, "run_id": path.name, "state": state, "stamp": stamp}
    read = {name: _json(path / f"{name}.json") for name in _JSON_FILES}
    unread = [f"{name}.json: {text}" for name, (_, text) in read.items() if text]
    stored, result, failure, environment = (read[name][0] for name in _JSON_FILES)
    config = stored.get("config")
    if isinstance(config, dict):
        run |= configured(config)
        run["run_id"] = stored.get("run_id") or path.name
        run["config"] = canonical_json(config)
        try:
            run["parameters"] = resolve(str(run["scale"]))[1].nominal_parameters
        except ValueError as error:
            unread.append(str(error))
        run["flops_per_token"] = flops_per_token(config)
    else:
        unread.append("config.json: no configuration")
    run["training_seconds"] = _training_seconds(result)
    run["lanes"] = result.get("lanes")
    session = (environment.get("sessions") or [{}])[-1]
    run["device"] = session.get("device")
    run["commit"] = (session.get("code") or {}).get("commit")
    run["problem"] = failure.get("message") or "; ".join(unread) or None
    return run


_JSON_FILES = ("config", "result", "failure", "environment")


def _json(path: Path) -> tuple[dict[str, Any], str | None]:
    """The object in a file (empty if there is none), and why it could not be read."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, None
    except (ValueError, OSError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return (value, None) if isinstance(value, dict) else ({}, "not an object")


def _training_seconds(result: dict[str, Any]) -> float | None:
    seconds = result.get("seconds")
    return sum(map(float, seconds.values())) if isinstance(seconds, dict) else None


@dataclass(frozen=True)
class _Lines:
    """The whole lines of one file of measurements, and the run they belong to."""

    run: dict[str, Any]
    name: str
    content: bytes

    @classmethod
    def of(cls, path: Path, run: dict[str, Any]) -> "_Lines":
        """Read the file, without a last line that has no end (the run was killed)."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            content = b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            _complain(run, f"{path.name}: torn last line")
        return cls(run, path.name, whole)


def _complain(run: dict[str, Any], text: str) -> None:
    run["problem"] = f"{run['problem']}; {text}" if run["problem"] else text


def _parse(files: Iterable[_Lines]) -> Iterator[pl.DataFrame]:
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
            yield from (_parse_slowly(lines) for lines in batch)


def _batches(files: Iterable[_Lines]) -> Iterator[list[_Lines]]:
    batch: list[_Lines] = []
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


def _parse_slowly(lines: _Lines) -> pl.DataFrame:
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
        _complain(lines.run, f"{lines.name}: {bad} unreadable lines")
    return pl.DataFrame(rows, schema=MEASURED, orient="row")


def _joined(runs: dict[str, dict[str, Any]], measured: pl.DataFrame) -> pl.DataFrame:
    """Measured rows with their run's columns; the last of two equal names wins."""
    table = pl.DataFrame(list(runs.values()), schema=RUN_SCHEMA, orient="row")
    measured = measured.unique(ORDER, keep="last", maintain_order=True)
    joined = table.join(measured, on="run_id", how="left", maintain_order="left_right")
    return joined.select(pl.col(name).cast(kind) for name, kind in SWEEP_SCHEMA.items())


def _summarised(frame: pl.DataFrame, reread: int) -> Collection:
    runs = frame.select("run_id", "state", "problem").unique().sort("run_id")
    problems = runs.filter(pl.col("problem").is_not_null())
    return Collection(
        frame,
        dict(sorted(Counter(runs["state"].to_list()).items())),
        dict(problems.select("run_id", "problem").iter_rows()),
        reread,
    )


def write(collection: Collection, path: Path) -> None:
    """Write the table; equal tables give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    collection.frame.write_parquet(temporary, compression="zstd", statistics=False)
    temporary.replace(path)


def read(path: Path) -> pl.DataFrame:
    """A sweep's table; columns added since it was written are null.

    Raises
    ------
    ValueError
        When there is no such file.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Collect a sweep first: python -m analysis collect."
        )
    frame = pl.read_parquet(path)
    return frame.select(
        (
            pl.col(name) if name in frame.columns else pl.lit(None, kind).alias(name)
        ).cast(kind)
        for name, kind in SWEEP_SCHEMA.items()
    )


def read_all(results: Path) -> pl.DataFrame:
    """All sweeps of a folder in one table; a run that is in two of them counts once.

    Raises
    ------
    ValueError
        When the folder holds no table.
    """
    paths = sorted(results.glob("*.parquet"))
    if not paths:
        raise ValueError(
            f"{results} holds no table. Collect a sweep first: "
            "python -m analysis collect."
        )
    whole = pl.concat([read(path) for path in paths])
    return whole.unique(ORDER, keep="first", maintain_order=True)

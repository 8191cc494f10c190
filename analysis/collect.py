"""Run folders to one typed, sorted table per sweep.

Folders are the truth and may be in any state: running, killed, torn, failed, copied.
Nothing is dropped in silence: every folder has at least one row, with its state, and
what could not be read is said in `problem` and counted.
"""

import contextlib
import fnmatch
import io
import json
import math
import os
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

STAMPED = ("config.json", "metrics.jsonl", "result.json", "failure.json")
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
    known = _known_runs(previous)
    runs: dict[str, dict[str, Any]] = {}
    kept: list[str] = []
    fresh: list[_Lines] = []
    probes: list[_Lines] = []
    copies: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        files = _files(path)
        if "config.json" not in files:
            continue
        stamp, state = _stamp(files), RunFolder(folder, path.name).state()
        run = known.get(path.name)
        unchanged = run is not None and (run["stamp"], run["state"]) == (stamp, state)
        if run is None or not unchanged:
            run = _read_run(path, sweep, stamp, state)
        run_id = run["run_id"]
        if run_id in runs:
            copies[path.name] = f"a second folder of run {run_id}: left out"
            continue
        runs[run_id] = run | {"sweep": sweep}
        if unchanged:
            kept.append(run_id)
            continue
        fresh.append(_Lines.of(path / "metrics.jsonl", runs[run_id]))
        probes += [_Lines.of(path / n, runs[run_id]) for n in files if _is_probe(n)]
    if not runs:
        raise ValueError(
            f"{folder} holds no run: no folder in it has a config.json. Give the folder "
            "of a sweep, for instance runs/quick."
        )
    if previous is not None and not fresh and len(kept) == len(known):
        frame = previous.with_columns(sweep=pl.lit(sweep))
    else:
        old = [] if previous is None else [_measurements(previous, kept)]
        probed = pl.col("suite").str.replace("^", PROBE)
        found = [rows.with_columns(probed) for rows in _parse(probes)]
        empty = pl.DataFrame(schema=MEASURED)
        frame = _joined(
            runs, _in_order(pl.concat([empty, *_parse(fresh), *found, *old]))
        )
    states = Counter(run["state"] for run in runs.values())
    wrong = {run_id: run["problem"] for run_id, run in runs.items() if run["problem"]}
    reread = len(runs) - len(kept)
    return Collection(frame, dict(sorted(states.items())), wrong | copies, reread)


def _known_runs(previous: pl.DataFrame | None) -> dict[str, dict[str, Any]]:
    """The runs of an earlier table, which is sorted by run: one row of each."""
    if previous is None:
        return {}
    first = pl.col("run_id").ne_missing(pl.col("run_id").shift())
    rows = previous.filter(first).select(*RUN_SCHEMA).iter_rows(named=True)
    return {row["run_id"]: row for row in rows}


def _measurements(previous: pl.DataFrame, kept: list[str]) -> pl.DataFrame:
    """What was measured in the kept runs; a run without a number has no row here."""
    rows = previous.select(*MEASURED).filter(pl.col("metric").is_not_null())
    if len(kept) == previous["run_id"].n_unique():
        return rows
    return rows.filter(pl.col("run_id").is_in(kept))


def _is_probe(name: str) -> bool:
    return fnmatch.fnmatch(name, PROBES)


def _files(path: Path) -> dict[str, os.stat_result]:
    """The files of a run that collection reads, by name in order."""
    found: dict[str, os.stat_result] = {}
    with contextlib.suppress(NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            if entry.name in STAMPED or _is_probe(entry.name):
                with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
                    found[entry.name] = entry.stat()
    return dict(sorted(found.items()))


def _stamp(files: dict[str, os.stat_result]) -> str:
    """Names, sizes and times of the files."""
    return " ".join(f"{n}:{s.st_size}@{s.st_mtime_ns}" for n, s in files.items())


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


def _in_order(measured: pl.DataFrame) -> pl.DataFrame:
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


def _joined(runs: dict[str, dict[str, Any]], measured: pl.DataFrame) -> pl.DataFrame:
    """Measured rows, in their order, with the columns of their run."""
    table = pl.DataFrame(list(runs.values()), schema=RUN_SCHEMA, orient="row")
    joined = table.sort("run_id").join(
        measured, on="run_id", how="left", maintain_order="left_right"
    )
    return joined.select(*SWEEP_SCHEMA)


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

    It is taken whole from one table: where it is done, else where it went furthest.

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
    whole = pl.concat(
        [read(path).with_columns(table=pl.lit(i)) for i, path in enumerate(paths)]
    )
    best = (
        whole.group_by("run_id", "table")
        .agg((pl.col("state") == "done").any().alias("done"), pl.col("step").max())
        .sort(
            ["run_id", "done", "step", "table"],
            descending=[False, True, True, False],
            nulls_last=True,
        )
        .unique("run_id", keep="first", maintain_order=True)
    )
    chosen = whole.join(best, on=["run_id", "table"], how="semi", maintain_order="left")
    return chosen.drop("table")

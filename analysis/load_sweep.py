"""Loads tables, by name or by path, and what run folders recorded of their tasks."""

import contextlib
import json
from pathlib import Path

import polars as pl

from analysis.collect import collect
from analysis.parquet import read, read_all
from analysis.superseded import drop_superseded
from synth.disk.places import nothing_at
from synth.families import plugins
from synth.families.family import members
from synth.identity import nearest

RUNS = Path("runs")


def load_tables(results: Path) -> pl.DataFrame:
    """All tables of a folder, for answers: without superseded runs of tuned sweeps.

    Tasks that folders of the runs define are imported.
    """
    frame = read_all(results)
    _import_recorded_tasks(frame)
    return drop_superseded(frame, frame)


def load_sweep(name: str, results: Path) -> pl.DataFrame:
    """Load what `load_table` does, without superseded runs of tuned sweeps.

    The trials of a table or folder `NAME-tuned` are those of `NAME-tuning` beside it.
    """
    frame = load_table(name, results)
    stem = name.removesuffix(".parquet").removesuffix("-tuned")
    if not name.startswith(f"{stem}-tuned"):
        return drop_superseded(frame, frame)
    for trials in (f"{stem}-tuning.parquet", f"{stem}-tuning"):
        with contextlib.suppress(ValueError):
            return drop_superseded(frame, load_table(trials, results))
    return frame


def load_table(name: str, results: Path) -> pl.DataFrame:
    """Load a parquet file, a folder of tables or of runs, a table in `results`, or a sweep.

    Folders of runs are read in their current state; nothing is written.

    Raises `ValueError` when nothing has that name.
    """
    path = Path(name)
    if name and path.is_dir():
        if not any(path.glob("*.parquet")):
            return collect(path).frame
        frame = read_all(path)
        _import_recorded_tasks(frame)
        return frame
    is_file = path.suffix == ".parquet" and path.is_file()
    table = path if is_file else results / f"{name}.parquet"
    if table.is_file():
        frame = read(table)
        _import_recorded_tasks(frame)
        return frame
    if (RUNS / name).is_dir():
        return collect(RUNS / name).frame
    if said := nothing_at(name):
        raise ValueError(said)
    tables = [path.stem for path in sorted(results.glob("*.parquet"))]
    folders = [path.name for path in sorted(RUNS.glob("*")) if path.is_dir()]
    known = list(dict.fromkeys([*tables, *folders]))
    raise ValueError(
        f"{name!r} is neither a table in {results}, nor a parquet file or a folder. "
        f"{nearest(name, known) if known else 'There are no tables yet: make collect.'}"
    )


def _import_recorded_tasks(frame: pl.DataFrame) -> None:
    """Import tasks that are not known here from the folders of runs that are.

    A table names no code to import; the folder of a run does, and is checked.
    """
    unknown = set(frame["task"].drop_nulls()) - members("task").keys()
    for kind in sorted(unknown):
        of_kind = frame.filter(pl.col("task") == kind).unique("run_id")
        for sweep, run_id in of_kind.select("sweep", "run_id").sort("run_id").rows():
            record = RUNS / sweep / run_id / "config.json"
            try:
                plugins.prepare(json.loads(record.read_bytes())["config"], record)
            except (OSError, ValueError, KeyError, TypeError):
                continue  # no folder, or none that defines it
            break

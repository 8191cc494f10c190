"""Collects run folders into one typed, sorted table for each sweep.

Run folders may be in any state: running, killed, damaged, failed, copied or removed. A
collection adds to the table of an earlier one: a run that is done there stays, whatever
has happened to its folder. Every run folder has at least one row, with its state; the
column `problem` says what could not be read, and unusable folders are reported as left
out.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from analysis.folders import files_of, is_probe, read_run, stamp_of
from analysis.lines import Lines
from analysis.merging import Merged, merge
from analysis.parquet import TableSource, load, read_runs
from synth.run.store import RunFolder

SETTLED = ("done", "failed")
"""States that change only with the files of the folder."""


@dataclass(frozen=True)
class Collected:
    """A sweep's table, and how it was collected."""

    read: Callable[[], pl.DataFrame]
    rows: int
    states: dict[str, int]
    problems: dict[str, str] = field(default_factory=dict)
    """What is wrong with a run, or with a folder that was left out, by name."""
    errors: list[str] = field(default_factory=list)
    """Runs with two different results, for which the table keeps its own."""
    reread: int = 0
    """Number of folders that were read; the others had not changed."""
    from_table: int = 0
    """Number of runs that only the earlier table has."""
    changed: bool = True
    """Whether the table differs from the earlier one."""

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The table."""
        return self.read()


def collect(
    folder: str | os.PathLike[str],
    sweep: str | None = None,
    previous: TableSource | None = None,
    *,
    full: bool = False,
    drop_missing: bool = False,
    replace: bool = False,
) -> Collected:
    """Collect all run folders directly in `folder`; other entries are ignored.

    `sweep` is the name in the column `sweep`, by default that of the folder. Runs of the
    earlier table `previous` keep their rows if they have no folder (unless
    `drop_missing`) or if its files have not changed (unless `full`). Where `previous` has
    another result of a run, `replace` takes that of the folder.

    Raises `ValueError` when `folder` does not exist or has no run, or `previous` cannot
    be read.
    """
    folder = Path(folder)
    sweep = folder.resolve().name if sweep is None else sweep
    earlier = {} if previous is None else read_runs(previous)
    folders = _read_folders(folder, sweep, {} if full else earlier)
    missing = earlier.keys() - folders.runs.keys() - folders.left_out.keys()
    kept = [name for name in earlier if not (drop_missing and name in missing)]
    runs = {name: earlier[name] for name in kept}
    errors: list[str] = []
    read: Callable[[], pl.DataFrame]
    changed = bool(folders.fresh) or len(kept) < len(earlier) or previous is None
    if previous is not None and not changed:
        read = partial(load, previous)
        rows = sum(run["rows"] for run in earlier.values())
    else:
        merged = folders.merge_into(previous, kept, replace)
        folders.left_out |= merged.left_out
        errors = merged.errors
        table = merged.table.with_columns(sweep=pl.lit(sweep))
        read, rows = table.clone, table.height
        runs |= {name: folders.runs[name].run for name in merged.taken}
    problems = {name: run["problem"] for name, run in runs.items() if run["problem"]}
    return Collected(
        read,
        rows,
        dict(sorted(Counter(run["state"] for run in runs.values()).items())),
        problems | folders.left_out,
        errors,
        reread=folders.reread,
        from_table=0 if drop_missing else len(missing),
        changed=changed,
    )


@dataclass(frozen=True)
class _Entry:
    """A run folder; `lines` is None if its files have not changed."""

    path: Path
    run: dict[str, Any]
    lines: list[Lines] | None


@dataclass
class _Folders:
    """The run folders of a sweep."""

    runs: dict[str, _Entry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a folder is left out, by its name."""
    reread: int = 0

    @property
    def fresh(self) -> list[_Entry]:
        """Runs whose files were read."""
        return [entry for entry in self.runs.values() if entry.lines is not None]

    def merge_into(
        self, previous: TableSource | None, kept: Sequence[str], replace: bool
    ) -> Merged:
        """Merge the runs that were read into the earlier table."""
        lines = [lines for entry in self.fresh for lines in entry.lines or ()]
        return merge([e.run for e in self.fresh], lines, previous, kept, replace)


def _read_folders(
    folder: Path, sweep: str, earlier: dict[str, dict[str, Any]]
) -> _Folders:
    """Read the folders that changed; `earlier` are the runs of an earlier collection.

    Raises `ValueError` when there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is not a folder. Train some runs first, or name another folder."
        )
    folders = _Folders()
    entries: dict[str, list[_Entry]] = {}
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        try:
            entry = None if hidden else _read_entry(path, sweep, earlier)
        except (OSError, ValueError) as error:
            dangling = path.is_symlink() and not path.exists()
            why = f"the link is dangling: {path.readlink()}" if dangling else f"{error}"
            folders.left_out[path.name] = f"left out: {why}"
            continue
        if entry is not None:
            folders.reread += entry.lines is not None
            entries.setdefault(entry.run["run_id"], []).append(entry)
    for run_id, copies in entries.items():
        _choose_copy(run_id, copies, folders)
    if not (folders.runs or folders.left_out):
        raise ValueError(
            f"{folder} has no run: no folder in it has a config.json. Give the folder "
            "of a sweep, for instance runs/quick."
        )
    return folders


def _read_entry(
    path: Path, sweep: str, earlier: dict[str, dict[str, Any]]
) -> _Entry | None:
    """Read one entry of a folder of runs; None if it is not a run.

    Raises `OSError` or `ValueError` when it is a run folder and nothing of it can be used.
    """
    files = files_of(path)
    if "config.json" not in files:
        if files:
            raise ValueError("it has no config.json")
        return None
    stamp, run = stamp_of(files), earlier.get(path.name)
    same = run is not None and run["stamp"] == stamp
    if run is not None and same and run["state"] in SETTLED:
        return _Entry(path, run, None)
    state = RunFolder(path.parent, path.name).state()
    if run is not None and same and run["state"] == state:
        return _Entry(path, run, None)
    if state == "unreadable":
        raise ValueError(" ".join(RunFolder(path.parent, path.name).damage()))
    run = read_run(path, sweep, stamp, state)
    names = ["metrics.jsonl", *filter(is_probe, files), "items.jsonl"]
    return _Entry(path, run, [Lines.of(path / name, run) for name in names])


def _choose_copy(run_id: str, copies: Sequence[_Entry], folders: _Folders) -> None:
    """Choose one of several folders of a run: a finished one, if any."""
    chosen = next((e for e in copies if e.run["state"] == "done"), copies[0])
    folders.runs[run_id] = chosen
    for other in copies:
        if other is not chosen:
            text = f"a second folder of run {run_id}: left out"
            folders.left_out[other.path.name] = text

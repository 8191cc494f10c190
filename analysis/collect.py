"""Run folders to one typed, sorted table per sweep.

Folders are the truth and may be in any state: running, killed, torn, failed, copied,
gone. A collection adds to the table of an earlier one: a run that is done there stays,
whatever became of its folder. Nothing is dropped in silence: every folder has at least
one row, with its state, and what could not be read is said in `problem`, or named as
left out where nothing of the folder can be used.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from analysis.folders import files_of, is_probe, read_run, stamp_of
from analysis.lines import Lines
from analysis.merging import merge
from analysis.parquet import TableSource, load, read_runs
from synth.run.result_file import verify
from synth.run.store import RunFolder

SETTLED = ("done", "failed")
"""States that only another file can change."""


@dataclass(frozen=True)
class Collected:
    """A sweep's table, and what was found on the way."""

    read: Callable[[], pl.DataFrame]
    rows: int
    states: dict[str, int]
    problems: dict[str, str] = field(default_factory=dict)
    """Run, or folder that was left out -> what was wrong with it."""
    errors: list[str] = field(default_factory=list)
    """Runs with two different results: of these the table keeps what it had."""
    reread: int = 0
    """Folders that were read; the others had not changed."""
    from_table: int = 0
    """Runs that the earlier table has and no folder."""
    changed: bool = True
    """Whether the table differs from the earlier one."""

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The table."""
        return self.read()


def collect(
    folder: Path,
    sweep: str | None = None,
    previous: TableSource | None = None,
    *,
    full: bool = False,
    drop_missing: bool = False,
    replace: bool = False,
) -> Collected:
    """Collect all run folders directly below `folder`.

    Parameters
    ----------
    folder
        Holds run folders; what has none of a run's files is passed over.
    sweep
        Name in the `sweep` column; the folder's own name if not given.
    previous
        The table of an earlier collection. Runs whose files did not change since keep
        their rows without being read, and so do runs that have no folder any more.
    full
        Read unchanged folders too.
    drop_missing
        Drop runs of `previous` that have no folder.
    replace
        Take the folder's result of a run where `previous` has another one.

    Raises
    ------
    ValueError
        When `folder` does not exist or holds no run, or `previous` cannot be read.
    """
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder of runs. Train some first, or name another folder."
        )
    sweep = folder.resolve().name if sweep is None else sweep
    known = {} if previous is None else read_runs(previous)
    found = _look_through(folder, sweep, {} if full else known)
    if not (found.runs or found.left_out):
        raise ValueError(
            f"{folder} holds no run: no folder in it has a config.json. Give the folder "
            "of a sweep, for instance runs/quick."
        )
    missing = known.keys() - found.runs.keys() - found.left_out.keys()
    kept = [name for name in known if not (drop_missing and name in missing)]
    fresh = {name: e for name, e in found.runs.items() if e.lines is not None}
    changed = bool(fresh) or len(kept) < len(known) or previous is None
    states = {name: known[name] for name in kept}
    errors: list[str] = []
    if previous is not None and not changed:
        whole = previous
        read, rows = lambda: load(whole), sum(run["rows"] for run in known.values())
    else:
        merged = merge(
            [e.run for e in fresh.values()],
            [lines for e in fresh.values() for lines in e.lines or ()],
            previous,
            kept,
            replace,
        )
        found.left_out |= merged.left_out
        errors = merged.errors
        table = merged.table.with_columns(sweep=pl.lit(sweep))
        read, rows = lambda: table, table.height
        states |= {name: fresh[name].run for name in merged.taken}
    problems = {name: run["problem"] for name, run in states.items() if run["problem"]}
    return Collected(
        read,
        rows,
        dict(sorted(Counter(run["state"] for run in states.values()).items())),
        problems | found.left_out,
        errors,
        reread=found.reread,
        from_table=0 if drop_missing else len(missing),
        changed=changed,
    )


@dataclass(frozen=True)
class _Entry:
    """A folder of a run; without lines, its files did not change."""

    path: Path
    run: dict[str, Any]
    lines: list[Lines] | None


@dataclass
class _Found:
    """What lies in a folder of runs."""

    runs: dict[str, _Entry] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Name of a folder -> why nothing of it is taken."""
    reread: int = 0


def _look_through(folder: Path, sweep: str, known: dict[str, dict[str, Any]]) -> _Found:
    """Read what changed; `known` are the runs of an earlier collection."""
    found = _Found()
    entries: dict[str, list[_Entry]] = {}
    for path in sorted(folder.iterdir()):
        try:
            entry = None if path.name.startswith(".") else _entry(path, sweep, known)
        except (OSError, ValueError) as error:
            gone = path.is_symlink() and not path.exists()
            why = (
                f"the link leads to nothing: {path.readlink()}" if gone else f"{error}"
            )
            found.left_out[path.name] = f"left out: {why}"
            continue
        if entry is not None:
            found.reread += entry.lines is not None
            entries.setdefault(entry.run["run_id"], []).append(entry)
    for run_id, several in entries.items():
        _choose(run_id, several, found)
    return found


def _entry(path: Path, sweep: str, known: dict[str, dict[str, Any]]) -> _Entry | None:
    """One entry of a folder of runs, or None if it is no run.

    Raises
    ------
    OSError, ValueError
        When it should be one, and nothing of it can be used.
    """
    files = files_of(path)
    if "config.json" not in files:
        if files:
            raise ValueError("it has no config.json")
        return None
    stamp, run = stamp_of(files), known.get(path.name)
    same = run is not None and run["stamp"] == stamp
    if run is not None and same and run["state"] in SETTLED:
        return _Entry(path, run, None)
    state = RunFolder(path.parent, path.name).state()
    if run is not None and same and run["state"] == state:
        return _Entry(path, run, None)
    damaged = verify(path)
    if damaged:
        raise ValueError("; ".join(damaged))
    run = read_run(path, sweep, stamp, state)
    names = ["metrics.jsonl", *filter(is_probe, files), "items.jsonl"]
    return _Entry(path, run, [Lines.of(path / name, run) for name in names])


def _choose(run_id: str, several: Sequence[_Entry], found: _Found) -> None:
    """The folder of a run that is taken: one that is done, if any."""
    first = next((e for e in several if e.run["state"] == "done"), several[0])
    found.runs[run_id] = first
    for other in several:
        if other is not first:
            text = f"a second folder of run {run_id}: left out"
            found.left_out[other.path.name] = text

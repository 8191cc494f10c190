"""The parquet files of `analysis/results`: one a sweep, written whole or not at all."""

import contextlib
import fcntl
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from analysis.schema import ORDER, REQUIRED, SWEEP_SCHEMA
from synth.command_words import as_typed
from synth.disk.files import make_folder, write_atomically
from synth.metrics import PROBE

Result = TypeVar("Result")
TableSource = Path | pl.DataFrame
"""A sweep's table: its file, or the frame."""
LOCK_TIMEOUT_S = 60.0
"""How long a collection waits for another one that writes into the same folder."""


def results_folder() -> Path:
    """`analysis/results` in the current folder, or else the tables of the package."""
    here = Path("analysis/results")
    return here if here.is_dir() else Path(__file__).parent / "results"


def encode_table(frame: pl.DataFrame) -> bytes:
    """Encode a table as parquet; equal tables give equal bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a table atomically: on an error, such as a full disk, an old file stays."""
    make_folder(path.parent)
    write_atomically(path, encode_table(frame))


def scan(path: Path) -> pl.LazyFrame:
    """Scan a table lazily; columns that it lacks, and values that are not finite, are null.

    Raises `ValueError` when the file does not exist, or is no table of a sweep.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Collect a sweep first: {as_typed('analysis collect')}."
        )
    return _read_or_explain(path, lambda: _scan(path))


def read(path: Path) -> pl.DataFrame:
    """Read a sweep's table; see `scan`.

    Raises `ValueError` when the file does not exist, or is no table of a sweep.
    """
    table = scan(path)
    return _read_or_explain(path, lambda: _require_valid_rows(table.collect()))


def _require_valid_rows(table: pl.DataFrame) -> pl.DataFrame:
    for name in ("run_id", "state"):
        if table[name].null_count():
            raise ValueError(f"{name!r} is missing in some rows")
    for config in table["config"].drop_nulls().unique():
        if not isinstance(json.loads(config), dict):
            raise ValueError(f"a configuration is {config!r:.60}")
    return table


def load(table: TableSource) -> pl.DataFrame:
    """Read a table, unless it is a frame already."""
    return read(table) if isinstance(table, Path) else table


def read_runs(table: TableSource) -> dict[str, dict[str, Any]]:
    """Read id, state, stamp, problem and number of rows of each run, by id.

    Raises `ValueError` as `read` does.
    """
    lazy = scan(table) if isinstance(table, Path) else table.lazy()
    facts = [pl.col(name).first() for name in ("state", "stamp", "problem")]
    runs = lazy.group_by("run_id").agg(*facts, pl.len().alias("rows")).sort("run_id")

    def call() -> pl.DataFrame:
        return runs.collect(engine="streaming")

    collected = _read_or_explain(table, call) if isinstance(table, Path) else call()
    return {row["run_id"]: row for row in collected.iter_rows(named=True)}


def _scan(path: Path) -> pl.LazyFrame:
    if not path.is_file():
        raise ValueError("it is not a regular file")
    table = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    names = table.collect_schema().names()
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise ValueError(f"it has no column {missing[0]!r}")
    columns = [
        (pl.col(name) if name in names else pl.lit(None, kind).alias(name)).cast(kind)
        for name, kind in SWEEP_SCHEMA.items()
    ]
    finite = pl.when(pl.col("value").is_finite()).then("value")
    return table.select(columns).with_columns(value=finite)


def _read_or_explain(path: Path, call: Callable[[], Result]) -> Result:
    """Return `call()`; an error in it becomes a `ValueError` that names the file."""
    try:
        return call()
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    except pl.exceptions.PanicException:  # polars gives up on some damaged files
        reason = "it is damaged"
    raise ValueError(
        f"{path} is no table of a sweep ({reason}). Remove it, or restore it from "
        f"version control, then collect the sweep again: {as_typed('analysis collect')}."
    )


def read_all(results: Path) -> pl.DataFrame:
    """Read all tables of a folder into one; a run that is in several is taken from one.

    That is the table in which it is done, or else has most steps. Files that are no
    tables, and second, different results of a run, are reported on standard error.

    Raises `ValueError` when there is no table, or none can be read.
    """
    tables, paths, errors = [], [], []
    for path in sorted(results.glob("*.parquet")):
        try:
            tables.append(read(path))
            paths.append(path)
        except ValueError as error:
            errors.append(error)
    if errors and not tables:
        raise errors[0]
    for problem in errors:
        print(f"left out: {problem}", file=sys.stderr)
    if not tables:
        raise ValueError(
            f"{results} holds no table. Collect a sweep first: "
            f"{as_typed('analysis collect')}."
        )
    whole, best = rank_copies(tables)
    for run_id, group in best.filter(pl.col("done")).group_by("run_id"):
        if group.height > 1:
            _warn_of_conflict(str(run_id[0]), group["table"].to_list(), tables, paths)
    return take_best_copies(whole, best)


def rank_copies(tables: Sequence[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rows with the index of their `table`, and the copies of each run, best first.

    The best copy is one that is done, or else the one with most steps.
    """
    whole = pl.concat(
        [table.with_columns(table=pl.lit(i)) for i, table in enumerate(tables)]
    )
    best = (
        whole.group_by("run_id", "table")
        .agg((pl.col("state") == "done").any().alias("done"), pl.col("step").max())
        .sort(
            ["run_id", "done", "step", "table"],
            descending=[False, True, True, False],
            nulls_last=True,
        )
    )
    return whole, best


def take_best_copies(whole: pl.DataFrame, best: pl.DataFrame) -> pl.DataFrame:
    """The rows of each run's best copy, from the results of `rank_copies`."""
    first = best.unique("run_id", keep="first", maintain_order=True)
    chosen = whole.join(
        first, on=["run_id", "table"], how="semi", maintain_order="left"
    )
    return chosen.drop("table")


def _warn_of_conflict(
    run_id: str, places: list[int], tables: list[pl.DataFrame], paths: list[Path]
) -> None:
    """Report tables that hold different results of one run."""
    first, *others = places
    for other in others:
        sides = [tables[i].filter(pl.col("run_id") == run_id) for i in (first, other)]
        difference = find_differences(*sides).get(run_id)
        if difference:
            print(
                f"left out: {paths[other]} and {paths[first]} hold different results of "
                f"run {run_id} ({difference}); the one of {paths[first]} is used.",
                file=sys.stderr,
            )


def find_differences(one: pl.DataFrame, two: pl.DataFrame) -> dict[str, str]:
    """Runs of which two tables hold different numbers of training -> where, in words.

    A metric or slice that one of them lacks in a suite that it has is no difference: it
    was added by a later version.
    """
    trained = pl.col("suite").is_not_null() & ~pl.col("suite").str.starts_with(PROBE)
    first, second = (
        side.filter(trained).select(*ORDER, "value", here=True) for side in (one, two)
    )
    both = first.join(second, on=ORDER, how="full", coalesce=True, nulls_equal=True)
    absent = pl.col("here").is_null() | pl.col("here_right").is_null()
    changed = pl.col("value").ne_missing(pl.col("value_right"))
    later = [_lacks_measure(side) for side in ("here", "here_right")]
    apart = both.filter(absent | changed, *(~lacks for lacks in later)).sort(ORDER)
    found = {}
    for row in apart.unique("run_id", keep="first").iter_rows(named=True):
        where = "/".join(filter(None, (row["suite"], row["metric"], row["slice"])))
        sides = [
            f"{row[f'value{side}']}" if row[f"here{side}"] else "nothing"
            for side in ("", "_right")
        ]
        found[row["run_id"]] = (
            f"{where} at step {row['step']}: {' against '.join(sides)}"
        )
    return found


def _lacks_measure(side: str) -> pl.Expr:
    """Whether a table has rows of a number's suite, but none of its metric and slice."""
    rows, suite = pl.col(side).count(), ["run_id", "suite"]
    return (rows.over(*suite, "metric", "slice") == 0) & (rows.over(*suite) > 0)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock `folder`, which is created if needed, against other collections.

    The lock (`flock` on the folder) ends with the process. What a killed one was writing
    is removed.

    Raises `ValueError` when it is not free within `LOCK_TIMEOUT_S`.
    """
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(handle):
            if time.monotonic() > deadline:
                raise ValueError(
                    f"Another collection has been writing into {folder} for more than "
                    f"{LOCK_TIMEOUT_S:.0f} s. Wait for it, or end it, then call again."
                )
            time.sleep(0.05)
        for leftover in folder.glob(".*.parquet.*.tmp"):
            with contextlib.suppress(OSError):  # another user's
                leftover.unlink()
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    """Whether the lock is held now, or the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True

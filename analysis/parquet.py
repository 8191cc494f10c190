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
from synth.disk.files import make_folder, write_atomically

Read = TypeVar("Read")
TableSource = Path | pl.DataFrame
"""A sweep's table: its file, or its content."""
PROBE = "probe/"
"""What the suites of probes get in front: they measure other examples than training,
under the same names."""
PATIENCE_S = 60.0
"""How long a collection waits for another that writes into the same folder."""


def results_folder() -> Path:
    """`analysis/results` here, or else the tables that come with the suite."""
    here = Path("analysis/results")
    return here if here.is_dir() else Path(__file__).parent / "results"


def encode(frame: pl.DataFrame) -> bytes:
    """The content of a table's file; equal tables give equal bytes."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", statistics=False)
    return buffer.getvalue()


def write(frame: pl.DataFrame, path: Path) -> None:
    """Write a table; on any failure (a full disk, say) the file there stays as it was."""
    make_folder(path.parent)
    write_atomically(path, encode(frame))


def scan(path: Path) -> pl.LazyFrame:
    """A sweep's table, to be read in part; columns added since it was written are null.

    Raises
    ------
    ValueError
        When there is no such file, or its columns are not those of a table.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Collect a sweep first: python -m analysis collect."
        )
    return _reading(path, lambda: _scan(path))


def read(path: Path) -> pl.DataFrame:
    """The whole of a sweep's table.

    Raises
    ------
    ValueError
        When there is no such file, or its content is not that of a table.
    """
    table = scan(path)
    return _reading(path, lambda: _checked(table.collect()))


def _checked(table: pl.DataFrame) -> pl.DataFrame:
    for name in ("run_id", "state"):
        if table[name].null_count():
            raise ValueError(f"{name!r} is missing in some rows")
    for config in table["config"].drop_nulls().unique():
        if not isinstance(json.loads(config), dict):
            raise ValueError(f"a configuration is {config!r:.60}")
    return table


def load(table: TableSource) -> pl.DataFrame:
    """The whole of a table."""
    return read(table) if isinstance(table, Path) else table


def read_runs(table: TableSource) -> dict[str, dict[str, Any]]:
    """Of each run its id, state, stamp, problem and number of rows, nothing else read.

    Raises
    ------
    ValueError
        As `read`.
    """
    lazy = scan(table) if isinstance(table, Path) else table.lazy()
    facts = [pl.col(name).first() for name in ("state", "stamp", "problem")]
    runs = lazy.group_by("run_id").agg(*facts, pl.len().alias("rows")).sort("run_id")

    def call() -> pl.DataFrame:
        return runs.collect(engine="streaming")

    found = _reading(table, call) if isinstance(table, Path) else call()
    return {row["run_id"]: row for row in found.iter_rows(named=True)}


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


def _reading(path: Path, call: Callable[[], Read]) -> Read:
    """What `call` reads of the file; whatever goes wrong names it."""
    try:
        return call()
    except (pl.exceptions.PolarsError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    except pl.exceptions.PanicException:  # polars gives up on some damaged files
        reason = "it is damaged"
    raise ValueError(
        f"{path} is no table of a sweep ({reason}). Remove it, or restore it from "
        "version control, then collect the sweep again: python -m analysis collect."
    )


def read_all(results: Path) -> pl.DataFrame:
    """All sweeps of a folder in one table; a run that is in two of them counts once.

    It is taken whole from one table: where it is done, else where it went furthest. A
    file that is no table is named on standard error and left out, and so is a second,
    different result of a run.

    Raises
    ------
    ValueError
        When no table can be read.
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
            "python -m analysis collect."
        )
    whole, best = whole_and_best(tables)
    for run_id, group in best.filter(pl.col("done")).group_by("run_id"):
        if group.height > 1:
            _compare_copies(str(run_id[0]), group["table"].to_list(), tables, paths)
    return first_copies(whole, best)


def whole_and_best(tables: Sequence[pl.DataFrame]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All rows with the number of their `table`, and each table's copy of each run.

    The first copy of a run is the best: one that is done, else the one that went
    furthest.
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


def first_copies(whole: pl.DataFrame, best: pl.DataFrame) -> pl.DataFrame:
    """Of each run the rows of its best copy, from `whole_and_best`."""
    first = best.unique("run_id", keep="first", maintain_order=True)
    chosen = whole.join(
        first, on=["run_id", "table"], how="semi", maintain_order="left"
    )
    return chosen.drop("table")


def _compare_copies(
    run_id: str, places: list[int], tables: list[pl.DataFrame], paths: list[Path]
) -> None:
    """Say which tables hold different results of one run."""
    first, *others = places
    for other in others:
        sides = [tables[i].filter(pl.col("run_id") == run_id) for i in (first, other)]
        difference = differences(*sides).get(run_id)
        if difference:
            print(
                f"left out: {paths[other]} and {paths[first]} hold different results of "
                f"run {run_id} ({difference}); the one of {paths[first]} is used.",
                file=sys.stderr,
            )


def differences(one: pl.DataFrame, two: pl.DataFrame) -> dict[str, str]:
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
def alone(folder: Path) -> Iterator[None]:
    """Be the only collection that writes into `folder`; it is created if need be.

    The lock is the kernel's, on the folder itself: it ends with the process.

    Raises
    ------
    ValueError
        When another one does not end.
    """
    make_folder(folder)
    handle = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise ValueError(
                    f"Another collection has been writing into {folder} for more than "
                    f"{PATIENCE_S:.0f} s. Wait for it, or end it, then call again."
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Whether the lock is held now; file systems without locks are not waited for."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True

"""Runs that are done according to a collected table, wherever their folders are.

Only run ids and measurements are read from the tables of `analysis/results`; the
rest belongs to `analysis`.
"""

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synth.run.standing import AnyRun, Survey

TABLES = Path("analysis/results")
"""Where `python -m analysis collect` writes, relative to the current directory."""


def mark_collected(standings: Survey[AnyRun], tables: Path) -> Survey[AnyRun]:
    """Mark runs without a folder as done if a table has them; `news` names the table."""
    missing = standings.ids("new")
    collected: set[str] = set()
    news = list(standings.news)
    for path in _tables(tables) if missing else ():
        try:
            done = _done_runs(path, missing - collected)
        except ValueError as error:
            news.append(f"Left out: {error}")
            continue
        collected |= done
        if done:
            news.append(
                f"{len(done)} done (collected) in {path}; run --again trains them here"
            )
    runs = [
        replace(run, state="done") if run.run_id in collected else run
        for run in standings.runs
    ]
    return replace(standings, runs=runs, news=news)


def rows_of_runs(
    run_ids: Collection[str], tables: Path
) -> dict[str, Sequence[dict[str, Any]]]:
    """Each run's measurements by step, in the form of `survey.read_metrics`."""
    import polars as pl

    rows: dict[str, list[dict[str, Any]]] = {}
    for path in _tables(tables) if run_ids else ():
        names = ["run_id", "step", "suite", "metric", "slice", "value"]
        here = pl.col("run_id").is_in(list(set(run_ids) - rows.keys()))
        with contextlib.suppress(ValueError), naming(path):
            done = pl.scan_parquet(path, glob=False).filter(
                here, pl.col("state") == "done"
            )
            for row in done.select(names).sort("step").collect().iter_rows(named=True):
                rows.setdefault(row["run_id"], []).append(row)
    return dict(rows)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn what polars says about a file that is no table into a `ValueError`."""
    import polars as pl

    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not a table: {reason}") from None


def _tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _done_runs(path: Path, wanted: Collection[str]) -> set[str]:
    """The wanted runs that are done in a table.

    Raises `ValueError` for a file that is not a table.
    """
    import polars as pl

    here = pl.col("run_id").is_in(list(wanted)) & (pl.col("state") == "done")
    with naming(path):
        table = (
            pl.scan_parquet(path, glob=False)
            .filter(here)
            .select("run_id")
            .unique()
            .collect()
        )
    return set(table["run_id"].to_list())

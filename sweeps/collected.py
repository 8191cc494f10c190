"""Runs that a collected table has: they are done, wherever their folders lie.

The committed tables of `analysis/results` are read for run ids and last measurements
alone; all else about them is the business of `analysis`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synth.run.standing import AnyRun, Survey

TABLES = Path("analysis/results")
"""Where `python -m analysis collect` writes, from here."""


def with_collected(found: Survey[AnyRun], tables: Path) -> Survey[AnyRun]:
    """Runs without a folder count as done where a table has them done; it is named."""
    missing = found.ids("new")
    collected: set[str] = set()
    news = list(found.news)
    for path in _tables(tables) if missing else ():
        try:
            own = _done(path, missing - collected)
        except ValueError as error:
            news.append(str(error))
            continue
        collected |= own
        if own:
            news.append(
                f"{len(own)} done (collected) in {path}; run --again trains them here"
            )
    runs = [
        replace(run, state="done") if run.run_id in collected else run
        for run in found.runs
    ]
    return replace(found, runs=runs, news=news)


def last_rows(
    run_ids: Collection[str], tables: Path
) -> dict[str, Sequence[dict[str, Any]]]:
    """By run, what tables say of its last step, in the form of `survey.metrics`."""
    import polars as pl

    rows: dict[str, list[dict[str, Any]]] = {}
    for path in _tables(tables) if run_ids else ():
        names = ["run_id", "step", "suite", "metric", "slice", "value"]
        here = pl.col("run_id").is_in(list(set(run_ids) - rows.keys()))
        last = pl.col("step") == pl.col("step").max().over("run_id")
        done = pl.scan_parquet(path).filter(here, pl.col("state") == "done")
        for row in done.filter(last).select(names).collect().iter_rows(named=True):
            rows.setdefault(row["run_id"], []).append(row)
    return dict(rows)


def _tables(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def _done(path: Path, wanted: Collection[str]) -> set[str]:
    """Those of the wanted runs that are done in a table.

    Raises
    ------
    ValueError
        Names a file that is no table.
    """
    import polars as pl

    here = pl.col("run_id").is_in(list(wanted)) & (pl.col("state") == "done")
    try:
        table = pl.scan_parquet(path).filter(here).select("run_id").unique().collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is left out, it is no table: {reason}") from None
    return set(table["run_id"].to_list())

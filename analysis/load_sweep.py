"""Loads the table of a sweep by name or by path."""

from pathlib import Path

import polars as pl

from analysis.collect import collect
from analysis.parquet import read, read_all
from synth.identity import nearest


def load_sweep(name: str, results: Path, runs: Path = Path("runs")) -> pl.DataFrame:
    """Load a parquet file, a folder of tables or of runs, a table in `results`, or a sweep.

    Folders of runs are read in their current state; nothing is written.

    Raises
    ------
    ValueError
        When nothing has that name.
    """
    path = Path(name)
    if path.suffix == ".parquet" and path.is_file():
        return read(path)
    if name and path.is_dir():
        return read_all(path) if any(path.glob("*.parquet")) else collect(path).frame
    table = results / f"{name}.parquet"
    if table.is_file():
        return read(table)
    if (runs / name).is_dir():
        return collect(runs / name).frame
    tables = [path.stem for path in sorted(results.glob("*.parquet"))]
    folders = [path.name for path in sorted(runs.glob("*")) if path.is_dir()]
    known = list(dict.fromkeys([*tables, *folders]))
    raise ValueError(
        f"{name!r} is neither a table in {results}, nor a parquet file or a folder. "
        f"{nearest(name, known) if known else 'There are no tables yet: make collect.'}"
    )

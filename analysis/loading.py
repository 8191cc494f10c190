"""The table of a sweep, by whatever a person calls it."""

from pathlib import Path

import polars as pl

from analysis.collect import collect
from analysis.parquet import read, read_all
from synth.identity import nearest


def load_sweep(name: str, results: Path, runs: Path = Path("runs")) -> pl.DataFrame:
    """A parquet file, a folder of tables or of runs, a table in `results`, or a sweep.

    Folders of runs are read as they stand; nothing is written.

    Raises
    ------
    ValueError
        When nothing has that name.
    """
    path = Path(name)
    if path.suffix == ".parquet" and path.is_file():
        return read(path)
    if path.is_dir():
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
        f"{name!r} is no table in {results}, no parquet file and no folder of runs. "
        f"{nearest(name, known) if known else 'There are no tables yet: make collect.'}"
    )

"""Run folders to one typed, sorted table per sweep.

Folders are the truth and may be in any state: running, killed, torn, failed, copied.
Nothing is dropped in silence: every folder has at least one row, with its state, and
what could not be read is said in `problem` and counted.
"""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from analysis.folders import files_of, is_probe, read_run, stamp_of
from analysis.lines import ITEM_COLUMNS, Lines, in_order, parse, parse_items
from analysis.schema import MEASURED, ORDER, RUN_SCHEMA, SWEEP_SCHEMA
from synth.store import RunFolder

PROBE = "probe/"
"""What the suites of probes get in front: they measure other examples than training,
under the same names."""


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
    found = _look_through(folder, sweep, known)
    if not found.runs:
        raise ValueError(
            f"{folder} holds no run: no folder in it has a config.json. Give the folder "
            "of a sweep, for instance runs/quick."
        )
    if previous is not None and not found.fresh and len(found.kept) == len(known):
        frame = previous.with_columns(sweep=pl.lit(sweep))
    else:
        frame = _assembled(found, previous)
    runs = found.runs
    states = Counter(run["state"] for run in runs.values())
    wrong = {run_id: run["problem"] for run_id, run in runs.items() if run["problem"]}
    return Collection(
        frame,
        dict(sorted(states.items())),
        wrong | found.copies,
        len(runs) - len(found.kept),
    )


@dataclass
class _Found:
    """What lies in a folder of runs."""

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    """Runs that did not change since the earlier collection."""
    fresh: list[Lines] = field(default_factory=list)
    probes: list[Lines] = field(default_factory=list)
    items: list[Lines] = field(default_factory=list)
    copies: dict[str, str] = field(default_factory=dict)
    """Folders of runs that have another folder -> what is said of them."""


def _look_through(folder: Path, sweep: str, known: dict[str, dict[str, Any]]) -> _Found:
    """Read what changed; `known` are the runs of an earlier collection."""
    found = _Found()
    for path in sorted(folder.iterdir()):
        files = files_of(path)
        if "config.json" not in files:
            continue
        stamp, state = stamp_of(files), RunFolder(folder, path.name).state()
        run = known.get(path.name)
        unchanged = run is not None and (run["stamp"], run["state"]) == (stamp, state)
        if run is None or not unchanged:
            run = read_run(path, sweep, stamp, state)
        run_id = run["run_id"]
        if run_id in found.runs:
            text = f"a second folder of run {run_id}: left out"
            found.copies[path.name] = text
            continue
        run = found.runs[run_id] = run | {"sweep": sweep}
        if unchanged:
            found.kept.append(run_id)
            continue
        found.fresh.append(Lines.of(path / "metrics.jsonl", run))
        found.probes += [Lines.of(path / name, run) for name in files if is_probe(name)]
        found.items.append(Lines.of(path / "items.jsonl", run))
    return found


def _assembled(found: _Found, previous: pl.DataFrame | None) -> pl.DataFrame:
    """One table of what was read and of what was kept."""
    probed = pl.col("suite").str.replace("^", PROBE)
    parts = [pl.DataFrame(schema=MEASURED), *parse(found.fresh)]
    parts += [rows.with_columns(probed) for rows in parse(found.probes)]
    items = [pl.DataFrame(schema=ITEM_COLUMNS), *map(parse_items, found.items)]
    if previous is not None:
        old = _of_kept(previous, found.kept)
        parts.append(old.select(*MEASURED))
        items.append(old.drop_nulls("items_right").select(*ITEM_COLUMNS))
    measured = in_order(pl.concat(parts))
    return _joined(found.runs, measured, pl.concat(items))


def _known_runs(previous: pl.DataFrame | None) -> dict[str, dict[str, Any]]:
    """The runs of an earlier table, which is sorted by run: one row of each."""
    if previous is None:
        return {}
    first = pl.col("run_id").ne_missing(pl.col("run_id").shift())
    rows = previous.filter(first).select(*RUN_SCHEMA).iter_rows(named=True)
    return {row["run_id"]: row for row in rows}


def _of_kept(previous: pl.DataFrame, kept: list[str]) -> pl.DataFrame:
    """Measured rows of the kept runs; a run without a number has no row here."""
    rows = previous.filter(pl.col("metric").is_not_null())
    if len(kept) == previous["run_id"].n_unique():
        return rows
    return rows.filter(pl.col("run_id").is_in(kept))


def _joined(
    runs: dict[str, dict[str, Any]], measured: pl.DataFrame, items: pl.DataFrame
) -> pl.DataFrame:
    """Measured rows, in their order, with the columns of their run and their items."""
    table = pl.DataFrame(list(runs.values()), schema=RUN_SCHEMA, orient="row")
    items = items.unique(ORDER, keep="last", maintain_order=True)
    measured = measured.join(items, on=ORDER, how="left", maintain_order="left")
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
        When there is no such file, or another kind of file.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Collect a sweep first: python -m analysis collect."
        )
    try:
        frame = pl.read_parquet(path)
        return frame.select(
            (
                pl.col(name)
                if name in frame.columns
                else pl.lit(None, kind).alias(name)
            ).cast(kind)
            for name, kind in SWEEP_SCHEMA.items()
        )
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"{path} is no table of a sweep ({str(error).splitlines()[0]}). Remove it, "
            "then collect the sweep again: python -m analysis collect."
        ) from None


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

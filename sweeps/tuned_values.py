"""Tables of tuned values (`tuned.json`), one row a cell, written by tune and search."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from sweeps.cells import cell_key, seeds_of
from synth.command_words import as_typed
from synth.config import RunConfig
from synth.disk.files import write_atomically

TABLE = "tuned.json"
RATE = "learning_rate"


def round_value(value: float, digits: int = 3) -> float:
    """Round to significant digits."""
    return float(f"{value:.{digits}g}")


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a table of tuned values."""
    write_atomically(path, json.dumps(list(rows), indent=1).encode() + b"\n")


def read_table(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a table.

    Raises `ValueError` when the file is not such a table.
    """
    try:
        table: list[dict[str, Any]] = json.loads(path.read_bytes())
        if not all(isinstance(row["cell"], str) and row["training"] for row in table):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a table of tuned values ({_explain(error)}). "
            f"`{as_typed('sweeps tune')}` writes one, or `search`."
        ) from None
    return table


def update_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows into a table, replacing those of the same cells.

    Rows in which other fields were tuned are dropped: a table tunes every cell alike.

    Raises `ValueError` when there is a file that is not such a table.
    """
    cells = {row["cell"] for row in rows}
    fields = {frozenset(row["training"]) for row in rows}
    kept = [
        row
        for row in (read_table(path) if path.exists() else [])
        if row["cell"] not in cells
        and (not rows or frozenset(row["training"]) in fields)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, [*kept, *rows])


def why_unsettled(row: dict[str, Any]) -> str | None:
    """Why the tuning did not determine the rate of a row; None if it did."""
    if row.get("all_alike"):
        return "NOTHING CHOSEN: all rates score the same"
    if row.get("edge"):
        rates = [point[RATE] for point in row["grid"]]
        return (
            f"NOT SETTLED: the best is the {row['edge']}est of {min(rates):.3g} to "
            f"{max(rates):.3g}"
        )
    return None


def apply_tuned(
    configs: Iterable[RunConfig],
    path: Path,
    say: Callable[[str], None] | None = None,
) -> list[RunConfig]:
    """Replace the tuned values of each run by those of its cell.

    Runs that differ only in tuned values become one. `say` prints every cell whose rate
    is not settled; without it such cells are an error.

    Raises `ValueError` when the table cannot be read, lacks a cell, was tuned on a seed
    of a run, or has an unsettled rate and `say` is not given.
    """
    unsettled: dict[str, str] = {}
    rows = {row["cell"]: row for row in read_table(path)}
    names = sorted({name for row in rows.values() for name in row["training"]})
    tuned_by_id: dict[str, RunConfig] = {}
    for config in configs:
        row = rows.get(cell_key(config, names))
        if row is None:
            verb = "tune" if set(names) <= {RATE} else "search"
            raise ValueError(
                f"{path} has no values for {config.run_id}: it was tuned on other "
                f"cells. Run `{as_typed(f'sweeps {verb}')}` for this sweep and scale."
            )
        if used := seeds_of([config]).intersection(row.get("seeds", ())):
            raise ValueError(
                f"{path} was tuned on seed {min(used)}, so {config.run_id} would be "
                "judged on the data that chose its values. Run it on other seeds."
            )
        try:
            training = dataclasses.replace(config.training, **row["training"])
        except TypeError as error:
            raise ValueError(
                f"{path} names a field that TrainingConfig does not have: {error}."
            ) from None
        tuned = dataclasses.replace(config, training=training)
        tuned_by_id[tuned.run_id] = tuned
        if why := why_unsettled(row):
            name = row.get("name", row["cell"])
            unsettled[row["cell"]] = f"{name} at {row['training'][RATE]:.3g}: {why}"
    if unsettled and say is None:
        cells = "\n".join(f"  {words}" for words in unsettled.values())
        raise ValueError(
            f"{path} settles no rate for {len(unsettled)} cells:\n{cells}\n"
            "Tune them on a wider grid, or by a metric that distinguishes rates "
            f"(`{as_typed('sweeps tune')} ... --rates ... --metric ...`); or add "
            "--unsettled to use these rates all the same."
        )
    for words in unsettled.values():
        say(f"{path}: {words}") if say else None
    return list(tuned_by_id.values())


def _explain(error: Exception) -> str:
    """What is wrong with a file that is not a table."""
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, ValueError):
        return f"it is not JSON: {error}"
    return "it holds no list of rows with `cell` and `training`"

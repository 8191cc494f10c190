"""Where the runs of a sweep stand, and the numbers in their folders.

Nothing is written, and files of older or newer code are read as far as they go.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.collected import with_collected
from synth.config import RunConfig
from synth.run.files import size_of
from synth.run.standing import Standing, Survey, look
from synth.run.store import RunFolder

TAIL_BYTES = 1 << 18
"""How much of a long metrics file is read at first, from its end."""
_COLUMNS = {"step", "suite", "metric", "slice", "value"}


def survey(
    root: Path,
    configs: Sequence[RunConfig] | None = None,
    *,
    queue: bool = False,
    tables: Path | None = None,
) -> Survey[Standing]:
    """Look at the folders of the given runs, or of all that lie below `root`.

    With `queue`, SLURM is asked about the runs if any were ever sent to it from here.
    With `tables`, runs without a folder are done where a table in that folder says so.

    Raises
    ------
    ValueError
        Names a root that cannot be read.
    """
    found: Survey[Standing] = look(root, configs)
    if queue and (root / ".slurm").is_dir():
        from slurm.status import with_queue

        found = with_queue(found)
    if tables is not None:
        found = with_collected(found, tables)
    return found if configs is not None else found.begun()


def folder_of_runs(name: str) -> Path | None:
    """The folder that a person named in the place of a sweep, if it is one."""
    from sweeps.catalogue import CATALOGUE

    path = Path(name)
    return path if name not in CATALOGUE and path.is_dir() else None


def stored_configs(root: Path) -> tuple[list[RunConfig], list[str]]:
    """The configurations of the runs in a folder, and what keeps others out.

    Raises
    ------
    ValueError
        When there is no run.
    """
    from slurm.sent import stored_config

    configs, left_out = [], []
    for run in survey(root, queue=True).runs:
        try:
            configs.append(stored_config(root, run.run_id))
        except (OSError, ValueError, IndexError) as error:
            if run.state != "done":
                left_out.append(f"{run.run_id} is left out: {error}")
    if not configs:
        raise ValueError("\n".join([f"There are no runs in {root}.", *left_out]))
    return configs, left_out


def headline(folder: RunFolder) -> dict[str, Any]:
    """The last whole-suite metrics of a run: of its result, else of its metrics."""
    result = folder.read_json("result.json")
    if result is not None:
        found = result.get("headline")
        return dict(found) if isinstance(found, dict) else {}
    length, whole = TAIL_BYTES, False
    rows: list[dict[str, Any]] = []
    while not whole and not (rows and rows[0]["step"] != rows[-1]["step"]):
        rows, whole = _last_rows(folder.metrics_path, length)
        length *= 8
    return {
        f"{row['suite']}/{row['metric']}": row["value"]
        for row in rows
        if row["step"] == rows[-1]["step"] and row["slice"] == ""
    }


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """The rows of `metrics.jsonl`; a torn last line is passed over.

    Raises
    ------
    ValueError
        Names a file that cannot be read.
    """
    return _last_rows(folder.metrics_path, None)[0]


def _last_rows(path: Path, length: int | None) -> tuple[list[dict[str, Any]], bool]:
    """The rows in the last so many bytes of a file, and whether those are all.

    Raises
    ------
    ValueError
        Names a file that cannot be read, or whose lines are no rows.
    """
    try:
        size = size_of(path)
        start = 0 if length is None else max(0, size - length)
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read().split(b"\n")
        rows = [json.loads(line) for line in lines[bool(start) : -1]]
        if not all(row.keys() >= _COLUMNS for row in rows):
            raise ValueError(f"a row lacks one of {', '.join(sorted(_COLUMNS))}")
        return rows, not start
    except FileNotFoundError:
        return [], True
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None

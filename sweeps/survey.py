"""Where the runs of a sweep stand, read from their folders alone.

One directory listing a run at most: ten thousand folders are looked through in about a
second. Nothing is written, and files of older or newer code are read as far as they go.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.config import RunConfig
from synth.run.files import size_of
from synth.run.store import RunFolder, State

STATES: tuple[State, ...] = ("new", "running", "stopped", "done", "failed")
TAIL_BYTES = 1 << 18
"""How much of a long metrics file is read at first, from its end."""
_COLUMNS = {"step", "suite", "metric", "slice", "value"}


@dataclass(frozen=True)
class Standing:
    """One run: its state, and what its folder says is wrong."""

    run_id: str
    state: State
    error: str | None = None


@dataclass(frozen=True)
class Survey:
    """The runs of a sweep, in its order."""

    root: Path
    runs: list[Standing]

    @property
    def counts(self) -> Counter[State]:
        """How many runs are in each state."""
        return Counter(run.state for run in self.runs)

    def ids(self, *states: State) -> set[str]:
        """The run ids in any of the states."""
        return {run.run_id for run in self.runs if run.state in states}

    @property
    def first_error(self) -> Standing | None:
        """The first run with an error."""
        return next((run for run in self.runs if run.error), None)

    def errors(self) -> Counter[str]:
        """Errors, by their first line without its numbers, and how often each came."""
        return Counter(_kind(run.error) for run in self.runs if run.error)


def survey(root: Path, configs: Sequence[RunConfig] | None = None) -> Survey:
    """Look at the folders of the given runs, or of all that lie below `root`.

    Raises
    ------
    ValueError
        Names a root that cannot be read.
    """
    present = set(folders_in(root))
    if configs is None:
        names: Iterable[str] = sorted(n for n in present if not n.startswith("."))
    else:
        names = [config.run_id for config in configs]
    known = {config.run_id: config for config in configs or ()}
    runs = []
    for name in names:
        if name not in present:
            runs.append(Standing(name, "new"))
            continue
        run = standing(root, name, known.get(name))
        if configs is not None or run.state != "new":  # else it is no run's folder
            runs.append(run)
    return Survey(root, runs)


def folders_in(path: Path) -> list[str]:
    """The names of the folders in a folder, links included; none if it is not there.

    A link that leads nowhere, or round in a circle, is none.

    Raises
    ------
    ValueError
        Names a path that cannot be read as a folder.
    """
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if _is_folder(entry))
    except FileNotFoundError:
        if path.is_symlink():
            raise ValueError(
                f"{path} is a link to {os.readlink(path)}, which is not there. Create "
                "that folder (or mount its disk), or remove the link."
            ) from None
        return []
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}.") from None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def standing(root: Path, run_id: str, config: RunConfig | None = None) -> Standing:
    """One run; with its configuration, that of an unfinished folder is compared."""
    folder = RunFolder(root, run_id)
    try:
        state = folder.state()
        if state == "done":
            return Standing(run_id, state)
        if state == "failed":
            return Standing(run_id, state, folder.failure())
        if state == "stopped" and config is not None:
            return Standing(run_id, state, _edited(folder, config))
        return Standing(run_id, state)
    except (OSError, ValueError, AttributeError) as error:
        return Standing(run_id, "failed", str(error))


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


def _edited(folder: RunFolder, config: RunConfig) -> str | None:
    """What `RunFolder.open` would refuse, said before anything starts."""
    stored = folder.read_json("config.json")
    if stored is None or stored.get("config") == config.to_dict():
        return None
    try:
        if RunConfig.from_dict(stored["config"]).run_id == config.run_id:
            return None
        found = "describes another run"
    except (KeyError, TypeError, ValueError) as error:
        found = f"cannot be used ({error})"
    return (
        f"{folder.path / 'config.json'} {found}: it was changed after it was written, or "
        "by another version. Move the folder away to train this run afresh."
    )


def _kind(error: str | None) -> str:
    """The first line with its numbers left out, so that like errors count together."""
    return re.sub(r"\d[\w.+-]*", "#", (error or "").partition("\n")[0])

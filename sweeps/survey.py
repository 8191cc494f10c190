"""The states of a sweep's runs, and the numbers in their folders.

Nothing is written; of files from other versions the known fields are read.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slurm.clients import Ask, PromptAsk
from slurm.ledger import launch_folders, launch_roots
from sweeps.collected_runs import mark_collected
from sweeps.sweep_metric import values_by_name
from synth.config import RunConfig
from synth.disk.files import size_of
from synth.metrics import HEADLINE_SLICES
from synth.run.standing import Standing, Survey, look, standing
from synth.run.store import RunFolder

_COLUMNS = {"step", "suite", "metric", "slice", "value"}


def survey(
    root: Path,
    configs: Sequence[RunConfig] | None = None,
    *,
    ask: Ask | None = None,
    tables: Path | None = None,
) -> Survey[Standing]:
    """Read the states of the given runs, or of all runs in `root`.

    With `ask`, SLURM is asked about the runs if any were ever submitted.
    With `tables`, runs without a folder are done if a table in that folder has them.

    Raises `ValueError`, naming a root that cannot be read.
    """
    standings: Survey[Standing] = look(root, configs)
    if ask is not None and _submitted(standings):
        from slurm.status import with_queue

        standings = with_queue(standings, ask)
    if tables is not None:
        standings = mark_collected(standings, tables)
    return standings if configs is not None else standings.begun()


def _submitted(standings: Survey[Standing]) -> bool:
    """Whether the folder, or a sweep that shares runs with it, has launches on SLURM."""
    root = standings.root
    if launch_folders(root):
        return True
    roots = launch_roots(root, (run.run_id for run in standings.runs))
    return any(map(launch_folders, roots))


def folder_of_runs(name: str) -> Path | None:
    """The path `name`, if it is a folder and not a sweep of the catalogue.

    Raises `ValueError` when it is the folder of one run; says how that stands and what
    trains it again.
    """
    from sweeps.catalogue import CATALOGUE

    path = Path(name)
    if not name or name in CATALOGUE or not path.is_dir():
        return None
    if (path / "config.json").is_file():
        raise ValueError(_one_run(path.absolute()))
    return path


def _one_run(path: Path) -> str:
    """What a folder is that holds one run, its state, and the command for it."""
    from synth.export.train_command import train_command

    state = standing(path.parent, path.name).state
    said = f"{path} is one run, not a folder of runs: {state}."
    if state == "done":
        return said
    try:
        command = train_command(RunFolder(path.parent, path.name).config())
    except (OSError, ValueError) as error:
        return f"{said} It cannot be trained again: {error}"
    return f"{said} To go on: {command} --runs {shlex.quote(str(path.parent))}"


def read_configs(root: Path) -> tuple[list[RunConfig], list[str], int]:
    """The configurations of the runs in a folder, and sentences about what is left out.

    That is each run whose configuration cannot be used; finished ones, which may be of
    another version, share a sentence. The last value counts those that are not finished.

    Raises `ValueError` when the folder has no run.
    """
    from slurm.submitted_runs import stored_config

    configs, left_out, finished = [], [], []
    for run in survey(root, ask=PromptAsk()).runs:
        try:
            configs.append(stored_config(root, run.run_id))
        except (OSError, ValueError, IndexError) as error:
            if run.state == "done":
                finished.append(f"{run.run_id}: {error}")
            else:
                left_out.append(f"{run.run_id} is left out: {error}")
    unfinished = len(left_out)
    if finished:
        several = (
            f"{len(finished)} finished runs are"
            if finished[1:]
            else "1 finished run is"
        )
        left_out.append(f"{several} left out, first {finished[0]}")
    if not configs:
        raise ValueError("\n".join([f"There are no runs in {root}.", *left_out]))
    return configs, left_out, unfinished


def last_metrics(folder: RunFolder) -> dict[str, Any]:
    """The last numbers of whole suites and of the next token, from result or metrics."""
    result = folder.read_json("result.json")
    if result is not None:
        headline = result.get("headline")
        return dict(headline) if isinstance(headline, dict) else {}
    rows = read_metrics(folder)
    return values_by_name(
        row
        for row in rows
        if row["step"] == rows[-1]["step"] and row["slice"] in HEADLINE_SLICES
    )


def read_metrics(folder: RunFolder) -> list[dict[str, Any]]:
    """Read the rows of `metrics.jsonl`; an incomplete last line is skipped.

    Raises `ValueError`, naming a file that cannot be read, or whose lines are not rows
    of metrics.
    """
    path = folder.metrics_path
    try:
        if not size_of(path):  # absent, or nothing is measured yet
            return []
        rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        if not all(row.keys() >= _COLUMNS for row in rows):
            raise ValueError(f"a row lacks one of {', '.join(sorted(_COLUMNS))}")
        return rows
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None

"""Reads one run's folder into the columns of its run."""

import contextlib
import fnmatch
import math
import os
import stat
from pathlib import Path
from typing import Any

import polars as pl

from analysis.cost import ODD, flops_per_token
from analysis.schema import RUN_SCHEMA, fits, read_columns
from synth.config import RunConfig
from synth.disk.files import read_object
from synth.families import plugins
from synth.families.file_names import name_files, name_files_in
from synth.identity import canonical_json, flatten
from synth.scales import resolve

STAMPED = (
    "config.json",
    "metrics.jsonl",
    "items.jsonl",
    "result.json",
    "failure.json",
)
PROBES = "probe-*.jsonl"
"""Files that `synth probe --save` writes into a run's folder."""


def is_probe(name: str) -> bool:
    """Whether `synth probe --save` wrote the file."""
    return fnmatch.fnmatch(name, PROBES)


def files_of(path: Path) -> dict[str, os.stat_result]:
    """The files of a run that collection reads, sorted by name.

    Raises `OSError` when the folder cannot be read, as with a dangling link. Raises
    `ValueError`, naming an entry that is not a regular file; reading a pipe would
    block.
    """
    files: dict[str, os.stat_result] = {}
    with contextlib.suppress(NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            if entry.name in STAMPED or is_probe(entry.name):
                with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
                    files[entry.name] = entry.stat()
    for name, status in files.items():
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{name} is not a regular file")
    return dict(sorted(files.items()))


def stamp_of(files: dict[str, os.stat_result]) -> str:
    """Names, sizes and modification times of the files, as one text."""
    return " ".join(f"{n}:{s.st_size}@{s.st_mtime_ns}" for n, s in files.items())


def read_run(path: Path, sweep: str, stamp: str, state: str) -> dict[str, Any]:
    """The columns of a run, as far as its files can be read."""
    run: dict[str, Any] = dict.fromkeys(RUN_SCHEMA)
    run |= {"sweep": sweep, "run_id": path.name, "state": state, "stamp": stamp}
    read = {name: _read_json(path / f"{name}.json") for name in _JSON_FILES}
    unread = [text for _, text in read.values() if text]
    stored, result, failure, environment = (read[name][0] for name in _JSON_FILES)
    run["run_id"] = _text(stored.get("run_id")) or path.name
    config = stored.get("config")
    if isinstance(config, dict):
        try:
            plugins.prepare(config, path / "config.json")
            unread += _check_identity(config, path / "config.json", run["run_id"])
        except ValueError as error:  # the rest is read without the plugin
            unread.append(str(error))
        # A table must not name code to import, nor places on somebody's disk.
        named = name_files(RunConfig, config)
        named.pop(plugins.FOLDER, None)
        columns, wrong = read_columns(named)
        run |= columns | _derived(named, result, columns["scale"], wrong)
        unread += wrong
    else:
        config = {}
        unread.append("config.json: no configuration")
    run["training_seconds"], wrong = _training_seconds(result)
    unread += wrong
    lanes = result.get("lanes")
    run["lanes"] = lanes if fits(lanes, RUN_SCHEMA["lanes"]) else None
    sessions = environment.get("sessions")
    session = sessions[-1] if isinstance(sessions, list) and sessions else {}
    if isinstance(session, dict):
        run["device"] = _text(session.get("device"))
        run["step_form"] = _text(session.get("step"))
        code = session.get("code")
        run["commit"] = _text(code.get("commit")) if isinstance(code, dict) else None
    problem = _text(failure.get("message")) or "; ".join(unread)
    problem = problem.replace(f"{path}{os.sep}", "")
    run["problem"] = name_files_in(problem, RunConfig, config) or None
    return run


def _check_identity(config: dict[str, Any], path: Path, run_id: str) -> list[str]:
    """What keeps a stored configuration from being that of its run, as sentences.

    A field that was removed or changed, such as the digest of a corpus, makes the run a
    setting of its own, which no comparison takes.
    """
    try:
        described = RunConfig.from_dict(config, path)
    except (OSError, *ODD) as error:
        return [f"config.json describes no run of this version: {error}"]
    stored = flatten(config)
    identity = flatten(described.canonical())
    lost = [f"{k} ({identity[k]})" for k in identity if stored.get(k) != identity[k]]
    if described.run_id != run_id:
        what = f"it describes {described.run_id}"
    elif lost:
        what = f"it lacks {', '.join(lost)}"
    else:
        return []
    return [
        f"config.json was changed after training: {what}. Restore it and collect again, or "
        "move the folder away to train the run afresh."
    ]


def _derived(
    config: dict[str, Any], result: dict[str, Any], scale: str | None, wrong: list[str]
) -> dict[str, Any]:
    """Columns computed from a configuration; errors are added to `wrong`."""
    columns: dict[str, Any] = {}
    try:
        columns["config"] = canonical_json(config)
        parameters = resolve(str(scale))[1].nominal_parameters
        if fits(parameters, RUN_SCHEMA["parameters"]):
            columns["parameters"] = parameters
        if not wrong:
            columns["flops_per_token"] = flops_per_token(config, result)
    except ValueError as error:  # NaN in the file, or an unknown scale
        wrong.append(f"config.json: {error}")
    return columns


_JSON_FILES = ("config", "result", "failure", "environment")


def _read_json(path: Path) -> tuple[dict[str, Any], str | None]:
    """The object in a file ({} without a file), and an error if it cannot be read."""
    try:
        return read_object(path), None
    except FileNotFoundError:
        return {}, None
    except (ValueError, OSError) as error:
        return {}, str(error)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and fits(value, pl.String()) else None


def _training_seconds(result: dict[str, Any]) -> tuple[float | None, list[str]]:
    seconds = result.get("seconds")
    if not isinstance(seconds, dict):
        return None, []
    values = seconds.values()
    if not all(fits(value, RUN_SCHEMA["training_seconds"]) for value in values):
        return None, [f"result.json: seconds is {seconds!r:.60}"]
    return math.fsum(value for value in values if value is not None), []


def add_problem(run: dict[str, Any], text: str) -> None:
    """Append a sentence to the column `problem` of a run."""
    run["problem"] = f"{run['problem']}; {text}" if run["problem"] else text

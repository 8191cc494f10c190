"""One run's folder: which of its files are read, and what they say of the run."""

import contextlib
import fnmatch
import json
import os
from pathlib import Path
from typing import Any

from analysis.cost import flops_per_token
from analysis.schema import RUN_SCHEMA, configured
from synth.identity import canonical_json
from synth.scales import resolve

STAMPED = (
    "config.json",
    "metrics.jsonl",
    "items.jsonl",
    "result.json",
    "failure.json",
)
PROBES = "probe-*.jsonl"
"""What `synth probe --save` leaves in a run's folder."""


def is_probe(name: str) -> bool:
    """Whether `synth probe --save` wrote the file."""
    return fnmatch.fnmatch(name, PROBES)


def files_of(path: Path) -> dict[str, os.stat_result]:
    """The files of a run that collection reads, by name in order."""
    found: dict[str, os.stat_result] = {}
    with contextlib.suppress(NotADirectoryError), os.scandir(path) as entries:
        for entry in entries:
            if entry.name in STAMPED or is_probe(entry.name):
                with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
                    found[entry.name] = entry.stat()
    return dict(sorted(found.items()))


def stamp_of(files: dict[str, os.stat_result]) -> str:
    """Names, sizes and times of the files."""
    return " ".join(f"{n}:{s.st_size}@{s.st_mtime_ns}" for n, s in files.items())


def read_run(path: Path, sweep: str, stamp: str, state: str) -> dict[str, Any]:
    """The run's own columns, as much of them as its files give."""
    run: dict[str, Any] = dict.fromkeys(RUN_SCHEMA)
    run |= {"sweep": sweep, "run_id": path.name, "state": state, "stamp": stamp}
    read = {name: _json(path / f"{name}.json") for name in _JSON_FILES}
    unread = [f"{name}.json: {text}" for name, (_, text) in read.items() if text]
    stored, result, failure, environment = (read[name][0] for name in _JSON_FILES)
    config = stored.get("config")
    if isinstance(config, dict):
        run |= configured(config)
        run["run_id"] = stored.get("run_id") or path.name
        run["config"] = canonical_json(config)
        try:
            run["parameters"] = resolve(str(run["scale"]))[1].nominal_parameters
        except ValueError as error:
            unread.append(str(error))
        run["flops_per_token"] = flops_per_token(config, result)
    else:
        unread.append("config.json: no configuration")
    run["training_seconds"] = _training_seconds(result)
    run["lanes"] = result.get("lanes")
    session = (environment.get("sessions") or [{}])[-1]
    run["device"] = session.get("device")
    run["commit"] = (session.get("code") or {}).get("commit")
    run["problem"] = failure.get("message") or "; ".join(unread) or None
    return run


_JSON_FILES = ("config", "result", "failure", "environment")


def _json(path: Path) -> tuple[dict[str, Any], str | None]:
    """The object in a file (empty if there is none), and why it could not be read."""
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}, None
    except (ValueError, OSError) as error:
        return {}, f"{type(error).__name__}: {error}"
    return (value, None) if isinstance(value, dict) else ({}, "not an object")


def _training_seconds(result: dict[str, Any]) -> float | None:
    seconds = result.get("seconds")
    return sum(map(float, seconds.values())) if isinstance(seconds, dict) else None


def complain(run: dict[str, Any], text: str) -> None:
    """Add to what is wrong with a run."""
    run["problem"] = f"{run['problem']}; {text}" if run["problem"] else text

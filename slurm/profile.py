"""Cluster profiles: what a site wants to see on a job, from a TOML file.

A profile is found by name in `$SYNTH_PROFILES`, in `~/.config/synth/profiles`, then
among the ones shipped in `slurm/profiles`; anything that ends in `.toml` is a path.
`slurm/profiles/example.toml` explains every key.
"""

import dataclasses
import math
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth.execution import Execution
from synth.identity import nearest

SHIPPED = Path(__file__).parent / "profiles"

OWN_OPTIONS = {
    "account": "account",
    "array": "max_running",
    "constraint": "constraint",
    "cpus-per-task": "cpus",
    "dependency": "max_running",
    "error": "(kept beside the launch)",
    "gpus-per-node": "gpus",
    "job-name": "(the launch's name)",
    "mem": "memory_gb",
    "nodes": "nodes",
    "ntasks-per-node": "tasks",
    "open-mode": "(always append)",
    "output": "(kept beside the launch)",
    "partition": "partition",
    "qos": "qos",
    "requeue": "(always on)",
    "signal": "signal_delay_s",
    "time": "time",
    "wckey": "wckey",
}
"""sbatch options that other keys decide, and which."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How jobs are sent to one cluster; every field is a key of the TOML file."""

    name: str
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    wckey: str = ""
    time: int = 60
    """Minutes; the file also takes "HH:MM:SS" and "D-HH:MM:SS"."""
    nodes: int = 1
    tasks: int = 1
    """Processes on each node; with several in all, they train data-parallel."""
    gpus: int = 0
    """GPUs on each node."""
    cpus: int = 1
    """CPUs of each process."""
    memory_gb: float = 4.0
    """Memory of each node."""
    lanes: int = 8
    """Runs that train together in one process, at most."""
    signal_delay_s: int = 90
    """Warning before the time limit: time to write a checkpoint and requeue."""
    max_running: int | None = None
    """Jobs of one submission that may run at a time."""
    max_submitted: int | None = None
    """Jobs that the site lets one user have in the queue."""
    max_idle_restarts: int = 5
    """Restarts in a row without progress after which a job gives up."""
    python: str = ""
    """Interpreter on the nodes; the one that submits by default."""
    setup: tuple[str, ...] = ()
    """Shell lines before the worker starts."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the job."""
    sbatch: Mapping[str, str | int | bool] = field(default_factory=dict)
    """Further sbatch options, under their long names."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `synth.execution.Execution`."""

    def __post_init__(self) -> None:
        for name in ("time", "nodes", "tasks", "cpus", "lanes", "max_idle_restarts"):
            self._check(getattr(self, name) >= 1, name, "at least 1")
        for name in ("max_running", "max_submitted"):
            value = getattr(self, name)
            self._check(value is None or value >= 1, name, "at least 1")
        self._check(self.gpus >= 0, "gpus", "at least 0")
        if self.gpus > self.tasks:
            raise ValueError(
                f"profile {self.name!r}: gpus must be at most tasks = {self.tasks}, "
                f"since a process uses one GPU; got {self.gpus}. Use gpus = 1 for packs "
                "(one on each GPU, as jobs of their own), or tasks = "
                f"{self.gpus} to train one large run on all of them."
            )
        self._check(0 < self.memory_gb < math.inf, "memory_gb", "above 0")
        limit = self.time * 60
        self._check(
            1 <= self.signal_delay_s < limit,
            "signal_delay_s",
            f"from 1 to below the time limit of {limit} s",
        )
        for name in self.environment:
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise ValueError(
                    f"profile {self.name!r}: environment must hold names of variables "
                    f"(letters, digits, _); got {name!r}."
                )
        for name in self.sbatch:
            if name in OWN_OPTIONS:
                raise ValueError(
                    f"profile {self.name!r}: sbatch.{name} must not be set here; it "
                    f"follows from {OWN_OPTIONS[name]}."
                )
        self.build_execution()

    def _check(self, condition: bool, key: str, allowed: str) -> None:
        if not condition:
            raise ValueError(
                f"profile {self.name!r}: {key} must be {allowed}; "
                f"got {getattr(self, key)!r}."
            )

    @property
    def num_processes(self) -> int:
        """Processes of one job."""
        return self.nodes * self.tasks

    def build_execution(self) -> Execution:
        """How the worker carries runs out on this cluster."""
        known = {item.name for item in dataclasses.fields(Execution)}
        for name in self.execution:
            if name not in known:
                raise ValueError(
                    f"profile {self.name!r}: execution has no key {name!r}. "
                    f"{nearest(name, known)}"
                )
        given = dict(self.execution)
        given.setdefault("device", "cuda" if self.gpus else "cpu")
        try:
            return Execution(**given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"profile {self.name!r}: execution: {error}") from None


def folders() -> list[Path]:
    """Where profiles are looked for, first match first."""
    own = (
        [Path(os.environ["SYNTH_PROFILES"])] if os.environ.get("SYNTH_PROFILES") else []
    )
    config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return [*own, Path(config).expanduser() / "synth" / "profiles", SHIPPED]


def available() -> dict[str, Path]:
    """Every profile that can be named, and its file."""
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return found


def load(name: str) -> Profile:
    """The profile called `name`, or the one in the file `name`.

    Raises
    ------
    ValueError
        Names the file and the key, the value and what is allowed; or the profiles that
        there are.
    """
    if name.endswith(".toml"):
        path = Path(name).expanduser()
        if not path.is_file():
            raise ValueError(f"There is no profile file {str(path)!r}.")
        return read(path)
    known = available()
    if name not in known:
        raise ValueError(
            f"No cluster profile is called {name!r}. {nearest(name, known)} Write "
            f"yours to {folders()[-2] / (name + '.toml')}, from "
            f"{SHIPPED / 'example.toml'}."
        )
    return read(known[name])


def read(path: Path) -> Profile:
    """The profile in a TOML file."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from None
    try:
        return from_values(path.stem, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def from_values(name: str, values: Mapping[str, Any]) -> Profile:
    """The profile with the given keys; unknown keys and wrong types are refused."""
    hints = typing.get_type_hints(Profile)
    del hints["name"]
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(
                f"profile {name!r} has no key {key!r}. {nearest(key, hints)}"
            )
        given[key] = _coerced(name, key, value, hints[key])
    return Profile(name=name, **given)


_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    int | None: "a whole number",
    tuple[str, ...]: "a list of texts",
}


def _coerced(name: str, key: str, value: Any, hint: Any) -> Any:
    """`value` as the field `key` declares it, or a `ValueError`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if key == "time" and isinstance(value, str):
        return minutes(name, value)
    if hint is str and isinstance(value, str):
        return value
    if hint in (int, int | None) and whole:
        return value
    if hint is float and (whole or isinstance(value, float)):
        return float(value)
    if hint == tuple[str, ...] and isinstance(value, list):
        if all(isinstance(line, str) for line in value):
            return tuple(value)
    elif typing.get_origin(hint) is not None and isinstance(value, dict):
        return _table(name, key, value)
    allowed = _WORDS.get(hint, "a table")
    raise ValueError(f"profile {name!r}: {key} must be {allowed}; got {value!r}.")


def _table(name: str, key: str, values: dict[str, Any]) -> dict[str, Any]:
    for inner, value in values.items():
        if not isinstance(value, str | int | float | bool):
            raise ValueError(
                f"profile {name!r}: {key}.{inner} must be text, a number or a truth "
                f"value; got {value!r}."
            )
    if key == "environment":
        return {inner: _variable(value) for inner, value in values.items()}
    return values


def _variable(value: str | float | bool) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def minutes(name: str, text: str) -> int:
    """The minutes, rounded up, of a time as SLURM writes it.

    >>> [minutes("site", text) for text in ("1-12:00:00", "00:00:30", "90")]
    [2160, 1, 90]
    """
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    numeric = all(part.isdigit() for part in parts) and (not dash or days.isdigit())
    if not numeric or len(parts) > 3:
        raise ValueError(
            f'profile {name!r}: time must be minutes, "HH:MM:SS" or "D-HH:MM:SS"; '
            f"got {text!r}."
        )
    numbers = [int(part) for part in parts]
    if dash:  # D-HH, D-HH:MM, D-HH:MM:SS
        hours, mins, seconds = [*numbers, 0, 0][:3]
        return int(days) * 1440 + hours * 60 + mins + (seconds > 0)
    if len(numbers) == 3:  # HH:MM:SS
        return numbers[0] * 60 + numbers[1] + (numbers[2] > 0)
    return numbers[0] + (len(numbers) == 2 and numbers[1] > 0)  # MM, MM:SS

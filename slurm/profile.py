"""Cluster profiles: the settings that a site requires of a job, from a TOML file.

A name is looked up in `$SYNTH_PROFILES`, in `~/.config/synth/profiles`, then among the
profiles of `slurm/profiles`; a word that ends in `.toml` is a path.
`slurm/profiles/example.toml` explains every key.
"""

import contextlib
import dataclasses
import os
import re
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synth.disk.places import expand
from synth.identity import coerce, nearest, require
from synth.run.execution import Execution

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
    "mem-per-cpu": "memory_per_cpu_gb",
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
"""sbatch options that follow from other keys of the profile, and those keys."""

_LIMITS: dict[str, tuple[int, int]] = {
    "time": (1, 5_000_000),
    "nodes": (1, 100_000),
    "tasks": (1, 10_000),
    "gpus": (0, 10_000),
    "cpus": (1, 100_000),
    "memory_gb": (0, 1_000_000),
    "memory_per_cpu_gb": (0, 1_000_000),
    "lanes": (1, 100_000),
    "signal_delay_s": (1, 65_535),
    "max_running": (1, 10_000_000),
    "max_submitted": (1, 10_000_000),
    "max_idle_restarts": (1, 1_000_000),
}
"""Smallest and largest value of each number; others are almost surely typos, and some
would overflow in SLURM."""
_OPTION = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How jobs are submitted to one cluster; every field is a key of the TOML file."""

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
    """Processes on each node; more than one in total train data-parallel."""
    gpus: int = 0
    """GPUs on each node."""
    cpus: int = 1
    """CPUs of each process."""
    memory_gb: float = 4.0
    """Memory of each node; 0 requests none and leaves it to the site."""
    memory_per_cpu_gb: float = 0.0
    """Memory of each CPU, for sites that request it so; then `memory_gb` is 0."""
    lanes: int = 8
    """At most this many runs train together in one process."""
    signal_delay_s: int = 90
    """Seconds between the warning and the time limit, to write a checkpoint and requeue."""
    max_running: int | None = None
    """At most this many jobs of one submission run at a time."""
    max_submitted: int | None = None
    """At most this many jobs of one user may be in the site's queue."""
    max_idle_restarts: int = 5
    """Consecutive restarts without progress after which a job fails."""
    python: str = ""
    """Interpreter on the nodes; by default the one that submits."""
    setup: tuple[str, ...] = ()
    """Shell lines to run before the worker starts."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of the job."""
    sbatch: Mapping[str, str | float | bool] = field(default_factory=dict)
    """Further sbatch options, by their long names."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `synth.run.execution.Execution`."""

    def __post_init__(self) -> None:
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            self._check(
                value is None or least <= value <= most,
                name,
                f"from {least} to {most:,}",
            )
        if self.gpus > self.tasks:
            raise ValueError(
                f"profile {self.name!r}: gpus must be at most tasks = {self.tasks}, "
                f"since a process uses one GPU; got {self.gpus}. Use gpus = 1 for packs "
                "(one on each GPU, as jobs of their own), or tasks = "
                f"{self.gpus} to train one large run on all of them."
            )
        limit = self.time * 60
        self._check(
            1 <= self.signal_delay_s < limit,
            "signal_delay_s",
            f"from 1 to below the time limit of {limit} s",
        )
        self._check_memory()
        self._check_words()
        self.build_execution()

    def _check(self, condition: bool, key: str, allowed: str) -> None:
        require(condition, f"profile {self.name!r}: {key}", allowed, getattr(self, key))

    def _check_memory(self) -> None:
        """SLURM accepts only one of its memory options."""
        given = {
            "memory_gb": self.memory_gb,
            "memory_per_cpu_gb": self.memory_per_cpu_gb,
            "sbatch.mem-per-gpu": self.sbatch.get("mem-per-gpu", 0),
        }
        several = [name for name, value in given.items() if value]
        if len(several) > 1:
            raise ValueError(
                f"profile {self.name!r}: {' and '.join(several)} exclude each other: a "
                "job requests memory in one way. memory_gb = 0 requests none."
            )

    def _check_words(self) -> None:
        """Check that names and values can stand in a shell script, each on one line."""
        for name in self.environment:
            if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
                raise ValueError(
                    f"profile {self.name!r}: environment must hold names of variables "
                    f"(letters, digits, _); got {name!r}."
                )
        for name in self.sbatch:
            if not _OPTION.fullmatch(name):
                raise ValueError(
                    f"profile {self.name!r}: sbatch must hold long names of options "
                    f"without the dashes before them (mail-type); got {name!r}."
                )
            if name in OWN_OPTIONS:
                raise ValueError(
                    f"profile {self.name!r}: sbatch.{name} must not be set here; it "
                    f"follows from {OWN_OPTIONS[name]}."
                )
        texts = {f"environment.{k}": v for k, v in self.environment.items()}
        texts |= {f"sbatch.{key}": str(value) for key, value in self.sbatch.items()}
        for key in ("partition", "account", "qos", "constraint", "wckey", "python"):
            texts[key] = getattr(self, key)
        for key, value in texts.items():
            if re.search(r"[\x00-\x1f\x7f]", value):
                raise ValueError(
                    f"profile {self.name!r}: {key} must be one line without control "
                    f"characters; got {value!r}."
                )

    @property
    def num_processes(self) -> int:
        """Processes of one job."""
        return self.nodes * self.tasks

    def build_execution(self) -> Execution:
        """The execution settings of the worker on this cluster."""
        fields = {item.name for item in dataclasses.fields(Execution)}
        for name in self.execution:
            if name not in fields:
                raise ValueError(
                    f"profile {self.name!r}: execution has no key {name!r}. "
                    f"{nearest(name, fields)}"
                )
        given = dict(self.execution)
        given.setdefault("device", "cuda" if self.gpus else "cpu")
        try:
            return Execution(**given)
        except (TypeError, ValueError) as error:
            raise ValueError(f"profile {self.name!r}: execution: {error}") from None


def profile_folders() -> list[Path]:
    """The folders of profiles, in the order of lookup."""
    folders = [SHIPPED]
    with contextlib.suppress(ValueError):  # a user without a home folder
        config = expand(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
        folders.insert(0, Path(config) / "synth" / "profiles")
    if given := os.environ.get("SYNTH_PROFILES"):
        folders.insert(0, _expand_path(given, "SYNTH_PROFILES"))
    return folders


def _expand_path(word: str, owner: str) -> Path:
    """Expand `~` and variables of a path, as a shell does."""
    try:
        return Path(expand(word))
    except ValueError as error:
        raise ValueError(f"{owner} {error}.") from None


def available_profiles() -> dict[str, Path]:
    """The names of all profiles, and their files."""
    profiles: dict[str, Path] = {}
    for folder in profile_folders():
        for path in sorted(folder.glob("*.toml")):
            profiles.setdefault(path.stem, path)
    return profiles


def load_profile(name: str) -> Profile:
    """Load the profile called `name`, or the one in the file `name`.

    Raises `ValueError` for an invalid file (names file, key, value and what is
    allowed), or an unknown name (names the nearest profile).
    """
    if name.endswith(".toml"):
        path = _expand_path(name, "--profile")
        if not path.is_file():
            raise ValueError(f"There is no profile file {str(path)!r}.")
        return read_profile(path)
    profiles = available_profiles()
    if name not in profiles:
        raise ValueError(
            f"No cluster profile is called {name!r}. {nearest(name, profiles)} Write "
            f"yours to {profile_folders()[-2:][0] / (name + '.toml')}, from "
            f"{SHIPPED / 'example.toml'}."
        )
    return read_profile(profiles[name])


def read_profile(path: Path) -> Profile:
    """Read the profile in a TOML file."""
    try:
        # Editors on Windows may write a byte order mark.
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid TOML in UTF-8: {error}.") from None
    try:
        return from_values(path.stem, values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def from_values(name: str, values: Mapping[str, Any]) -> Profile:
    """Build a profile from the keys of a file; refuses unknown keys and wrong types."""
    hints = typing.get_type_hints(Profile)
    del hints["name"]
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(
                f"profile {name!r} has no key {key!r}. {nearest(key, hints)}"
            )
        value = _normalize_value(name, key, value)
        given[key] = coerce(value, hints[key], f"profile {name!r}: {key}")
    sbatch = given.get("sbatch", {})
    if given.get("memory_per_cpu_gb") or "mem-per-gpu" in sbatch:
        given.setdefault("memory_gb", 0.0)
    return Profile(name=name, **given)


def _normalize_value(name: str, key: str, value: Any) -> Any:
    """Convert a written time to minutes, and numbers in [environment] to text."""
    if key == "time" and isinstance(value, str):
        return parse_minutes(name, value)
    if key == "environment" and isinstance(value, dict):
        return {inner: _variable_text(content) for inner, content in value.items()}
    return value


def _variable_text(value: Any) -> Any:
    if isinstance(value, bool):
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value


def parse_minutes(name: str, text: str) -> int:
    """Parse a time in SLURM's format into minutes, rounded up.

    >>> [parse_minutes("site", text) for text in ("1-12:00:00", "00:00:30", "90")]
    [2160, 1, 90]
    """
    days, dash, rest = text.rpartition("-")
    fields = rest.split(":")
    words = [*fields, days] if dash else fields
    numeric = all(re.fullmatch("[0-9]{1,12}", word) for word in words)
    if not numeric or len(fields) > 3:
        raise ValueError(
            f'profile {name!r}: time must be minutes, "HH:MM:SS" or "D-HH:MM:SS"; '
            f"got {text!r}."
        )
    numbers = [int(word) for word in fields]
    if dash:  # D-HH, D-HH:MM, D-HH:MM:SS
        hours, mins, seconds = [*numbers, 0, 0][:3]
        return int(days) * 1440 + hours * 60 + mins + (seconds > 0)
    if len(numbers) == 3:  # HH:MM:SS
        return numbers[0] * 60 + numbers[1] + (numbers[2] > 0)
    return numbers[0] + (len(numbers) == 2 and numbers[1] > 0)  # MM, MM:SS

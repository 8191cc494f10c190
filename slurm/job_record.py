"""The job that has a run: a record in the run's folder.

Others may be allowed to write there, so types are checked: whoever changes a record can
spoil a run and no more.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from slurm.queue import is_job_id
from synth.identity import coerce, field_types
from synth.run.files import read_object
from synth.run.store import RunFolder

RECORD = "slurm.json"
FOLDER = ".slurm"
"""Of the launches, beside the run folders."""
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Names that are one step of a path."""

T = TypeVar("T")


@dataclass(frozen=True)
class JobRecord:
    """The job that has a run, as written in the run's folder."""

    launch: str
    element: int
    job_id: str
    profile: str
    submitted: float
    """Seconds since the epoch when the launch was made, for people."""
    generation: int = 0
    """Number of the launch; of two launches the higher number is the later one."""
    cancelled: bool = False
    started: float | None = None
    """When the worker last took the run up; null while it waits."""
    restarts: int = 0
    idle_restarts: int = 0
    """Restarts in a row before which the pack had made no progress."""
    reached_step: int = -1
    """Newest checkpoint when the worker last took the run up."""
    node: str = ""
    old_failure: int | None = None
    """Time stamp, in ns, of the `failure.json` of an attempt before this one."""

    def __post_init__(self) -> None:
        if not PLAIN.fullmatch(self.launch):
            raise ValueError(
                f"launch must be the name of a launch; got {self.launch!r}"
            )
        if not is_job_id(self.job_id):
            raise ValueError(f"job_id must be like 12 or 12_3; got {self.job_id!r}")

    def log(self, root: Path, task: int = 0) -> Path:
        """The file with everything that the job printed."""
        return root / FOLDER / self.launch / f"{self.job_id}_{task}_log.out"


def read_record(root: Path, run_id: str) -> JobRecord | None:
    """The job record of a run; none when it was never submitted.

    Raises
    ------
    ValueError
        Names a file that is no job record, and what to do with it.
    """
    path = root / run_id / RECORD
    try:
        return typed(JobRecord, read_object(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{path} is no job record ({error}). Remove it; the next launch writes one."
        ) from None


def write_record(root: Path, run_id: str, record: JobRecord) -> None:
    """Write the job record of a run, whole or not at all."""
    RunFolder(root, run_id).write_json(RECORD, dataclasses.asdict(record))


def failure_stamp(root: Path, run_id: str) -> int | None:
    """Which `failure.json` lies in a run folder: its time stamp, to be compared for
    equality alone, since the clock is that of whichever machine wrote it."""
    try:
        return (root / run_id / "failure.json").stat().st_mtime_ns
    except OSError:
        return None


def typed(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from its fields in a file; keys of other versions are passed over.

    Raises
    ------
    ValueError
        Names the field that is missing or has a value of another type.
    """
    types = field_types(kind)
    given = {n: coerce(v, types[n], n) for n, v in values.items() if n in types}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(str(error).partition(" ")[2]) from None

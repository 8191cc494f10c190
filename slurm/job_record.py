"""The job record of a run: which job trains it, stored in the run's folder.

Other users may be allowed to write there, so types are checked: a changed record can
spoil only its run.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from slurm.queue import is_job_id
from synth.disk.files import read_object
from synth.identity import coerce, field_types
from synth.run.store import RunFolder

RECORD = "slurm.json"
FOLDER = ".slurm"
"""The folder of launches, beside the run folders."""
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Names that are a single component of a path."""

T = TypeVar("T")


@dataclass(frozen=True)
class JobRecord:
    """The job of a run, as stored in the run's folder."""

    launch: str
    element: int
    job_id: str
    profile: str
    submitted: float
    """When the launch was made, in seconds since the epoch; for display only."""
    generation: int = 0
    """Number of the launch; a later launch has a higher number."""
    cancelled: bool = False
    started: float | None = None
    """When the worker last claimed the run; null while the job waits."""
    restarts: int = 0
    idle_restarts: int = 0
    """Consecutive restarts without a new checkpoint before them."""
    reached_step: int = -1
    """Newest checkpoint when the worker last claimed the run."""
    node: str = ""
    old_failure: int | None = None
    """Time stamp, in ns, of the `failure.json` of an earlier attempt."""
    launched_from: str = ".."
    """The launch's folder of runs, relative to the run's own folder."""

    def __post_init__(self) -> None:
        if not PLAIN_NAME.fullmatch(self.launch):
            raise ValueError(
                f"launch must be the name of a launch; got {self.launch!r}"
            )
        if not is_job_id(self.job_id):
            raise ValueError(f"job_id must be like 12 or 12_3; got {self.job_id!r}")

    def launch_folder(self, run: Path) -> Path:
        """The folder of the launch, given the run's folder or a link to it."""
        root = os.path.normpath(run.resolve() / self.launched_from)
        return Path(root, FOLDER, self.launch)

    def log(self, run: Path, task: int = 0) -> Path:
        """The path of the job's log, given the run's folder or a link to it."""
        return self.launch_folder(run) / f"{self.job_id}_{task}_log.out"


def read_record(root: Path, run_id: str) -> JobRecord | None:
    """Read the job record of a run; None when it was never submitted.

    Raises `ValueError`, naming a file that is not a job record, and what to do with it.
    """
    path = root / run_id / RECORD
    try:
        return parse_fields(JobRecord, read_object(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(
            f"{path} is not a job record ({error}). Remove it; the next launch writes "
            "one."
        ) from None


def write_record(root: Path, run_id: str, record: JobRecord) -> None:
    """Write the job record of a run atomically."""
    RunFolder(root, run_id).write_json(RECORD, dataclasses.asdict(record))


def failure_stamp(root: Path, run_id: str) -> int | None:
    """The time stamp of a run's `failure.json`; None without one.

    Compare it only for equality: it comes from the clock of the machine that wrote it.
    """
    try:
        return (root / run_id / "failure.json").stat().st_mtime_ns
    except OSError:
        return None


def parse_fields(kind: type[T], values: Mapping[str, Any]) -> T:
    """Build a dataclass from the values of a file; unknown keys are ignored.

    Raises `ValueError`, naming the field that is missing or has a value of another
    type.
    """
    types = field_types(kind)
    given = {n: coerce(v, types[n], n) for n, v in values.items() if n in types}
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(str(error).partition(" ")[2]) from None

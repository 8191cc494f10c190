"""The ledger of launches: a folder for each (`job_record` has the records of runs).

```
RUNS/.slurm/20261122-041200-polynomial-3f9a/   one launch: one sbatch, one array
  launch.json        the packs, how to train them, the job id once sbatch has answered
  packs.jsonl        line i: the configurations of the runs of element i
  submission.sh      the input of sbatch
  12_3_0_log.out     the output of element 3
RUNS/<run id>/slurm.json                       the job of the run
```

`launch.json` is written before sbatch is called, so that `reconcile` finds the jobs of a
launcher that died at any point. The job has the name of the launch. All files are JSON,
since other users may be allowed to write here: a changed file can spoil only its launch.
Launches are ordered by a number, since the clocks of their machines may differ.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pwd
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slurm.arrays import JobRuns
from slurm.job_record import (
    FOLDER,
    PLAIN_NAME,
    RECORD,
    JobRecord,
    failure_stamp,
    parse_fields,
    read_record,
)
from slurm.queue import QueueEntry, is_job_id
from synth.disk.files import read_object, write_atomically

PACKS = "packs.jsonl"


@dataclass(frozen=True)
class SubmittedArray:
    """One launch: an array that was, or is about to be, submitted."""

    name: str
    folder: Path
    profile: str
    created: float
    """Seconds since the epoch; for display only."""
    generation: int
    """One more than that of every earlier launch."""
    packs: list[list[str]]
    """Run ids, by element."""
    execution: dict[str, Any] = field(default_factory=dict)
    """Fields of `synth.run.execution.Execution`."""
    max_idle_restarts: int = 5
    code: str = ""
    """The folder of the copy of the code that the jobs run."""
    job_id: str | None = None
    """Job id of the array; null until sbatch has answered."""
    recorded: bool = False
    """Whether every run folder has its job record."""

    def __post_init__(self) -> None:
        ids = [run_id for pack in self.packs for run_id in pack]
        for name in (self.name, *ids):
            if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid name of a launch or run")
        if self.job_id is not None and not is_job_id(self.job_id):
            raise ValueError(f"job_id must be like 12; got {self.job_id!r}")

    @classmethod
    def create(
        cls,
        root: Path,
        label: str,
        profile: str,
        packs: Sequence[JobRuns],
        **how: Any,
    ) -> "SubmittedArray":
        """Create the folder of a new launch and write what it will submit.

        `how` are further fields: how the jobs train.
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        word = re.sub(r"[^A-Za-z0-9_.-]+", "-", label) or "runs"
        name = f"{stamp}-{word}-{secrets.token_hex(2)}"
        ids = [[config.run_id for config in pack] for pack in packs]
        run_ids = (run_id for pack in ids for run_id in pack)
        number = 1 + _latest_generation(root, run_ids)
        folder = root / FOLDER / name
        launch = cls(name, folder, profile, time.time(), number, ids, **how)
        folder.mkdir(parents=True)
        lines = (json.dumps([c.to_dict() for c in pack]) + "\n" for pack in packs)
        write_atomically(folder / PACKS, "".join(lines).encode())
        launch.save()
        return launch

    @classmethod
    def read(cls, folder: Path) -> "SubmittedArray":
        """Read the launch of a folder.

        Raises `ValueError`, naming a `launch.json` that cannot be read.
        """
        path = folder / "launch.json"
        try:
            values = read_object(path)
            launch = parse_fields(cls, values | {"folder": folder})
            if launch.name != folder.name:
                raise ValueError(f"it describes {launch.name}")
        except (OSError, ValueError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from None
        return launch

    def save(self) -> None:
        """Write `launch.json`."""
        values = dataclasses.asdict(self)
        del values["folder"]
        text = json.dumps(values, indent=1).encode() + b"\n"
        write_atomically(self.folder / "launch.json", text)

    def element_id(self, element: int) -> str:
        """The job id of an element; a single job is not an array."""
        assert self.job_id is not None
        return self.job_id if len(self.packs) == 1 else f"{self.job_id}_{element}"

    def configs(self, element: int) -> list[dict[str, Any]]:
        """The configurations of the runs of one element, as plain data.

        Raises `ValueError` when `packs.jsonl` does not hold them.
        """
        path = self.folder / PACKS
        with path.open("rb") as file:
            line = next((line for i, line in enumerate(file) if i == element), b"")
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if (
            not isinstance(values, list)
            or not values
            or not all(isinstance(value, dict) for value in values)
        ):
            raise ValueError(
                f"{path}, line {element + 1}, is not a list of configurations."
            )
        return values

    def record_job(self, root: Path, job_id: str) -> "SubmittedArray":
        """Write the job id here and into the folder of every run; safe to repeat."""
        launch = dataclasses.replace(self, job_id=job_id)
        launch.save()
        for element, pack in enumerate(self.packs):
            for run_id in pack:
                # If a folder cannot be written, the worker reports it.
                with contextlib.suppress(OSError):
                    launch._write_record(root, element, run_id)
        launch = dataclasses.replace(launch, recorded=True)
        launch.save()
        return launch

    def _write_record(self, root: Path, element: int, run_id: str) -> None:
        try:
            existing = read_record(root, run_id)
        except ValueError:
            existing = None  # damaged: replaced
        # The job may have started and written a newer record, or a later launch may have
        # submitted the run.
        if existing is not None and existing.generation >= self.generation:
            return
        path = root / run_id / RECORD
        path.parent.mkdir(exist_ok=True)
        record = dataclasses.asdict(self.initial_record(root, element, run_id))
        # Not synced: that takes minutes for thousands of runs, and `launch.json`, which
        # is synced, has the same information.
        temporary = path.with_name(f".{RECORD}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(record) + "\n")
        os.replace(temporary, path)

    def initial_record(self, root: Path, element: int, run_id: str) -> JobRecord:
        """The record of a run whose job has not started."""
        return JobRecord(
            self.name,
            element,
            self.element_id(element),
            self.profile,
            self.created,
            self.generation,
            old_failure=failure_stamp(root, run_id),
            launched_from=os.path.relpath(root.resolve(), (root / run_id).resolve()),
        )

    def discard(self) -> None:
        """Remove the folder of a launch that sbatch refused."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _latest_generation(root: Path, run_ids: Iterable[str]) -> int:
    """The highest number of a launch so far, from launches and job records."""
    numbers = [launch.generation for launch in read_launches(root)]
    for run_id in run_ids:
        with contextlib.suppress(OSError, ValueError):
            record = read_record(root, run_id)
            numbers.append(record.generation if record else 0)
    return max(numbers, default=0)


def read_launches(
    root: Path, damaged: list[str] | None = None
) -> Iterator[SubmittedArray]:
    """Read every launch of a runs folder, in the order of their names.

    A sentence about each unreadable one is added to `damaged`.
    """
    for path in launch_folders(root):
        try:
            yield SubmittedArray.read(path)
        except ValueError as error:
            if damaged is not None:
                damaged.append(str(error))


def launch_folders(root: Path) -> list[Path]:
    """The folder of every launch, in the order of their names."""
    folder = root / FOLDER
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir())
    except FileNotFoundError:
        return []
    return [folder / n for n in names if n != "code" and PLAIN_NAME.fullmatch(n)]


def launch_roots(root: Path, run_ids: Iterable[str]) -> set[Path]:
    """The folders that may have launched the runs: `root`, and sweeps that share them.

    A run may lie in another sweep's folder, with a link in `root`; and the last launch
    of a run that lies in `root` may be of a sweep that links to it.
    """
    root = root.resolve()
    roots = {root}
    for run_id in run_ids:
        run = root / run_id
        if run.is_symlink():
            run = run.resolve()
            roots.add(run.parent)
        with contextlib.suppress(OSError, ValueError):
            record = read_record(root, run_id)
            if record and record.launched_from != "..":
                roots.add(record.launch_folder(run).parent.parent)
    return roots


def launch_owners(roots: Iterable[Path]) -> set[int]:
    """User ids that have launched from these folders, and whose jobs train their runs."""
    users = set()
    for path in itertools.chain(*map(launch_folders, roots)):
        with contextlib.suppress(OSError, KeyError):
            users.add(pwd.getpwuid(path.stat().st_uid).pw_uid)
    return users


def reconcile(root: Path, queue: Mapping[str, QueueEntry]) -> list[str]:
    """Complete the records of launches whose launcher died.

    Jobs are found by their logs, else by their name in the queue. A launch that never
    reached the cluster is removed. Returns a sentence for each.
    """
    news: list[str] = []
    for launch in read_launches(root, news):
        if launch.recorded:
            continue
        job_id = launch.job_id or _find_job_id(launch, queue)
        if job_id is None and launch.folder.stat().st_uid == os.getuid():
            launch.discard()
            news.append(f"{launch.name} had never reached the cluster: removed.")
        if job_id is None:
            continue
        try:
            launch.record_job(root, job_id)
        except OSError as error:
            news.append(f"{launch.name} was submitted as job {job_id}, but {error}")
        else:
            news.append(
                f"{launch.name} was submitted as job {job_id}, and is recorded now."
            )
    return news


def _find_job_id(launch: SubmittedArray, queue: Mapping[str, QueueEntry]) -> str | None:
    """The job id of a launch, if sbatch accepted it."""
    for path in launch.folder.glob("*_log.out"):  # ran before its id was recorded
        job_id = path.name.partition("_")[0]
        if is_job_id(job_id):
            return job_id
    for entry in queue.values():
        # A refused job may be listed for a while as failed.
        if entry.live and entry.name == launch.name:
            return entry.job_id.partition("_")[0]
    return None


@contextlib.contextmanager
def lock_launches(root: Path) -> Iterator[None]:
    """Allow one launcher at a time to submit jobs for a runs folder.

    Raises `ValueError` when another launcher holds the lock.
    """
    from filelock import FileLock, Timeout

    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    try:
        lock = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another launcher is submitting jobs for {root} (it holds {path}); wait "
            "for it to end."
        ) from None
    with lock:
        yield

"""What was sent where: launch folders, and a job record in every run folder.

```
RUNS/.slurm/20261122-041200-polynomial-3f9a/   one launch: one sbatch, one array
  launch.json        the packs, the profile, the job id once sbatch has answered
  configs.json       the configuration of every run in them
  12_3_submitted.pkl, 12_3_0_log.out, ...      submitit's files
RUNS/<run id>/slurm.json                       the job that has the run
```

`launch.json` is written before sbatch is called, so a launcher that dies at any point
leaves a trace by which `settle` finds the jobs again. The launch's name is the job's.
"""

import contextlib
import dataclasses
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm.arrays import Pack
from slurm.queue import QueueEntry
from synth.config import RunConfig
from synth.store import RunFolder, write_atomically

RECORD = "slurm.json"
FOLDER = ".slurm"


@dataclass(frozen=True)
class JobRecord:
    """The job that has a run, as written in the run's folder."""

    launch: str
    element: int
    job_id: str
    profile: str
    submitted: float
    """Seconds since the epoch, when the launch was made."""
    cancelled: bool = False
    started: float | None = None
    """When the worker last took the run up; null while it waits."""
    restarts: int = 0
    idle_restarts: int = 0
    """Restarts in a row before which the pack had made no progress."""
    reached_step: int = -1
    """Newest checkpoint when the worker last took the run up."""
    node: str = ""

    def log(self, root: Path, task: int = 0) -> Path:
        """The file with everything that the job printed."""
        return root / FOLDER / self.launch / f"{self.job_id}_{task}_log.out"


def read_record(root: Path, run_id: str) -> JobRecord | None:
    """The job record of a run; none when it was never submitted."""
    values = RunFolder(root, run_id).read_json(RECORD)
    if values is None:
        return None
    known = {field.name for field in dataclasses.fields(JobRecord)}
    return JobRecord(**{k: v for k, v in values.items() if k in known})


def write_record(root: Path, run_id: str, record: JobRecord) -> None:
    """Write the job record of a run, whole or not at all."""
    RunFolder(root, run_id).write_json(RECORD, dataclasses.asdict(record))


@dataclass(frozen=True)
class Launch:
    """One array on its way to the cluster, or sent."""

    name: str
    folder: Path
    profile: str
    created: float
    packs: list[list[str]]
    """Run ids, by element."""
    job_id: str | None = None
    """Of the array; null until sbatch has answered."""
    recorded: bool = False
    """Whether every run folder holds its job record."""

    @classmethod
    def create(
        cls, root: Path, label: str, profile: str, packs: Sequence[Pack]
    ) -> "Launch":
        """Make the folder of a new launch and note what it is going to send."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        word = re.sub(r"[^A-Za-z0-9_.-]+", "-", label) or "runs"
        name = f"{stamp}-{word}-{secrets.token_hex(2)}"
        ids = [[config.run_id for config in pack] for pack in packs]
        launch = cls(name, root / FOLDER / name, profile, time.time(), ids)
        launch.folder.mkdir(parents=True)
        configs = {c.run_id: c.to_dict() for pack in packs for c in pack}
        content = json.dumps(configs).encode() + b"\n"
        write_atomically(launch.folder / "configs.json", content)
        launch.save()
        return launch

    @classmethod
    def read(cls, folder: Path) -> "Launch | None":
        """The launch in a folder, if it holds one."""
        try:
            values: dict[str, Any] = json.loads((folder / "launch.json").read_bytes())
        except (OSError, ValueError):
            return None
        return cls(folder=folder, **values)

    def save(self) -> None:
        """Write `launch.json`."""
        values = dataclasses.asdict(self)
        del values["folder"]
        text = json.dumps(values, indent=1).encode() + b"\n"
        write_atomically(self.folder / "launch.json", text)

    def element_id(self, element: int) -> str:
        """The job id of an element; a list of one is no array."""
        assert self.job_id is not None
        return self.job_id if len(self.packs) == 1 else f"{self.job_id}_{element}"

    def accepted(self, root: Path, job_id: str) -> "Launch":
        """Note the job id here and in the folder of every run; safe to repeat."""
        launch = dataclasses.replace(self, job_id=job_id)
        launch.save()
        configs = json.loads((self.folder / "configs.json").read_bytes())
        for element, pack in enumerate(launch.packs):
            for run_id in pack:
                config = RunConfig.from_dict(configs[run_id])
                folder = RunFolder(root, run_id)
                folder.path.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(ValueError):  # the worker complains of it
                    folder.open(config)
                known = read_record(root, run_id)
                # The job may have started already and written more than we know; or
                # the run may have gone to a later launch.
                if known and known.submitted >= launch.created:
                    continue
                job = launch.element_id(element)
                write_record(
                    root,
                    run_id,
                    JobRecord(
                        launch.name, element, job, launch.profile, launch.created
                    ),
                )
        launch = dataclasses.replace(launch, recorded=True)
        launch.save()
        return launch

    def discard(self) -> None:
        """Remove the launch: sbatch refused it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def launches(root: Path) -> Iterator[Launch]:
    """Every launch below a runs folder, oldest first."""
    folder = root / FOLDER
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        launch = Launch.read(path)
        if launch is not None:
            yield launch


def settle(root: Path, queue: Mapping[str, QueueEntry]) -> list[str]:
    """Finish launches whose launcher died before it wrote everything down.

    Jobs are found by what submitit left in the folder, else by the job's name in the
    queue. A launch that never reached the cluster is removed. Returns a sentence each.
    """
    news = []
    for launch in launches(root):
        if launch.recorded:
            continue
        job_id = launch.job_id or _sent_as(launch, queue)
        if job_id is None:
            launch.discard()
            news.append(f"{launch.name} had never reached the cluster: removed.")
            continue
        launch = launch.accepted(root, job_id)
        moved = _place_pickles(launch)
        news.append(
            f"{launch.name} was sent as job {job_id}, and is recorded now"
            + (f" ({moved} elements had lacked their pack)." if moved else ".")
        )
    return news


def _sent_as(launch: Launch, queue: Mapping[str, QueueEntry]) -> str | None:
    """The job id of a launch, if sbatch took it."""
    for path in launch.folder.glob("*_submission.sh"):
        return path.name.partition("_")[0]
    for path in launch.folder.glob("*_log.out"):  # ran before anyone wrote the id down
        return path.name.partition("_")[0]
    for entry in queue.values():
        # A refused job may be listed for a while too, as failed.
        if entry.live and entry.name == launch.name:
            return entry.job_id.partition("_")[0]
    return None


def _place_pickles(launch: Launch) -> int:
    """Give elements the packs that their launcher had no time to put in place.

    submitit moves each pickle to its final name after sbatch, and elements wait for it.
    """
    import pickle

    moved = 0
    for path in launch.folder.glob("*.pkl"):
        if not re.fullmatch(r"[0-9a-f]{32}", path.stem):
            continue
        with path.open("rb") as file:
            element: int = pickle.load(file).function.element
        job = launch.element_id(element)
        path.rename(launch.folder / f"{job}_submitted.pkl")
        moved += 1
    return moved


@contextlib.contextmanager
def launching(root: Path) -> Iterator[None]:
    """Let one launcher at a time send jobs for a runs folder.

    Raises
    ------
    ValueError
        When another one is at work.
    """
    from filelock import FileLock, Timeout

    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    try:
        lock = FileLock(path).acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"Another launcher is sending jobs for {root} right now (it holds "
            f"{path}); wait for it to end."
        ) from None
    with lock:
        yield

"""The folder of a run: the one place where its truth is kept.

```
runs/polynomial-n2-1M-s0-3f9a21c7/
  config.json        the configuration, written first
  environment.json   versions, commit, device, threads of every session that worked on it
  metrics.jsonl      one line a measured number (synth.metrics.SCHEMA), append-only
  checkpoint/        step-00000500/ ...: weights and optimiser state
  items.jsonl        the last evaluation item by item, for tasks that count so (stories)
  progress.json      where training stands, for people; never read by training
  result.json        written last: the run is done
  failure.json       or: why it stopped
```

Every file but `metrics.jsonl` is written to a temporary name and renamed, so a reader
sees all of it or none. A trainer holds an advisory lock on `claim` (released by the
kernel when it dies, however it dies), so two processes never train one run.
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from synth.config import RunConfig
from synth.metrics import Measurement, to_lines
from synth.tasks.task import ItemCounts

State = Literal["new", "running", "stopped", "done", "failed"]


class RunBusy(RuntimeError):
    """Another process trains this run right now."""


class RunFolder:
    """One run's folder below `root`; creating the object writes nothing."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = Path(root) / run_id
        self.checkpoints = self.path / "checkpoint"
        self.metrics_path = self.path / "metrics.jsonl"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def open(self, config: RunConfig) -> None:
        """Create the folder with its configuration, or check that it is the same run.

        Raises
        ------
        ValueError
            When `config.json` holds another configuration (edited by hand, say).
        """
        self.path.mkdir(parents=True, exist_ok=True)
        stored = self.read_json("config.json")
        if stored is None:
            self.write_json(
                "config.json", {"run_id": self.run_id, "config": config.to_dict()}
            )
        elif self._stored_id(stored) != config.run_id:
            raise ValueError(
                f"{self.path / 'config.json'} does not describe run {config.run_id}: it "
                "was changed after it was written, or by another version. Move the "
                "folder away to train this run afresh."
            )

    def config(self) -> RunConfig:
        """The configuration of the run.

        Raises
        ------
        ValueError
            When the folder has none, or one that this code cannot build.
        """
        stored = self.read_json("config.json")
        if stored is None:
            raise ValueError(f"{self.path} is no run folder: it has no config.json.")
        return RunConfig.from_dict(stored["config"])

    def state(self) -> State:
        """Where the run stands, by what lies in its folder."""
        if (self.path / "result.json").exists():
            return "done"
        if not (self.path / "config.json").exists():
            return "new"
        if (self.path / "failure.json").exists():
            return "failed"
        return "running" if self._claimed() else "stopped"

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises
        ------
        RunBusy
            When another process holds it; the message says which.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "claim", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            while not _locked(handle):
                # Whoever asks for the state holds a shared lock for an instant.
                if self._claimed():
                    holder = os.pread(handle, 500, 0).decode(errors="replace").strip()
                    raise RunBusy(f"Run {self.run_id} is being trained by {holder}.")
                time.sleep(0.001)
            started = time.strftime("%Y-%m-%d %H:%M:%S")
            os.ftruncate(handle, 0)
            text = f"process {os.getpid()} on {socket.gethostname()} since {started}\n"
            os.pwrite(handle, text.encode(), 0)
            yield
        finally:
            os.close(handle)

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder, whole or not at all."""
        write_atomically(
            self.path / name,
            json.dumps(value, indent=1, allow_nan=False).encode() + b"\n",
        )

    def read_json(self, name: str) -> Any:
        """The content of a JSON file of the folder; `None` when there is none.

        Raises
        ------
        ValueError
            Names a file that is no JSON.
        """
        path = self.path / name
        try:
            return json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not valid JSON ({error}).") from None

    def remove(self, name: str) -> None:
        """Remove a file of the folder if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def append_metrics(self, measurements: list[Measurement]) -> int:
        """Append whole lines and return the length of the file in bytes."""
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(to_lines(measurements))
            file.flush()
            return file.tell()

    def cut_metrics(self, length: int) -> None:
        """Cut the metrics back to `length` bytes: what a checkpoint knew, no torn tail.

        Raises
        ------
        ValueError
            When lines that the checkpoint knew are gone.
        """
        present = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        if present < length:
            raise ValueError(
                f"{self.metrics_path} has {present} bytes, but the checkpoint was taken "
                f"when it had {length}: lines were lost. Move the folder away to train "
                "this run afresh."
            )
        if present > length:
            os.truncate(self.metrics_path, length)

    def write_items(self, step: int, counts: list[ItemCounts]) -> None:
        """Write `items.jsonl`: for each score, what was right of how many, by item."""
        if not counts:
            return
        lines = [
            {
                "step": step,
                "suite": one.suite,
                "metric": one.metric,
                "slice": one.slice,
                "right": one.right_I.tolist(),
                "number": one.number_I.tolist(),
            }
            for one in counts
        ]
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        write_atomically(self.path / "items.jsonl", text.encode())

    def add_session(self, environment: dict[str, Any]) -> None:
        """Record the environment of the process that works on the run from now on."""
        known = self.read_json("environment.json") or {"sessions": []}
        known["sessions"].append(environment)
        self.write_json("environment.json", known)

    def _stored_id(self, stored: Any) -> str | None:
        try:
            return RunConfig.from_dict(stored["config"]).run_id
        except (KeyError, TypeError, ValueError):
            return None

    def _claimed(self) -> bool:
        try:
            handle = os.open(self.path / "claim", os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, sync it and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise

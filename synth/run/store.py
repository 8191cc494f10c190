"""The folder of a run, which holds everything about it.

```
runs/polynomial-n2-1M-s0-3f9a21c7/
  config.json        the configuration, written first
  plugins/           files of a task or objective of one's own (synth.families.plugins)
  vocabulary.json    what its tokens stand for; with byte pairs also tokenizer.json
  environment.json   versions, commit, device, threads of every session that worked on it
  metrics.jsonl      one line a measured number (synth.metrics.SCHEMA), append-only
  checkpoint/        step-00000500/ ...: weights and optimiser state
  items.jsonl        the last evaluation item by item, for tasks that count so (stories)
  progress.json      where training stands, for people; never read by training
  tracked.json       with --track: the last step that each tracker has
  events.out.*       with --track tensorboard: its curves
  result.json        written last: the run is done
  failure.json       or: why it stopped
```

Every file but `metrics.jsonl` is written to a temporary name, synced and renamed, so a
reader sees all of it or none. `metrics.jsonl` is synced before a checkpoint or a result
counts its bytes, and both carry its digest; they and `items.jsonl` are compared when
training goes on and by `verify`. A trainer holds an advisory lock on `claim` (released
by the kernel when it dies, however it dies), so two processes never train one run.
"""

import contextlib
import json
import os
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synth.config import RunConfig
from synth.disk.files import (
    keep_to_oneself,
    make_folder,
    read_object,
    seal,
    write_atomically,
)
from synth.families import plugins
from synth.families.own_errors import in_own_file
from synth.metrics import Measurement
from synth.run import result_file
from synth.run.claim import hold, is_locked
from synth.run.git import drop_repeated_patch
from synth.run.metrics_file import MetricsFile, RunGone, sha256_of
from synth.run.states import State
from synth.tasks.task import ItemCounts

OF_THE_TRAINER = (
    "environment.json",
    "progress.json",
    "items.jsonl",
    "result.json",
    "vocabulary.json",
    "tokenizer.json",
)
"""Files that only the process that holds the claim writes."""


def failure_message(cause: str | Exception) -> str:
    """One message for people: an exception's type or, in a file of their own, its place."""
    if isinstance(cause, str):
        return cause
    return in_own_file(cause) or f"{type(cause).__name__}: {cause}"


class RunFolder:
    """One run's folder below `root`; creating the object writes nothing."""

    def __init__(self, root: Path, run_id: str) -> None:
        self.run_id = run_id
        self.path = Path(root) / run_id
        self.checkpoints = self.path / "checkpoint"
        self.metrics_path = self.path / "metrics.jsonl"
        self.metrics = MetricsFile(self.metrics_path)
        self._claim: int | None = None

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def open(self, config: RunConfig) -> None:
        """Create the folder with its configuration, or check that it is the same run.

        Raises `ValueError` when `config.json` holds another configuration (edited by
        hand, say).
        """
        make_folder(self.path)
        if not (self.path / "config.json").exists():
            self._write_config(config)
        elif self._stored_id(self.stored_config()) != config.run_id:
            raise ValueError(
                f"{self.path / 'config.json'} does not describe run {config.run_id}: it "
                "was changed after it was written, or by another version. Move the "
                "folder away to train this run afresh."
            )

    def keep_plugins(self, config: RunConfig) -> None:
        """Record the files that define the run, where they differ from its last session.

        Called once they are accepted; those of earlier sessions stay beside them.
        """
        stored = (self.read_json("config.json") or {}).get("config", {})
        if stored.get(plugins.FOLDER, []) != plugins.recorded(config):
            self._write_config(config)

    def has_other_plugins(self, config: RunConfig) -> bool:
        """Whether a person's files behind the run have other contents than recorded."""
        now = {one["sha256"] for one in plugins.recorded(config)}
        if not now:
            return False
        stored = (self.read_json("config.json") or {}).get("config", {})
        entries = stored.get(plugins.FOLDER, [])
        return now != {one.get("sha256") for one in entries if isinstance(one, dict)}

    def _write_config(self, config: RunConfig) -> None:
        """Write the configuration, after the files that define it."""
        files = plugins.copies([config])
        for name, content in files.items():
            path = self.path / name
            make_folder(path.parent)
            write_atomically(path, content)
            keep_to_oneself(path)
        self.write_json(
            "config.json", {"run_id": self.run_id, "config": config.to_dict()}
        )
        if files:
            keep_to_oneself(self.path / "config.json")

    def config(self) -> RunConfig:
        """The configuration of the run.

        Raises `ValueError` when the folder has none, or one that this code cannot
        build.
        """
        return RunConfig.from_dict(self.stored_config(), self.path / "config.json")

    def stored_config(self) -> dict[str, Any]:
        """The configuration as `config.json` holds it.

        Raises `ValueError` when the folder has none, or a damaged one.
        """
        path = self.path / "config.json"
        try:
            config = read_object(path).get("config")
            if not isinstance(config, dict):
                raise ValueError(f"{path} must hold an object 'config'.")
            return config
        except FileNotFoundError:
            problem = f"{self.path} is no run folder: it has no config.json."
            raise ValueError(problem) from None
        except ValueError as error:
            raise ValueError(
                f"{error} Restore it, or move the run's folder away to train it afresh."
            ) from None

    def state(self) -> State:
        """Where the run stands, by what lies in its folder; see `damage`."""
        done = (self.path / result_file.NAME).exists()
        if not done and not (self.path / "config.json").exists():
            return "new"
        if self.damage():
            return "unreadable"
        if done:
            return "done"
        if (self.path / "failure.json").exists():
            return "failed"
        return "running" if is_locked(self.path / "claim") else "stopped"

    def damage(self) -> list[str]:
        """Files of the run that cannot be used, a sentence each, with what to do.

        No damaged run counts as done: its numbers are not those of its training.
        """
        try:
            self.stored_config()
        except (OSError, ValueError) as error:
            return [str(error)]
        return result_file.verify(self.path)

    def failure(self) -> str:
        """Why a failed run failed, as one message for people.

        Raises `ValueError`, naming `failure.json` when it cannot be read.
        """
        return str((self.read_json("failure.json") or {}).get("message", "unknown"))

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises `RunBusy` when another process holds it; the message says which. Raises
        `ValueError` when `claim` is no regular file, or its file system has no locks.
        """
        make_folder(self.path)
        with hold(self.path / "claim", self.run_id) as handle:
            self._claim = handle
            try:
                self._remove_leftovers()
                yield
            finally:
                self._claim = None

    def require_writable(self) -> None:
        """Create the folder, and a file in it for an instant; an `OSError` names it."""
        make_folder(self.path)
        tempfile.TemporaryFile(dir=self.path).close()

    def require_present(self) -> None:
        """Check that the folder is still the one that this process claimed.

        Raises `RunGone` when it was removed, or another one stands in its place.
        """
        if self._claim is None:
            return
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._claim), os.stat(self.path / "claim")):
                return
        raise RunGone(
            f"{self.path} was removed or replaced while the run trained; nothing more "
            "can be written there. Call again to train the run afresh."
        )

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file of the folder, whole or not at all."""
        write_atomically(
            self.path / name,
            json.dumps(value, indent=1, allow_nan=False).encode() + b"\n",
        )

    def read_json(self, name: str) -> Any:
        """The object in a JSON file of the folder; `None` when there is no file.

        Raises `ValueError`, naming a file that is no regular file, no JSON, or no
        object.
        """
        try:
            return read_object(self.path / name)
        except FileNotFoundError:
            return None

    def write_failure(
        self,
        cause: str | Exception,
        step: int | None = None,
        last_checkpoint_step: int | None = None,
    ) -> None:
        """Write `failure.json`: why the run stopped, and at which step."""
        trace = None if isinstance(cause, str) else traceback.format_exception(cause)
        record = {
            "run_id": self.run_id,
            "message": failure_message(cause),
            "step": step,
            "last_checkpoint_step": last_checkpoint_step,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "traceback": trace and "".join(trace),
        }
        self.write_json("failure.json", record)

    def remove(self, name: str) -> None:
        """Remove a file of the folder if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def drop_progress(self) -> None:
        """Remove what an earlier attempt said; it is for people, so no error matters."""
        with contextlib.suppress(OSError):
            self.remove("progress.json")

    def append_metrics(self, measurements: list[Measurement]) -> int:
        """Append whole lines and return the length of the file in bytes.

        Raises `RunGone` when the folder was removed, or the file changed meanwhile.
        """
        self.require_present()
        return self.metrics.append(measurements)

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`, which makes the run done, with the digests of its files.

        Raises `RunGone` when the folder or its metrics are not what this process wrote.
        """
        self.require_present()
        digests = {"metrics_sha256": self.metrics.sync_whole()}
        items = self.path / "items.jsonl"
        if items.exists():
            digests["items_sha256"] = sha256_of(items)
        self.write_json(result_file.NAME, seal(result | digests))

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
        try:
            stored = self.read_json("environment.json") or {}
            sessions = stored.get("sessions", [])
            if not isinstance(sessions, list):
                raise ValueError("'sessions' is no list")
        except ValueError as error:
            # A record for people: a damaged one is kept aside and stops no training.
            aside = self.path / "environment.damaged.json"
            os.replace(self.path / "environment.json", aside)
            sessions = [{"problem": f"{error} Kept as {aside.name}."}]
        environment = drop_repeated_patch(environment, sessions)
        self.write_json("environment.json", {"sessions": [*sessions, environment]})

    def _stored_id(self, stored: dict[str, Any]) -> str | None:
        try:
            return RunConfig.from_dict(stored, self.path / "config.json").run_id
        except (TypeError, ValueError):
            return None

    def _remove_leftovers(self) -> None:
        """Remove temporary files of killed trainers; the claim is held."""
        for name in OF_THE_TRAINER:
            for path in self.path.glob(f".{name}.*.tmp"):
                path.unlink(missing_ok=True)

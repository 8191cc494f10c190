"""TensorBoard, trackio and Weights & Biases: each as a few lines behind one protocol.

Every tracker writes to this machine's disk unless its own variables (`WANDB_MODE`,
`TRACKIO_SPACE_ID`) say otherwise.
"""

import contextvars
import importlib.util
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

TrackerName = Literal["none", "tensorboard", "trackio", "wandb"]


class Tracker(Protocol):
    """The curves of one run in one tool."""

    rewinds: bool
    """Whether the tool can drop what it has after a step, and be told it anew."""
    buffers: bool
    """Whether a kill can lose what was flushed, so that only `close` is certain."""

    def __init__(self, folder: Path, config: Mapping[str, Any], after: int) -> None:
        """Go on with the run in `folder`; the tool has its curves up to step `after`."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add one point to each of the curves named."""

    def flush(self) -> None:
        """Bring to the disk what was logged."""

    def close(self) -> None:
        """End the session; the run may go on in another one."""


class TensorBoard:
    """Event files in the run's own folder: `tensorboard --logdir runs` finds them.

    The records are written here, not by TensorBoard's writer, whose thread would keep a
    full disk to itself.
    """

    rewinds, buffers = True, False

    def __init__(self, folder: Path, config: Mapping[str, Any], after: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        # TensorBoard reads the files of a folder in the order of their names.
        name = f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        file = (folder / f"events.out.tfevents.{name}").open("xb")
        self._writer = RecordWriter(file)
        self._add(file_version="brain.Event:2")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(step=after + 1, session_log=start)  # drops all from this step on
        text = f"```json\n{json.dumps(config, indent=1)}\n```"
        tensor = tensor_pb2.TensorProto(dtype="DT_STRING", string_val=[text.encode()])
        metadata = summary_pb2.SummaryMetadata(
            plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name="text")
        )
        value = self._summary.Value(tag="config", tensor=tensor, metadata=metadata)
        self._add(step=after + 1, summary=self._summary(value=[value]))

    def _add(self, **content: Any) -> None:
        event = self._event(wall_time=time.time(), **content)
        self._writer.write(event.SerializeToString())

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One record with all values of a step."""
        value = [
            self._summary.Value(tag=tag, simple_value=number)
            for tag, number in values.items()
        ]
        self._add(step=step, summary=self._summary(value=value))

    def flush(self) -> None:
        """To the operating system."""
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


class Trackio:
    """A trackio run: `trackio show --project FOLDER`, where FOLDER holds the runs."""

    rewinds, buffers = False, False

    def __init__(self, folder: Path, config: Mapping[str, Any], after: int) -> None:
        import trackio

        # trackio ends its current run when another begins; the runs of a pack go on
        # side by side, each in a context of its own.
        self._run = contextvars.Context().run(
            trackio.init,
            project=folder.parent.name,
            name=folder.name,
            config=dict(config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row."""
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """trackio's thread writes twice a second; a kill loses what it has not written."""

    def close(self) -> None:
        """Wait for what is on its way."""
        self._run.finish()


class WandB:
    """A W&B run, offline unless WANDB_MODE says otherwise: `wandb sync` sends it."""

    rewinds, buffers = False, True

    def __init__(self, folder: Path, config: Mapping[str, Any], after: int) -> None:
        import wandb

        # W&B writes into this folder if it is there, else into one without the dot,
        # which would look like a run.
        (folder.parent / ".wandb").mkdir(exist_ok=True)
        self._run = wandb.init(
            project=folder.parent.name,
            dir=str(folder.parent),
            id=folder.name,
            name=folder.name,
            config=dict(config),
            mode=None if "WANDB_MODE" in os.environ else "offline",
            resume="allow",
            reinit="create_new",  # the runs of a pack go on side by side
            settings=wandb.Settings(console="off", silent=True),
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One row of history."""
        self._run.log(dict(values), step=step)

    def flush(self) -> None:
        """W&B's own process writes, tens of kilobytes at a time."""

    def close(self) -> None:
        """Wait for that process."""
        self._run.finish()


TRACKERS: dict[TrackerName, type[Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WandB,
}
"""Trackers by name; each name is also that of the package, and of its extra."""


def missing_package(name: TrackerName) -> str | None:
    """What to install for a tracker that is asked for; None when nothing is missing."""
    if name == "none" or importlib.util.find_spec(name) is not None:
        return None
    return f"The package {name} is not installed: pip install {name}"

"""Curves in other tools: a tracker follows the rows of a run's `metrics.jsonl`.

The folder stays the truth: a tracker gets what the file holds, after it was written.
`tracked.json` notes how far that went, so a run that goes on adds no step twice. No
training depends on it: whatever goes wrong here is one warning, and is made up for when
the run goes on or with `synth track`.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from synth.command_words import as_typed
from synth.config import RunConfig
from synth.families.file_names import name_files
from synth.metrics import Measurement, from_line
from synth.run.metrics_file import damaged_line, whole_lines
from synth.run.progress import Event, Progress
from synth.run.store import RunFolder
from synth.run.trackers import TRACKERS, Tracker, TrackerName, missing_package

RECORD = "tracked.json"


def followed(
    progress: Progress | None, root: Path, name: TrackerName
) -> Progress | None:
    """`progress`, which also brings the runs' curves in a tracker up to date."""
    if name == "none":
        return progress
    follow = Follower(root, name)

    def tell(event: Event) -> None:
        follow(event)
        if progress is not None:
            progress(event)

    return tell


class Follower:
    """Keeps the curves of the runs of a pack up to date in one tracker."""

    def __init__(self, root: Path, name: TrackerName) -> None:
        self._root, self._name = root, name
        self._curves: list[Curve] = []

    def __call__(self, event: Event) -> None:
        """Take up the runs, bring them up to date, or leave them."""
        if event.kind == "begin":
            for run_id in event.run_ids:
                with surviving_tracker(self._name):
                    self._curves.append(Curve(self._root, run_id, self._name))
        elif event.kind in ("evaluation", "end"):
            for curve in list(self._curves):
                self._update(curve)
        if event.kind == "end":
            for curve in self._curves:
                with surviving_tracker(self._name):
                    curve.close()
            self._curves = []

    def _update(self, curve: "Curve") -> None:
        """Send new rows; a curve that failed is left to the next session."""
        with surviving_tracker(self._name):
            curve.catch_up()
            return
        self._curves.remove(curve)


class Curve:
    """One run in one tracker.

    Raises
    ------
    Exception
        Whatever the tracker raises, here and in the methods.
    """

    def __init__(self, root: Path, run_id: str, name: TrackerName) -> None:
        self._folder, self._name = RunFolder(root, run_id), name
        self._read = 0
        """Bytes of the metrics that were read."""
        record = self._folder.read_json(RECORD) or {}
        self.sent = int(record.get(name, -1))
        """The last step that the tracker has; -1 if it has none."""
        if missing := missing_package(name):
            raise ModuleNotFoundError(missing)
        self._tracker: Tracker | None = None
        """Opened when there is something to send."""
        rows = self._new_rows()
        if TRACKERS[name].rewinds:  # the run may have gone back to a checkpoint
            self.sent = min(self.sent, rows[-1].step if rows else -1)
        self._send(rows)

    def catch_up(self) -> None:
        """Send the rows that were written since the last call."""
        self._send(self._new_rows())

    def close(self) -> None:
        """End the tracker's session."""
        if self._tracker is not None:
            with contextlib.redirect_stdout(sys.stderr):
                self._tracker.close()
            self._note()

    def _new_rows(self) -> list[Measurement]:
        """The whole lines that were not read yet."""
        path = self._folder.metrics_path
        content = whole_lines(path, self._read)
        self._read += len(content)
        try:
            return [from_line(line.decode()) for line in content.split(b"\n")[:-1]]
        except (ValueError, RecursionError) as error:
            raise damaged_line(path, error) from None

    def _send(self, rows: list[Measurement]) -> None:
        new = [row for row in rows if row.step > self.sent]
        if not new:
            return
        with contextlib.redirect_stdout(sys.stderr):
            if self._tracker is None:
                self._tracker = self._open()
            for step, measured in itertools.groupby(new, lambda row: row.step):
                self._tracker.log(step, _values(measured))
            self._tracker.flush()
        self.sent = new[-1].step
        if not self._tracker.buffers:
            self._note()

    def _note(self) -> None:
        """Record the last step up to which the tracker has the curves."""
        record = self._folder.read_json(RECORD) or {}
        self._folder.write_json(RECORD, record | {self._name: self.sent})

    def _open(self) -> Tracker:
        stored = self._folder.read_json("config.json") or {}
        path = self._folder.path.absolute()
        config = name_files(RunConfig, stored.get("config", {}))
        return TRACKERS[self._name](path, config, self.sent)


def _values(rows: Iterator[Measurement]) -> dict[str, float]:
    """The finite numbers of a step, by `suite/metric/slice`, and the tokens seen.

    Those of single positions are left out: they make a heat map, not dozens of curves.
    """
    values: dict[str, float] = {}
    for row in rows:
        if row.value is not None and "position=" not in row.slice:
            values |= {row.name: row.value, "tokens": row.tokens}
    return values


_warned: set[str] = set()


@contextlib.contextmanager
def surviving_tracker(name: str) -> Iterator[None]:
    """Turn the first exception of a tracker in this process into a warning.

    Later ones are silent: a full disk would be reported at each evaluation.
    """
    try:
        yield
    except Exception as error:
        if name not in _warned:
            _warned.add(name)
            with contextlib.suppress(OSError, ValueError):  # standard error is closed
                print(
                    f"warning: {type(error).__name__}: {error}. Training goes on without "
                    f"curves in {name}; `{as_typed('synth track')}` makes up for them.",
                    file=sys.stderr,
                    flush=True,
                )

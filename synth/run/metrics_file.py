"""`metrics.jsonl` on the disk: appended, synced before anything counts it, cut back.

A checkpoint and a result hold the length and the sha256 of the metrics that they count.
"""

import hashlib
import os
from pathlib import Path

from synth.disk.files import size_of, sync_folder
from synth.metrics import Measurement, to_lines


class RunGone(RuntimeError):
    """The folder of a run was removed or changed while the run trained."""


class MetricsFile:
    """The metrics of one run; keeps length and digest of what this process wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._length, self._sha = 0, hashlib.sha256()

    def append(self, measurements: list[Measurement]) -> int:
        """Append whole lines and return the length of the file in bytes.

        Raises `RunGone` when the file is not as long as this process left it.
        """
        present = size_of(self.path)
        if present != self._length:
            raise RunGone(
                f"{self.path} has {present} bytes where training had written "
                f"{self._length}: another program changed it. Call again to go on from "
                "the last checkpoint."
            )
        content = to_lines(measurements).encode()
        with self.path.open("ab") as file:
            file.write(content)
        self._sha.update(content)
        self._length += len(content)
        return self._length

    def sync(self) -> tuple[int, str]:
        """Bring the lines to the disk; their length in bytes and their sha256."""
        if self._length:
            with self.path.open("rb") as file:
                os.fsync(file.fileno())
            sync_folder(self.path.parent)
        return self._length, self._sha.hexdigest()

    def sync_whole(self) -> str:
        """`sync` at the end of a run, which reads the file again; its sha256.

        Raises `RunGone` when the file does not hold what this process wrote.
        """
        _, expected = self.sync()
        if sha256_of(self.path) != expected:
            raise RunGone(
                f"{self.path} is not what training wrote: another program changed it. "
                "Call again to go on from the last checkpoint."
            )
        return expected

    def damage(self, length: int, sha256: str = "") -> str | None:
        """What is wrong with the first `length` bytes, if anything."""
        present = size_of(self.path)
        if present < length:
            return (
                f"{self.path} has {present} bytes, but the checkpoint was taken when it "
                f"had {length}: lines were lost."
            )
        if sha256 and sha256_of(self.path, length) != sha256:
            return (
                f"{self.path} was changed: its first {length} bytes are not those that "
                "the checkpoint was taken with."
            )
        return None

    def cut(self, length: int) -> None:
        """Cut back to the `length` bytes that a checkpoint counts.

        Raises `ValueError` when some of them are missing.
        """
        if damage := self.damage(length):
            raise ValueError(f"{damage} Move the folder away to train this run afresh.")
        if size_of(self.path) > length:
            os.truncate(self.path, length)
        self._length, self._sha = length, _sha256(self.path, length)


def whole_lines(path: Path, start: int = 0) -> bytes:
    """The complete lines from byte `start` on: one more may be being written now.

    Raises `ValueError` when something else than a file lies there, such as a FIFO.
    """
    if not size_of(path):  # absent, or nothing is measured yet
        return b""
    with path.open("rb") as file:
        file.seek(start)
        content = file.read()
    return content[: content.rfind(b"\n") + 1]


def damaged_line(path: Path, problem: object) -> ValueError:
    """The error of a reader that met a line which is no row of metrics."""
    return ValueError(
        f"{path} holds a line that training did not write ({problem}). Restore the file, "
        "or move the run's folder away to train it afresh."
    )


def sha256_of(path: Path, length: int | None = None) -> str:
    """Hex sha256 of the first `length` bytes of a regular file (of all if None)."""
    return _sha256(path, size_of(path) if length is None else length).hexdigest()


def _sha256(path: Path, length: int) -> "hashlib._Hash":
    sha = hashlib.sha256()
    if length:
        with path.open("rb") as file:
            while length and (piece := file.read(min(length, 1 << 22))):
                sha.update(piece)
                length -= len(piece)
    return sha

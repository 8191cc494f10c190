"""Checkpoints of one run: weights, moments and the place in the data, whole or absent.

A checkpoint is a folder `checkpoint/step-000000500/` that was written under another
name, synced and renamed: if it is there, it is complete. `place.json` carries the digests
of all files, its own included, and of the metrics that it counts. The two newest are
kept, so that runs that trained side by side always share a step to go on from.
"""

import json
import os
import re
import shutil
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from synth.disk.files import read_object, seal, sync_folder, unseal, write_atomically
from synth.run.store import RunFolder

KEPT_FULL = 2
_NAME = re.compile(r"step-(\d+)")
_WEIGHTS, _MOMENTS, _PLACE = "weights.safetensors", "moments.safetensors", "place.json"


class CorruptCheckpoint(ValueError):
    """A checkpoint whose bytes are not those that were written."""


@dataclass(frozen=True)
class Place:
    """Where a run stands: everything but tensors that training needs to go on."""

    step: int
    tokens: int
    metrics_bytes: int
    cursor: tuple[int, int]
    sums: dict[str, list[float]] = field(default_factory=dict)
    """Running sums behind the next row of training losses."""
    seconds: dict[str, float] = field(default_factory=dict)
    metrics_sha256: str = ""
    """Of the first `metrics_bytes` bytes of the metrics; older code wrote none."""


@dataclass(frozen=True)
class Checkpoint:
    """One run's state on the way from or to the disk."""

    place: Place
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]


def saved_steps(folder: RunFolder, resumable: bool = False) -> list[int]:
    """Steps with a checkpoint, oldest first; only those with moments if `resumable`."""
    if not folder.checkpoints.is_dir():
        return []
    steps = []
    for entry in folder.checkpoints.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match and (not resumable or (entry / _MOMENTS).exists()):
            steps.append(int(match[1]))
    return sorted(steps)


def path_at(folder: RunFolder, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder.checkpoints / f"step-{step:09d}"


def save(folder: RunFolder, checkpoint: Checkpoint, keep_every: int = 0) -> None:
    """Write a checkpoint, then drop what is older than the two newest.

    Of older ones at multiples of `keep_every` the weights stay. Without moments (the end
    of a run) it cannot be resumed, only evaluated. The metrics must be synced before.

    Raises `RunGone` when the run's folder was removed while it trained.
    """
    folder.require_present()
    if not folder.checkpoints.is_dir():
        folder.checkpoints.mkdir()  # not its parents: a removed run stays removed
        sync_folder(folder.path)
    final = path_at(folder, checkpoint.place.step)
    temporary = folder.checkpoints / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        files = {_WEIGHTS: checkpoint.weights, _MOMENTS: checkpoint.moments}
        crc = {
            name: write_tensors(temporary / name, tensors)
            for name, tensors in files.items()
            if tensors
        }
        place = json.dumps(seal(asdict(checkpoint.place) | {"crc32": crc}))
        write_atomically(temporary / _PLACE, place.encode())
        mode = (temporary / _PLACE).stat().st_mode  # safetensors writes for owners only
        for name in crc:
            (temporary / name).chmod(mode)
        if final.exists():  # damaged, or left from before the run went back
            _remove(final)
        os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.checkpoints)  # before the older ones are removed
    _drop_old(folder, keep_every)


def load(folder: RunFolder, step: int) -> Checkpoint:
    """Read the checkpoint of a step.

    Raises `CorruptCheckpoint` when a file is missing, cut short or changed; the message
    names it.
    """
    place, names = _checked(folder, step)
    tensors: dict[str, dict[str, Tensor]] = {_WEIGHTS: {}, _MOMENTS: {}}
    for name in names:
        file = path_at(folder, step) / name
        try:
            tensors[name] = load_file(file)
        except (OSError, SafetensorError) as error:
            raise CorruptCheckpoint(f"{file} cannot be read ({error}).") from None
    return Checkpoint(place, tensors[_WEIGHTS], tensors[_MOMENTS])


def fill(weights: dict[str, Tensor], saved: Checkpoint, what: str) -> None:
    """Copy the saved weights into those of a model.

    Raises `ValueError`, naming the first weight that only one of them has, or that has
    another shape.
    """
    ours = {name: weight.shape for name, weight in weights.items()}
    theirs = {name: weight.shape for name, weight in saved.weights.items()}
    if other := sorted(dict(ours.items() ^ theirs.items())):
        raise ValueError(
            f"{what} holds other weights than the model of its run ({other[0]}): it was "
            "made by another version of the code. Check out the commit that "
            "environment.json names, or move the run's folder away to train it afresh."
        )
    for name, weight in weights.items():
        weight.copy_(saved.weights[name])


def check(folder: RunFolder, step: int) -> Place:
    """Compare the files of a checkpoint with their digests; returns its place.

    Raises `CorruptCheckpoint` when a file is missing, cut short or changed; the message
    names it.
    """
    return _checked(folder, step)[0]


def discard_after(folder: RunFolder, step: int | None) -> None:
    """Remove the checkpoints after a step (all if None): training goes back to it.

    Their metrics are about to be cut off, so nothing may go on from them again.
    """
    later = [s for s in saved_steps(folder) if step is None or s > step]
    for step_after in later:
        _remove(path_at(folder, step_after))
    if later:
        sync_folder(folder.checkpoints)


def free_moments(folder: RunFolder) -> None:
    """Remove the moments of a done run that was killed before it removed them."""
    for step in saved_steps(folder, resumable=True):
        (path_at(folder, step) / _MOMENTS).unlink(missing_ok=True)


def drop_moments(folder: RunFolder, keep_every: int = 0) -> None:
    """At the end of a run: keep the last weights (and milestones), free the rest."""
    _drop_old(folder, keep_every, full=1)
    for step in saved_steps(folder):
        (path_at(folder, step) / _MOMENTS).unlink(missing_ok=True)


def _drop_old(folder: RunFolder, keep_every: int, full: int = KEPT_FULL) -> None:
    steps = saved_steps(folder)
    for step in steps[:-full]:
        if keep_every and step % keep_every == 0:
            (path_at(folder, step) / _MOMENTS).unlink(missing_ok=True)
        else:
            _remove(path_at(folder, step))
    for entry in folder.checkpoints.glob(".step-*.tmp"):
        shutil.rmtree(entry, ignore_errors=True)  # left by a killed process


def _remove(path: Path) -> None:
    """Hide a checkpoint by one rename, then delete its files."""
    hidden = path.with_name(f".{path.name}.{os.getpid()}.old.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    os.rename(path, hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def write_tensors(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None
) -> int:
    """Write and sync tensors in the format of safetensors; the crc32 of the file.

    Raises `OSError`, naming the file, when the disk is full, say.
    """
    try:
        contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
        save_file(contiguous, path, metadata)
    except SafetensorError as error:  # a full disk, say
        raise OSError(f"{path} cannot be written: {error}") from None
    return _crc(path, sync=True)


def _checked(folder: RunFolder, step: int) -> tuple[Place, list[str]]:
    """The place of a checkpoint and the names of its files of tensors."""
    path = path_at(folder, step)
    try:
        crc, place = _place(path / _PLACE, step)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpoint(f"{path / _PLACE} cannot be read ({error}).") from None
    names = [_WEIGHTS, _MOMENTS]
    if _MOMENTS not in crc or not (path / _MOMENTS).exists():
        names.remove(_MOMENTS)
    for name in names:
        try:
            same = _crc(path / name) == crc.get(name)
        except OSError:
            same = False
        if not same:
            raise CorruptCheckpoint(f"{path / name} is missing or damaged.")
    return place, names


def _place(path: Path, step: int) -> tuple[dict[str, int], Place]:
    """The digests and the place in a `place.json`, compared with its own digest."""
    fields = [*Place.__dataclass_fields__, "crc32"]
    stored: dict[str, Any] = unseal(read_object(path), path, fields)
    crc = stored.pop("crc32")
    first, second = map(int, stored.pop("cursor"))
    place = Place(cursor=(first, second), **stored)
    counts = (place.step, place.tokens, place.metrics_bytes)
    plain = all(type(count) is int and count >= 0 for count in counts)
    dicts = all(isinstance(d, dict) for d in (crc, place.sums, place.seconds))
    if not plain or not dicts or place.step != step:
        raise ValueError("its entries are not those of a checkpoint of this step")
    return crc, place


def _crc(path: Path, sync: bool = False) -> int:
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            value = zlib.crc32(piece, value)
        if sync:
            os.fsync(file.fileno())
    return value

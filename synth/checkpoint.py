"""Checkpoints of one run: weights, moments and the place in the data, whole or absent.

A checkpoint is a folder `checkpoint/step-000000500/` that was written under another name
and renamed: if it is there, it is complete. The two newest are kept, so that runs that
trained side by side always share a step to go on from.
"""

import json
import os
import re
import shutil
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from synth.store import RunFolder, write_atomically

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
    found = []
    for entry in folder.checkpoints.iterdir():
        match = _NAME.fullmatch(entry.name)
        if match and (not resumable or (entry / _MOMENTS).exists()):
            found.append(int(match[1]))
    return sorted(found)


def path_at(folder: RunFolder, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder.checkpoints / f"step-{step:09d}"


def save(folder: RunFolder, checkpoint: Checkpoint, keep_every: int = 0) -> None:
    """Write a checkpoint, then drop what is older than the two newest.

    Of older ones at multiples of `keep_every` the weights stay. Without moments (the end
    of a run) it cannot be resumed, only evaluated.
    """
    final = path_at(folder, checkpoint.place.step)
    temporary = folder.checkpoints / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        files = {_WEIGHTS: checkpoint.weights, _MOMENTS: checkpoint.moments}
        crc = {}
        for name, tensors in files.items():
            if tensors:
                save_file(
                    {k: v.contiguous() for k, v in tensors.items()}, temporary / name
                )
                crc[name] = _crc(temporary / name, sync=True)
        place = json.dumps(asdict(checkpoint.place) | {"crc32": crc}, allow_nan=False)
        write_atomically(temporary / _PLACE, place.encode())
        mode = (temporary / _PLACE).stat().st_mode  # safetensors writes for owners only
        for name in crc:
            (temporary / name).chmod(mode)
        if final.exists():  # a damaged one, or one of an undone future
            shutil.rmtree(final)
        os.rename(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _drop_old(folder, keep_every)


def load(folder: RunFolder, step: int) -> Checkpoint:
    """Read the checkpoint of a step.

    Raises
    ------
    CorruptCheckpoint
        When a file is missing, cut short or changed; the message names it.
    """
    path = path_at(folder, step)
    try:
        stored = json.loads((path / _PLACE).read_bytes())
        crc = stored.pop("crc32")
        stored["cursor"] = tuple(stored["cursor"])
        place = Place(**stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptCheckpoint(f"{path / _PLACE} cannot be read ({error}).") from None
    tensors: dict[str, dict[str, Tensor]] = {}
    for name in (_WEIGHTS, _MOMENTS):
        file = path / name
        if name not in crc or (name == _MOMENTS and not file.exists()):
            tensors[name] = {}
        elif not file.exists() or _crc(file) != crc[name]:
            raise CorruptCheckpoint(f"{file} is missing or damaged.")
        else:
            tensors[name] = load_file(file)
    return Checkpoint(place, tensors[_WEIGHTS], tensors[_MOMENTS])


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
            shutil.rmtree(path_at(folder, step))
    for entry in folder.checkpoints.glob(".step-*.tmp"):
        shutil.rmtree(entry, ignore_errors=True)  # left by a killed process


def _crc(path: Path, sync: bool = False) -> int:
    value = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            value = zlib.crc32(piece, value)
        if sync:
            os.fsync(file.fileno())
    return value

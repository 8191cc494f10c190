"""A folder of derived files, each named by a digest of all it depends on.

An entry is a folder that is filled under a temporary name and renamed once complete, so
readers never see half of it and any number of writers may race: one rename wins, the
others find an equal entry in its place. An entry that does not match its manifest of
digests (a full disk, a killed machine, a changed file) is rebuilt. What a killed writer
leaves behind is removed by the next one, once nothing in it has changed for a day.
Modes follow the umask, so that a group may share the folder.
"""

import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from synth.disk.files import content_digest
from synth.disk.places import cache_folder

MANIFEST = "complete.json"
ABANDONED_SECONDS = 24 * 3600
"""A temporary folder that has not changed for so long belongs to a killed writer."""


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of an entry; `build` fills an empty folder if there is none yet."""
    final = cache_folder() / kind / key
    if _is_whole(final):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    scratch = _temporary(final.parent, key[:16])
    _remove_abandoned(final.parent, scratch.stat().st_mtime)
    try:
        build(scratch)
        _close(scratch)
        for _ in range(3):
            try:
                os.rename(scratch, final)
                break
            except OSError:
                # Another writer was faster, or a damaged entry is in the way.
                if _is_whole(final):
                    break
                _set_aside(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not _is_whole(final):
        raise OSError(
            f"The cache entry {final} cannot be written. Is the disk full, or does it "
            "belong to another user? Remove it, or set SYNTH_CACHE to another folder."
        )
    return final


def _temporary(parent: Path, name: str) -> Path:
    """A new folder with the modes of the umask, which `tempfile` does not follow."""
    path = parent / f".{name}-{secrets.token_hex(8)}"
    path.mkdir()
    return path


def _remove_abandoned(folder: Path, now: float) -> None:
    """Remove temporary folders of writers that died; those in use are younger.

    `now` is the file system's time: the clocks of machines that share it may differ.
    """
    for path in folder.glob(".*"):
        try:
            changed = max(p.stat().st_mtime for p in (path, *path.iterdir()))
        except OSError:
            continue  # another writer was faster
        if changed < now - ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def _set_aside(damaged: Path) -> None:
    """Move a damaged entry away; by a rename, so that only one writer does it."""
    aside = _temporary(damaged.parent, "damaged")
    try:
        os.rename(damaged, aside / "entry")
    except OSError:
        pass
    shutil.rmtree(aside, ignore_errors=True)


def _close(folder: Path) -> None:
    """Write the manifest, after the content has reached the disk."""
    digests = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        digests[path.name] = content_digest(path)
    with (folder / MANIFEST).open("w") as file:
        json.dump({"sha256": digests}, file)
        file.flush()
        os.fsync(file.fileno())


def _is_whole(folder: Path) -> bool:
    try:
        digests = json.loads((folder / MANIFEST).read_bytes())["sha256"]
        return all(
            content_digest(folder / name) == digest for name, digest in digests.items()
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return False

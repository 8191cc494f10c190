"""A folder of derived files, each named by a digest of all it depends on.

An entry is a folder (`synth.disk.shared_folder`) with a manifest of digests. One that does
not match its manifest (a full disk, a killed machine, a changed file) is rebuilt.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from synth.disk.files import content_digest
from synth.disk.places import cache_folder
from synth.disk.shared_folder import fill_folder

MANIFEST = "complete.json"


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of an entry; `build` fills an empty folder if there is none yet."""
    final = cache_folder() / kind / key
    if _is_whole(final):
        return final

    def fill(folder: Path) -> None:
        build(folder)
        _close(folder)

    fill_folder(final, fill, _is_whole)
    if not _is_whole(final):
        raise OSError(
            f"The cache entry {final} cannot be written. Is the disk full, or does it "
            "belong to another user? Remove it, or set SYNTH_CACHE to another folder."
        )
    return final


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

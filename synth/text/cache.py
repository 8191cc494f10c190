"""A folder of derived files, each named by a digest of all it depends on.

An entry is a folder that is filled under a temporary name and renamed once complete, so
readers never see half of it and any number of writers may race: one rename wins, the
others find an equal entry in its place. A torn entry (a full disk, a killed machine) is
recognised by its manifest of sizes and made anew. What a killed writer leaves behind is
removed by the next one, once nothing in it has changed for a day.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

MANIFEST = "complete.json"
ABANDONED_SECONDS = 24 * 3600
"""A temporary folder that has not changed for so long belongs to a killed writer."""


def cache_folder() -> Path:
    """`$SYNTH_CACHE`, or `synth` in the user's cache folder."""
    given = os.environ.get("SYNTH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "synth"


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The folder of an entry; `build` fills an empty folder if there is none yet."""
    final = cache_folder() / kind / key
    if _is_whole(final):
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(final.parent)
    scratch = Path(tempfile.mkdtemp(prefix=f".{key[:16]}-", dir=final.parent))
    try:
        build(scratch)
        _close(scratch)
        for _ in range(3):
            try:
                os.rename(scratch, final)
                break
            except OSError:
                # Another writer was faster, or a torn entry is in the way.
                if _is_whole(final):
                    break
                _set_aside(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not _is_whole(final):
        raise OSError(f"The cache entry {final} cannot be written; is the disk full?")
    return final


def _remove_abandoned(folder: Path) -> None:
    """Temporary folders of writers that died; those still being filled are younger."""
    oldest = time.time() - ABANDONED_SECONDS
    for path in folder.glob(".*"):
        try:
            changed = max(p.stat().st_mtime for p in (path, *path.iterdir()))
        except OSError:
            continue  # another writer was faster
        if changed < oldest:
            shutil.rmtree(path, ignore_errors=True)


def _set_aside(torn: Path) -> None:
    """Move a torn entry away; a rename, so that only one writer does it."""
    aside = Path(tempfile.mkdtemp(prefix=".torn-", dir=torn.parent))
    try:
        os.rename(torn, aside / "entry")
    except OSError:
        pass
    shutil.rmtree(aside, ignore_errors=True)


def _close(folder: Path) -> None:
    """Write the manifest, after the content has reached the disk."""
    sizes = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        sizes[path.name] = path.stat().st_size
    with (folder / MANIFEST).open("w") as file:
        json.dump(sizes, file)
        file.flush()
        os.fsync(file.fileno())


def _is_whole(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text())
        return all(
            (folder / name).stat().st_size == size for name, size in sizes.items()
        )
    except (OSError, ValueError, AttributeError):
        return False

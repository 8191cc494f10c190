"""Folders that any number of writers may fill at once: whole under their name, or absent.

A folder is filled under a temporary name and renamed once complete, so readers never see
half of it: one rename wins, the other writers find an equal folder in its place. What a
killed writer leaves behind is removed by the next one, once nothing in it has changed for
a day. Modes follow the umask, so that a group may share the folder.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from synth.disk.files import make_folder, remove_abandoned, sync_folder


def fill_folder(
    final: Path, fill: Callable[[Path], None], is_whole: Callable[[Path], bool]
) -> None:
    """Let `fill` write into an empty folder, and give it the name `final`.

    A folder of that name that is not whole is replaced, in three attempts; callers check
    what lies there in the end.
    """
    make_folder(final.parent)
    scratch = _temporary(final.parent, final.name[:16])
    remove_abandoned(final.parent, ".*", scratch.stat().st_mtime)
    try:
        fill(scratch)
        for _ in range(3):
            try:
                os.rename(scratch, final)
                break
            except OSError:
                # Another writer was faster, or a damaged folder is in the way.
                if is_whole(final):
                    break
                _set_aside(final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    sync_folder(final.parent)


def _temporary(parent: Path, name: str) -> Path:
    """A new folder with the modes of the umask, which `tempfile` does not follow."""
    path = parent / f".{name}-{secrets.token_hex(8)}"
    path.mkdir()
    return path


def _set_aside(damaged: Path) -> None:
    """Move a damaged folder away; by a rename, so that only one writer does it."""
    aside = _temporary(damaged.parent, "damaged")
    try:
        os.rename(damaged, aside / "entry")
    except OSError:
        pass
    shutil.rmtree(aside, ignore_errors=True)

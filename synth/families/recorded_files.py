"""The content of a person's files as a run recorded them, if they can be trusted.

A plugin is code, and a folder that others can write is data. A record or a copy counts
only if it belongs to the user or to root and nobody else can write it.
"""

import functools
import hashlib
import json
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synth.disk.files import read_regular

FOLDER = "plugins"
"""Below a run's folder, and below a copy of the code: the files themselves."""
OPTION = "--plugin"
_CODE = Path(__file__).resolve().parents[2]
_COPY_MARK = "code_state.json"
"""Lies in a copy of the code (`synth.run.code_copy`), which is checked before it runs."""


def copy_name(path: str, sha256: str) -> str:
    """The name of the copy of a file: by digest, so that older versions stay."""
    return f"{sha256[:12]}-{Path(path).name}"


def recorded_content(
    entry: Mapping[str, str], record: Path | None, said: Any
) -> tuple[bytes, Path]:
    """The content of a recorded file, and where it was read.

    `entry` is one of the entries `said`, which were read from the file `record`.

    Raises `ValueError`, with a reason for each place, where none holds that content.
    """
    path, digest = Path(entry["path"]), entry["sha256"]
    name = copy_name(entry["path"], digest)
    if (_CODE / _COPY_MARK).exists() and (_CODE / FOLDER / name).exists():
        copied = _CODE / FOLDER / name
        content = read_regular(copied)
        if hashlib.sha256(content).hexdigest() == digest:
            return content, copied
    places: list[tuple[Path, bool]] = []
    why = []
    refused = None if record is None else _why_not_believed(record, said)
    if refused:
        why.append(refused)
    else:
        places.append((path, False))
        if record is not None and record.name == "config.json":
            places.append((record.parent / FOLDER / name, True))
    for place, own in places:
        try:
            content = read_regular(place, inspect=_require_own if own else None)
        except FileNotFoundError:
            why.append(f"{place} does not exist")
        except (OSError, ValueError) as error:
            why.append(f"{place} cannot be used ({error})")
        else:
            if hashlib.sha256(content).hexdigest() == digest:
                return content, place
            why.append(f"{place} was changed (its sha256 is not {digest[:12]}...)")
    raise ValueError(
        f"The run needs {path}, a file with a task or objective of somebody's own, and "
        f"it was not imported: {'; '.join(why)}. Bring that file back, or name one "
        f"that you trust with {OPTION} FILE (in Python: import it first)."
    )


def _why_not_believed(record: Path, said: Any) -> str:
    """Why a record does not say what code to run; empty if it does.

    Reads it again: it may have been changed since `said` was read.
    """
    try:
        content = read_regular(record, inspect=_require_own)
        if record.name == "config.json":
            recorded = [json.loads(content)["config"].get(FOLDER)]
        else:
            lines = content.splitlines()
            recorded = [run.get(FOLDER) for line in lines for run in json.loads(line)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{record}, which names it, is data and no more ({error})"
    return "" if said in recorded else f"{record} changes while it is read"


def _require_own(status: os.stat_result) -> None:
    """Refuse a file that somebody else can change."""
    user = pwd.getpwuid
    if status.st_uid not in (0, os.geteuid()):
        try:
            owner = user(status.st_uid).pw_name
        except KeyError:
            owner = f"user {status.st_uid}"
        raise ValueError(f"it belongs to {owner}, who is neither you nor root")
    shared = 0o002 if _is_own_group(status.st_gid) else 0o022
    if status.st_mode & shared:
        raise ValueError(f"others can write it: mode {status.st_mode & 0o777:o}")


@functools.cache
def _is_own_group(gid: int) -> bool:
    """Whether a group is that of one user alone, as many systems give each of them."""
    import grp

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return (
        gid == user.pw_gid
        and group.gr_name == user.pw_name
        and set(group.gr_mem) <= {user.pw_name}
    )

"""Files that survive a crash, and reading files that something else may have damaged.

Writing: a file is written under a temporary name, synced, renamed, and the folder is
synced, so after a kill or a power cut a reader finds the old content or the new one.
Reading: only regular files of a plausible size, because opening a FIFO blocks for ever
and a file of many gigabytes does not fit into memory.
"""

import contextlib
import errno
import glob
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from synth.identity import digest

MAX_JSON_BYTES = 1 << 26
SEAL = "sha256"
"""The key under which a sealed object carries the digest of its other entries."""
ABANDONED_SECONDS = 24 * 3600
"""A temporary folder that has not changed for so long belongs to a killed writer."""
_NO_SYNC = {errno.EINVAL, errno.EACCES, errno.EPERM}
_NO_SYNC |= {errno.EOPNOTSUPP, errno.ENOTSUP}  # two numbers on macOS


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, sync it and rename it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk names no file
        raise
    sync_folder(path.parent)


def keep_to_oneself(path: Path) -> None:
    """Let only its owner write a file, because it holds code or names a file that does."""
    path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o022)


def sync_folder(path: Path) -> None:
    """Make the creations, renames and removals in a folder outlast a power cut.

    Without effect on file systems that cannot sync a folder.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Bring a folder, and all files and folders in it, to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with Path(parent, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def make_folder(path: Path) -> None:
    """Create a folder and its missing parents; each entry outlasts a power cut.

    A folder that exists is synced too: the process that made it may have been killed
    before it could.
    """
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(exist_ok=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, which gets that name if all goes well.

    Nothing but an empty folder may lie at `path`. After an error nothing is left behind;
    what a killed process leaves is removed by the next call, a day later.
    """
    path = path.absolute()
    make_folder(path.parent)
    # Not by process id, which is the same each time in a container.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    same_name = f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}.tmp"
    remove_abandoned(path.parent, same_name, temporary.stat().st_mtime)
    try:
        yield temporary
        sync_tree(temporary)
        temporary.rename(path)
    except OSError as error:
        if error.errno and error.filename is None:  # a full disk
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    sync_folder(path.parent)


def remove_abandoned(folder: Path, pattern: str, now: float) -> None:
    """Remove temporary folders of writers that died; those in use are younger.

    `now` is the file system's time: the clocks of machines that share it may differ.
    """
    for path in folder.glob(pattern):
        try:
            changed = max(p.stat().st_mtime for p in (path, *path.iterdir()))
        except OSError:
            continue  # another writer was faster
        if changed < now - ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)


def size_of(path: Path) -> int:
    """Size in bytes of a regular file, 0 if there is none.

    Raises `ValueError` when something else lies there: a FIFO, a device, a folder.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0
    _require_regular(path, status)
    return status.st_size


def read_regular(
    path: Path,
    inspect: Callable[[os.stat_result], None] | None = None,
) -> bytes:
    """The content of a regular file of at most `MAX_JSON_BYTES`; never blocks.

    `inspect` sees the owner and the mode of what is read, and raises to refuse it.

    Raises `ValueError`, naming a file that is larger, or that is a FIFO, a device or a
    folder.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        _require_regular(path, status)
        if inspect is not None:
            inspect(status)
        if status.st_size > MAX_JSON_BYTES:
            raise ValueError(
                f"{path} has {status.st_size:,} bytes, more than the {MAX_JSON_BYTES:,} "
                "that such a file can have: it is damaged, or another program wrote it."
            )
    except BaseException:
        os.close(handle)
        raise
    with open(handle, "rb") as file:
        return file.read()


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises `ValueError`, naming a file that is no JSON, or JSON of another shape. Raises
    `FileNotFoundError` when there is no such file.
    """
    try:
        value = json.loads(read_regular(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}).") from None
    if not isinstance(value, dict):
        raise ValueError(
            f"{path} must hold a JSON object; it holds a {type(value).__name__}."
        )
    return value


def seal(value: dict[str, Any]) -> dict[str, Any]:
    """The object with the digest of its entries, for `unseal` to compare."""
    return value | {SEAL: digest(value)}


def unseal(
    value: dict[str, Any], path: Path, unsealed: Collection[str]
) -> dict[str, Any]:
    """The object without its digest.

    Files of older code have no digest; they have no entries but those in `unsealed`.

    Raises `ValueError` when its entries are not those that were written; names the
    file.
    """
    rest = {name: entry for name, entry in value.items() if name != SEAL}
    if SEAL in value:
        same = value[SEAL] == digest(rest)
    else:
        same = rest.keys() <= set(unsealed)
    if not same:
        raise ValueError(f"{path} was changed after it was written.")
    return rest


def _require_regular(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = {stat.S_IFIFO: "FIFO", stat.S_IFDIR: "folder", stat.S_IFSOCK: "socket"}
        name = kind.get(stat.S_IFMT(status.st_mode), "device")
        raise ValueError(f"{path} must be a regular file; it is a {name}.")


def content_digest(path: Path, after: int = 0) -> str:
    """Hex sha256 of a file's bytes, read once in a process while it does not change."""
    status = path.stat()
    state = (status.st_ino, status.st_size, status.st_mtime_ns)
    return _digest_of(str(path.resolve()), after, state)


@lru_cache(maxsize=1024)
def _digest_of(path: str, after: int, state: tuple[int, int, int]) -> str:
    with open(path, "rb") as file:
        file.seek(after)
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The advisory lock by which one process at a time trains a run."""

import errno
import fcntl
import os
import stat
from pathlib import Path

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


def open_claim(path: Path) -> int:
    """A handle on the lock file; another user's file may be one to read alone.

    Raises
    ------
    ValueError
        When a FIFO, a device or the like has that name.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path} must be a regular file, to be locked. Remove it.")
    return handle


def lock(handle: int, kind: int, path: Path) -> bool:
    """Take a lock unless another process holds it; whether it was taken.

    Raises
    ------
    ValueError
        When the file system has no locks.
    """
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise ValueError(
            f"The file system of {path} has no file locks ({error.strerror}), so two "
            "processes could train one run. Choose a runs folder on another disk, or "
            "have it mounted with locks (Lustre: flock; NFS: without nolock)."
        ) from None
    return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; without locks, or a lock file, none does."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    try:
        return not lock(handle, fcntl.LOCK_SH, path.parent)
    except ValueError:
        return False
    finally:
        os.close(handle)

"""The advisory lock by which one process at a time trains a run."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class RunBusy(RuntimeError):
    """Another process trains this run right now."""


@contextlib.contextmanager
def hold(path: Path, run_id: str) -> Iterator[int]:
    """Hold the lock of a run and write into its file who does; gives the open file.

    Raises `RunBusy` when another process holds it; the message says which. Raises
    `ValueError` when the lock is no regular file, or its file system has no locks.
    """
    handle = _open(path)
    try:
        while not _lock(handle, fcntl.LOCK_EX, path.parent):
            # Whoever asks for the state holds a shared lock for an instant.
            if is_locked(path):
                holder = os.pread(handle, 500, 0).decode(errors="replace").strip()
                raise RunBusy(f"Run {run_id} is being trained by {holder}.")
            time.sleep(0.001)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        text = f"process {os.getpid()} on {socket.gethostname()} since {started}\n"
        with contextlib.suppress(OSError):  # another user's file, or a full disk
            os.ftruncate(handle, 0)
            os.pwrite(handle, text.encode(), 0)
        yield handle
    finally:
        os.close(handle)


def _open(path: Path) -> int:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # another user's file
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise ValueError(f"{path} must be a regular file, to be locked. Remove it.")
    return handle


def _lock(handle: int, kind: int, path: Path) -> bool:
    """Take a lock unless another process holds it; whether it was taken."""
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
        return not _lock(handle, fcntl.LOCK_SH, path.parent)
    except ValueError:
        return False
    finally:
        os.close(handle)

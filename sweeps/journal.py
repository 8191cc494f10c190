"""The journal of a search: an Optuna storage in one file that processes may share."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

PATIENCE_SECONDS = 60.0
"""How long a write waits for another process; a write takes milliseconds."""


class _KernelLock(JournalFileOpenLock):
    """A kernel lock: unlike Optuna's lock files it is released when its holder dies."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock = FileLock(path, timeout=PATIENCE_SECONDS)

    def acquire(self) -> bool:
        """Acquire the lock, waiting at most `PATIENCE_SECONDS`.

        Raises `ValueError` when another process still holds it; names the lock.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise ValueError(
                f"Another process has held {self._lock.lock_file} for "
                f"{PATIENCE_SECONDS:.0f} s, perhaps a stopped search; "
                f"`fuser {self._lock.lock_file}` names it. Continue or end it, then call "
                "again."
            ) from None
        return True

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()


def open_journal(path: Path) -> JournalStorage:
    """Open the journal file as a storage; several processes may have it open.

    Raises `ValueError` when the file cannot be read as a journal, or stays locked.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = path.absolute()
    lock = _KernelLock(path.with_name(f".{path.name}.lock"))
    backend = JournalFileBackend(str(path), lock_obj=lock)
    try:
        return JournalStorage(backend)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be read as the journal of a search ({error}). Move it away "
            "to search afresh; the runs that it names stay."
        ) from error


@contextlib.contextmanager
def asking(path: Path) -> Iterator[None]:
    """Let no other search of this journal read its trials and add one meanwhile.

    Raises `ValueError` when another process holds the lock for long; names the lock.
    """
    lock = _KernelLock(path.absolute().with_name(f".{path.name}.asking"))
    lock.acquire()
    try:
        yield
    finally:
        lock.release()

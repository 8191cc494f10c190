"""The journal of a search: Optuna's storage in one file that processes may share."""

from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

PATIENCE_SECONDS = 60.0
"""How long a write waits for another process; one takes milliseconds."""


class _KernelLock(JournalFileOpenLock):
    """Optuna's own locks are files that outlive a killed holder; the kernel's do not."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._lock = FileLock(path, timeout=PATIENCE_SECONDS)

    def acquire(self) -> bool:
        """Wait a bounded time.

        Raises
        ------
        ValueError
            Names the lock when another process does not let go of it.
        """
        try:
            self._lock.acquire()
        except Timeout:
            raise ValueError(
                f"Another process has held {self._lock.lock_file} for "
                f"{PATIENCE_SECONDS:.0f} s (a stopped search, perhaps: see "
                f"`fuser {self._lock.lock_file}`). Let it go on, or end it, then call "
                "again."
            ) from None
        return True

    def release(self) -> None:
        """Let the next one write."""
        self._lock.release()


def open_journal(path: Path) -> JournalStorage:
    """The journal file as a storage; two processes may have it open.

    Raises
    ------
    ValueError
        When the file cannot be read as a journal, or stays locked.
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

"""`result.json`: written last, it makes a run done; and whether it is as it was written."""

import os
import stat
from pathlib import Path

from synth.disk.files import read_object, unseal
from synth.run.metrics_file import sha256_of

NAME = "result.json"
_OLDER_KEYS = """
    run_id steps tokens vocabulary finished seconds lanes headline weights metrics_sha256
"""
"""Of results that carry no digest of their own."""


def is_whole(path: Path) -> bool | None:
    """Whether a run folder holds a whole result; `None` when it holds none at all."""
    try:
        handle = os.open(path / NAME, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            return False
        ending = os.pread(handle, 2, max(0, status.st_size - 2))
        return ending.rstrip().endswith(b"}")
    finally:
        os.close(handle)


def verify(path: Path) -> list[str]:
    """What in the folder of a done run is not what its training wrote, file by file.

    Empty when all is as written, and for runs that are not done. Reads `result.json`,
    `metrics.jsonl` and `items.jsonl` once; checkpoints are compared when they are
    loaded. A result of older code, without digests of its own, passes as it is.
    """
    try:
        stored = read_object(path / NAME)
        result = unseal(stored, path / NAME, _OLDER_KEYS.split())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        return [damaged(path, str(error))]
    problems = []
    if result.get("run_id", path.name) != path.name:
        problems.append(
            f"{path / NAME} is the result of {result['run_id']}, another run."
        )
    for name in ("metrics", "items"):
        file, expected = path / f"{name}.jsonl", result.get(f"{name}_sha256")
        if expected is None:
            continue
        try:
            if sha256_of(file) == expected:
                continue
            problem = "was changed or cut" if file.exists() else "is missing"
        except (OSError, ValueError) as error:
            problem = f"cannot be read ({error})"
        problems.append(
            f"{file} {problem}: it is not what training wrote. Restore the file, or move "
            "the run's folder away to train it afresh."
        )
    return problems


def damaged(path: Path, how: str) -> str:
    """The message about a result that cannot be read."""
    return (
        f"{path / NAME} is damaged ({how}). Restore it, or remove it to train "
        "the run again from its last checkpoint."
    )

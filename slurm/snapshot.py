"""A copy of the code, so that queued jobs run what they were submitted with.

The copy lies in `RUNS/.slurm/code/<digest>`; equal code is copied once. Jobs find it
through PYTHONPATH, with PYTHONSAFEPATH so that the folder they start in cannot shadow
it, and the worker checks where it was imported from.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from slurm.ledger import FOLDER
from synth.environment import code_state

PACKAGES = ("synth", "slurm")
"""What a worker imports."""

HERE = Path(__file__).resolve().parent.parent


def take(
    root: Path,
    source: Path = HERE,
    packages: Sequence[str] = PACKAGES,
    folder: str = FOLDER,
) -> Path:
    """Copy the packages of `source` to `root/folder/code/DIGEST`; returns the copy."""
    files = sorted(_files(source, packages))
    sha = hashlib.sha256()
    for path in files:
        content = (source / path).read_bytes()
        sha.update(f"{path}\0{len(content)}\0".encode() + content)
    final = root / folder / "code" / sha.hexdigest()[:16]
    if final.exists():
        return final
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for path in files:
        (temporary / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, temporary / path)
    # Below the runs folder git would answer for whatever is checked out by then.
    state = json.dumps(code_state(), indent=1)
    (temporary / "code_state.json").write_text(state + "\n")
    try:
        temporary.rename(final)
    except OSError:  # another launcher was faster with the same code
        shutil.rmtree(temporary, ignore_errors=True)
        if not final.exists():
            raise
    return final


def _files(source: Path, packages: Sequence[str]) -> Iterator[Path]:
    for package in packages:
        for path in (source / package).rglob("*"):
            parts = path.relative_to(source).parts
            if path.is_file() and "__pycache__" not in parts and path.suffix != ".pyc":
                yield path.relative_to(source)

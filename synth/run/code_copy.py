"""A copy of the code, so that queued jobs run what they were submitted with.

The copy lies in `RUNS/FOLDER/code/<digest>` (`synth.disk.shared_folder`); equal code is
copied once. `MANIFEST` lists the SHA-256 of every file as `sha256sum` does, and the folder
is named by the digest of that list. A copy is checked, by code outside of it, before a
worker runs from it.

Jobs find it through PYTHONPATH, with PYTHONSAFEPATH so that the folder they start in
cannot shadow it, and the worker checks where it was imported from.
"""

import hashlib
import json
import os
import shlex
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from synth.disk.files import read_regular, sync_tree
from synth.disk.shared_folder import fill_folder
from synth.run.defining_code import COPIED, code_state, package_files

PACKAGES = ("synth", "slurm")
"""What a worker imports."""

HERE = Path(__file__).resolve().parents[2]
MANIFEST = "MANIFEST.sha256"
_DIGITS = 16
_HASH_COLUMNS = 66
"""SHA-256 and two spaces, before each name."""


class CopyChanged(ValueError):
    """A file of a copy is not what was copied; the message names it."""


def take(
    root: Path,
    folder: str,
    source: Path = HERE,
    packages: Sequence[str] = PACKAGES,
    more: Mapping[str, bytes] = {},
) -> Path:
    """Copy the packages of `source` to `root/folder/code/DIGEST`; returns the copy.

    `more` are further files by relative path: tasks and objectives of a person's own.

    An existing copy that was changed is replaced, with a warning that names the file.
    """
    contents = {
        path.relative_to(source).as_posix(): path.read_bytes()
        for package in packages
        for path in package_files(source / package)
    }
    contents |= more
    contents[COPIED] = json.dumps(code_state(), indent=1).encode() + b"\n"
    listed = "".join(
        f"{hashlib.sha256(contents[name]).hexdigest()}  {name}\n"
        for name in sorted(contents)
    ).encode()
    final = root / folder / "code" / _name(listed)
    if final.exists():
        try:
            check(final)
            return final
        except CopyChanged as changed:
            warnings.warn(f"{changed} It is replaced.", stacklevel=2)
    contents[MANIFEST] = listed
    fill_folder(final, lambda folder: _write(folder, contents), _is_whole)
    check(final)
    return final


def check(copy: Path) -> None:
    """Compare a copy with its manifest, and that with the name of the folder.

    Compiled files are removed: Python would trust them without a look at the source.

    Raises `CopyChanged`, naming a file that was changed, is gone, or was put there by
    somebody else.
    """
    for cache in copy.rglob("__pycache__"):
        shutil.rmtree(cache, ignore_errors=True)
    try:
        listed = read_regular(copy / MANIFEST)
    except (OSError, ValueError):
        listed = b""
    if _name(listed) != copy.name:
        raise CopyChanged(_words(copy, f"{MANIFEST} was changed or is gone"))
    lines = listed.decode().splitlines()
    digests = {line[_HASH_COLUMNS:]: line[: _HASH_COLUMNS - 2] for line in lines}
    for name, digest in digests.items():
        try:
            content = read_regular(copy / name)
        except (OSError, ValueError):
            raise CopyChanged(_words(copy, f"{name} cannot be read")) from None
        if hashlib.sha256(content).hexdigest() != digest:
            raise CopyChanged(_words(copy, f"{name} was changed"))
    for path in _files(copy):
        if path not in digests and path != MANIFEST:
            raise CopyChanged(_words(copy, f"{path} was added"))


def _is_whole(copy: Path) -> bool:
    try:
        check(copy)
    except CopyChanged:
        return False
    return True


def check_lines(copy: Path) -> list[str]:
    """The same check as shell lines, for a job to run before any code of the copy."""
    path = shlex.quote(str(copy))
    return [
        "export PYTHONDONTWRITEBYTECODE=1",
        f"( cd {path} && find . -name __pycache__ -prune -exec rm -rf {{}} + &&",
        f"  sha256sum {MANIFEST} | grep '^{copy.name}' > /dev/null &&",
        f"  diff <(cut -c {_HASH_COLUMNS + 1}- {MANIFEST} | LC_ALL=C sort) \\",
        f"    <(find . -type f ! -path ./{MANIFEST} | cut -c 3- | LC_ALL=C sort) &&",
        # Not `tee /dev/stderr`: opening it would cut what the log holds already.
        "  ! find . ! -type d ! -type f | grep . >&2 &&",
        f"  sha256sum --check --quiet {MANIFEST}",
        f") || {{ echo {path} is not the code that was submitted: it was changed, and is"
        " not run. Send the runs again, which makes a new copy. >&2; exit 1; }",
    ]


def _words(copy: Path, what: str) -> str:
    return f"The copy of the code in {copy} is not what was copied: {what}."


def _name(listed: bytes) -> str:
    return hashlib.sha256(listed).hexdigest()[:_DIGITS]


def _files(copy: Path) -> Iterator[str]:
    """Everything in a copy that is no folder, links to folders included."""
    for folder, names, files in os.walk(copy):
        links = [name for name in names if (Path(folder) / name).is_symlink()]
        for name in files + links:
            yield (Path(folder) / name).relative_to(copy).as_posix()


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files below a folder, and wait until all of it is on the disk."""
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sync_tree(folder)

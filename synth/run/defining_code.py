"""Which code defines a run: digests of its files, and the commit that they come from."""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synth.config import RunConfig
from synth.families.plugins import outside_sources
from synth.run.git import read_checkout
from synth.run.store import RunFolder

ROOT = Path(__file__).resolve().parents[2]
COPIED = "code_state.json"
"""In a copy of the code (`synth.run.code_copy`), the state of what it was copied from."""


@functools.cache
def code_state() -> dict[str, Any]:
    """Commit of the code and what differs from it, and `synth_sha256`: what trained.

    See `synth.run.git.read_checkout`; `synth_sha256` is the digest of the files of `synth`.
    """
    copied = ROOT / COPIED
    # Below the runs folder git would answer for whatever is checked out by then.
    state = json.loads(copied.read_bytes()) if copied.exists() else read_checkout(ROOT)
    return {**state, "synth_sha256": digest_of_package(ROOT / "synth")}


def code_of(config: RunConfig) -> dict[str, Any]:
    """All code that defines a run: `code_state`, and `outside`: digests by file."""
    return code_state() | {"outside": outside_files(config)}


def package_files(package: Path) -> list[Path]:
    """The files of a package, sorted: no caches, hidden files, backups, prose."""
    return sorted(
        path
        for path in package.rglob("*")
        if path.is_file()
        and not path.name.endswith(("~", ".pyc", ".md"))
        and not any(
            part.startswith(".") or part == "__pycache__"
            for part in path.relative_to(package).parts
        )
    )


def digest_of_package(package: Path) -> str:
    """SHA-256 of the names and contents of all files of a package."""
    sha = hashlib.sha256()
    for path in package_files(package):
        content = path.read_bytes()
        name = path.relative_to(package).as_posix()
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


def outside_files(config: RunConfig) -> dict[str, str]:
    """SHA-256 of each file outside `synth` that defines a part of a run, by path."""
    return dict(sorted((one.path, one.sha256) for one in outside_sources(config)))


def refuse_other_code(root: Path, configs: Sequence[RunConfig]) -> None:
    """Refuse to go on with runs whose last session was defined by other code.

    Runs without a checkpoint start afresh, so nothing is mixed.

    Raises `ValueError`, naming how many, the first, what differs, and the ways out.
    """
    other = []
    for config in configs:
        folder = RunFolder(root, config.run_id)
        differs = _difference(folder, config)
        goes_on = folder.state() not in ("done", "unreadable")
        if differs and goes_on and _has_checkpoint(folder):
            other.append((config.run_id, differs))
    if other:
        run_id, differs = other[0]
        raise ValueError(
            f"{len(other)} unfinished runs were begun by other code than this (the "
            f"first: {run_id}, {differs}). Going on would "
            "mix two versions in one run. Check that code out again, or move the "
            "folders away to train them afresh, or accept it with --accept-code-change "
            "(in Python: execution=Execution(accept_code_change=True))."
        )


def _has_checkpoint(folder: RunFolder) -> bool:
    return any(folder.checkpoints.glob("step-*"))


def _difference(folder: RunFolder, config: RunConfig) -> str | None:
    """What the code of a run's last session was, if it is not this code."""
    try:
        code = folder.read_json("environment.json")["sessions"][-1]["code"]
        began, outside = code.get("synth_sha256"), code.get("outside")
        if began is not None and began != code_state()["synth_sha256"]:
            dirty = " with local changes" if code.get("patch_sha256") else ""
            return f"at commit {str(code.get('commit'))[:10]}{dirty}"
        now = outside_files(config)
        # A file that was moved is the same code: contents are compared.
        if outside is not None and sorted(outside.values()) != sorted(now.values()):
            changed = sorted(path for path in now if now[path] not in outside.values())
            gone = sorted(p for p in outside if outside[p] not in now.values())
            return f"with another version of {(changed or gone)[0]}"
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        pass  # never begun, or by code that did not record it
    return None

"""Which code defines a run: digests of its files, and the commit that they come from."""

import ast
import functools
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from synth.config import RunConfig
from synth.run.git import ROOMS, read_checkout
from synth.run.store import RunFolder

ROOT = Path(__file__).resolve().parents[2]
COPIED = "code_state.json"
"""In a copy of the code (`synth.run.code_copy`), the state of what it was copied from."""
_INSTALLED = {"site-packages", "dist-packages"}


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
    """SHA-256 of each file outside `synth` that defines a part of a run, by path.

    A task of your own lies in such a file; what that file imports counts too, except
    the standard library, this project and packages that are installed.
    """
    parts = [getattr(config, field.name) for field in fields(config)]
    return _outside_files(tuple(type(part) for part in parts if is_dataclass(part)))


@functools.cache
def _outside_files(classes: tuple[type, ...]) -> dict[str, str]:
    modules = {base.__module__ for kind in classes for base in kind.__mro__}
    own = {name.partition(".")[0] for name in modules}
    waiting = [name for name in sorted(modules) if name.partition(".")[0] != "synth"]
    seen, files = set(waiting), {}
    while waiting:
        name = waiting.pop()
        path = _file(name)
        if path is None or path.suffix != ".py":
            continue
        content = path.read_bytes()
        files[str(path)] = hashlib.sha256(content).hexdigest()
        for found in _imports(content, name, path):
            if found not in seen and _is_persons(found, own):
                seen.add(found)
                waiting.append(found)
    return dict(sorted(files.items()))


def _is_persons(name: str, own: set[str]) -> bool:
    """Whether an imported module is a person's: of no library and not of this project."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in ROOMS:
        return False
    path = _file(name)
    return path is not None and (top in own or not _INSTALLED & set(path.parts))


def _imports(content: bytes, name: str, path: Path) -> Iterator[str]:
    """Names of modules that a source imports, wherever in it, and of their packages."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # changed since it was imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -node.level + 1 or None] if node.level else []
            start = ".".join([*above, *filter(None, [node.module])])
            names = [start, *(f"{start}.{alias.name}" for alias in node.names)]
        else:
            continue
        for full in names:
            parts = full.split(".")
            yield from (".".join(parts[:k]) for k in range(1, len(parts) + 1))


def _file(name: str) -> Path | None:
    """The file of a module, without importing it."""
    module = sys.modules.get(name)
    file = module.__file__ if module and hasattr(module, "__file__") else None
    if module is None and (spec := _spec(name)) is not None and spec.has_location:
        file = spec.origin
    path = Path(file).resolve() if file else None
    return path if path and path.is_file() else None


def _spec(name: str) -> Any:
    parent = name.rpartition(".")[0]
    above = _spec(parent) if parent else None
    where = above.submodule_search_locations if above else None
    if parent and where is None:
        return None
    for finder in sys.meta_path:
        try:
            spec = finder.find_spec(name, where, None)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is not None:
            return spec
    return None


def refuse_other_code(root: Path, configs: Sequence[RunConfig]) -> None:
    """Refuse to go on with runs whose last session was defined by other code.

    Runs without a checkpoint start afresh, so nothing is mixed.

    Raises
    ------
    ValueError
        Names how many, the first, what differs, and the ways out.
    """
    other = []
    for config in configs:
        folder = RunFolder(root, config.run_id)
        differs = _difference(folder, config)
        if differs and folder.state() != "done" and _has_checkpoint(folder):
            other.append((config.run_id, differs))
    if other:
        run_id, differs = other[0]
        raise ValueError(
            f"{len(other)} unfinished runs were begun by other code than this (the "
            f"first: {run_id}, {differs}). Going on would "
            "mix two versions in one run. Check that code out again, or move the "
            "folders away to train them afresh, or accept it with --accept-code-change."
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

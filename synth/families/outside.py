"""Files outside `synth` that define a part of a run: a task of a person's own, say."""

import ast
import functools
import hashlib
import importlib.machinery
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import CodeType
from typing import Any

from synth.disk.places import ROOMS

_INSTALLED = {"site-packages", "dist-packages"}


@dataclass(frozen=True)
class Source:
    """One file of such code, as it was when it was imported."""

    path: str
    """Where it lay when a person named it; a copy keeps the path of the original."""
    module: str
    """The name by which other files import it; empty where none does."""
    content: bytes

    @functools.cached_property
    def sha256(self) -> str:
        """Digest of the content."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def installed(self) -> bool:
        """Whether it is part of an installed package, which is found by its name."""
        return bool(_INSTALLED & set(Path(self.path).parts))


class Loader(importlib.machinery.SourceFileLoader):
    """Runs content that was already read and compared with its digest."""

    def __init__(self, name: str, place: Path, source: Source) -> None:
        super().__init__(name, str(place))
        self.source = source

    def get_code(self, fullname: str) -> CodeType:
        """The compiled content; no cached file is trusted, and none is written."""
        code: CodeType = compile(
            self.source.content, self.path, "exec", dont_inherit=True
        )
        return code

    def get_data(self, path: str) -> bytes:
        """The content itself (for `inspect` and tracebacks)."""
        return self.source.content if path == self.path else super().get_data(path)


def sources_of(classes: Iterable[type]) -> tuple[Source, ...]:
    """The files behind some classes: those that define them first.

    What these files import counts too, except the standard library, this project and
    packages that are installed.
    """
    return _sources(tuple(classes))


def path_of(kind: type) -> str | None:
    """The file that defines a class, as `Source.path` names it."""
    read = _read(kind.__module__)
    return read and read[0]


@functools.cache
def _sources(classes: tuple[type, ...]) -> tuple[Source, ...]:
    modules = {base.__module__ for kind in classes for base in kind.__mro__}
    own = {name.partition(".")[0] for name in modules}
    roots = [
        name
        for name in sorted(modules)
        if name.partition(".")[0] not in {"synth", *sys.stdlib_module_names}
    ]
    waiting, imported = list(roots), set[str]()
    sources: dict[str, Source] = {}
    for name in waiting:  # grows
        read = _read(name)
        if read is None:
            continue
        path, place, content = read
        sources[name] = Source(path, name, content)
        for other in [*_parents(name), *_imports(content, name, place)]:
            if _is_own(other, own):
                imported.add(other)
                if other not in waiting:
                    waiting.append(other)
    by_path: dict[str, Source] = {}
    for name, source in sources.items():
        if name in imported or "." in name:
            by_path[source.path] = source
        elif source.path not in by_path:
            by_path[source.path] = replace(source, module="")
    return tuple(by_path.values())


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(1, len(parts))]


def _is_own(name: str, own: set[str]) -> bool:
    """Whether an imported module is part of no library and not of this project."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names or top in ROOMS:
        return False
    path = _place(name)[0]
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


def _read(name: str) -> tuple[str, Path, bytes] | None:
    """The path of a module's source, where it lies now, and its content."""
    path, loader = _place(name)
    if path is None or path.suffix != ".py":
        return None
    if isinstance(loader, Loader):
        return loader.source.path, path, loader.source.content
    return str(path), path, path.read_bytes()


def _place(name: str) -> tuple[Path | None, Any]:
    """The file and the loader of a module, without importing it."""
    module = sys.modules.get(name)
    file = module.__file__ if module and hasattr(module, "__file__") else None
    loader = getattr(getattr(module, "__spec__", None), "loader", None)
    if module is None and (spec := _spec(name)) is not None and spec.has_location:
        file, loader = spec.origin, spec.loader
    if file and isinstance(loader, Loader):
        return Path(file), loader
    path = Path(file).resolve() if file else None
    return (path if path and path.is_file() else None), loader


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

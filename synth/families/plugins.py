"""Tasks and objectives of a person's own file: imported, recorded, found again.

A file that a person names (`--plugin FILE`, a sweep of their own, a script) is imported
and so registers what it defines (`synth.families.family`). A run records the files
behind its task and objective, and those that they import, in `config.json`; copies lie
beside it:

```
RUN/config.json       {"config": {..., "plugins": [{"path": ..., "sha256": ...}]}}
RUN/plugins/          3f9a21c70b1e-reversal.py: by digest, so older versions stay
```

Whoever reads such a configuration gets the recorded version: from the copy of the code
that the process runs (workers, jobs), from the recorded path if the file there is the
same, or from the run's own copy. A file that a person names comes before all of these.

What is run is the content that was read and compared with the digest, never the file
once more; which records and copies are believed says `synth.families.recorded_files`.
"""

import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from inspect import isabstract
from pathlib import Path
from types import ModuleType
from typing import Any

from synth.disk.files import read_regular
from synth.disk.places import expand
from synth.families.family import (
    Family,
    find,
    members_outside,
    recorded_modules,
    register,
)
from synth.families.outside import Loader, Source, sources_of
from synth.families.own_errors import line_of, named, require_complete
from synth.families.recorded_files import FOLDER as FOLDER
from synth.families.recorded_files import OPTION as OPTION
from synth.families.recorded_files import copy_name, recorded_content
from synth.identity import Part

_FAMILIES = ("task", "objective")

given: list[str] = []
"""The files that were named on the command line."""
_imported: dict[frozenset[str], list[type[Family]]] = {}
"""What the files of a record define, by their digests."""


def take_options(arguments: Sequence[str]) -> list[str]:
    """Import the file of each `--plugin FILE`; returns the other words.

    Raises `ValueError` when a file is missing, fails, or defines no task and no
    objective.
    """
    rest, words = [], iter(arguments)
    given.clear()
    for word in words:
        option, equals, value = word.partition("=")
        if option != OPTION:
            rest.append(word)
            continue
        file = value if equals else next(words, "")
        if not file:
            raise ValueError(
                f"{OPTION} needs a file, for instance {OPTION} my_task.py."
            )
        before = members_outside()
        module = load(Path(expand(file)))
        defined = members_outside()
        named_there = any(value in defined for value in _classes(module))
        if defined == before and not named_there and file not in given:
            raise ValueError(
                f"{OPTION} {file} defines no task and no objective: those are classes "
                "with a kind. The file of a sweep stands where a sweep's name would."
            )
        given.append(file)
    return rest


def load(path: Path) -> ModuleType:
    """Import a file that a person named; one that has not changed is imported once.

    Files beside it can be imported by it. One in a package is imported as part of it.

    Raises `ValueError` when there is no such file, when it fails, with the line, or when
    a task or objective in it lacks a method or has a field without `identity`.
    """
    if not path.is_file():
        raise ValueError(f"There is no file {path}.")
    typed, path = path, path.resolve()
    content = read_regular(path)
    named[str(path)] = str(typed)
    folder = path.parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last: helpers beside it, no shadows
    try:
        if folder != path.parent:
            relative = path.relative_to(folder).with_suffix("")
            module = importlib.import_module(".".join(relative.parts))
        else:
            module = _run(Source(str(path), "", content), path)
    except (Exception, SystemExit) as error:
        where = line_of(error, str(path))
        raise ValueError(
            f"{typed}{where} fails: {type(error).__name__}: {error}"
        ) from error
    families = _families_in(module)
    for cls in families:
        is_base = any(cls in other.__mro__[1:] for other in families)
        if "kind" in vars(cls) or not (is_base or isabstract(cls)):
            require_complete(cls, typed)
    return module


def outside_sources(run: Part) -> tuple[Source, ...]:
    """Every file outside `synth` that defines a part of a run (a `RunConfig`)."""
    values = (getattr(run, field.name) for field in fields(run))
    return sources_of(type(value) for value in values if isinstance(value, Part))


def recorded(run: Part) -> list[dict[str, str]]:
    """What `config.json` says of a run's plugins; nothing of installed packages."""
    return [
        {"path": one.path, "sha256": one.sha256}
        | ({"module": one.module} if one.module else {})
        for one in outside_sources(run)
        if not one.installed
    ]


def copies(runs: Iterable[Part]) -> dict[str, bytes]:
    """The files to keep below a run or a copy of the code, by relative path."""
    return {
        f"{FOLDER}/{copy_name(one.path, one.sha256)}": one.content
        for run in runs
        for one in outside_sources(run)
        if not one.installed
    }


def prepare(values: Mapping[str, Any], record: Path | None) -> None:
    """Import the files of a stored configuration, unless a person's own define it.

    `record` is the file that `values` were read from (`config.json`, or lines of lists
    of configurations); with `None` the caller answers for them.

    Raises `ValueError` when a file is nowhere to be had as it was, or cannot be
    trusted; says why for each place, and what to do.
    """
    entries = values.get(FOLDER)
    if not entries:
        return
    sources = _checked(entries)
    wanted = [
        (family, str(values[family].get("kind")))
        for family in _FAMILIES
        if isinstance(values.get(family), Mapping)
    ]
    if _covered(wanted, ()):
        return
    key = frozenset(one["sha256"] for one in sources)
    if key not in _imported:
        _imported[key] = _import(sources, wanted, record, entries)
    for cls in _imported[key]:
        register(cls)


def _checked(entries: Any) -> list[dict[str, str]]:
    """The entries of a record, each with a path, a digest and perhaps a module."""
    if isinstance(entries, list) and all(
        isinstance(one, dict)
        and {"path", "sha256"} <= one.keys() <= {"path", "sha256", "module"}
        and all(isinstance(value, str) for value in one.values())
        for one in entries
    ):
        return entries
    raise ValueError(
        f"RunConfig.plugins must be a list of objects with path and sha256; "
        f"got {entries!r:.200}."
    )


def _import(
    entries: list[dict[str, str]],
    wanted: Sequence[tuple[str, str]],
    record: Path | None,
    said: Any,
) -> list[type[Family]]:
    """Run the recorded files until they define what is wanted; returns the classes."""
    sources: list[tuple[Source, Path]] = []
    missing: list[ValueError] = []
    for one in entries:
        try:
            content, place = recorded_content(one, record, said)
        except ValueError as error:  # perhaps no file needs it
            missing.append(error)
            continue
        named.setdefault(str(place), one["path"])
        sources.append((Source(one["path"], one.get("module", ""), content), place))
    by_name = {source.module: (source, place) for source, place in sources}
    by_name.pop("", None)
    _refuse_other_versions(source for source, _ in by_name.values())
    sys.meta_path.append(_Finder(by_name))
    classes: list[type[Family]] = []
    for source, place in sources:
        if _covered(wanted, classes):
            break
        try:
            if source.module:
                module = importlib.import_module(source.module)
            else:
                module = _run(source, place, recorded=True)
        except (Exception, SystemExit) as error:
            if missing:  # what it imports, most likely
                raise _all_of(missing) from error
            raise ValueError(
                f"{source.path}{line_of(error, str(place))}, a plugin, fails: "
                f"{type(error).__name__}: {error}"
            ) from error
        classes += _defined_in(module)
    if missing and not _covered(wanted, classes):
        raise _all_of(missing)
    return classes


def _all_of(errors: Sequence[ValueError]) -> ValueError:
    """One error for files that cannot be had, a line each."""
    return ValueError("\n".join(map(str, errors)))


def _families_in(module: ModuleType) -> list[type[Family]]:
    """The classes of tasks and objectives of a module itself, bases of others too."""
    return [
        value
        for value in _classes(module)
        if issubclass(value, Family) and value.__module__ == module.__name__
    ]


def _classes(module: ModuleType) -> list[type]:
    """Every class that the module has under a name, imported ones too."""
    return [value for value in vars(module).values() if isinstance(value, type)]


def _defined_in(module: ModuleType) -> list[type[Family]]:
    """The tasks and objectives of a module itself."""
    return [cls for cls in _families_in(module) if "kind" in vars(cls)]


def _covered(wanted: Sequence[tuple[str, str]], classes: Sequence[type]) -> bool:
    """Whether each kind is defined by one of the classes, or by no recorded file."""
    members = [find(*one) for one in wanted]
    return all(
        cls and (cls in classes or cls.__module__ not in recorded_modules)
        for cls in members
    )


def _refuse_other_versions(sources: Iterable[Source]) -> None:
    """Refuse a second version of a module that other files import by name."""
    for source in sources:
        module = sys.modules.get(source.module)
        if module is None:
            continue
        loader = getattr(module.__spec__, "loader", None)
        if isinstance(loader, Loader):
            same = loader.source.sha256 == source.sha256
        else:
            file = getattr(module, "__file__", None)
            same = bool(file) and Path(str(file)).read_bytes() == source.content
        if not same:
            raise ValueError(
                f"The run needs another version of {source.path} than the one that this "
                f"process has imported as {source.module!r} already. Call once for the "
                "runs of each version."
            )


class _Finder:
    """Finds the modules that recorded files import from each other."""

    def __init__(self, modules: Mapping[str, tuple[Source, Path]]) -> None:
        self._modules = modules

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of a recorded file; of a package's folder, an empty package."""
        if name in self._modules:
            return _spec(name, *self._modules[name])
        if any(other.startswith(f"{name}.") for other in self._modules):
            return importlib.machinery.ModuleSpec(name, None, is_package=True)
        return None


def _spec(
    name: str, source: Source, place: Path, recorded: bool = True
) -> importlib.machinery.ModuleSpec:
    package: list[str] | None = [] if Path(source.path).name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(
        name,
        place,
        loader=Loader(name, place, source),
        submodule_search_locations=package,
    )
    assert spec is not None
    if recorded:
        recorded_modules.add(name)
    return spec


def _run(source: Source, place: Path, recorded: bool = False) -> ModuleType:
    """The module of a file that nothing imports by name."""
    key = hashlib.sha256(f"{place}\0{source.sha256}\0{recorded}".encode()).hexdigest()
    name = f"_plugin_{key[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = _spec(name, source, place, recorded)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module

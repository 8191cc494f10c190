"""Families of configurations: tasks and objectives, each found by its `kind`.

Defining a subclass with a `kind` registers it, in this package or outside of it. One
of this package is imported when it is first looked up, so that a configuration can be
read without importing every task. Those of installed packages are found by the entry
points of the group `synth.plugins`, each a module; those of files, by
`synth.families.plugins`.
"""

import importlib
import importlib.util
import pkgutil
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from synth.identity import Part, nearest, require

_PACKAGES = {"task": "synth.tasks", "objective": "synth.objectives"}
_MEMBERS: dict[str, dict[str, type]] = {name: {} for name in _PACKAGES}
_LOADED: set[str] = set()
ENTRY_POINTS = "synth.plugins"
PLAIN_WORD = re.compile(r"[A-Za-z0-9_.-]+")
"""What kinds and arms consist of: they are words of run ids, and so of folders."""
recorded_modules: set[str] = set()
"""Modules that were imported because a run recorded them; all others override them."""


@dataclass(frozen=True, kw_only=True)
class Family(Part):
    """A configuration class of which every subclass with a `kind` is a member."""

    kind: ClassVar[str]
    """Its name in files, on the command line and in run ids."""
    member_of: ClassVar[str]
    """Its family: "task" or "objective"."""

    def __init_subclass__(cls, family: str | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if family is not None:
            cls.member_of = family
        elif "kind" in vars(cls):
            register(cls)

    @classmethod
    def purpose(cls) -> str:
        """The first line of its docstring."""
        return (cls.__doc__ or "").partition("\n")[0]

    def to_dict(self) -> dict[str, Any]:
        """All fields, the version, and the kind."""
        return {"kind": self.kind} | super().to_dict()

    def canonical(self) -> dict[str, Any]:
        """The hashed fields; members of two kinds never share an identity."""
        return {"kind": self.kind} | super().canonical()


def register(cls: type[Family]) -> None:
    """Make a class the member of its kind.

    Raises `ValueError` when another class has the kind, or it is not a plain word.
    """
    require_word(f"{cls.__qualname__}.kind", cls.kind)
    members = _MEMBERS[cls.member_of]
    other = members.get(cls.kind)
    if other is None or other.__module__ in recorded_modules:
        members[cls.kind] = cls
        return
    if cls.__module__ in recorded_modules:
        return
    if not _same_source(other, cls):
        raise ValueError(
            f"Two {cls.member_of}s are called {cls.kind!r}: {other.__qualname__} in "
            f"{_file(other)} and {cls.__qualname__} in {_file(cls)}. Give one of them "
            "another kind."
        )
    members[cls.kind] = cls


def require_word(owner: str, word: object) -> None:
    """Raise `ValueError` for a word that run ids cannot contain."""
    plain = isinstance(word, str) and PLAIN_WORD.fullmatch(word) is not None
    require(plain, owner, "a word of letters, digits, _ . -", word)


def _same_source(one: type, other: type) -> bool:
    """Whether two classes come from one definition: a file that is loaded again."""
    return one.__qualname__ == other.__qualname__ and (
        one.__module__ == other.__module__ or _file(one) == _file(other)
    )


def _file(cls: type) -> object:
    return getattr(sys.modules.get(cls.__module__), "__file__", cls.__module__)


def members(family: str) -> Mapping[str, type[Any]]:
    """All members by kind: those of this package, then those defined elsewhere."""
    if family not in _LOADED:
        _LOADED.add(family)
        package = importlib.import_module(_PACKAGES[family])
        for name in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            importlib.import_module(f"{package.__name__}.{name}")
        _import_installed()
    return _MEMBERS[family]


def members_outside() -> set[type[Any]]:
    """The members so far that are defined outside this package."""
    here = f"{__name__.partition('.')[0]}."
    known = (cls for members in _MEMBERS.values() for cls in members.values())
    return {cls for cls in known if not cls.__module__.startswith(here)}


def _import_installed() -> None:
    """Import what installed packages register; warn of one that fails, and go on."""
    from importlib.metadata import entry_points  # slow, and mostly not needed

    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            name = point.dist.name if point.dist else point.value
            warnings.warn(
                f"The tasks and objectives of the package {name} cannot be imported "
                f"({point.value}: {type(error).__name__}: {error}).",
                stacklevel=2,
            )


def find(family: str, kind: str) -> type[Family] | None:
    """The member of a kind, if there is one; in this package, only its module is
    imported."""
    if kind not in _MEMBERS[family]:
        own = kind.replace("-", "_")
        name = f"{_PACKAGES[family]}.{own}"
        if own.isidentifier() and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
    if kind not in _MEMBERS[family]:
        members(family)
    return _MEMBERS[family].get(kind)


def member(family: str, values: Any, owner: str) -> Any:
    """The configuration that `values` (JSON with a `kind`) describe.

    Raises `ValueError` when there is no kind, or no member of that kind; names the
    nearest.
    """
    if not isinstance(values, Mapping) or "kind" not in values:
        raise ValueError(f"{owner} must be an object with a 'kind'; got {values!r}.")
    given = dict(values)
    return require_member(family, str(given.pop("kind"))).from_dict(given)


def require_member(family: str, kind: str) -> type[Family]:
    """The member of a kind; where there is none, `ValueError` names the nearest."""
    config = find(family, kind)
    if config is None:
        raise ValueError(
            f"No {family} is called {kind!r}. {nearest(kind, _MEMBERS[family])} "
            "One of your own: name its file with --plugin FILE, once for each file (in "
            "Python: import it)."
        )
    return config

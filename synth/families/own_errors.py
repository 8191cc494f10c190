"""Mistakes in a person's own file, in words: what is missing, where an error arose."""

import traceback
from dataclasses import is_dataclass
from pathlib import Path

from synth.families.family import Family
from synth.identity import Part, field_types, unclassified

_PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of `synth`."""
named: dict[str, str] = {}
"""Each file that a person or a run named, by its whole path, as it was typed."""


def require_complete(cls: type[Family], file: Path) -> None:
    """Refuse a task or objective that nothing could be built from."""
    name = cls.__qualname__
    if "kind" not in vars(cls):
        raise ValueError(
            f"{file}: {name} has no `kind` of its own, by which commands and run ids call "
            'it. Add one, as in `kind: ClassVar[str] = "my-own"`.'
        )
    if missing := getattr(cls, "__abstractmethods__", ()):
        raise ValueError(
            f"{file}: {name} does not define {', '.join(sorted(missing))}."
        )
    if issubclass(cls, Part) and is_dataclass(cls):
        try:
            field_types(cls)
        except NameError as error:
            raise ValueError(
                f"{file}: the type of a field of {name} is unknown: {error}. Import it, or "
                "write another."
            ) from None
        for field in unclassified(cls):
            raise ValueError(
                f"{file}: {name}.{field} is not declared with identity(...), as in "
                f"`{field}: int = identity(4)`."
            )


def in_own_file(error: Exception) -> str | None:
    """One line for an exception that a person's file caused, with the line; else None.

    None too for a `ValueError` that this package raised, and for an `OSError`.
    """
    trace = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in trace if frame.filename in named]
    if not own or isinstance(error, OSError):
        return None
    refused = isinstance(error, ValueError)
    if refused and Path(trace[-1].filename).is_relative_to(_PACKAGE):
        return None
    kind = "" if refused else f" fails: {type(error).__name__}"
    said = " ".join(str(error).split())
    return f"{named[own[-1].filename]} (line {own[-1].lineno}){kind}: {said}"


def line_of(error: BaseException, file: str) -> str:
    """Where in a person's file an error arose: " (line 5)", or nothing if not there."""
    trace, own = traceback.extract_tb(error.__traceback__), Path(file).resolve()
    lines = [frame.lineno for frame in trace if Path(frame.filename).resolve() == own]
    if isinstance(error, SyntaxError):  # perhaps of a file that it imports
        at = error.filename and Path(error.filename).resolve()
        lines += [error.lineno] if at == own else []
    return f" (line {lines[-1]})" if lines else ""

"""Dataclasses from JSON that something else may have changed: types are checked."""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def build(kind: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from its fields; keys of other versions are passed over.

    Raises
    ------
    ValueError
        Names the field that is missing or has a value of another type.
    """
    given = {}
    for name, hint, needed in _fields(typing.cast(Any, kind)):
        if name in values:
            value = values[name]
            if not _fits(value, hint):
                raise ValueError(f"{name} cannot be {value!r}")
            given[name] = value
        elif needed:
            raise ValueError(f"{name} is missing")
    return kind(**given)


@functools.cache
def _fields(kind: type) -> list[tuple[str, Any, bool]]:
    """Name, type, and whether it must be given, of each field."""
    hints = typing.get_type_hints(kind)
    nothing = dataclasses.MISSING
    return [
        (item.name, hints[item.name], item.default is item.default_factory is nothing)
        for item in dataclasses.fields(kind)
    ]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value has a type; numbers are no truth values."""
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is list:
        (inner,) = typing.get_args(hint)
        return isinstance(value, list) and all(_fits(item, inner) for item in value)
    if origin is not None:
        return isinstance(value, origin)
    if hint is bool or isinstance(value, bool):
        return hint is bool and isinstance(value, bool)
    return isinstance(value, int | float if hint is float else hint)

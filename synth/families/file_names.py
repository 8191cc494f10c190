"""Configurations for readers elsewhere: they name files, not their places on a disk."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from synth.families.family import find
from synth.identity import Part, field_types, is_location

_ABSOLUTE = re.compile(
    r"""(?P<quote>['"])(?P<quoted>~?/[^'"]+)(?P=quote)|(?<![\w/.:~-])~?/[^\s'":;,()]+"""
)
"""An absolute path in a sentence: in quotes, or up to a blank."""


def name_files(part: type[Part], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Stored values of a part, each place of a file replaced by the file's name."""
    places = set(find_places(part, stored))
    return {name: _replace(value, places) for name, value in stored.items()}


def name_files_in(text: str, part: type[Part], stored: Mapping[str, Any]) -> str:
    """A text in which the places of a part's files, and all absolute paths, are names.

    >>> name_files_in("'/my data/a.txt', /b/c.txt: 3/4 read", Part, {})
    "'a.txt', c.txt: 3/4 read"
    """
    places = {place for place in find_places(part, stored) if place}
    for place in sorted(places, key=len, reverse=True):
        text = text.replace(place, file_name(place))

    def shorten(found: re.Match[str]) -> str:
        path = found["quoted"] or found[0]
        return found[0].replace(path, file_name(path))

    return _ABSOLUTE.sub(shorten, text)


def find_places(declared: Any, stored: Any) -> Iterator[str]:
    """The places of files in stored values, whose type is `declared`.

    Where no class here declares a field, its value is a place if it is an absolute path.
    """
    if isinstance(stored, str):
        if os.path.isabs(stored):
            yield stored
    elif isinstance(stored, list):
        for item in stored:
            yield from find_places(None, item)
    elif isinstance(stored, Mapping):
        part = _class_of(declared, stored)
        known = {field.name: field for field in fields(part)} if part else {}
        types = field_types(part) if part else {}
        for name, value in stored.items():
            if name not in known or not isinstance(value, str):
                yield from find_places(types.get(name), value)
            elif is_location(known[name]):
                yield value


def file_name(place: str) -> str:
    """The name of the file at a place; one that begins with `hub:` stays whole.

    >>> file_name("/data/tales.txt"), file_name("hub:me/tales@main")
    ('tales.txt', 'hub:me/tales@main')
    """
    return place if re.match(r"\w+:", place) else Path(place).name


def _class_of(declared: Any, stored: Mapping[str, Any]) -> type[Part] | None:
    """The class of a stored part; `None` if it is unknown here."""
    if not (isinstance(declared, type) and issubclass(declared, Part)):
        return None
    family = getattr(declared, "member_of", None)
    member: Any = find(family, str(stored.get("kind"))) if family else declared
    return member


def _replace(value: Any, places: Collection[str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _replace(one, places) for name, one in value.items()}
    if isinstance(value, list):
        return [_replace(one, places) for one in value]
    return file_name(value) if isinstance(value, str) and value in places else value

"""The identity of a run: fields that decide its result, their canonical form and digest.

Every field of every `Part` is declared with `identity(...)`; a field declared in any
other way is refused when the run is hashed, so none can be left out by accident.
Settings that cannot change a result (device, workers, compilation) are not fields of a
`Part`: they live in `synth.run.execution.Execution`.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, ClassVar, Literal, Self, Union

_KEY = "identity"
_PLACE = "location"


def identity(default: Any = MISSING, *, implied: Any = MISSING) -> Any:
    """Declare a field that can change the result of a run.

    A field added after runs exist states in `implied` the value that older code acted
    on; while the field has that value it is left out of the canonical form, so the ids
    of older runs stay what they were.
    """
    return dataclasses.field(default=default, metadata={_KEY: True, "implied": implied})


def location() -> Any:
    """Declare where a file lies: written to `config.json`, no part of the identity.

    It stands beside an identity field that holds the digest of what lies there, so a
    file may move without becoming another run, and may not change unnoticed.
    """
    return dataclasses.field(default="", metadata={_KEY: True, _PLACE: True})


def is_location(field: dataclasses.Field[Any]) -> bool:
    """Whether a field was declared with `location`."""
    return bool(field.metadata.get(_PLACE))


def require(condition: bool, field: str, allowed: str, value: object) -> None:
    """Raise a `ValueError` that names the field, what is allowed, and the value."""
    if not condition:
        raise ValueError(f"{field} must be {allowed}; got {_safe_repr(value)}.")


def _safe_repr(value: object) -> str:
    try:
        return repr(value)
    except ValueError:  # an integer that Python refuses to write in decimals
        return "a number of thousands of digits"


def nearest(word: str, words: typing.Iterable[str]) -> str:
    """A hint that names the closest known word, or all of them."""
    names = list(words)
    close = difflib.get_close_matches(word, names, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known: {', '.join(names)}."


def first_few(names: Sequence[object], most: int = 5) -> str:
    """The first names of a list for a message, and how many more it has.

    >>> first_few(["n1", "n2", "n4", "n8"], most=2)
    'n1, n2 and 2 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


@dataclass(frozen=True, kw_only=True)
class Part:
    """A frozen piece of a run's configuration, checked when it is built.

    Values are coerced to the declared type where nothing is lost (1 to 1.0, a list to
    a tuple), so that equal settings have equal identities.
    """

    version: ClassVar[int] = 1
    """Raised when the meaning of the same fields changes."""

    def __new__(cls, *_: Any, **values: Any) -> Self:
        """Refuse an unknown field in a sentence that names the right spelling."""
        if any(isinstance(value, dataclasses.Field) for value in vars(cls).values()):
            raise ValueError(
                f"The class {cls.__name__} declares fields and is no dataclass: "
                "write @dataclass(frozen=True, kw_only=True) above it."
            )
        for name in values.keys() - {field.name for field in dataclasses.fields(cls)}:
            raise TypeError(_unknown_field(cls, name))
        return super().__new__(cls)

    def __post_init__(self) -> None:
        coerce_fields(self)
        self.validate()

    def validate(self) -> None:
        """Refuse impossible values; subclasses say which."""

    def check(self, condition: bool, field: str, allowed: str) -> None:
        """`require` for one of this part's own fields."""
        require(
            condition, f"{type(self).__name__}.{field}", allowed, getattr(self, field)
        )

    def check_ranges(self, **ranges: tuple[int, int]) -> None:
        """Refuse a field that is below its least or above its greatest value."""
        for name, (least, most) in ranges.items():
            inside = least <= getattr(self, name) <= most
            self.check(inside, name, f"from {least} to {most}")

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values, with the version."""
        values = {field.name: getattr(self, field.name) for field in _fields(self)}
        return {"version": self.version} | {k: _plain(v) for k, v in values.items()}

    def canonical(self) -> dict[str, Any]:
        """The fields that are hashed: all but those at their implied value."""
        kept: dict[str, Any] = {"version": self.version}
        for name in unclassified(type(self)):
            raise TypeError(
                f"{type(self).__name__}.{name} is not classified: declare it "
                "with identity(...), or move it to synth.run.execution.Execution."
            )
        for field in _fields(self):
            if is_location(field):
                continue
            value = getattr(self, field.name)
            if value != field.metadata["implied"]:
                kept[field.name] = (
                    value.canonical() if isinstance(value, Part) else _plain(value)
                )
        return kept

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from JSON values; unknown names and other versions are refused.

        Raises `ValueError`, naming the unknown field and its nearest match, or the two
        versions.
        """
        given = dict(values)
        version = given.pop("version", cls.version)
        allowed = (
            f"{cls.version}, the version of this code (the run was made by another one)"
        )
        require(version == cls.version, f"{cls.__name__}.version", allowed, version)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in given.keys() - fields.keys():
            raise ValueError(_unknown_field(cls, name))
        for name, field in fields.items():
            implied = field.metadata.get("implied", MISSING)
            if name not in given and implied is not MISSING:
                given[name] = implied
        hints = field_types(cls)
        for name in given:
            hint = hints[name]
            nested = isinstance(hint, type) and issubclass(hint, Part)
            if nested and not isinstance(given[name], Part):
                given[name] = hint.from_dict(given[name])
        return cls(**given)


def _unknown_field(part: type[Part], name: str) -> str:
    """A sentence about a field that a part does not have: one of its parts may have it."""
    fields = {field.name: field for field in dataclasses.fields(part)}
    for owner, field in fields.items():
        declared = field_types(part)[owner]
        inner = type(field.default) if isinstance(field.default, Part) else declared
        is_part = isinstance(inner, type) and issubclass(inner, Part)
        if is_part and name in {one.name for one in dataclasses.fields(inner)}:
            right = f"Write {owner}={inner.__name__}({name}=...)."
            return f"{part.__name__} has no field {name!r}. {right}"
    return f"{part.__name__} has no field {name!r}. {nearest(name, fields)}"


def unclassified(part: type[Part]) -> list[str]:
    """The fields of a part that are not declared with `identity`."""
    return [f.name for f in dataclasses.fields(part) if not f.metadata.get(_KEY)]


def coerce_fields(owner: Any) -> None:
    """Bring the fields of a dataclass to their declared types.

    Raises `ValueError`, naming the field, its type and the value, where something would
    be lost.
    """
    for name, hint in field_types(type(owner)).items():
        place = f"{type(owner).__name__}.{name}"
        object.__setattr__(owner, name, coerce(getattr(owner, name), hint, place))


def fill_implied(part: type[Part], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Stored values of a part, with those that older runs did not write.

    Unlike `Part.from_dict` it takes fields that the part does not have. Places of files
    are left out.
    """
    values, hints = dict(stored), field_types(part)
    for field in dataclasses.fields(part):
        name, hint = field.name, hints[field.name]
        if is_location(field):
            values.pop(name, None)
        elif name not in values:
            implied = field.metadata.get("implied", MISSING)
            if implied is not MISSING:
                values[name] = _plain(implied)
        elif isinstance(hint, type) and issubclass(hint, Part):
            values[name] = fill_implied(hint, values[name])
    return values


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted path.

    >>> flatten({"seed": 3, "task": {"width": 5}})
    {'seed': 3, 'task.width': 5}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def canonical_json(value: Any) -> str:
    """Sorted, compact JSON without NaN: equal values, equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(value: Any) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _fields(part: Part) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(part)


_HINTS: dict[type, dict[str, Any]] = {}


def field_types(cls: type) -> dict[str, Any]:
    """The declared type of each field of a dataclass."""
    if cls not in _HINTS:
        names = {field.name for field in dataclasses.fields(cls)}
        hints = typing.get_type_hints(cls)
        _HINTS[cls] = {name: hint for name, hint in hints.items() if name in names}
    return _HINTS[cls]


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def coerce(value: Any, hint: Any, owner: str) -> Any:
    """`value` as the type `hint` declares it: 1 to 1.0, a list to a tuple.

    Raises `ValueError`, naming `owner`, what is allowed, and the value, where something
    would be lost.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin is Literal:
        allowed = ", ".join(repr(choice) for choice in arguments)
        require(value in arguments, owner, f"one of {allowed}", value)
        return value
    if origin in (Union, types.UnionType):
        return _coerce_to_one_of(value, arguments, owner)
    if origin in (tuple, list):
        require(isinstance(value, list | tuple), owner, "a list", value)
        return origin(
            coerce(item, arguments[0], f"{owner}[{index}]")
            for index, item in enumerate(value)
        )
    if origin in (Mapping, dict):
        require(isinstance(value, Mapping), owner, "a table", value)
        return {
            key: coerce(item, arguments[1], f"{owner}.{key}")
            for key, item in value.items()
        }
    return _coerce_to_class(value, hint, owner)


def _coerce_to_one_of(value: Any, options: tuple[Any, ...], owner: str) -> Any:
    if value is None and type(None) in options:
        return None
    rest = [option for option in options if option is not type(None)]
    if len(rest) == 1:
        return coerce(value, rest[0], owner)
    words = " or ".join(_WORDS.get(option, option.__name__) for option in rest)
    numbers = (int,) if float in rest else ()
    require(isinstance(value, (*rest, *numbers)), owner, words, value)
    return value


def _coerce_to_class(value: Any, hint: Any, owner: str) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    wrong_bool = isinstance(value, bool) and hint is not bool
    require(
        (isinstance(value, hint) and not wrong_bool) or (hint is float and whole),
        owner,
        _WORDS.get(hint, f"of type {hint.__name__}"),
        value,
    )
    if hint in (int, float) and whole:
        require(abs(value) < 1 << 63, owner, "within 64 bits", value)
    if hint is float:
        value = float(value) + 0.0  # -0.0 becomes 0.0: one setting has one identity
        require(math.isfinite(value), owner, "finite", value)
    return value

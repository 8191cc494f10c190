"""Parses command lines with tyro: plain errors for numbers, paths and configurations."""

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from synth.cli.usage_errors import UsageError, describe_mistake, usage_errors_raised
from synth.command_words import as_typed
from synth.disk.places import expand
from synth.identity import is_location

PLUGIN_HELP = (
    "--plugin FILE, anywhere, imports a Python file that defines tasks or objectives "
    "of your own before anything else is read."
)
MIN_COLUMNS = 40
"""tyro never finishes laying out help that is narrower."""


class Refused(Exception):
    """A value that a configuration refused; tyro would reformat a `ValueError`."""


def parse(
    commands: Mapping[str, type],
    room: str,
    description: str,
    arguments: list[str] | None,
    *more: Any,
) -> Any:
    """Parse the words into a command.

    `commands` are dataclasses by name, `more` further settings of tyro.

    Raises
    ------
    ValueError
        For a misspelt word, or when a configuration refuses a value.
    """
    settings = (
        tyro.conf.OmitArgPrefixes,
        tyro.conf.OmitSubcommandPrefixes,
        tyro.conf.PositionalMetavarFromFieldName,
        *more,
    )
    registry = ConstructorRegistry()
    registry.primitive_rule(_number)
    registry.primitive_rule(_numbers)
    registry.primitive_rule(_path)
    registry.primitive_rule(_plainly_named)
    registry.struct_rule(_configuration)
    words = sys.argv[1:] if arguments is None else arguments

    def read(words: Sequence[str]) -> Any:
        return tyro.cli(
            choice_of(commands),
            prog=as_typed(room),
            description=f"{description}\n\n{PLUGIN_HELP}",
            args=words,
            config=settings,
        )

    with registry, _wide_enough():
        try:
            with usage_errors_raised():
                return read(words)
        except UsageError as error:
            message = describe_mistake(error, read, words)
        except Refused as refused:
            message = str(refused)
    raise ValueError(message)


def choice_of(commands: Mapping[str, type]) -> Any:
    """The type of a field, or of a whole command line, that is one of the commands."""
    return typing.Union[  # noqa: UP007 - built at run time
        tuple(
            typing.Annotated[kind, tyro.conf.subcommand(name)]
            for name, kind in commands.items()
        )
    ]


@contextlib.contextmanager
def _wide_enough() -> Iterator[None]:
    """Let help and errors take at least `MIN_COLUMNS`."""
    given = os.environ.get("COLUMNS")
    if shutil.get_terminal_size().columns < MIN_COLUMNS:
        os.environ["COLUMNS"] = str(MIN_COLUMNS)
    try:
        yield
    finally:
        os.environ.pop("COLUMNS", None)
        if given is not None:
            os.environ["COLUMNS"] = given


def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """int and float, optional too, with plain errors; nested types keep tyro's rule."""
    union = info.type_origin in (typing.Union, types.UnionType)
    kinds = typing.get_args(info.type) if union else (info.type,)
    optional = type(None) in kinds
    kind = next((kind for kind in kinds if kind in (int, float)), None)
    if kind is None or len(kinds) != 1 + optional:
        return None
    fitting = (*kinds, int)  # a whole number is a number

    def number(words: list[str]) -> Any:
        return None if optional and words == ["None"] else read_number(words[0], kind)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=number,
        is_instance=lambda value: isinstance(value, fitting),
        str_from_instance=lambda value: [str(value)],
    )


def _numbers(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Any number of int or float, with the errors of one."""
    kind, *rest = typing.get_args(info.type) or (None,)
    if info.type_origin is not tuple or kind not in (int, float) or rest != [...]:
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"{kind.__name__.upper()} ...",
        instance_from_str=lambda words: tuple(
            read_number(word, kind) for word in _some(words)
        ),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda values: [str(value) for value in values],
    )


def _plainly_named(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Optional values and lists as tyro reads them, shown as `STR` and `PATH ...`.

    tyro shows `{None}|STR` and `[PATH [PATH ...]]`.
    """
    if info.type in _looking_up or info.type_origin not in (
        typing.Union,
        types.UnionType,
        tuple,
    ):
        return None
    with _default_rules_for(info.type):
        usual = ConstructorRegistry.get_primitive_spec(info)
    if not isinstance(usual, PrimitiveConstructorSpec):
        return None
    metavar = usual.metavar.replace("{None}|", "").replace("{None,", "{")
    metavar = re.sub(r"^\[(.*) \[(\1 )?\.\.\.\]\]$", r"\1 ...", metavar)
    return dataclasses.replace(
        usual,
        metavar=metavar,
        instance_from_str=lambda words: usual.instance_from_str(_some(words)),
    )


def _some(words: list[str]) -> list[str]:
    """The words; an option that is followed by none would read as the empty list."""
    if not words:
        raise ValueError("needs a value.")
    return words


def read_number(word: str, kind: type) -> Any:
    """Parse a number; the `ValueError` says what is expected, and how to write 1e6."""
    try:
        return kind(word)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
    shown = repr(word) if len(word) <= 80 else f"{word[:60]!r}... ({len(word)} letters)"
    message = f"must be {wanted}; got {shown}."
    try:
        meant = float(word)
    except ValueError:
        raise ValueError(message) from None
    if meant.is_integer() and abs(meant) < 1e15:  # 1e6, say
        message += f" Write {int(meant)}."
    raise ValueError(message)


def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """Paths, with `~` and `$VAR` expanded: the shell leaves `--runs=~/x` alone."""
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: _real_path(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def _real_path(word: str) -> Path:
    if "\0" in word:
        raise ValueError(f"must be a path; got {word!r}, which holds a null character.")
    return Path(expand(word))


_looking_up: set[Any] = set()
"""Types whose default rule is being looked up; the lookup comes back to this registry."""


@contextlib.contextmanager
def _default_rules_for(kind: Any) -> Iterator[None]:
    """Leave `kind` to tyro's own rules."""
    _looking_up.add(kind)
    try:
        yield
    finally:
        _looking_up.discard(kind)


def _configuration(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Dataclasses as tyro builds them, with plain help; their `ValueError` gets through."""
    if info.type in _looking_up or not dataclasses.is_dataclass(info.type):
        return None
    with _default_rules_for(info.type):
        usual = ConstructorRegistry.get_struct_spec(info)
    if not isinstance(usual, StructConstructorSpec):
        return None
    return dataclasses.replace(
        usual,
        instantiate=_refusing(usual.instantiate),
        fields=tuple(
            _plainly_shown(spec, _metavar(info.type, spec)) for spec in usual.fields
        ),
    )


def _metavar(owner: Any, spec: StructFieldSpec) -> str | None:
    """What help shows for a text: a file, or the option's name, where tyro shows STR."""
    field = next(f for f in dataclasses.fields(owner) if f.name == spec.name)
    if is_location(field):
        return "FILE" if spec.name.endswith("_file") else "FILE|FOLDER"
    name = spec.name.upper()
    texts = {str: name, str | None: name, tuple[str, ...]: f"{name} ..."}
    return texts.get(spec.type)


def _plainly_shown(spec: StructFieldSpec, metavar: str | None) -> StructFieldSpec:
    """An option with a plain hint; without `--no-...` where that is the default."""
    shown = tyro.conf.arg(help_behavior_hint=_hint, metavar=metavar)
    kind: Any = spec.type
    kind = typing.Annotated[kind, shown]
    if spec.default is False:
        kind = typing.Annotated[kind, tyro.conf.FlagCreatePairsOff]
    return dataclasses.replace(
        spec, type=kind, helptext=functools.partial(_one_paragraph, spec.helptext)
    )


def _one_paragraph(text: str | Callable[[], str | None] | None) -> str | None:
    """tyro breaks the line before a word such as `.txt` that begins one in the code."""
    text = text() if callable(text) else text
    return text and " ".join(text.split())


def _hint(default: str) -> str:
    """What help says of a default; nothing where there is none, or a flag is off."""
    if default in ("", "''", "None", "False"):
        return ""
    return f"(default: {'on' if default == 'True' else default})"


def _refusing(build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, with a `ValueError` turned into `Refused`, which tyro lets through."""

    @functools.wraps(build)
    def built(*positional: Any, **named: Any) -> Any:
        try:
            return build(*positional, **named)
        except ValueError as error:
            raise Refused(str(error)) from None

    return built

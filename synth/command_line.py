"""What the four command lines share: parsing, and how a command ends."""

import dataclasses
import errno
import functools
import os
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
)


class Refused(Exception):
    """A value that a configuration refused; no `ValueError`, which tyro would frame."""


def parse(
    commands: Any, prog: str, description: str, arguments: list[str] | None, *more: Any
) -> Any:
    """The command that the words describe; misspelt ones end with status 2.

    `commands` is a union of dataclasses, `more` further settings of tyro.

    Raises
    ------
    ValueError
        What a configuration says of a value that it refuses.
    """
    try:
        with _rules():
            return tyro.cli(
                commands,
                prog=prog,
                description=description,
                args=arguments,
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.OmitSubcommandPrefixes,
                    *more,
                ),
            )
    except Refused as refused:
        raise ValueError(str(refused)) from None


def _rules() -> ConstructorRegistry:
    """How words become numbers and configurations, and what is said if they cannot."""
    registry = ConstructorRegistry()
    registry.primitive_rule(_number)
    asking = False

    @registry.struct_rule
    def configuration(info: StructTypeInfo) -> StructConstructorSpec | None:
        nonlocal asking
        if asking or not dataclasses.is_dataclass(info.type):
            return None
        asking = True  # the usual rule, by which this one would be found again
        try:
            usual = ConstructorRegistry.get_struct_spec(info)
        finally:
            asking = False
        if not isinstance(usual, StructConstructorSpec):
            return None
        return dataclasses.replace(usual, instantiate=_refusing(usual.instantiate))

    return registry


def _number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Numbers, with None or without, as tyro shows them; what is none is said plainly.

    Left to tyro are numbers inside of other types.
    """
    union = info.type_origin in (typing.Union, types.UnionType)
    kinds = typing.get_args(info.type) if union else (info.type,)
    optional = type(None) in kinds
    kind = next((kind for kind in kinds if kind in (int, float)), None)
    if kind is None or len(kinds) != 1 + optional:
        return None
    fitting = (*kinds, int)  # a whole number is a number

    def number(words: list[str]) -> Any:
        return None if optional and words == ["None"] else _read(words[0], kind)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{None}|" * optional + kind.__name__.upper(),
        instance_from_str=number,
        is_instance=lambda value: isinstance(value, fitting),
        str_from_instance=lambda value: [str(value)],
    )


def _read(word: str, kind: type) -> Any:
    """The number that a word says, or a `ValueError` that says what one looks like."""
    try:
        return kind(word)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
    message = f"must be {wanted}; got {word!r}."
    try:
        meant = float(word)
    except ValueError:
        raise ValueError(message) from None
    if meant.is_integer():  # 1e6, say
        message += f" Write {int(meant)}."
    raise ValueError(message)


def _refusing(build: Callable[..., Any]) -> Callable[..., Any]:
    """`build`, whose `ValueError` goes past tyro to whoever called `parse`."""

    @functools.wraps(build)
    def built(*positional: Any, **named: Any) -> Any:
        try:
            return build(*positional, **named)
        except ValueError as error:
            raise Refused(str(error)) from None

    return built


def status(call: Callable[[], int], *mistakes: type[Exception]) -> int:
    """The exit status of a command; a user's mistake is one message and status 2.

    A `ValueError` is a mistake, an `OSError` (a folder that may not be written, a full
    disk), and so are `mistakes`. A reader that went away is none, nor is Ctrl-C, which
    has its usual status, 130.
    """
    refused: tuple[type[Exception], ...] = (ValueError, OSError, *mistakes)
    found = 0
    try:
        found = call()
        if sys.stdout is not None:  # closed by the caller
            sys.stdout.flush()
        return found
    except BrokenPipeError:
        # Or the interpreter would complain of it once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return found
    except refused as error:
        print(f"error: {_words(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


_ADVICE = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "Make room, then call again.")
_ADVICE |= dict.fromkeys(
    (errno.EACCES, errno.EPERM, errno.EROFS),
    "Choose a folder that you may write, or ask for the right to.",
)


def _words(error: Exception) -> str:
    """What to tell of a mistake; of the system's, which file, what, and what next."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    said = f"{error.strerror}."
    if error.filename is not None:
        said = f"{error.filename}: {said}"
    return " ".join([said, _ADVICE.get(error.errno or 0, "")]).rstrip()

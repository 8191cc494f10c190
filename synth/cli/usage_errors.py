"""Mistakes in a command line in one line each, where tyro draws a box of several lines."""

import contextlib
import difflib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

Parse = Callable[[Sequence[str]], Any]


class UsageError(Exception):
    """What tyro refused, as it describes it; not a `ValueError`, which tyro rewords."""

    def __init__(self, event: Any) -> None:
        super().__init__(type(event).__name__)
        self.event = event


@contextlib.contextmanager
def usage_errors_raised() -> Iterator[None]:
    """Let tyro raise `UsageError` in place of printing a box.

    The hook is private: where a version of tyro has none, its boxes stay.
    """
    try:
        from tyro._errors import on_parse_error
    except ImportError:
        yield
        return

    def refuse(event: Any) -> None:
        raise UsageError(event)

    with on_parse_error(refuse):
        yield


def describe_mistake(error: UsageError, parse: Parse, words: Sequence[str]) -> str:
    """What is wrong with the words that `parse` refused, and where to read more."""
    shown = _help_before_options(parse, words)
    usage = re.match(r"usage: (.*?) \[-h\] *(?:\{(.*?)\})?", shown)
    command, known = usage.groups() if usage else (error.event.prog, None)
    name = type(error.event).__name__
    if name == "UnrecognizedArgs":
        options = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", shown))
        said = _unrecognized(error.event.tokens[0], command, known, options)
    elif name == "MissingSubcommand":
        known = ", ".join(error.event.subcommand_spec.parser_from_name)
        said = f"A word is missing after {command}. Known: {known}."
    else:
        said = _refused_value(error.event, name)
    return f"{said} Help: {command} --help"


def _help_before_options(parse: Parse, words: Sequence[str]) -> str:
    """The help of the command that the words begin with."""
    count = next((i for i, word in enumerate(words) if word[:1] == "-"), len(words))
    for kept in range(count, -1, -1):  # a wrong word may stand before that for help
        shown = io.StringIO()
        with (
            contextlib.suppress(SystemExit),
            contextlib.redirect_stderr(io.StringIO()),
            contextlib.redirect_stdout(shown),
        ):
            parse([*words[:kept], "--help"])
        if shown.getvalue():
            return re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue())
    return ""


def _unrecognized(word: str, command: str, known: str | None, options: set[str]) -> str:
    if word.startswith("-"):
        close = difflib.get_close_matches(word, options, n=1, cutoff=0.7)
        meant = f" Did you mean {close[0]}?" if close else ""
        return f"{command} has no option {word}.{meant}"
    if known:
        return f"{command} has no {word!r}. Known: {known.replace(',', ', ')}."
    return f"{command} does not take {word!r}."


def _refused_value(event: Any, name: str) -> str:
    """The option, what it must be, and the value."""
    argument = (
        event.argument if name != "MissingArgs" else event.missing_arguments[0].arg
    )
    option = argument.display_name()
    if argument.is_positional():
        shown = str(argument.lowered.metavar)
        option = option.upper() if shown.startswith("{") else shown
    if name == "MissingArgs" or (name == "BadValue" and argument.is_positional()):
        return f"{option} is missing."
    if name == "BadValue":
        return f"{option} needs a value."
    if name == "InvalidChoice":
        choices = ", ".join(event.choices)
        return f"{option} must be one of {choices}; got {event.value!r}."
    return f"{option} {event.message}"

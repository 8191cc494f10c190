"""What the four command lines share: parsing, and how a command ends."""

import os
import sys
from collections.abc import Callable
from typing import Any

import tyro


def parse(
    commands: Any, prog: str, description: str, arguments: list[str] | None, *more: Any
) -> Any:
    """The command that the words describe; misspelt ones end with status 2.

    `commands` is a union of dataclasses, `more` further settings of tyro.
    """
    return tyro.cli(
        commands,
        prog=prog,
        description=description,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, *more),
    )


def status(call: Callable[[], int], *mistakes: type[Exception]) -> int:
    """The exit status of a command; a user's mistake is one message and status 2.

    A `ValueError` is a mistake, and so are `mistakes`. A reader that went away is none,
    nor is Ctrl-C, which has its usual status, 130.
    """
    refused: tuple[type[Exception], ...] = (ValueError, *mistakes)
    try:
        found = call()
        sys.stdout.flush()
        return found
    except BrokenPipeError:
        # Or the interpreter would complain of it once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130

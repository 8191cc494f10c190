"""What came out of the runs.

python -m analysis {collect,quick,claims,matched,figures,report,notebooks}
"""

import sys
from typing import Annotated, Union

import tyro

from analysis.commands import (
    Claims,
    Collect,
    Figures,
    Matched,
    Notebooks,
    Quick,
    Report,
)
from synth import command_line

Command = Union[  # noqa: UP007 - read by tyro at run time
    Annotated[Collect, tyro.conf.subcommand("collect")],
    Annotated[Quick, tyro.conf.subcommand("quick")],
    Annotated[Claims, tyro.conf.subcommand("claims")],
    Annotated[Figures, tyro.conf.subcommand("figures")],
    Annotated[Report, tyro.conf.subcommand("report")],
    Annotated[Matched, tyro.conf.subcommand("matched")],
    Annotated[Notebooks, tyro.conf.subcommand("notebooks")],
]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; user mistakes end in one message and status 2."""
    about = "Collect run folders, draw figures, judge claims, report."
    return command_line.status(
        lambda: command_line.parse(
            Command, "python -m analysis", about, arguments
        ).run()
    )


if __name__ == "__main__":
    sys.exit(main())

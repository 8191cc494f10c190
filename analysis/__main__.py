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
    try:
        command = tyro.cli(
            Command,
            prog="python -m analysis",
            description="Collect run folders, draw figures, judge claims, report.",
            args=arguments,
            config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
        )
        return command.run()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())

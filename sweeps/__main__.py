"""`python -m sweeps {list,run}`: many runs at a time.

Torch is imported in the worker processes alone.
"""

import sys
from typing import Annotated, Union

import tyro

from sweeps.commands import List, Run

Command = Union[  # noqa: UP007 - read by tyro at run time
    Annotated[List, tyro.conf.subcommand("list")],
    Annotated[Run, tyro.conf.subcommand("run")],
]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; user mistakes end in one message and status 2."""
    try:
        command = tyro.cli(
            Command,
            prog="python -m sweeps",
            description="Many runs: list, plan, run, watch and tune sweeps.",
            args=arguments,
            config=(
                tyro.conf.OmitArgPrefixes,
                tyro.conf.OmitSubcommandPrefixes,
                tyro.conf.ConsolidateSubcommandArgs,
            ),
        )
        return command.run()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m sweeps {list,plan,run,status,retry,show,tune,ledger}`: many runs.

Torch is imported in the worker processes alone.
"""

import sys
from typing import Annotated, Union

import tyro

from sweeps.commands import PlanCommand, Retry, Run, Tune
from sweeps.looking import Ledger, List, Show, Status

Command = Union[  # noqa: UP007 - read by tyro at run time
    Annotated[List, tyro.conf.subcommand("list")],
    Annotated[PlanCommand, tyro.conf.subcommand("plan")],
    Annotated[Run, tyro.conf.subcommand("run")],
    Annotated[Status, tyro.conf.subcommand("status")],
    Annotated[Retry, tyro.conf.subcommand("retry")],
    Annotated[Show, tyro.conf.subcommand("show")],
    Annotated[Tune, tyro.conf.subcommand("tune")],
    Annotated[Ledger, tyro.conf.subcommand("ledger")],
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
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # a folder that may not be written, a full disk
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

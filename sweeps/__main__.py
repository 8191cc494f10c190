"""`python -m sweeps {list,plan,run,status,retry,show,tune,dashboard}`: many runs.

Torch is imported in the worker processes alone.
"""

import os
import sys

if sys.path[:1] == [os.getcwd()] != [os.path.dirname(os.path.dirname(__file__))]:
    del sys.path[0]  # a file `json.py` that lies there is a sweep, not Python's module

from typing import Annotated, Union

import tyro

from sweeps.commands import PlanCommand, Retry, Run, Tune
from sweeps.looking import Dashboard, List, Show, Status
from synth import command_line

Command = Union[  # noqa: UP007 - read by tyro at run time
    Annotated[List, tyro.conf.subcommand("list")],
    Annotated[PlanCommand, tyro.conf.subcommand("plan")],
    Annotated[Run, tyro.conf.subcommand("run")],
    Annotated[Status, tyro.conf.subcommand("status")],
    Annotated[Retry, tyro.conf.subcommand("retry")],
    Annotated[Show, tyro.conf.subcommand("show")],
    Annotated[Tune, tyro.conf.subcommand("tune")],
    Annotated[Dashboard, tyro.conf.subcommand("dashboard")],
]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; user mistakes end in one message and status 2."""
    about = "Many runs: list, plan, run, watch and tune sweeps."
    at_the_end = tyro.conf.ConsolidateSubcommandArgs

    def call() -> int:
        return command_line.parse(
            Command, "python -m sweeps", about, arguments, at_the_end
        ).run()

    return command_line.status(call)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m slurm {cluster,profiles,status,logs,cancel,retry}`: after a launch.

Launching is `python -m sweeps run --on slurm`; here is what one asks afterwards.
"""

import sys
from typing import Annotated, Union

import tyro

from slurm.clients import QueueUnavailable
from slurm.commands import Cancel, ClusterCommand, Logs, Profiles, Retry, StatusCommand
from slurm.daemons import ClusterError
from slurm.submission import SubmissionRefused
from synth import command_line

Command = Union[  # noqa: UP007 - read by tyro at run time
    Annotated[ClusterCommand, tyro.conf.subcommand("cluster")],
    Annotated[Profiles, tyro.conf.subcommand("profiles")],
    Annotated[StatusCommand, tyro.conf.subcommand("status")],
    Annotated[Logs, tyro.conf.subcommand("logs")],
    Annotated[Cancel, tyro.conf.subcommand("cancel")],
    Annotated[Retry, tyro.conf.subcommand("retry")],
]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; mistakes and refusals give one message and status 2."""
    about = "The cluster's side of a sweep."
    at_the_end = tyro.conf.ConsolidateSubcommandArgs

    def call() -> int:
        return command_line.parse(
            Command, "python -m slurm", about, arguments, at_the_end
        ).run()

    mistakes = (ClusterError, QueueUnavailable, SubmissionRefused)
    return command_line.status(call, *mistakes)


if __name__ == "__main__":
    sys.exit(main())

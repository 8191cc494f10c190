"""`python -m slurm {cluster,profiles,logs,cancel}`: the cluster's side of a sweep.

Launching, looking and trying again are `python -m sweeps {run,status,retry}`.
"""

import sys
from typing import Any

from synth.cli import command_line


def parse(arguments: list[str] | None = None) -> Any:
    """The command that the words describe; misspelt ones end with status 2."""
    from tyro.conf import ConsolidateSubcommandArgs

    from slurm.commands import Cancel, ClusterCommand, Logs, Profiles
    from synth.cli.parsing import parse as parse_words

    return parse_words(
        {
            "cluster": ClusterCommand,
            "profiles": Profiles,
            "logs": Logs,
            "cancel": Cancel,
        },
        "python -m slurm",
        "The cluster's side of a sweep.",
        arguments,
        ConsolidateSubcommandArgs,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; mistakes and refusals give one message and status 2."""
    return command_line.run(parse, arguments, _refusals)


def _refusals() -> tuple[type[Exception], ...]:
    from slurm.clients import QueueUnavailable
    from slurm.sandbox.daemons import ClusterError
    from slurm.submission import SubmissionRefused

    return ClusterError, QueueUnavailable, SubmissionRefused


if __name__ == "__main__":
    sys.exit(main())

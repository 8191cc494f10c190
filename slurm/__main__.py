"""`python -m slurm {cluster,profiles,logs,cancel}`: commands for the cluster.

To launch, inspect and retry runs use `python -m sweeps {run,status,retry}`.
"""

import sys
from typing import Any

from synth.cli import command_line

ABOUT = "Commands for the cluster of a sweep."


def commands() -> dict[str, type]:
    """The commands by name."""
    from slurm.commands import Cancel, ClusterCommand, Logs, Profiles

    return {
        "cluster": ClusterCommand,
        "profiles": Profiles,
        "logs": Logs,
        "cancel": Cancel,
    }


def parse(arguments: list[str] | None = None) -> Any:
    """Parse the words into a command; misspelt ones are a `ValueError`."""
    from tyro.conf import ConsolidateSubcommandArgs

    from synth.cli.parsing import parse as parse_words

    return parse_words(commands(), "slurm", ABOUT, arguments, ConsolidateSubcommandArgs)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; mistakes and refusals print one message and exit with status 2."""
    return command_line.run(parse, arguments, _expected_errors)


def _expected_errors() -> tuple[type[Exception], ...]:
    from slurm.clients import QueueUnavailable
    from slurm.sandbox.daemons import ClusterError
    from slurm.submission import SubmissionRefused

    return ClusterError, QueueUnavailable, SubmissionRefused


if __name__ == "__main__":
    sys.exit(main())

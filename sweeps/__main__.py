"""`python -m sweeps {list,plan,run,status,retry,show,tune,search,reproduce,dashboard}`.

Only worker processes import torch.
"""

import sys
from typing import Any

from synth.cli import command_line

ABOUT = "Many runs: list, plan, run, watch and tune sweeps."


def commands() -> dict[str, type]:
    """The commands by name."""
    from sweeps.commands import PlanCommand, Retry, RunCommand
    from sweeps.inspection import Dashboard, List, Show, Status
    from sweeps.reproduce import Reproduce
    from sweeps.searching import Search
    from sweeps.tuning import Tune

    return {
        "list": List,
        "plan": PlanCommand,
        "run": RunCommand,
        "status": Status,
        "retry": Retry,
        "show": Show,
        "tune": Tune,
        "search": Search,
        "reproduce": Reproduce,
        "dashboard": Dashboard,
    }


def parse(arguments: list[str] | None = None) -> Any:
    """Parse the words into a command; misspelt ones are a `ValueError`."""
    from tyro.conf import ConsolidateSubcommandArgs

    from synth.cli.parsing import parse as parse_words

    return parse_words(
        commands(), "sweeps", ABOUT, arguments, ConsolidateSubcommandArgs
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's mistake prints one message and exits with status 2."""
    return command_line.run(parse, arguments)


if __name__ == "__main__":
    sys.exit(main())

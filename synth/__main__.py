"""`python -m synth {sample,train,evaluate,probe,describe}`: one run at a time.

Torch is imported by the commands that need it, inside them.
"""

import sys
from typing import Any

from synth.cli import command_line


def parse(arguments: list[str] | None = None) -> Any:
    """The command that the words describe; misspelt ones end with status 2."""
    from tyro.conf import CascadeSubcommandArgs

    from synth.cli.commands import Describe, Evaluate, Sample, Train
    from synth.cli.parsing import parse as parse_words
    from synth.probes.commands import Probe

    return parse_words(
        {
            "sample": Sample,
            "train": Train,
            "evaluate": Evaluate,
            "probe": Probe,
            "describe": Describe,
        },
        "python -m synth",
        "One run: sample its data, train it, evaluate it, describe it.",
        arguments,
        CascadeSubcommandArgs,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; user mistakes end in one message and status 2."""
    return command_line.run(parse, arguments)


if __name__ == "__main__":
    sys.exit(main())

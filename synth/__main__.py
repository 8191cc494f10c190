"""`python -m synth {sample,train,evaluate,probe,describe}`: one run at a time.

Torch is imported by the commands that need it, inside them.
"""

import sys
from typing import Annotated, Union

import tyro

from synth import command_line
from synth.commands import Describe, Evaluate, Sample, Train
from synth.probes.commands import Probe

Command = Union[  # noqa: UP007 - read by tyro at run time
    Annotated[Sample, tyro.conf.subcommand("sample")],
    Annotated[Train, tyro.conf.subcommand("train")],
    Annotated[Evaluate, tyro.conf.subcommand("evaluate")],
    Annotated[Probe, tyro.conf.subcommand("probe")],
    Annotated[Describe, tyro.conf.subcommand("describe")],
]


def parse(arguments: list[str] | None = None) -> Command:
    """The command that the words describe; misspelt ones end with status 2."""
    about = "One run: sample its data, train it, evaluate it, describe it."
    either_side = tyro.conf.CascadeSubcommandArgs
    return command_line.parse(Command, "python -m synth", about, arguments, either_side)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; user mistakes end in one message and status 2."""
    return command_line.status(lambda: parse(arguments).run())


if __name__ == "__main__":
    sys.exit(main())

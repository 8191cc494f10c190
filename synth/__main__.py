"""One run: `python -m synth COMMAND`, from its data to its measurements.

Torch is imported by the commands that need it, inside them.
"""

import sys
from typing import Any

from synth.cli import command_line


def parse(arguments: list[str] | None = None) -> Any:
    """Parse the words into a command; misspelt ones end the process with status 2."""
    from tyro.conf import CascadeSubcommandArgs

    from synth.cli import commands, trained
    from synth.cli.export_data import ExportData
    from synth.cli.parsing import parse as parse_words
    from synth.cli.track import Track
    from synth.probes.commands import Probe

    aimed = {"sample": commands.SampleExamples, "train": commands.Train}
    aimed |= {"describe": commands.Describe}
    words = sys.argv[1:] if arguments is None else arguments
    commands.require_task(words)
    kind = commands.objective_kind(words)
    if kind is not None:
        aimed = {name: commands.aimed_at(one, kind) for name, one in aimed.items()}
    return parse_words(
        {
            "tasks": commands.Tasks,
            "objectives": commands.Objectives,
            **aimed,
            "evaluate": commands.Evaluate,
            "probe": Probe,
            "track": Track,
            "generate": trained.Generate,
            "export": trained.Export,
            "export-data": ExportData,
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

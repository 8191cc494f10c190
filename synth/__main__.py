"""One run: `python -m synth COMMAND`, from its data to its measurements.

Torch is imported by the commands that need it, inside them.
"""

import sys
from collections.abc import Sequence
from typing import Any

from synth.cli import command_line

ABOUT = "One run: sample its data, train it, evaluate it, describe it."


def commands(words: Sequence[str] = ()) -> dict[str, type]:
    """The commands by name; `words` may name an objective, whose options they get."""
    from synth.cli import commands as one_run
    from synth.cli import trained
    from synth.cli.export_data import ExportData
    from synth.cli.track import Track
    from synth.cli.words import objective_kind
    from synth.probes.commands import Probe

    aimed = {"sample": one_run.SampleExamples, "train": one_run.Train}
    aimed |= {"describe": one_run.Describe}
    kind = objective_kind(words)
    if kind is not None:
        aimed = {name: one_run.aimed_at(one, kind) for name, one in aimed.items()}

    return {
        "tasks": one_run.Tasks,
        "objectives": one_run.Objectives,
        **aimed,
        "evaluate": one_run.Evaluate,
        "probe": Probe,
        "track": Track,
        "generate": trained.Generate,
        "export": trained.Export,
        "export-data": ExportData,
    }


def parse(arguments: list[str] | None = None) -> Any:
    """Parse the words into a command; misspelt ones are a `ValueError`."""
    from tyro.conf import CascadeSubcommandArgs

    from synth.cli.parsing import parse as parse_words
    from synth.cli.words import refuse_clashes, require_task

    words = sys.argv[1:] if arguments is None else arguments
    require_task(words)
    known = commands(words)
    if words and words[0] in known:
        refuse_clashes(known[words[0]], words)
    return parse_words(known, "synth", ABOUT, arguments, CascadeSubcommandArgs)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; user mistakes end in one message and status 2."""
    return command_line.run(parse, arguments)


if __name__ == "__main__":
    sys.exit(main())

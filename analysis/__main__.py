"""Results of runs: `python -m analysis COMMAND`, from run folders to a report."""

import sys
from typing import Any

from synth.cli import command_line

ABOUT = "Collect run folders, draw figures, judge claims, report."
REPLACED = {
    "matched": "compare SWEEP --metric SUITE/METRIC --at flops",
    "--suite": "--metric SUITE/METRIC",
    "--slice": "--metric SUITE/METRIC/SLICE",
}
"""What to write in place of a former command or option."""


def commands() -> dict[str, type]:
    """The commands by name."""
    from analysis.beside.command import Beside
    from analysis.commands import (
        Claims,
        Collect,
        Figures,
        Merge,
        Quick,
        Report,
    )
    from analysis.notebooks.command import Notebooks
    from analysis.sweep_commands import Compare, Plot
    from analysis.training_commands import (
        AttentionMaps,
        Events,
        Learned,
        Noise,
        Scaling,
    )

    return {
        "collect": Collect,
        "plot": Plot,
        "compare": Compare,
        "events": Events,
        "learned": Learned,
        "noise": Noise,
        "scaling": Scaling,
        "attention": AttentionMaps,
        "merge": Merge,
        "beside": Beside,
        "quick": Quick,
        "claims": Claims,
        "figures": Figures,
        "report": Report,
        "notebooks": Notebooks,
    }


def parse(arguments: list[str] | None = None) -> Any:
    """Parse the words into a command; misspelt ones are a `ValueError`.

    Raises `ValueError` for a command or an option that was replaced; names the new one.
    """
    from synth.cli.parsing import parse as parse_words

    words = sys.argv[1:] if arguments is None else arguments
    for place, word in enumerate(words):
        name = word.partition("=")[0]
        if name in REPLACED and (place == 0 or name.startswith("--")):
            raise ValueError(f"{name} was replaced: write {REPLACED[name]}.")
    return parse_words(commands(), "analysis", ABOUT, arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's mistake prints one message and exits with status 2."""
    return command_line.run(parse, arguments)


if __name__ == "__main__":
    sys.exit(main())

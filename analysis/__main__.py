"""Results of runs: `python -m analysis COMMAND`, from run folders to a report."""

import sys
from typing import Any

from synth.cli import command_line

ABOUT = "Collect run folders, draw figures, judge claims, report."


def commands() -> dict[str, type]:
    """The commands by name."""
    from analysis.answers import Compare, Merge, Plot
    from analysis.beside.command import Beside
    from analysis.commands import (
        Claims,
        Collect,
        Figures,
        Matched,
        Quick,
        Report,
    )
    from analysis.notebooks.command import Notebooks
    from analysis.studies import AttentionMaps, Events, Learned, Noise, Scaling

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
        "matched": Matched,
        "notebooks": Notebooks,
    }


def parse(arguments: list[str] | None = None) -> Any:
    """The command that the words describe; misspelt ones end with status 2."""
    from synth.cli.parsing import parse as parse_words

    return parse_words(commands(), "python -m analysis", ABOUT, arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's mistake prints one message and exits with status 2."""
    return command_line.run(parse, arguments)


if __name__ == "__main__":
    sys.exit(main())

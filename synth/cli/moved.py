"""Options of commands that read a run again: where the files of its task lie now."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from synth.identity import location


@dataclass(frozen=True, kw_only=True)
class MovedFiles:
    """Places of files that are not where they were when the run was trained."""

    corpus: str = location()
    """Where the run's corpus lies now, if not where it was."""
    books: str = location()
    """Where its books lie now."""
    tokenizer_file: Annotated[str, tyro.conf.arg(aliases=("--tokenizer",))] = location()
    """Where its tokenizer.json lies now."""
    test_file: str = location()
    """Where its file of star graphs to test on lies now."""

    def moved(self) -> dict[str, str]:
        """The places that were given, by field name."""
        names = ("corpus", "books", "tokenizer_file", "test_file")
        return {name: path for name in names if (path := getattr(self, name))}

"""What a launch keeps beside the runs: a copy of the code, and what was typed.

Workers import `synth` and `sweeps` from the copy, so edits while a launch runs change
nothing in it.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from synth.config import RunConfig
from synth.families import plugins
from synth.run import code_copy as snapshot
from synth.run.store import write_atomically

PACKAGES = ("synth", "slurm", "sweeps")
FOLDER = ".sweep"
"""What a launch keeps beside the runs: the copy of the code, the logs of workers."""
_TYPED = "typed.json"


def take_copy(root: Path, configs: Iterable[RunConfig] = ()) -> Path:
    """Copy the code below `root` (equal code once); workers run from there.

    The files that define tasks and objectives of a person's own go with it.
    """
    more = plugins.copies(configs)
    return snapshot.take(root, FOLDER, packages=PACKAGES, more=more)


@dataclass(frozen=True)
class Typed:
    """What a person typed to launch: `python -m sweeps VERB WORDS`."""

    verb: str
    words: str

    def remember(self, root: Path) -> None:
        """Keep it beside the runs, so that `status` can name the next command."""
        if last_typed(root) != self:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            text = json.dumps(asdict(self)).encode() + b"\n"
            write_atomically(root / FOLDER / _TYPED, text)


def last_typed(root: Path) -> Typed | None:
    """How the runs below a folder were launched last; `None` if nobody knows."""
    try:
        return Typed(**json.loads((root / FOLDER / _TYPED).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None

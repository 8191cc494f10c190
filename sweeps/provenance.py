"""What a launch stores beside the runs: a copy of the code and the typed command.

Workers import `synth` and `sweeps` from the copy, so edits during a launch do not affect
it.
"""

import json
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from synth.config import RunConfig
from synth.disk.files import write_atomically
from synth.families import plugins
from synth.run import code_copy as snapshot

PACKAGES = ("synth", "slurm", "sweeps")
FOLDER = ".sweep"
"""The folder of the copy of the code, the worker logs and the typed command."""
_TYPED = "typed.json"


def copy_code(root: Path, configs: Iterable[RunConfig] = ()) -> Path:
    """Copy the code into `root`, once for equal code; returns the folder of the copy.

    Files that define tasks and objectives of the user are copied too.
    """
    more = plugins.copies(configs)
    return snapshot.take(root, FOLDER, packages=PACKAGES, more=more)


@dataclass(frozen=True)
class TypedCommand:
    """The command of a launch: `python -m sweeps VERB WORDS`."""

    verb: str
    words: str

    def save(self, root: Path) -> None:
        """Store the command beside the runs, for `status` to name the next one."""
        if last_command(root) != self:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            stored = asdict(self) | {"folder": str(root.resolve())}
            text = json.dumps(stored).encode() + b"\n"
            write_atomically(root / FOLDER / _TYPED, text)


def last_command(root: Path) -> TypedCommand | None:
    """The command that last launched the runs of a folder; `None` if not recorded.

    Of a folder that was moved or copied since, the command that names the folder: the
    other one would train in its old place.
    """
    try:
        stored = json.loads((root / FOLDER / _TYPED).read_bytes())
        here = str(root.resolve())
        if stored.pop("folder", here) != here:
            return TypedCommand("run", shlex.quote(str(root)))
        return TypedCommand(**stored)
    except (OSError, ValueError, TypeError, AttributeError):
        return None

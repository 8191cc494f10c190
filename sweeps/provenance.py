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
"""The folder of the copy of the code, the worker logs and the typed commands."""
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
        """Store the command beside the runs, after those of other launches.

        `status` names the next one from them.
        """
        stored = commands_of(root)
        if stored[-1:] != [self]:
            others = [
                one for one in stored if one not in (self, command_by_folder(root))
            ]
            values = {
                "folder": str(root.resolve()),
                "commands": [asdict(one) for one in (*others, self)],
            }
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            write_atomically(
                root / FOLDER / _TYPED, json.dumps(values).encode() + b"\n"
            )


def commands_of(root: Path) -> list[TypedCommand]:
    """The commands that launched the runs of a folder, the last one last.

    Of a folder that was moved or copied since, the command that names the folder: the
    others would train in its old place. None where nothing readable is recorded.
    """
    try:
        stored = json.loads((root / FOLDER / _TYPED).read_bytes())
        here = str(root.resolve())
        if stored.pop("folder", here) != here:
            return [command_by_folder(root)]
        # Earlier versions stored one command.
        return [TypedCommand(**one) for one in stored.get("commands", [stored])]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def command_by_folder(root: Path) -> TypedCommand:
    """The command that trains the runs of a folder."""
    return TypedCommand("run", shlex.quote(str(root)))

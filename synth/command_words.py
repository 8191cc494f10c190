"""Commands in messages, in the form in which this process was called."""

import shlex
import sys
from pathlib import Path


def as_typed(words: str, *names: object) -> str:
    """A command of a room: `synth sweeps run`, if the console command was called.

    `names` are quoted for a shell, as paths with spaces must be.

    >>> as_typed("sweeps run quick")
    'python -m sweeps run quick'
    >>> as_typed("sweeps status", Path("my runs/repeats"))
    "python -m sweeps status 'my runs/repeats'"
    """
    words = " ".join([words, *(shlex.quote(str(name)) for name in names)])
    if Path(sys.argv[0]).name != "synth":
        return f"python -m {words}"
    return words if words.partition(" ")[0] == "synth" else f"synth {words}"

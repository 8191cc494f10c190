"""Commands in messages, in the form in which this process was called."""

import sys
from pathlib import Path


def as_typed(words: str) -> str:
    """A command of a room: `synth sweeps run`, if the console command was called.

    >>> as_typed("sweeps run quick")
    'python -m sweeps run quick'
    """
    if Path(sys.argv[0]).name != "synth":
        return f"python -m {words}"
    return words if words.partition(" ")[0] == "synth" else f"synth {words}"

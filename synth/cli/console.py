"""The console command `synth`: the commands of one run, and the other rooms below it.

`synth train` is `python -m synth train`, `synth sweeps run` is `python -m sweeps run`.
The current folder is not searched for modules, so a file of yours called `analysis.py`
or `json.py` does no harm.
"""

import sys
from importlib import import_module

ROOMS = {name: name for name in ("sweeps", "slurm", "analysis")} | {"sweep": "sweeps"}


def main(arguments: list[str] | None = None) -> int:
    """Run one command of any room; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    room = ROOMS.get(words[0]) if words else None
    # By name: this room imports no other, and this command stands above all of them.
    module = import_module(f"{room or 'synth'}.__main__")
    return int(module.main(words[1:] if room else words))

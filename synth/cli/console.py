"""The console command `synth`: the commands of one run, and the other rooms below it.

`synth train` is `python -m synth train`, `synth sweeps run` is `python -m sweeps run`.
The current folder is not searched for modules, so a file of yours called `analysis.py`
or `json.py` does no harm.
"""

import sys
from importlib import import_module
from typing import Any

from synth.cli import command_line

ROOMS = {name: name for name in ("sweeps", "slurm", "analysis")} | {"sweep": "sweeps"}
COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")


def main(arguments: list[str] | None = None) -> int:
    """Run one command of any room; returns its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    first = words[0].partition("=")[0] if words else ""
    if first in ("", "-h", "--help", *COMPLETION):
        return command_line.run(_parse_all, words)
    room = ROOMS.get(first)
    # By name: this room imports no other, and this command stands above all of them.
    module = import_module(f"{room or 'synth'}.__main__")
    return int(module.main(words[1:] if room else words))


def _parse_all(words: list[str] | None) -> Any:
    """Help and completion of every command; neither returns."""
    from dataclasses import make_dataclass

    from tyro.conf import CascadeSubcommandArgs

    from synth.cli.parsing import choice_of, parse

    commands = dict(import_module("synth.__main__").commands())
    for name in dict.fromkeys(ROOMS.values()):
        module = import_module(f"{name}.__main__")
        room = make_dataclass(name, [("command", choice_of(module.commands()))])
        room.__doc__ = module.ABOUT
        commands[name] = room
    about = "What a training objective teaches a small language model."
    return parse(commands, "synth", about, words, CascadeSubcommandArgs)

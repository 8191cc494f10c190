"""What to type next for the runs of a folder, by the commands that launched them."""

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from sweeps.commands import HOW
from sweeps.provenance import TypedCommand, command_by_folder, commands_of
from sweeps.selected_runs import option_of
from synth.command_words import as_typed
from synth.run.execution import Execution
from synth.run.standing import Standing, Survey
from synth.run.states import TROUBLED, State


def next_commands(
    standings: Survey[Standing], commands: Sequence[TypedCommand]
) -> list[str]:
    """The next command, then those of earlier launches; none when everything is done.

    `commands` launched the runs; where none is recorded, as for single runs, it is `run`
    with their folder.
    """
    counts = standings.counts
    resumable: tuple[State, ...] = ("new", "stopped", "cancelled", "timed out", "lost")
    waiting = any(counts[state] for state in resumable)
    troubled = any(counts[state] for state in TROUBLED)
    following = []
    for typed in reversed(commands or [command_by_folder(standings.root)]):
        verb = typed.verb
        if verb == "run" and troubled:  # of tune and search, a failed trial is a result
            following.append(as_typed(f"sweeps retry {typed.words}"))
        elif waiting:
            following.append(as_typed(f"sweeps {verb} {typed.words}"))
    return following


def folder_commands(root: Path) -> list[TypedCommand]:
    """The commands that launched the runs of a folder, the last one last.

    Where `run` trained different parts of a sweep, the folder stands for all of them.
    """
    commands = commands_of(root)
    if {typed.verb for typed in commands} == {"run"}:
        parts = {_split_words(typed)[0] for typed in commands}
        words = f"{command_by_folder(root).words} {how_launched(root)}".rstrip()
        commands = [TypedCommand("run", words)] if len(parts) > 1 else commands[-1:]
    return commands


def how_launched(root: Path) -> str:
    """Where and how the last launch trained the runs of a folder, if it was `run`."""
    last = [typed for typed in commands_of(root)[-1:] if typed.verb == "run"]
    return _split_words(last[0])[1] if last else ""


def _split_words(typed: TypedCommand) -> tuple[str, str]:
    """Which runs a `run` command trains, and its last words: where and how."""
    words = shlex.split(typed.words)
    names = (*HOW, *(field.name for field in fields(Execution)))
    options = set(map(option_of, names))
    first = next((n for n, word in enumerate(words) if word in options), len(words))
    return shlex.join(words[:first]), shlex.join(words[first:])

"""What the words of a command line name, looked up before tyro, which knows no plugins."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

from synth.families.family import find, require_member

ALIASES = {"stories": ("induction",)}
"""Other names of tasks on the command line."""


def objective_kind(words: Sequence[str]) -> str | None:
    """The objective that a command line names, whose options it can then have.

    Of several the last one counts, as it does for other options.
    """
    kind = None
    for word, following in itertools.zip_longest(words, words[1:]):
        if word == "--objective":
            kind = following
        elif word.startswith("--objective="):
            kind = word.partition("=")[2]
    return kind


def require_task(words: Sequence[str]) -> None:
    """Refuse a task that nothing defines (`ValueError`); tyro knows of no plugins."""
    kind = _task_kind(words)
    if kind is not None and kind not in itertools.chain(*ALIASES.values()):
        require_member("task", kind)


def refuse_clashes(command: type, words: Sequence[str]) -> None:
    """Refuse a task or objective of a person's own with a field that is an option already.

    `command` is the class of the command that the words call. Raises `ValueError`.
    """
    parts = [command]
    kind = _task_kind(words)
    if kind is not None and find("task", kind):
        parts.append(require_member("task", kind))
    owners: dict[str, type] = {}
    for name, owner in itertools.chain(*map(_options, parts)):
        other = owners.setdefault(name, owner)
        own = [
            one
            for one in {owner, other} - {command}
            if not one.__module__.startswith("synth.")
        ]
        if other is not owner and own:
            raise ValueError(
                f"{own[0].__name__}.{name} cannot be an option: `{words[0]}` has "
                f"--{name.replace('_', '-')} already. Give the field another name."
            )


def _task_kind(words: Sequence[str]) -> str | None:
    """The task that the words name, for a command that takes one."""
    match words:
        case ["sample" | "train" | "export-data", kind, *_] if kind[:1] != "-":
            return kind
    return None


def _options(owner: type) -> Iterator[tuple[str, type]]:
    """The fields that are options, each with the class that declares it."""
    for one in dataclasses.fields(owner):
        make = one.default_factory
        default = one.default if make is dataclasses.MISSING else make()
        if dataclasses.is_dataclass(default):
            yield from _options(type(default))
        else:
            yield one.name, owner

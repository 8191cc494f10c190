"""Stored configurations as flat fields, and their values in words.

Everything that compares runs reads their configurations through this file, so that a
field that older runs did not write is no difference.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from analysis.schema import CONFIGURED
from synth.config import RunConfig
from synth.families.family import find, members
from synth.identity import fill_implied, flatten

SEEDS = ("seed", "data_seed")
"""Fields in which runs of one cell differ, besides the seeds that a task declares."""
COMPANIONS = {"books_parts": ("task.books_digest",)}
"""Fields that differ wherever a column does."""
BOOKKEEPING = ("version", "digest", "examples", "evaluate_every_steps")
"""Ends of the names of fields that tell a reader little."""
EVALUATION_SIZES = {
    "training.evaluation_examples": "examples an evaluation",
    "training.final_examples": "examples in the last evaluation",
}
"""Numbers of evaluation examples, and their words. Training does not depend on them, so
figures may average over runs that differ in them, and say so."""

WORDS = {
    "scale": "{}",
    "p_open": "{:.0%} open names",
    "max_evaluated": "m to {} in tests",
    "max_operations": "m to {} in training",
    "pause_tokens": "{} pause tokens",
    "branches": "{} branches",
    "consequences": "consequences of {} tokens",
    "steps": "{} steps",
    "warmup_steps": "{} warm-up steps",
    "batch_rows": "{} rows a batch",
    "context": "rows of {} tokens",
}
"""Values of fields, by the ends of their paths, in words; others are `name value`."""


def column_path(name: str) -> str:
    """The dotted path of a `CONFIGURED` column; any other name is a path itself."""
    return CONFIGURED[name][0] if name in CONFIGURED else name


def seed_paths(kind: str) -> tuple[str, ...]:
    """Dotted paths of all seeds of runs of a task, which may be unknown here."""
    task = find("task", kind)
    return (*SEEDS, *(f"task.{name}" for name in getattr(task, "seeds", ())))


def read_fields(config: str) -> dict[str, Any]:
    """All fields of a stored configuration by dotted path.

    Fields that older runs did not write have the value that they imply; places of files
    are left out.

    >>> read_fields('{"seed": 3, "task": {"kind": "maze", "width": 5}}')["task.width"]
    5
    """
    return flatten(_complete(json.loads(config)))


def strip_fields(config: str, columns: Iterable[str]) -> dict[str, Any]:
    """A stored configuration, complete, without its seeds and the fields of `columns`."""
    stored = _complete(json.loads(config))
    kind = str(stored.get("task", {}).get("kind"))
    columns = list(columns)
    paths = [*seed_paths(kind), *map(column_path, columns)]
    paths += [path for name in columns for path in COMPANIONS.get(name, ())]
    for path in paths:
        *parents, name = path.split(".")
        owner: Any = stored
        for parent in parents:
            owner = owner.get(parent, {})
        if path == "objective":  # an arm names all of it but the scored tokens
            owner[name] = {"scored": owner.get(name, {}).get("scored")}
        else:
            owner.pop(name, None)
    return stored


def _complete(stored: Mapping[str, Any]) -> dict[str, Any]:
    values = fill_implied(RunConfig, stored)
    for family in ("task", "objective"):
        member = stored.get(family) or {}
        if member.get("kind") in members(family):
            values[family] = fill_implied(members(family)[member["kind"]], member)
    return values


def drop_bookkeeping(paths: Sequence[str]) -> list[str]:
    """The paths without those of `BOOKKEEPING`, unless there are no others."""
    return [path for path in paths if not path.endswith(BOOKKEEPING)] or list(paths)


def describe_value(path: str, value: Any) -> str:
    """A value with its field, for titles and captions.

    >>> describe_value("task.p_open", 0.5), describe_value("task.tree", "chain")
    ('50% open names', 'tree chain')
    >>> describe_value("task.consequences", [1, 3]), describe_value("model.mixer", "rwkv")
    ('consequences of 1 3 tokens', 'rwkv')
    """
    owner, _, name = path.rpartition(".")
    if name in ("kind", "mixer") and owner:
        return format_value(value)
    if name not in WORDS or value is None:
        return f"{name.replace('_', ' ')} {format_value(value)}"
    return WORDS[name].format(value if "%" in WORDS[name] else format_value(value))


def format_value(value: Any) -> str:
    """A value of a configuration as a person types it.

    >>> [format_value(v) for v in (0.0010, 64, True, None, ["neg", "add"], "")]
    ['0.001', '64', 'true', 'none', 'neg add', 'empty']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " ".join(map(format_value, value)) or "empty"
    return str(value) or "empty"

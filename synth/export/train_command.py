"""A run as the words that train it."""

import shlex
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from synth.command_words import as_typed
from synth.config import RunConfig
from synth.families.outside import path_of
from synth.families.plugins import OPTION, recorded
from synth.identity import Part
from synth.objectives.multi_token import MultiTokenConfig

FILLED_IN = ("corpus_digest", "books_digest", "tokenizer_digest", "grammar_digest")
"""Fields that a configuration fills in itself, as it does `reading`."""
OTHER_NAMES = {("StoryConfig", "profile"): "story-style"}


def train_command(config: RunConfig) -> str:
    """The command `synth train ...`, with every setting that is not a default."""
    words = [*as_typed("synth train").split(), config.task.kind]
    if config.objective.kind != MultiTokenConfig.kind:
        words += ["--objective", config.objective.kind]
    for part in (config.task, config.model, config.objective, config.training):
        words += _options(part)
    words += ["--seed", str(config.seed)]
    if config.data_seed is not None:
        words += ["--data-seed", str(config.data_seed)]
    if config.split != "test":
        words += ["--split", config.split]
    defining = {path_of(type(part)) for part in (config.task, config.objective)}
    for entry in recorded(config):
        if entry["path"] in defining:  # what they import follows by itself
            words += [OPTION, entry["path"]]
    return shlex.join(words)


def _options(part: Part, usual: Part | None = None) -> Iterator[str]:
    """The options of a part whose defaults are its own, or those of `usual`."""
    for field in fields(part):
        value: Any = getattr(part, field.name)
        default: Any = field.default if usual is None else getattr(usual, field.name)
        if isinstance(value, Part):
            yield from _options(value, default if isinstance(default, Part) else None)
            continue
        if value == default or field.name in (*FILLED_IN, "reading"):
            continue
        dashed = field.name.replace("_", "-")
        name = OTHER_NAMES.get((type(part).__name__, field.name), dashed)
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no-{name}"
            continue
        yield f"--{name}"
        yield from map(str, value) if isinstance(value, tuple) else [str(value)]

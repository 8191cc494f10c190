"""Settings: what runs share that may be averaged over seeds, or drawn in one figure.

A figure or a comparison varies some columns (size, arm). Two runs are of one
setting when their configurations differ in these and in seeds alone. Everything that
averages, pairs or draws runs takes one setting at a time, through this file.
"""

import dataclasses
import functools
import json
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from analysis.schema import CONFIGURED
from analysis.selection import size_name
from synth.config import RunConfig
from synth.families.family import find, members
from synth.identity import Part, digest

TUNED = ("learning_rate", "weight_decay")
"""Columns that a tuned sweep sets cell by cell."""
COMPANIONS = {"books_parts": ("task.books_digest",)}
"""Fields that only one side of a comparison has, when the column varies."""
SILENT = ("version", "digest", "examples", "evaluate_every_steps")
"""Ends of field names that say nothing to a reader while others do."""
EVALUATED = {
    "training.evaluation_examples": "examples an evaluation",
    "training.final_examples": "examples in the last evaluation",
}
"""Numbers of evaluation examples, and their words. Training does not depend on them, so
figures may average over runs that differ in them, and say so."""
SEEDS = ("seed", "data_seed")
"""Fields in which runs of one cell differ, besides the seeds that a task declares."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """The runs of one setting, and what they share."""

    id: str
    """Hex digits, the same whatever else is in the table."""
    label: str
    """What tells it apart from the other settings; empty when there is no other."""
    brief: str
    """As few of these fields as still do."""
    frame: pl.DataFrame


def with_setting(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Add `setting`: equal for runs that differ in seeds and the `varied` columns alone.

    `varied` are names of `CONFIGURED` columns, or dotted paths of fields that `frame`
    has as columns. Learning rate and weight decay do not count, since each cell has its
    own after tuning, unless a cell has several.
    """
    loose = _settings(frame, *varied, *TUNED)
    cell = ["setting", *dict.fromkeys(varied)]
    rates = loose.group_by(cell).agg(pl.struct(TUNED).n_unique().alias("rates"))
    several = rates.filter(pl.col("rates") > 1)["setting"].unique()
    if several.is_empty():
        return loose
    strict = _settings(frame, *varied)["setting"]
    crowded = pl.col("setting").is_in(several.to_list())
    chosen = pl.when(crowded).then(strict).otherwise("setting")
    return loose.with_columns(chosen.alias("setting"))


def rates_are_tuned(rows: pl.DataFrame) -> bool:
    """Whether every arm and size ran at the rate that a tuned sweep has for it.

    Names of tuned sweeps end so. Runs that an earlier sweep had at the same rate already
    are not trained again, and count as well. `rows` are of one setting, or name it.
    """
    cell = [n for n in ("setting", "scale", "arm", *TUNED) if n in rows.columns]
    if "sweep" not in rows.columns:
        return False
    by_sweep = pl.col("sweep").str.ends_with("-tuned").any()
    return bool(rows.group_by(cell).agg(tuned=by_sweep)["tuned"].all())


def settings_of(frame: pl.DataFrame, *varied: str) -> list[Setting]:
    """The settings in `frame`, those with most runs first."""
    marked = with_setting(frame, *varied)
    runs = marked.group_by("setting").agg(pl.col("run_id").n_unique().alias("runs"))
    ranked = runs.sort(["runs", "setting"], descending=[True, False])["setting"]
    parts = [marked.filter(pl.col("setting") == name) for name in ranked.to_list()]
    told = _told_apart([part["config"][0] for part in parts], varied, parts)
    fewest = _fewest(told)
    return [
        Setting(
            part["setting"][0],
            ", ".join(one.values()),
            ", ".join(one[path] for path in fewest),
            part.drop("setting"),
        )
        for part, one in zip(parts, told, strict=True)
    ]


def setting_labels(frame: pl.DataFrame, *varied: str) -> dict[str, str]:
    """What tells each setting of `frame` apart, by its digits (`settings_of`)."""
    return {one.id: one.label for one in settings_of(frame, *varied)}


def name_settings(table: pl.DataFrame, labels: dict[str, str]) -> pl.DataFrame:
    """`table` with its settings in words; without the column if there is only one."""
    if len(labels) < 2:
        return table.drop("setting")
    return table.with_columns(pl.col("setting").replace(labels))


def check_one_setting(frame: pl.DataFrame, *varied: str) -> None:
    """Refuse runs of several settings: a mean over them would pass for one over seeds.

    Raises
    ------
    ValueError
        Names two runs and what they differ in.
    """
    found = settings_of(frame, *varied) if frame.height else []
    if len(found) > 1:
        names = [one.frame["run_id"][0] for one in found[:2]]
        raise ValueError(
            f"Runs {names[0]} ({found[0].label}) and {names[1]} ({found[1].label}) are of "
            "different settings. Draw each setting on its own."
        )


def facts(frame: pl.DataFrame, *shown: str) -> str:
    """What was trained, in one line: task, tokens, loss, rate, seeds.

    Every figure carries it, so that no number travels without its scale. Columns that
    are `shown` tell cells apart, besides size, arm and the usual conditions.
    """
    runs = frame.unique("run_id", maintain_order=True)
    tokens = runs.select(pl.col("steps") * pl.col("batch_rows") * pl.col("context"))
    cell = ["scale", "arm", "precision", *_conditions(runs), *shown]
    seeds = runs.group_by(list(dict.fromkeys(cell))).len()["len"]
    words = [_task_words(runs), f"{_range(tokens.to_series(), size_name)} tokens"]
    if runs["scored"].unique().to_list() == ["answer"]:
        words.append("loss on answers alone")
    rates = _range(runs["learning_rate"], lambda rate: f"{rate:.2g}")
    many = "seed" if seeds.max() == 1 else "seeds"
    words += [f"learning rate {rates}", f"{_range(seeds, str)} {many} a cell"]
    configs = [fields_of(config) for config in runs["config"]]
    for path, what in EVALUATED.items():
        numbers = pl.Series([one.get(path) for one in configs], dtype=pl.Int64())
        words += [f"{_range(numbers, str)} {what}"] * (numbers.n_unique() > 1)
    return "; ".join(words)


def _conditions(runs: pl.DataFrame) -> list[str]:
    """Columns besides size and arm that a figure may spread over panels."""
    return [
        name
        for name in ("context", "pause_tokens", "open_names", "books_parts")
        if runs[name].n_unique() > 1
    ]


def _task_words(runs: pl.DataFrame) -> str:
    first = runs.row(0, named=True)
    if first["task"] != "polynomial":
        return str(first["task"]).replace("-", " ")
    ring = f"F_{first['modulus']}[X]/(X^{first['degree']})"
    return f"{ring}, m to {first['max_operations']} in training"


def _range(values: pl.Series, write: typing.Callable[[Any], str]) -> str:
    found = values.drop_nulls().unique().sort().to_list()
    if not found:
        return "unknown"
    low, high = write(found[0]), write(found[-1])
    return low if low == high else f"{low} to {high}"


def _settings(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    known = frame["config"].drop_nulls().unique().sort().to_list()
    keys = {config: digest(_without(config, varied))[:8] for config in known}
    table = pl.DataFrame(
        {"config": list(keys), "setting": list(keys.values())},
        schema={"config": pl.String(), "setting": pl.String()},
    )
    return frame.join(table, on="config", how="left", maintain_order="left")


def path_of(name: str) -> str:
    """The dotted path of a `CONFIGURED` column; any other name is a path itself."""
    return CONFIGURED[name][0] if name in CONFIGURED else name


def seeds_of(kind: str) -> tuple[str, ...]:
    """Dotted paths of all seeds of runs of a task, which may be unknown here."""
    task = find("task", kind)
    return (*SEEDS, *(f"task.{name}" for name in getattr(task, "seeds", ())))


def fields_of(config: str) -> dict[str, Any]:
    """All fields of a stored configuration by dotted path.

    Fields that older runs did not write have the value that they imply; places of files
    are left out.

    >>> fields_of('{"seed": 3, "task": {"kind": "maze", "width": 5}}')["task.width"]
    5
    """
    return dict(_flattened(_completed(json.loads(config))))


def _without(config: str, varied: Iterable[str]) -> dict[str, Any]:
    """A configuration as this code reads it, without seeds and varied fields."""
    stored = _completed(json.loads(config))
    kind = str(stored.get("task", {}).get("kind"))
    paths = [*seeds_of(kind), *(path_of(name) for name in varied)]
    paths += [path for name in varied for path in COMPANIONS.get(name, ())]
    for path in paths:
        *parents, name = path.split(".")
        owner: Any = stored
        for parent in parents:
            owner = owner.get(parent, {})
        if path == "objective":  # an arm is all of it but which tokens are scored
            owner[name] = {"scored": owner.get(name, {}).get("scored")}
        else:
            owner.pop(name, None)
    return stored


def _completed(stored: dict[str, Any]) -> dict[str, Any]:
    """With the fields that older runs did not write, without places of files."""
    found = _filled(RunConfig, stored)
    for family in ("task", "objective"):
        part = stored.get(family) or {}
        if part.get("kind") in members(family):
            found[family] = _filled(members(family)[part["kind"]], part)
    return found


@functools.cache
def _type_hints(part: type[Any]) -> dict[str, Any]:
    """Types of the fields of a part; reading them takes longer than all else here."""
    return typing.get_type_hints(part)


def _filled(part: type[Part], stored: Mapping[str, Any]) -> dict[str, Any]:
    kind: Any = part  # mypy takes the `__hash__` of parts for that of the class
    found, hints = dict(stored), _type_hints(kind)
    for field in dataclasses.fields(part):
        name, hint = field.name, hints[field.name]
        if field.metadata.get("location"):
            found.pop(name, None)
        elif name not in found:
            implied = field.metadata.get("implied", dataclasses.MISSING)
            if implied is not dataclasses.MISSING:
                found[name] = list(implied) if isinstance(implied, tuple) else implied
        elif isinstance(hint, type) and issubclass(hint, Part):
            found[name] = _filled(hint, found[name])
    return found


def _told_apart(
    configs: Sequence[str], varied: Sequence[str], parts: Sequence[pl.DataFrame]
) -> list[dict[str, str]]:
    """For each setting, the fields in which it differs from one of the others, in words."""
    flat = [dict(_flattened(_without(c, varied))) for c in configs]
    for one, part in zip(flat, parts, strict=True):
        for name in TUNED:  # a rate that is tuned cell by cell tells nothing apart
            if part[name].n_unique() > 1:
                one.pop(CONFIGURED[name][0], None)
    common = [path for path in flat[0] if all(path in one for one in flat)]
    apart = [path for path in common if len({str(one[path]) for one in flat}) > 1]
    told = [path for path in apart if not path.endswith(SILENT)] or apart
    return [{path: _words(path, one[path]) for path in told} for one in flat]


def _fewest(told: Sequence[dict[str, str]]) -> list[str]:
    """Fields that tell settings apart as well as all do, the most telling one first."""
    chosen: list[str] = []
    paths = list(told[0]) if told else []

    def kinds(more: str) -> int:
        return len({tuple(one[path] for path in (*chosen, more)) for one in told})

    so_far = 1
    while paths and max(map(kinds, paths)) > so_far:
        best = max(paths, key=kinds)
        so_far = kinds(best)
        chosen.append(best)
    return chosen


def _words(path: str, value: Any) -> str:
    name = path.rpartition(".")[2].replace("_", " ")
    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
    return shown if name in ("kind", "mixer") else f"{name} {shown}"


def _flattened(stored: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in stored.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value

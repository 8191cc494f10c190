"""Cells of a sweep (runs that differ only in their seeds), and selection among them.

A launch may take some arms, some sizes, some values of any field or the first seeds of a
sweep, or more seeds than it declares.
"""

import contextlib
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from synth.config import RunConfig
from synth.families import plugins
from synth.identity import digest, first_few, flatten, require
from synth.scales import resolve

MOST_SEEDS = 1000
"""Seeds of a cell; a mistyped number would plan for minutes."""
MOST_LISTED = 12
"""Fields that a message lists."""
OUTER_COMMA = r",(?![^\[]*\])"
"""A comma between values of --where: not one within a list such as [1, 3, 7]."""


def cell_key(config: RunConfig, without: Iterable[str] = ()) -> str:
    """Digest of a configuration without its seeds and without some training fields."""
    values = config.canonical()
    values.pop("seed", None)
    values.pop("data_seed", None)
    for name in config.task.seeds:
        values["task"].pop(name, None)
    for name in without:
        values["training"].pop(name, None)
    return digest(values)[:16]


def first_of_cells(
    configs: Iterable[RunConfig], without: Iterable[str]
) -> list[tuple[str, RunConfig]]:
    """The name and the first run of each cell, in order; `without` as for `cell_key`."""
    names = list(without)
    first: dict[str, RunConfig] = {}
    for config in configs:
        first.setdefault(cell_key(config, names), config)
    runs = list(first.values())
    return list(zip(cell_names(runs), runs, strict=True))


def trial_run(example: RunConfig, seed: int, values: Mapping[str, Any]) -> RunConfig:
    """A run like `example` with other training values, judged on validation data.

    The seed is that of the task too, where the task has one: values are chosen on a graph
    that no run of the sweep is trained on.
    """
    return replace(
        example,
        task=replace(example.task, **dict.fromkeys(example.task.seeds, seed)),
        training=replace(example.training, **values),
        seed=seed,
        data_seed=None,
        split="validation",
    )


def seeds_of(configs: Iterable[RunConfig]) -> set[int]:
    """The seeds of the runs, of their data and of their tasks."""
    seeds = set[int]()
    for config in configs:
        of_task = (getattr(config.task, name) for name in config.task.seeds)
        seeds.update((config.seed, config.resolved_data_seed, *of_task))
    return seeds


def select_runs(
    configs: Sequence[RunConfig],
    arms: Sequence[str] = (),
    sizes: Sequence[str] = (),
    seeds: int | None = None,
    where: Sequence[str] = (),
) -> list[RunConfig]:
    """Select runs by arm, size and fields (all if none is named), `seeds` seeds a cell.

    Raises `ValueError` for an arm, a size, a field or a value that no run has (lists the
    valid ones), or if no run has both one of the arms and one of the sizes.
    """
    kept = list(configs)
    for option, names, name_of in (
        ("--arms", arms, attrgetter("objective.arm")),
        ("--sizes", list(map(_canonical_size, sizes)), attrgetter("model.scale")),
    ):
        valid = ", ".join(dict.fromkeys(map(name_of, configs)))
        for name in names:
            exists = any(name_of(config) == name for config in configs)
            require(exists, option, f"of what the sweep has: {valid}", name)
        kept = [config for config in kept if not names or name_of(config) in names]
    if not kept:
        raise ValueError(
            f"No run has an arm of --arms {' '.join(arms)} and a size of --sizes "
            f"{' '.join(sizes)}."
        )
    for condition in where:
        kept = _where(kept, condition)
    return kept if seeds is None else _with_seeds(kept, seeds)


def _where(configs: Sequence[RunConfig], condition: str) -> list[RunConfig]:
    """The runs that meet `FIELD=VALUE` or `FIELD=VALUE,VALUE`."""
    name, equals, words = condition.partition("=")
    require(bool(equals), "--where", "FIELD=VALUE", condition)
    fields = [
        {**flat_fields(run), "arm": run.objective.arm, "task": run.task.kind}
        for run in configs
    ]
    paths = list(dict.fromkeys(path for values in fields for path in values))

    def varying() -> list[str]:
        return [
            path
            for path in paths
            if path not in ("seed", "data_seed")
            and len({str(values.get(path)) for values in fields}) > 1
        ]

    path = find_field(name, paths, varying)
    shown = [str(values.get(path)).lower() for values in fields]
    values = [_comparable(value) for value in shown]
    wanted = [_comparable(word) for word in re.split(OUTER_COMMA, words.lower())]
    valid = f"{path}=VALUE, VALUE one of {', '.join(dict.fromkeys(shown))}"
    require(set(wanted) <= set(values), "--where", valid, condition)
    return [c for c, value in zip(configs, values, strict=True) if value in wanted]


def _comparable(word: str) -> str | float:
    """A number if the word is one, so that 1, 1.0 and 1e0 are equal; no spaces."""
    try:
        return float(word)
    except ValueError:
        return word.replace(" ", "")


def find_field(
    name: str, paths: Sequence[str], varying: Callable[[], Sequence[str]]
) -> str:
    """The field that a name means: a dotted path, or the end of one.

    Where several paths end so, it is the one that varies. Raises `ValueError` for an
    ambiguous name (lists its fields) and for an unknown one (lists the nearest, or else
    those that vary).
    """
    word = name.replace("-", "_")
    if word in paths:
        return word
    ends = [path for path in paths if path.endswith(f".{word}")]
    if len(ends) > 1:
        differing = [path for path in varying() if path in ends]
        ends = differing if len(differing) == 1 else ends
    if len(ends) > 1:
        raise ValueError(f"{name} is several fields: {', '.join(ends)}. Name one.")
    if not ends:
        raise ValueError(
            f"No field is called {name!r}. {_hint(word, paths, varying())}"
        )
    return ends[0]


def _hint(word: str, paths: Sequence[str], varying: Sequence[str]) -> str:
    """The fields whose path or its end is nearest to a word, or else some that vary."""
    by_end: dict[str, list[str]] = {}
    for path in paths:
        by_end.setdefault(path.rpartition(".")[2], []).append(path)
    names = {**by_end, **{path: [path] for path in paths}}
    matches = difflib.get_close_matches(word, names, n=3)
    close = dict.fromkeys(path for match in matches for path in names[match])
    if close:
        return f"Nearest: {', '.join(close)}."
    listed = first_few(varying, MOST_LISTED) or "none but the seed"
    return f"Fields that vary here: {listed}."


def _canonical_size(size: str) -> str:
    """`1M` for `d128-L5-h4`; an invalid name is returned unchanged."""
    with contextlib.suppress(ValueError):
        return resolve(size)[0]
    return size


def check_seeds(count: int) -> None:
    """Refuse an impossible number of seeds of a cell (`ValueError`)."""
    require(count >= 1, "--seeds", "at least 1", count)
    require(count <= MOST_SEEDS, "--seeds", f"at most {MOST_SEEDS}", count)


def _with_seeds(configs: Sequence[RunConfig], count: int) -> list[RunConfig]:
    """The first `count` seeds of every cell, numbered on after its last one."""
    check_seeds(count)
    cells: dict[str, dict[int, list[RunConfig]]] = {}
    for config in configs:
        cell = cells.setdefault(cell_key(config), {})
        cell.setdefault(config.seed, []).append(config)
    selected: list[RunConfig] = []
    for cell in cells.values():
        last, declared = max(cell), dict(cell)
        for number in range(1, count - len(declared) + 1):
            cell[last + number] = [
                _shift_seeds(run, number, declared) for run in declared[last]
            ]
        for seed in list(cell)[:count]:
            selected += cell[seed]
    return selected


def _shift_seeds(
    run: RunConfig, shift: int, cell: dict[int, list[RunConfig]]
) -> RunConfig:
    """The run at a later seed; its other seeds shift too where they vary in the cell."""
    data = {tuple(other.data_seed for other in runs) for runs in cell.values()}
    data_seed = run.data_seed
    if data_seed is not None and len(data) > 1:
        data_seed += shift
    task_seeds = {
        name: getattr(run.task, name) + shift
        for name in run.task.seeds
        if len({getattr(runs[0].task, name) for runs in cell.values()}) > 1
    }
    return replace(
        run,
        task=replace(run.task, **task_seeds),
        seed=run.seed + shift,
        data_seed=data_seed,
    )


def cell_names(configs: Sequence[RunConfig]) -> list[str]:
    """A name for each configuration: task, arm, size, and the fields that differ."""
    flat = [flat_fields(config) for config in configs]
    kinds = {values["task.kind"] for values in flat}
    seeds = {"seed", *(f"task.{name}" for run in configs for name in run.task.seeds)}
    fields = [
        name
        for name in dict.fromkeys(name for values in flat for name in values)
        if name not in seeds and any(_varies(name, flat, kind) for kind in kinds)
    ]
    names = []
    for config, values in zip(configs, flat, strict=True):
        words = [f"{config.task.kind} {config.objective.arm} {config.model.scale}"]
        for name in fields:
            last = name.rpartition(".")[2]
            skipped = last in ("scale", "batch_rows") or name.startswith("objective.")
            if name in values and not skipped:
                words.append(f"{last}={values[name]}")
        names.append(" ".join(words))
    return names


def _varies(name: str, flat: Sequence[dict[str, Any]], kind: str) -> bool:
    """Whether runs of one kind of task differ in a field."""
    same = (values for values in flat if values["task.kind"] == kind)
    return len({str(values.get(name)) for values in same}) > 1


def flat_fields(config: RunConfig) -> dict[str, Any]:
    """Every field of a run under its dotted name; lists as text, plugins left out."""
    values = config.to_dict()
    values.pop(plugins.FOLDER, None)
    return {
        name: str(value) if isinstance(value, list) else value
        for name, value in flatten(values).items()
    }

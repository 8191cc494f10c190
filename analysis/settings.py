"""Settings: what runs share that may be averaged over seeds, or drawn in one figure.

A figure or a comparison varies some columns (size, arm). Two runs are of one
setting when their configurations differ in these and in seeds alone. Everything that
averages, pairs or draws runs takes one setting at a time, through this file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.configurations import (
    EVALUATION_SIZES,
    column_path,
    describe_value,
    drop_bookkeeping,
    read_fields,
    strip_fields,
)
from synth.identity import digest, flatten
from synth.scales import format_count

TUNED = ("learning_rate", "weight_decay")
"""Columns that a tuned sweep sets cell by cell."""
BY_CELL = "by cell"
"""The value of such a column in the words for a setting whose cells have several."""


@dataclass(frozen=True)
class Setting:
    """The runs of one setting."""

    id: str
    """Hex digits, the same whatever else is in the table."""
    label: str
    """The fields in which it differs from other settings; empty if there is no other."""
    brief: str
    """As few of these fields as tell the settings apart."""
    frame: pl.DataFrame


def with_setting(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Add `setting`: equal for runs that differ in seeds and the `varied` columns alone.

    `varied` are names of `CONFIGURED` columns, or dotted paths of fields that `frame`
    has as columns. Learning rate and weight decay do not count, since each cell has its
    own after tuning, unless a cell has several.
    """
    loose = _digest_settings(frame, *varied, *TUNED)
    cell = ["setting", *dict.fromkeys(varied)]
    rates = loose.group_by(cell).agg(pl.struct(TUNED).n_unique().alias("rates"))
    several = rates.filter(pl.col("rates") > 1)["setting"].unique()
    if several.is_empty():
        return loose
    strict = _digest_settings(frame, *varied)["setting"]
    has_several = pl.col("setting").is_in(several.to_list())
    by_rate = pl.when(has_several).then(strict).otherwise("setting")
    return loose.with_columns(by_rate.alias("setting"))


def _digest_settings(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    configs = frame["config"].drop_nulls().unique().sort().to_list()
    ids = [digest(strip_fields(config, varied))[:8] for config in configs]
    table = pl.DataFrame(
        {"config": configs, "setting": ids},
        schema={"config": pl.String(), "setting": pl.String()},
    )
    return frame.join(table, on="config", how="left", maintain_order="left")


def rates_are_tuned(rows: pl.DataFrame) -> bool:
    """Whether every arm and size ran at the rate that a tuned sweep has for it.

    Names of tuned sweeps end in `-tuned`. Runs that an earlier sweep had at the same rate
    are not trained again and count too. `rows` are of one setting, or have the column;
    so they may of `side`, what is compared besides arms.
    """
    columns = ("setting", "scale", "arm", "side", *TUNED)
    cell = [name for name in columns if name in rows.columns]
    if "sweep" not in rows.columns:
        return False
    by_sweep = pl.col("sweep").str.ends_with("-tuned").any()
    return bool(rows.group_by(cell).agg(tuned=by_sweep)["tuned"].all())


def settings_of(frame: pl.DataFrame, *varied: str) -> list[Setting]:
    """The settings in `frame`, those with most runs first.

    They are those of the column `setting` if `frame` has it, else of `with_setting`.
    """
    marked = frame if "setting" in frame.columns else with_setting(frame, *varied)
    runs = marked.group_by("setting").agg(pl.col("run_id").n_unique().alias("runs"))
    ranked = runs.sort(["runs", "setting"], descending=[True, False])["setting"]
    frames = [marked.filter(pl.col("setting") == name) for name in ranked.to_list()]
    differences = _describe_differences(frames, varied)
    fewest = _select_fewest(differences)
    return [
        Setting(
            rows["setting"][0],
            ", ".join(words.values()),
            ", ".join(words[path] for path in fewest),
            rows.drop("setting"),
        )
        for rows, words in zip(frames, differences, strict=True)
    ]


def _describe_differences(
    frames: Sequence[pl.DataFrame], varied: Sequence[str]
) -> list[dict[str, str]]:
    """For the rows of each setting, the fields that differ between settings, in words."""
    configs = [flatten(strip_fields(rows["config"][0], varied)) for rows in frames]
    tuned = set()
    for config, rows in zip(configs, frames, strict=True):
        for name in TUNED:
            if rows[name].n_unique() > 1:
                config[column_path(name)] = BY_CELL
                tuned.add(column_path(name))
    differing = [
        path
        for path in configs[0]
        if all(path in config for config in configs)
        and len({str(config[path]) for config in configs}) > 1
    ]
    paths = drop_bookkeeping([path for path in differing if path not in tuned])

    def count_distinct(paths: Sequence[str]) -> int:
        return len({tuple(str(config[path]) for path in paths) for config in configs})

    for path in differing:  # the rest, where nothing else tells two settings apart
        if path not in paths and count_distinct([*paths, path]) > count_distinct(paths):
            paths.append(path)
    return [
        {path: describe_value(path, config[path]) for path in paths}
        for config in configs
    ]


def _select_fewest(differences: Sequence[dict[str, str]]) -> list[str]:
    """Paths that tell as many settings apart as all paths do, chosen greedily."""
    selected: list[str] = []
    paths = list(differences[0]) if differences else []

    def count_distinct(path: str) -> int:
        return len(
            {tuple(words[p] for p in (*selected, path)) for words in differences}
        )

    count = 1
    while paths and max(map(count_distinct, paths)) > count:
        best = max(paths, key=count_distinct)
        count = count_distinct(best)
        selected.append(best)
    return selected


def setting_labels(frame: pl.DataFrame, *varied: str) -> dict[str, str]:
    """The label of each setting of `frame` by its id; see `settings_of`."""
    return {setting.id: setting.label for setting in settings_of(frame, *varied)}


def name_settings(table: pl.DataFrame, labels: dict[str, str]) -> pl.DataFrame:
    """`table` with labels for ids of settings; without the column if there is only one."""
    if len(labels) < 2:
        return table.drop("setting")
    return table.with_columns(pl.col("setting").replace(labels))


def with_places(table: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Adds `place`: the task, with the values of the columns that vary within a task."""
    varied = [
        pl.when(pl.col(name).n_unique().over("task") > 1).then(pl.col(name))
        for name in names
    ]
    return table.with_columns(
        place=pl.concat_str("task", *varied, separator=" ", ignore_nulls=True)
    )


def append_label(text: str, label: str) -> str:
    """`text (label)`; the text alone where there is one setting, which has no label."""
    return f"{text} ({label})" if label else text


def check_one_setting(frame: pl.DataFrame, *varied: str) -> None:
    """Refuse runs of several settings: a mean over them would pass for one over seeds.

    Raises `ValueError`, naming two runs and what they differ in.
    """
    settings = settings_of(frame, *varied) if frame.height else []
    if len(settings) > 1:
        first, second = (f"{s.frame['run_id'][0]} ({s.label})" for s in settings[:2])
        raise ValueError(
            f"Runs {first} and {second} are of different settings. Draw each setting on "
            "its own."
        )


def describe_training(frame: pl.DataFrame, *columns: str) -> str:
    """What was trained, in one line: task, tokens, loss, rate, seeds.

    Every figure carries it, so that no number travels without its scale. A cell is runs
    of equal size, arm, `columns` and usual conditions.
    """
    runs = frame.unique("run_id", maintain_order=True)
    tokens = runs.select(pl.col("steps") * pl.col("batch_rows") * pl.col("context"))
    cell = ["scale", "arm", "precision", *_varying_conditions(runs), *columns]
    seeds = runs.group_by(list(dict.fromkeys(cell))).len()["len"]
    words = [
        _describe_task(runs),
        f"{_format_range(tokens.to_series(), format_count)} tokens",
    ]
    if runs["scored"].unique().to_list() == ["answer"]:
        words.append("loss on answers alone")
    rates = _format_range(runs["learning_rate"], lambda rate: f"{rate:.3g}")
    noun = "seed" if seeds.max() == 1 else "seeds"
    words += [f"learning rate {rates}", f"{_format_range(seeds, str)} {noun} a cell"]
    configs = [read_fields(config) for config in runs["config"]]
    for path, noun in EVALUATION_SIZES.items():
        sizes = pl.Series([fields.get(path) for fields in configs], dtype=pl.Int64())
        words += [f"{_format_range(sizes, str)} {noun}"] * (sizes.n_unique() > 1)
    return "; ".join(words)


def _varying_conditions(runs: pl.DataFrame) -> list[str]:
    """Columns besides size and arm that a figure may spread over panels."""
    return [
        name
        for name in ("context", "pause_tokens", "open_names", "books_parts")
        if runs[name].n_unique() > 1
    ]


def _describe_task(runs: pl.DataFrame) -> str:
    first = runs.row(0, named=True)
    if first["task"] != "polynomial":
        return str(first["task"]).replace("-", " ")
    ring = f"F_{first['modulus']}[X]/(X^{first['degree']})"
    return f"{ring}, m to {first['max_operations']} in training"


def _format_range(values: pl.Series, write: Callable[[Any], str]) -> str:
    ordered = values.drop_nulls().unique().sort().to_list()
    if not ordered:
        return "unknown"
    low, high = write(ordered[0]), write(ordered[-1])
    return low if low == high else f"{low} to {high}"

"""Fields of configurations as columns: each can be an axis, a colour, a panel, a filter.

A field is named by its dotted path in the stored configuration (`task.tree`), or by the
end of it where that is unambiguous (`tree`). The names in `GROUPS` stand for whole
groups of fields, those in `MEASURED` for columns that no field decides.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from analysis.arm_names import arm_label, natural_key
from analysis.comparisons import COSTS
from analysis.configurations import (
    EVALUATION_SIZES,
    SEEDS,
    WORDS,
    describe_value,
    drop_bookkeeping,
    format_value,
    read_fields,
    seed_paths,
)
from sweeps.cells import OUTER_COMMA, find_field
from synth.identity import first_few
from synth.scales import format_count

GROUPS = {
    "arm": "objective.",
    "parameters": "model.scale",
    "scale": "model.scale",
    "task": "task.",
}
"""Columns that fields decide: all whose paths begin so."""
MEASURED = ("step", *COSTS, "suite")
"""Columns that no field of a configuration decides."""
SCORED = "objective.scored"
"""The one field of an objective that its arm does not name."""
MOST_LISTED = 4
"""Values of a field that a message lists."""


class Fields:
    """The fields of the runs of a table."""

    def __init__(self, frame: pl.DataFrame) -> None:
        configs = frame["config"].drop_nulls().unique().sort().to_list()
        self._by_config = {config: read_fields(config) for config in configs}
        self.paths = sorted(
            {path for values in self._by_config.values() for path in values}
        )

    def resolve(self, name: str, columns: Iterable[str] = ()) -> str:
        """The column or dotted path that a name means; `columns` are further ones.

        Raises `ValueError` for a name that no field has, or that several have; lists
        the nearest ones.
        """
        columns = [*GROUPS, *MEASURED, *columns]
        word = name.replace("-", "_")
        if name in columns:
            return name
        if word.rpartition(".")[2] in SEEDS:
            raise ValueError(
                f"{name} differs between the runs of one cell, which are averaged or "
                "paired. Name another field."
            )
        return find_field(name, [*columns, *self.paths], self.varying)

    def values(self, path: str) -> list[Any]:
        """The distinct values of a field, sorted; a run without it has None."""
        return sort_distinct(values.get(path) for values in self._by_config.values())

    def varying(self, configs: Iterable[str] | None = None) -> list[str]:
        """Fields, but for seeds, that differ between configurations: all, or some."""
        configs = self._by_config if configs is None else configs
        fields = [self._by_config[config] for config in configs]
        kinds = {str(values.get("task.kind")) for values in fields}
        seeds = {path for kind in kinds for path in seed_paths(kind)}
        return [
            path
            for path in self.paths
            if path not in seeds
            and len({str(values.get(path)) for values in fields}) > 1
        ]

    def add_column(self, frame: pl.DataFrame, path: str) -> pl.DataFrame:
        """`frame` with a column of a field that `resolve` found, if it has none yet.

        Numbers stay numbers where all are; anything else becomes text.
        """
        if path in frame.columns:
            return frame
        values = {c: fields.get(path) for c, fields in self._by_config.items()}
        given = [value for value in values.values() if value is not None]
        kind: pl.DataType = pl.String()
        if given and all(map(_is_number, given)):
            whole = all(isinstance(value, int) for value in given)
            kind = pl.Int64() if whole else pl.Float64()
        else:
            values = {c: format_value(value) for c, value in values.items()}
        table = pl.DataFrame(
            {"config": list(values), path: list(values.values())},
            schema={"config": pl.String(), path: kind},
        )
        return frame.join(table, on="config", how="left", maintain_order="left")

    def select_runs(
        self, frame: pl.DataFrame, conditions: Sequence[str]
    ) -> pl.DataFrame:
        """The rows of runs that meet every condition `FIELD=VALUE` (or `=VALUE,VALUE`).

        Raises `ValueError` for a condition of another form, an unknown field, or a
        value no run has.
        """
        for condition in conditions:
            name, equals, words = condition.partition("=")
            if not equals:
                raise ValueError(f"--where takes FIELD=VALUE; got {condition!r}.")
            column = self.resolve(name)
            frame = self.add_column(frame, column)
            by_text = {format_value(v): v for v in sort_distinct(frame[column])}
            values = [by_text[text] for text in _match_values(name, words, by_text)]
            frame = frame.filter(
                pl.col(column).is_in([v for v in values if v is not None])
                | (pl.col(column).is_null() & pl.lit(None in values))
            )
        return frame

    def varying_within(self, frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
        """Fields that differ between runs of equal `columns`.

        Without numbers of evaluation examples, on which training does not depend.
        """
        runs = frame.unique("run_id").select("config", *columns)
        cells = runs.group_by(columns) if columns else [((), runs)]
        paths = {path for _, cell in cells for path in self.varying(cell["config"])}
        return drop_bookkeeping(sorted(paths - EVALUATION_SIZES.keys()))

    def varying_besides(self, frame: pl.DataFrame, columns: Iterable[str]) -> list[str]:
        """Fields that differ between runs and that no column of `columns` names."""
        named = [GROUPS.get(name, name) for name in columns]
        groups = tuple(name for name in named if name.endswith("."))
        return drop_bookkeeping(
            [
                path
                for path in self.varying(frame["config"].unique())
                if path not in named and (path == SCORED or not path.startswith(groups))
            ]
        )


def sort_distinct(values: Iterable[Any]) -> list[Any]:
    """Distinct values in order: numbers, then text with its numbers as such, then None.

    >>> sort_distinct(["16-31", None, 4, "8-15", 4])
    [4, '8-15', '16-31', None]
    """
    by_text = {format_value(value): value for value in values}
    return sorted(
        by_text.values(),
        key=lambda v: (
            (v is None, not _is_number(v)),
            v if _is_number(v) else natural_key(format_value(v)),
        ),
    )


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def column_label(column: str) -> str:
    """The name of a column on an axis or in a legend.

    >>> column_label("task.pause_tokens"), column_label("task.kind")
    ('pause tokens', 'task kind')
    >>> column_label("parameters")
    'non-embedding parameters'
    """
    names = {
        "parameters": "non-embedding parameters",
        "scale": "size",
        "tokens": "training tokens",
        "flops": "executed training FLOP",
        "step": "optimiser steps",
    }
    if column in names:
        return names[column]
    owner, _, name = column.rpartition(".")
    if name in ("kind", "version"):
        name = f"{owner.rpartition('.')[2]} {name}"
    return name.replace("_", " ")


def value_label(column: str, value: Any) -> str:
    """The name of one value of a column in a legend or a title."""
    if column == "arm":
        return arm_label(value)
    if column == "parameters":
        return f"{format_count(value)} parameters"
    if column in ("scale", "suite", "task"):
        return format_value(value).replace("_", " ")
    if column.rpartition(".")[2] in WORDS:
        return describe_value(column, value)
    return f"{column_label(column)} {format_value(value)}"


def list_values(values: Sequence[Any]) -> str:
    """The first few values, in words."""
    return first_few([format_value(value) for value in values], MOST_LISTED)


def _match_values(name: str, words: str, by_text: dict[str, Any]) -> list[str]:
    """The values of a condition as texts; a comma separates them unless a value has it."""
    texts = [words] if words in by_text else re.split(OUTER_COMMA, words)
    for place, text in enumerate(texts):
        if text not in by_text:
            equal = [t for t, value in by_text.items() if _is_equal(text, value)]
            if not equal:
                raise ValueError(
                    f"No finished run has {name}={text}. Values here: "
                    f"{list_values(list(by_text.values()))}."
                )
            texts[place] = equal[0]
    return texts


def _is_equal(text: str, value: Any) -> bool:
    """Whether a text is the same number as a value, or the same list, as `[1, 3, 7]`."""
    if text.startswith("["):  # lists are shown as "1 3 7"
        return text.strip("[]").replace(",", " ").split() == format_value(value).split()
    try:
        return _is_number(value) and float(text) == value
    except ValueError:
        return False

"""Fields of configurations as columns: each can be an axis, a colour, a panel, a filter.

A field is named by its dotted path in the stored configuration (`task.tree`), or by the
end of it where that is unambiguous (`tree`). A few names stand for more than one field,
or for none: those of `OTHERS`.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from analysis.arm_names import natural_key
from analysis.comparisons import COSTS
from analysis.selection import size_name
from analysis.settings import EVALUATED, SEEDS, SILENT, fields_of, seeds_of

OTHERS = {
    "arm": "objective.",
    "parameters": "model.scale",
    "scale": "model.scale",
    "task": "task.",
}
"""Columns of a table that stand for fields: all that begin so."""
MEASURED = ("step", *COSTS, "suite")
"""Columns that no field of a configuration decides."""
NOT_ARM = "objective.scored"
"""The one field of an objective that its arm does not name."""
SHOWN = 4
"""Values of a field that a message lists."""


class Fields:
    """The fields of the runs of a table."""

    def __init__(self, frame: pl.DataFrame) -> None:
        known = frame["config"].drop_nulls().unique().sort().to_list()
        self._by_config = {config: fields_of(config) for config in known}
        self.paths = sorted({path for one in self._by_config.values() for path in one})

    def resolve(self, name: str, more: Iterable[str] = ()) -> str:
        """The column or dotted path that a name means; `more` are further columns.

        Raises
        ------
        ValueError
            For a name that no field has, or that several have; lists the near ones.
        """
        more = list(more)
        word = name.replace("-", "_")
        for exact in (name, word):
            if exact in more or exact in OTHERS or exact in MEASURED:
                return exact
        if word.rpartition(".")[2] in SEEDS:
            raise ValueError(
                f"{name} tells the runs of one cell apart, which are averaged or paired. "
                "Name another field."
            )
        ends = [p for p in self.paths if p == word or p.endswith(f".{word}")]
        if len(ends) > 1:
            varying = [path for path in ends if len(self.values(path)) > 1]
            ends = varying if len(varying) == 1 else ends
        if len(ends) > 1:
            raise ValueError(f"{name} is several fields: {', '.join(ends)}. Name one.")
        if ends:
            return ends[0]
        told = [*OTHERS, *MEASURED, *more, *self.paths]
        short = {path.rpartition(".")[2]: path for path in reversed(told)}
        near = difflib.get_close_matches(word, [*told, *short], n=4, cutoff=0.6)
        close = dict.fromkeys(short.get(one, one) for one in near)
        varying = [path for path in self.varying() if path not in close]
        hint = f"Near it: {', '.join(close)}. " if close else ""
        raise ValueError(
            f"No field is called {name!r}. {hint}Fields that vary here: "
            f"{', '.join(varying) or 'none but the seed'}."
        )

    def values(self, path: str) -> list[Any]:
        """The different values of a field, sorted; a run without it counts as None."""
        return distinct(one.get(path) for one in self._by_config.values())

    def varying(self) -> list[str]:
        """Fields that differ between runs, but for seeds."""
        return self.differing(self._by_config)

    def add(self, frame: pl.DataFrame, column: str) -> pl.DataFrame:
        """`frame` with a column that has the name `resolve` gave, if it has none yet.

        Numbers stay numbers where all are; anything else becomes text.
        """
        if column in frame.columns:
            return frame
        values = {config: one.get(column) for config, one in self._by_config.items()}
        told = [value for value in values.values() if value is not None]
        number = bool(told) and all(is_number(value) for value in told)
        kind: pl.DataType = pl.String()
        if number:
            whole = all(isinstance(value, int) for value in told)
            kind = pl.Int64() if whole else pl.Float64()
        texts = values if number else {c: shown(v) for c, v in values.items()}
        table = pl.DataFrame(
            {"config": list(texts), column: list(texts.values())},
            schema={"config": pl.String(), column: kind},
        )
        return frame.join(table, on="config", how="left", maintain_order="left")

    def where(self, frame: pl.DataFrame, conditions: Sequence[str]) -> pl.DataFrame:
        """The rows of runs that meet every condition `FIELD=VALUE` (or `=VALUE,VALUE`).

        Raises
        ------
        ValueError
            For a condition of another form, an unknown field, or a value no run has.
        """
        for condition in conditions:
            name, equals, wanted = condition.partition("=")
            if not equals:
                raise ValueError(f"--where takes FIELD=VALUE; got {condition!r}.")
            column = self.resolve(name)
            added = self.add(frame, column)
            known = {shown(value): value for value in distinct(added[column])}
            chosen = [known[v] for v in _wanted(name, wanted, known)]
            frame = added.filter(
                pl.col(column).is_in([v for v in chosen if v is not None])
                | (pl.col(column).is_null() & pl.lit(None in chosen))
            )
        return frame

    def mixed(self, frame: pl.DataFrame, columns: Sequence[str]) -> list[str]:
        """Fields that differ between runs of equal `columns`: nothing tells them apart.

        Without numbers of evaluation examples, on which training does not depend.
        """
        runs = frame.unique("run_id").select("config", *columns)
        cells = runs.group_by(columns) if columns else [((), runs)]
        found = {path for _, cell in cells for path in self.differing(cell["config"])}
        return told_of(sorted(found - EVALUATED.keys()))

    def beside(self, frame: pl.DataFrame, columns: Iterable[str]) -> list[str]:
        """Fields that differ between runs and are not among `columns`."""
        stands_for = [OTHERS.get(name, name) for name in columns]
        groups = tuple(name for name in stands_for if name.endswith("."))
        return told_of(
            [
                path
                for path in self.differing(frame["config"].unique())
                if path not in stands_for
                and (path == NOT_ARM or not path.startswith(groups or ("\0",)))
            ]
        )

    def differing(self, configs: Iterable[str]) -> list[str]:
        """Fields, but for seeds, that differ between some configurations."""
        known = [self._by_config[config] for config in configs]
        seeds = {path for one in known for path in seeds_of(str(one.get("task.kind")))}
        return [
            path
            for path in self.paths
            if path not in seeds and len({str(one.get(path)) for one in known}) > 1
        ]


def told_of(paths: Sequence[str]) -> list[str]:
    """Without fields that say nothing to a reader, if others do."""
    return [path for path in paths if not path.endswith(SILENT)] or list(paths)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Different values in order: numbers, then text with its numbers as such, then None.

    >>> distinct(["16-31", None, 4, "8-15", 4])
    [4, '8-15', '16-31', None]
    """
    found = {shown(value): value for value in values}
    return sorted(
        found.values(),
        key=lambda v: (
            (v is None, not is_number(v)),
            v if is_number(v) else natural_key(shown(v)),
        ),
    )


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value of a configuration as a person types it.

    >>> [shown(v) for v in (0.0010, 64, True, None, ["neg", "add"], "")]
    ['0.001', '64', 'true', 'none', 'neg add', 'empty']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return " ".join(map(shown, value)) or "empty"
    return str(value) or "empty"


def label_of(column: str) -> str:
    """What an axis or a legend calls a column.

    >>> label_of("task.pause_tokens"), label_of("task.kind"), label_of("parameters")
    ('pause tokens', 'task kind', 'non-embedding parameters')
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
    """What a legend or a title calls one value of a column."""
    from analysis.arm_names import arm_label

    if column == "arm":
        return arm_label(value)
    if column == "parameters":
        return f"{size_name(value)} parameters"
    if column in ("scale", "suite", "task"):
        return shown(value).replace("_", " ")
    return f"{label_of(column)} {shown(value)}"


def list_values(values: Sequence[Any]) -> str:
    """The first few values, in words."""
    told = ", ".join(shown(value) for value in values[:SHOWN])
    more = len(values) - SHOWN
    return f"{told} and {more} more" if more > 0 else told


def _wanted(name: str, text: str, known: dict[str, Any]) -> list[str]:
    """The values of a condition; commas part them unless a value holds one."""
    words = [text] if text in known else text.split(",")
    for word in words:
        if word not in known:
            numbers = {k: v for k, v in known.items() if is_number(v)}
            same = [k for k, v in numbers.items() if _equal(word, v)]
            if not same:
                raise ValueError(
                    f"No finished run has {name}={word}. Values here: "
                    f"{list_values(list(known.values()))}."
                )
            words[words.index(word)] = same[0]
    return words


def _equal(word: str, value: float) -> bool:
    try:
        return float(word) == value
    except ValueError:
        return False

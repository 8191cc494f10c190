"""Published numbers as printed, or derived as `setting` says; a TOML file a table.

A file names its source, the runs of this suite that answer it (`where`) and the number
that is compared (`metric`, `slice`). Rows are arms, columns settings or slices; a value is
a number, or a number and its spread. A row has one `arm`, or `arms`, one a column. `label`
says where the numbers were read: P in the paper's text, R in a repository, N in notes of
third parties or off a figure; `read` says when, since repositories and preprints change.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a published table: a part of the metric, or a setting."""

    name: str
    slice: str = ""
    where: tuple[str, ...] = ()
    """Further conditions on our runs, besides those of the table."""
    seeds: int | None = None
    """Number of seeds or graphs in the source's mean; None if not stated."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: an arm by the source's name, and its values, one a column."""

    name: str
    arms: tuple[str | None, ...]
    """Our arm in each column; None if no objective here corresponds."""
    values: tuple[tuple[float, ...], ...]
    """Value, and spread if printed."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One table of a source."""

    id: str
    source: str
    label: Literal["P", "R", "N"]
    read: date
    """The day on which its numbers were entered, or last compared with the source."""
    sweep: str
    """The sweep of the catalogue that answers it; "" if there is none yet."""
    setting: str
    ours: str
    """How our runs differ from the setting."""
    where: tuple[str, ...]
    metric: str
    suite: str = "test"
    percent: bool = False
    """Whether the source prints percentages of what we measure as shares."""
    spread: str = ""
    """The kind of spread that is printed."""
    solved: float | None = None
    """Outcomes are events: "solved" from this share on. None: they are levels."""
    baseline: str
    """The row with which the others are compared."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if self.baseline not in names or len(set(names)) < len(names):
            raise ValueError(
                f"{self.id}: rows are {names}, baseline {self.baseline!r}."
            )
        for row in self.rows:
            for name in ("values", "arms"):
                if (found := len(getattr(row, name))) != len(self.columns):
                    raise ValueError(
                        f"{self.id}: row {row.name!r} has {found} {name} for "
                        f"{len(self.columns)} columns."
                    )

    @property
    def unit(self) -> float:
        """The factor from a published number to our unit."""
        return 0.01 if self.percent else 1.0

    def outcome(self, value: Sequence[float]) -> float:
        """The number in our unit, or 1 or 0 for solved or not."""
        level = value[0] * self.unit
        return level if self.solved is None else float(level >= self.solved)

    def row(self, name: str) -> Row:
        """The row called `name`."""
        return next(row for row in self.rows if row.name == name)


def published_tables() -> Iterator[Published]:
    """Read all published tables, in the order of their file names."""
    for path in sorted(FOLDER.glob("*.toml")):
        yield from_dict(path.stem, tomllib.loads(path.read_text()))


def from_dict(name: str, values: dict[str, Any]) -> Published:
    """Build a table from the values of its file."""
    default = {"slice": values.pop("slice", "")}
    columns = tuple(
        Column(**default | column | {"where": tuple(column.get("where", ()))})
        for column in values.pop("columns")
    )
    rows = tuple(_row(len(columns), **row) for row in values.pop("rows"))
    where = tuple(values.pop("where"))
    return Published(id=name, where=where, columns=columns, rows=rows, **values)


def _row(
    columns: int,
    name: str,
    values: Sequence[Sequence[float]],
    arm: str | None = None,
    arms: Sequence[str] = (),
) -> Row:
    """A row from the values of its file."""
    each = tuple(arms) or (arm,) * columns
    return Row(name=name, arms=each, values=tuple(map(tuple, values)))

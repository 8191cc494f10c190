"""Numbers that others printed, as they printed them; one TOML file a table.

A file says where its table stands, which runs of this suite answer it (`where`), and what
of them is compared (`metric`, `slice`). Its rows are arms, its columns settings or slices;
a value is a number, or a number and its spread. `label` says how the numbers were read:
P in the paper's text, R in a repository, N in notes of third parties.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a published table: a part of the metric, or a setting."""

    name: str
    slice: str = ""
    where: tuple[str, ...] = ()
    """Conditions on our runs beside those of the table."""
    seeds: int | None = None
    """How many seeds or graphs the source averages over; None where it does not say."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row: an arm as the source calls it, and its values, a column each."""

    name: str
    arm: str | None = None
    """Our word for it; None where no objective here is that arm."""
    values: tuple[tuple[float, ...], ...]
    """Value, and spread where one is printed."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One table of a source."""

    id: str
    source: str
    label: Literal["P", "R", "N"]
    sweep: str
    """The sweep of the catalogue that answers it; empty where there is none yet."""
    setting: str
    ours: str
    """In what our runs differ from the setting."""
    where: tuple[str, ...]
    metric: str
    suite: str = "test"
    percent: bool = False
    """Whether the source prints per cent of what we measure as a share."""
    spread: str = ""
    """What its spreads are."""
    solved: float | None = None
    """Outcomes are events, "solved" from this share on; None: they are levels."""
    baseline: str
    """The row that the others are compared with."""
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        if self.baseline not in names or len(set(names)) < len(names):
            raise ValueError(
                f"{self.id}: rows are {names}, baseline {self.baseline!r}."
            )
        for row in self.rows:
            if len(row.values) != len(self.columns):
                raise ValueError(
                    f"{self.id}: row {row.name!r} has {len(row.values)} values for "
                    f"{len(self.columns)} columns."
                )

    @property
    def unit(self) -> float:
        """What a published number is multiplied with to be in our unit."""
        return 0.01 if self.percent else 1.0

    def outcome(self, value: Sequence[float]) -> float:
        """What ours is compared with: the number in our unit, or whether it is solved."""
        level = value[0] * self.unit
        return level if self.solved is None else float(level >= self.solved)

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)


def published_tables(folder: Path = FOLDER) -> Iterator[Published]:
    """All published tables, by the names of their files."""
    for path in sorted(folder.glob("*.toml")):
        yield from_dict(path.stem, tomllib.loads(path.read_text()))


def from_dict(name: str, values: dict[str, Any]) -> Published:
    """A table from what its file holds."""
    part = values.pop("slice", "")
    columns = tuple(
        Column(**{"slice": part} | column | {"where": tuple(column.get("where", ()))})
        for column in values.pop("columns")
    )
    rows = tuple(
        Row(**row | {"values": tuple(map(tuple, row["values"]))})
        for row in values.pop("rows")
    )
    where = tuple(values.pop("where"))
    return Published(id=name, where=where, columns=columns, rows=rows, **values)

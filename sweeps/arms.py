"""Arms of a search: what is tuned apart, and the table of what won.

An arm is a cell of the grid without its seeds and without the values that are searched.
Every arm gets the same search space around its own default, the same number of trials
and the same seed, so that no objective is tuned harder than another.
"""

import dataclasses
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.cells import cell_key, cell_names
from synth.config import RunConfig, TrainingConfig
from synth.identity import nearest, require
from synth.run.store import write_atomically

SEARCHABLE = {
    field.name: field.type
    for field in dataclasses.fields(TrainingConfig)
    if field.type in (float, "float")
}
FACTOR = 10.0
"""A range that is not given goes from a tenth of the default to ten times it."""


@dataclass(frozen=True)
class Range:
    """One searched field of `TrainingConfig`."""

    name: str
    low: float
    high: float
    log: bool

    @classmethod
    def parse(cls, text: str, default: TrainingConfig) -> "Range":
        """Read `learning_rate`, `learning_rate=1e-4:1e-2` or `beta2=0.9:0.999:linear`.

        Raises
        ------
        ValueError
            For a field that is no number, or a range that is none.
        """
        name, _, given = text.partition("=")
        if name not in SEARCHABLE:
            raise ValueError(f"--search {text!r}: {nearest(name, SEARCHABLE)}")
        value = float(getattr(default, name))
        found = cls(name, value / FACTOR, value * FACTOR, True)
        if given:
            try:
                low, high, *rest = given.split(":")
                found = cls(name, float(low), float(high), rest != ["linear"])
                require(rest in ([], ["linear"]), "the third word", "'linear'", rest)
            except ValueError:
                raise ValueError(
                    f"--search {text!r} must look like {name}=LOW:HIGH or "
                    f"{name}=LOW:HIGH:linear."
                ) from None
        if not 0 <= found.low < found.high or (found.log and found.low == 0):
            raise ValueError(
                f"--search {text!r}: the low end must be below the high end, and above "
                f"0 unless the range is linear; got {found.low:g} to {found.high:g}."
            )
        for end in (found.low, found.high):
            change: dict[str, Any] = {name: end}
            try:
                dataclasses.replace(default, **change)
            except ValueError as error:
                raise ValueError(
                    f"--search {text!r} goes from {found.low:g} to {found.high:g}, but "
                    f"{error} Give a range: {name}=LOW:HIGH[:linear]."
                ) from None
        return found

    def at_edge(self, value: float) -> bool:
        """Whether a value lies in the outer twentieth: the range may be too narrow."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return not 0.05 <= (value - low) / (high - low) <= 0.95


@dataclass(frozen=True)
class Arm:
    """One cell to tune: any of its runs, and what is searched."""

    name: str
    example: RunConfig
    ranges: tuple[Range, ...]
    seed: int

    @property
    def key(self) -> str:
        """Equal for the runs of this arm."""
        return cell_key(self.example, [r.name for r in self.ranges])

    def run(self, values: dict[str, Any]) -> RunConfig:
        """The run that tries these values, rounded to three digits, on validation data."""
        rounded: dict[str, Any] = {
            name: round_value(value) for name, value in values.items()
        }
        training = dataclasses.replace(self.example.training, **rounded)
        return dataclasses.replace(
            self.example,
            training=training,
            seed=self.seed,
            data_seed=None,
            split="validation",
        )


def round_value(value: float) -> float:
    """Three significant digits: what a person can quote, and finer than matters."""
    return float(f"{value:.3g}")


def arms_of(
    configs: Sequence[RunConfig], search: Sequence[str], seed: int
) -> list[Arm]:
    """The arms of a sweep, in its order.

    Raises
    ------
    ValueError
        When the tuning seed is one of the sweep's own: the values would be chosen on
        the runs that they are then used for.
    """
    if seed in {config.seed for config in configs}:
        raise ValueError(
            f"--seed {seed} is a seed of the sweep itself; tune on another one, so that "
            "the winning values are not chosen on the runs that they are used for."
        )
    first: dict[str, RunConfig] = {}
    for config in configs:
        names = [text.partition("=")[0] for text in search]
        first.setdefault(cell_key(config, names), config)
    names = cell_names(list(first.values()))
    return [
        Arm(
            name,
            config,
            tuple(Range.parse(text, config.training) for text in search),
            seed,
        )
        for name, config in zip(names, first.values(), strict=True)
    ]


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the winning values: one row an arm."""
    write_atomically(path, json.dumps(list(rows), indent=1).encode() + b"\n")


def with_tuned(configs: Iterable[RunConfig], path: Path) -> list[RunConfig]:
    """The same runs with the winning values of their arms.

    Raises
    ------
    ValueError
        When the table cannot be read or lacks an arm.
    """
    try:
        table = json.loads(path.read_bytes())
        won = {row["arm"]: row["training"] for row in table}
        searched = sorted({name for values in won.values() for name in values})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is no table of tuned values ({_why(error)}). `python -m sweeps "
            "tune` writes one."
        ) from None
    found = []
    for config in configs:
        key = cell_key(config, searched)
        if key not in won:
            raise ValueError(
                f"{path} has no values for {config.run_id}: it was tuned on other "
                "cells. Run `python -m sweeps tune` for this sweep and scale."
            )
        try:
            training = dataclasses.replace(config.training, **won[key])
        except TypeError as error:
            raise ValueError(
                f"{path} names a field that TrainingConfig does not have: {error}."
            ) from None
        found.append(dataclasses.replace(config, training=training))
    return found


def _why(error: Exception) -> str:
    """What is wrong with a file that is no table."""
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, ValueError):
        return f"it is not JSON: {error}"
    return "it holds no list of rows with `arm` and `training`"

"""The space of a search: the fields and ranges of each cell, and the runs of its trials.

Every cell gets the same search space around its own default, the same number of trials
and the same seed, so that every objective gets the same tuning effort. Learning rates are
not searched: `sweeps.rate_grid` tries a grid of them.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.cells import cell_key, first_of_cells, seeds_of, trial_run
from sweeps.tuned_values import RATE, round_value
from synth.command_words import as_typed
from synth.config import RunConfig, TrainingConfig
from synth.identity import nearest, require

SEARCHABLE = {
    field.name: field.type
    for field in dataclasses.fields(TrainingConfig)
    if field.type in (float, "float") and field.name != RATE
}
FACTOR = 10.0
"""The default range goes from a tenth of the default value to ten times it."""


@dataclass(frozen=True)
class Range:
    """One searched field of `TrainingConfig`."""

    name: str
    low: float
    high: float
    log: bool

    @classmethod
    def parse(cls, text: str, default: TrainingConfig) -> "Range":
        """Parse `weight_decay`, `weight_decay=1e-3:1` or `beta2=0.9:0.999:linear`.

        Raises `ValueError` for a field that is not a number, or an empty or impossible
        range.
        """
        name, _, given = text.partition("=")
        if name == RATE:
            raise ValueError(
                "--fields: learning rates are tried on a grid, by "
                f"`{as_typed('sweeps tune')}`; search other values with that table: "
                "--tuned FILE."
            )
        if name not in SEARCHABLE:
            raise ValueError(f"--fields {text!r}: {nearest(name, SEARCHABLE)}")
        value = float(getattr(default, name))
        span = cls(name, value / FACTOR, value * FACTOR, True)
        if given:
            try:
                low, high, *rest = given.split(":")
                span = cls(name, float(low), float(high), rest != ["linear"])
                require(rest in ([], ["linear"]), "the third word", "'linear'", rest)
            except ValueError:
                raise ValueError(
                    f"--fields {text!r} must look like {name}=LOW:HIGH or "
                    f"{name}=LOW:HIGH:linear."
                ) from None
        if not 0 <= span.low < span.high or (span.log and span.low == 0):
            raise ValueError(
                f"--fields {text!r}: the low end must be below the high end, and above "
                f"0 unless the range is linear; got {span.low:g} to {span.high:g}."
            )
        for end in (span.low, span.high):
            change: dict[str, Any] = {name: end}
            try:
                dataclasses.replace(default, **change)
            except ValueError as error:
                raise ValueError(
                    f"--fields {text!r} goes from {span.low:g} to {span.high:g}, but "
                    f"{error} Give a range: {name}=LOW:HIGH[:linear]."
                ) from None
        return span

    def __str__(self) -> str:
        return f"{self.name}={self.low}:{self.high}{'' if self.log else ':linear'}"

    def round(self, value: float) -> float:
        """Round to three digits, to more where the range is narrow; stays inside it."""
        more = int(math.log10(self.high / (self.high - self.low)))
        return min(max(round_value(value, 3 + more), self.low), self.high)

    def at_edge(self, value: float) -> bool:
        """Whether a value lies in the outer 5 %: the range may be too narrow."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return not 0.05 <= (value - low) / (high - low) <= 0.95


@dataclass(frozen=True)
class SearchCell:
    """One cell: an example of its runs, and the ranges to search."""

    name: str
    example: RunConfig
    ranges: tuple[Range, ...]
    seed: int

    @property
    def key(self) -> str:
        """The key of the cell, independent of the searched fields."""
        return cell_key(self.example, [r.name for r in self.ranges])

    def round(self, values: dict[str, float]) -> dict[str, float]:
        """The values of a trial, rounded as they are trained."""
        return {r.name: r.round(values[r.name]) for r in self.ranges}

    def run(self, values: dict[str, float]) -> RunConfig:
        """The trial run with these values, rounded, on validation data."""
        return trial_run(self.example, self.seed, self.round(values))


def search_cells(
    configs: Sequence[RunConfig], fields: Sequence[str], seed: int
) -> list[SearchCell]:
    """The cells of a sweep, in order, with their search spaces.

    Raises `ValueError` for a field given twice, or when the trials' seed is a seed of the
    sweep: values would be chosen on the runs that use them.
    """
    if seed in seeds_of(configs):
        raise ValueError(
            f"--seed {seed} is a seed of the sweep itself. Search on another seed, so "
            "that values are not chosen on the runs that use them."
        )
    names = [text.partition("=")[0] for text in fields]
    require(len(set(names)) == len(names), "--fields", "different fields", names)
    return [
        SearchCell(
            name,
            config,
            tuple(Range.parse(text, config.training) for text in fields),
            seed,
        )
        for name, config in first_of_cells(configs, names)
    ]

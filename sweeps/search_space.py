"""The space of a search: which fields of which cells, and the trial runs of a point.

Every cell gets the same search space around its own default, the same number of trials
and the same seed, so that no objective is tuned harder than another. The learning rate
is no part of it: `sweeps.rate_grid` tries a grid of rates.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.cells import cell_key, cell_names, own_seeds
from sweeps.tuned import RATE, round_value
from synth.config import RunConfig, TrainingConfig
from synth.identity import nearest, require

SEARCHABLE = {
    field.name: field.type
    for field in dataclasses.fields(TrainingConfig)
    if field.type in (float, "float") and field.name != RATE
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
        """Read `weight_decay`, `weight_decay=1e-3:1` or `beta2=0.9:0.999:linear`.

        Raises
        ------
        ValueError
            For a field that is no number, or a range that is none.
        """
        name, _, given = text.partition("=")
        if name == RATE:
            raise ValueError(
                "--fields: learning rates are tried on a grid, by `python -m sweeps "
                "tune`; search other values with that table: --tuned FILE."
            )
        if name not in SEARCHABLE:
            raise ValueError(f"--fields {text!r}: {nearest(name, SEARCHABLE)}")
        value = float(getattr(default, name))
        found = cls(name, value / FACTOR, value * FACTOR, True)
        if given:
            try:
                low, high, *rest = given.split(":")
                found = cls(name, float(low), float(high), rest != ["linear"])
                require(rest in ([], ["linear"]), "the third word", "'linear'", rest)
            except ValueError:
                raise ValueError(
                    f"--fields {text!r} must look like {name}=LOW:HIGH or "
                    f"{name}=LOW:HIGH:linear."
                ) from None
        if not 0 <= found.low < found.high or (found.log and found.low == 0):
            raise ValueError(
                f"--fields {text!r}: the low end must be below the high end, and above "
                f"0 unless the range is linear; got {found.low:g} to {found.high:g}."
            )
        for end in (found.low, found.high):
            change: dict[str, Any] = {name: end}
            try:
                dataclasses.replace(default, **change)
            except ValueError as error:
                raise ValueError(
                    f"--fields {text!r} goes from {found.low:g} to {found.high:g}, but "
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
class SearchCell:
    """One cell: any of its runs, and what is searched."""

    name: str
    example: RunConfig
    ranges: tuple[Range, ...]
    seed: int

    @property
    def key(self) -> str:
        """Equal for the runs of this cell."""
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


def search_cells(
    configs: Sequence[RunConfig], fields: Sequence[str], seed: int
) -> list[SearchCell]:
    """The cells of a sweep, in its order.

    Raises
    ------
    ValueError
        When the seed of the trials is one of the sweep's own: the values would be
        chosen on the runs that they are then used for.
    """
    if seed in own_seeds(configs):
        raise ValueError(
            f"--seed {seed} is a seed of the sweep itself; search on another one, so "
            "that the winning values are not chosen on the runs that they are used for."
        )
    first: dict[str, RunConfig] = {}
    for config in configs:
        names = [text.partition("=")[0] for text in fields]
        first.setdefault(cell_key(config, names), config)
    names = cell_names(list(first.values()))
    return [
        SearchCell(
            name,
            config,
            tuple(Range.parse(text, config.training) for text in fields),
            seed,
        )
        for name, config in zip(names, first.values(), strict=True)
    ]

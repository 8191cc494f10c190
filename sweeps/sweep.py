"""Sweeps: functions that take a scale and yield runs, with figure and claims.

```python
@sweep(figure="figure 8", claims=("C7", "C8"))
def polynomial(scale: str) -> Iterator[RunConfig]:
    \"\"\"Accuracy against the number of operations.\"\"\"
    for seed in range(5):
        yield RunConfig(...)
```
"""

import contextlib
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sweeps.rate_grid import check_rates
from synth.config import RunConfig
from synth.families.own_errors import line_of
from synth.identity import nearest

SCALES = ("quick", "small", "paper")
"""Minutes on two CPU cores; about an hour on a GPU; as in the paper."""
WITH_NIGHT = ("quick", "night", "small", "paper")
"""Also `night`: at most sixteen core-hours, a night on two CPU cores."""

Grid = Callable[[str], Iterable[RunConfig]]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A family of runs; calling it with a scale returns them in order."""

    name: str
    """The name on the command line, and part of the folder's name."""
    about: str
    """One sentence: the first line of the function's docstring."""
    grid: Grid
    """Yields the runs of a scale."""
    figure: str
    """The figure that the runs are for, of the paper or of the sweep's own."""
    claims: tuple[str, ...]
    """Claims that the runs test; may be empty."""
    scales: tuple[str, ...]
    """The scales that the function accepts; the first is the default."""
    metric: str
    """The metric (see `sweep_metric`) that is displayed and that `tune` optimises; if
    empty, the first that each task declares, on its first test set."""
    answers: str = ""
    """What the runs answer besides claims: a published table, or a question."""
    rates: tuple[float, ...] = ()
    """Learning rates that `tune` tries; by default a quarter to four times each rate."""

    def __post_init__(self) -> None:
        _require_word("name", self.name)  # name and scale are parts of a folder's name
        for name in ("scales", "claims"):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)):
                raise ValueError(
                    f"@sweep({name}=...) of {self.name!r} must be a tuple of words, as "
                    f"in {name}=('one',); got {value!r}."
                )
        for scale in self.scales:
            _require_word("scales", scale)
        for name in ("metric", "figure", "answers"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ValueError(
                    f"@sweep({name}=...) of {self.name!r} must be text; got {value!r}."
                )
        if self.rates:
            check_rates(self.rates, f"@sweep(rates=...) of {self.name!r}")
        if not self.scales:
            raise ValueError(
                f"Sweep {self.name!r} has no scale: leave `scales` out for "
                f"{', '.join(SCALES)}, or name one, as in scales=('quick',)."
            )

    def __call__(self, scale: str) -> list[RunConfig]:
        """The runs of a scale.

        Raises `ValueError` for an unknown scale, an impossible run, a run that is
        yielded twice, no run at all, or a function that raises.
        """
        if scale not in self.scales:
            raise ValueError(
                f"Sweep {self.name!r} has no scale {scale!r}. "
                f"{nearest(scale, self.scales)}"
            )
        configs = self._call_grid(scale)
        for place, config in enumerate(configs):
            if not isinstance(config, RunConfig):
                raise ValueError(
                    f"Sweep {self.name!r} must yield RunConfig objects; item {place} "
                    f"is of type {type(config).__name__}."
                )
        ids = [config.run_id for config in configs]
        if len(set(ids)) < len(ids):
            twice = next(run_id for run_id in ids if ids.count(run_id) > 1)
            raise ValueError(
                f"Sweep {self.name!r} at scale {scale!r} yields run {twice} more than "
                "once. Two runs that differ in nothing are one run; vary the seed."
            )
        return configs

    def _call_grid(self, scale: str) -> list[RunConfig]:
        """The runs of the function; an exception becomes a message with file and line."""
        what = f"Sweep {self.name!r} at scale {scale!r}"
        try:
            with contextlib.redirect_stdout(sys.stderr):  # stdout may hold JSON
                runs = self.grid(scale)
                configs = None if runs is None else list(runs)
        except (Exception, SystemExit) as error:
            code = getattr(self.grid, "__code__", None)  # a partial has none
            where = f" in {code.co_filename}" if code else ""
            where += line_of(error, code.co_filename) if code else ""
            if isinstance(error, ValueError):
                raise ValueError(
                    f"{what} holds an impossible run{where}: {error}"
                ) from error
            raise ValueError(
                f"{what} fails{where}: {type(error).__name__}: {error}"
            ) from error
        if not configs:
            raise ValueError(
                f"{what} holds no run: its function must yield RunConfig objects."
            )
        return configs

    def folder(self, scale: str) -> str:
        """The name of a scale's folder: `NAME-SCALE`, or `NAME` if there is one scale."""
        return self.name if len(self.scales) == 1 else f"{self.name}-{scale}"

    @property
    def folders(self) -> set[str]:
        """The names of all its folders: of each scale the runs, tuned ones and trials."""
        return {
            f"{self.folder(scale)}{tuned}{trials}"
            for scale in self.scales
            for tuned in ("", "-tuned")
            for trials in ("", "-tuning", "-search")
        }

    def root(self, runs: Path, scale: str) -> Path:
        """The folder that holds the run folders of a scale."""
        return runs / self.folder(scale)


def sweep(
    *,
    figure: str = "",
    claims: tuple[str, ...] = (),
    scales: tuple[str, ...] = SCALES,
    metric: str = "",
    answers: str = "",
    rates: tuple[float, ...] = (),
    name: str | None = None,
) -> Callable[[Grid], Sweep]:
    """Turn a function of the scale into a `Sweep`, named after the function."""

    def declared(grid: Grid) -> Sweep:
        first_line = (grid.__doc__ or "").strip().partition("\n")[0]
        own_name = getattr(grid, "__name__", "sweep").strip("<>").replace("_", "-")
        return Sweep(
            name=name or own_name,
            about=first_line,
            grid=grid,
            figure=figure,
            claims=claims,
            scales=scales,
            metric=metric,
            answers=answers,
            rates=rates,
        )

    return declared


def _require_word(what: str, value: object) -> None:
    """Check that a value is safe as part of a folder's name."""
    if not isinstance(value, str) or not re.fullmatch(r"\w[\w.+-]*", value):
        raise ValueError(
            f"@sweep({what}=...): {value!r} is part of a folder's name; it must be a "
            "word of letters, digits and . + - _"
        )

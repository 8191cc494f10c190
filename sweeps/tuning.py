"""The command tune: a grid of learning rates for every cell of a sweep.

Trials are ordinary runs below `runs/NAME-tuning/`, at seeds of their own and judged on
the validation split. So a tuning goes on where it stopped, trains on a cluster as a sweep
does, and can be collected into a table.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.chosen import Chosen
from sweeps.collected import TABLES, last_rows
from sweeps.commands import STOPPED, Run
from sweeps.provenance import Typed
from sweeps.rate_grid import NEAR, RateCurve, RateGrid, check_rates, grids_of
from sweeps.survey import metrics
from sweeps.sweep_metric import (
    Better,
    Rows,
    by_name,
    chosen_by,
    value_of,
    why_unmeasured,
)
from sweeps.tuned import RATE, TABLE, update_table, why_unsettled
from synth.identity import require
from synth.run.progress import tell
from synth.run.standing import Standing, Survey
from synth.run.states import TROUBLED, UNTRIED
from synth.run.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class Tune(Run):
    """Try a grid of learning rates for every cell; the best must lie inside the grid."""

    seeds: int | None = 3
    """Seeds of each rate, none of which is a seed of the sweep."""
    rates: tuple[float, ...] = ()
    """The grid; if not given the sweep's own, else a quarter to four times each rate."""
    metric: str | None = None
    """suite/metric[/slice]; the sweep's own if not given. Measured on validation data."""

    def run(self) -> int:
        """Train the grids, extend them at their edges, and write the table."""
        chosen = replace(self, seeds=None).resolve()
        if self.rates:
            check_rates(self.rates, "--rates")
        seeds = 3 if self.seeds is None else self.seeds
        require(seeds >= 1, "--seeds", "at least 1", seeds)
        metric = self.metric or chosen.metric
        for config in chosen.configs:
            chosen_by(
                metric, config
            )  # what is wrong is told before anything is trained
        root = chosen.root.with_name(f"{chosen.root.name}-tuning")
        chosen = replace(chosen, metric=metric, root=root, title=root.name)
        grids = grids_of(chosen.configs, self.rates or chosen.rates, seeds)
        while True:
            trials = [run for grid in grids for run in grid.trials]
            typed = Typed("tune", self.words())
            trained = self.launch(replace(chosen, configs=trials), UNTRIED, typed)
            if trained is None:  # a dry run
                return 0
            measured = self._values(trained.found)
            cells = [GridResult.of(grid, measured, metric) for grid in grids]
            wider = [cell.extended() for cell in cells]
            if wider == grids:
                break
            grids = wider
        return self._close(root / TABLE, cells)

    def _values(self, found: Survey[Standing]) -> dict[str, dict[str, float | None]]:
        """The last measurements of runs that ended; none of those that failed."""
        done = found.ids("done")
        here = {run_id for run_id in done if (found.root / run_id).exists()}
        rows: dict[str, Rows] = dict.fromkeys(found.ids(*TROUBLED), ())
        rows |= {name: metrics(RunFolder(found.root, name)) for name in here}
        rows |= last_rows(done - here, TABLES)
        return {run_id: by_name(measured) for run_id, measured in rows.items()}

    def words(self) -> str:
        """The arguments that go on with this tuning."""
        parts = ["--rates", *map(str, self.rates)] if self.rates else []
        parts += ["--metric", self.metric] if self.metric else []
        return f"{super().words()} {shlex.join(parts)}".rstrip()

    def _close(self, path: Path, cells: "Sequence[GridResult]") -> int:
        """Write the rows that there are; say what won, and what to type next."""
        rows = [cell.row() for cell in cells if cell.best is not None]
        update_table(path, rows)
        whole = all(cell.values is not None for cell in cells)
        failed = [words for cell in cells if (words := cell.failed_in_words())]
        status = 1 if failed else 0 if whole else STOPPED
        if failed:
            some = "some" if rows else "all"
            print(
                f"{some} trials failed: {'; '.join(failed)}. See `python -m sweeps "
                f"status {path.parent}`.",
                file=sys.stderr,
            )
        if self.json:
            tell(json.dumps(rows))
            return status
        for cell in cells:
            tell(f"{cell.grid.name:<40}{cell.in_words()}")
        metrics = ", ".join(dict.fromkeys(cell.metric for cell in cells))
        seeds = len(cells[0].grid.seeds)
        tell(f"chosen by {metrics}, {seeds} seeds a rate; table: {path}")
        if not whole:
            tell(f"to go on: python -m sweeps tune {self.words()}")
        elif len(rows) == len(cells):
            unsettled = any(map(why_unsettled, rows))
            table = (*self.tuned, path)
            own = replace(self, seeds=None, tuned=table, unsettled=unsettled)
            as_it_is = " as it is" if unsettled else ""
            tell(f"to use it{as_it_is}: python -m sweeps run {Chosen.words(own)}")
        return status


@dataclass(frozen=True)
class GridResult:
    """A grid, and what its trials came to."""

    grid: RateGrid
    values: dict[float, list[float | None]] | None
    """Of each seed, by rate, None for a run that failed; None until all have ended."""
    metric: str
    """On validation data."""
    better: Better

    @classmethod
    def of(
        cls,
        grid: RateGrid,
        measured: Mapping[str, Mapping[str, float | None]],
        metric: str,
    ) -> "GridResult":
        """From the last values of runs that ended; failed ones have none.

        Raises
        ------
        ValueError
            When a trial has ended well and did not measure the metric.
        """
        metric, better = chosen_by(metric, grid.example)
        values: dict[float, list[float | None]] = {rate: [] for rate in grid.rates}
        for config in grid.trials:
            own = measured.get(config.run_id)
            if own is None:
                return cls(grid, None, metric, better)
            if own and (why := why_unmeasured(own, metric)):
                raise ValueError(why)
            values[config.training.learning_rate].append(value_of(own, metric))
        return cls(grid, values, metric, better)

    @property
    def curve(self) -> RateCurve | None:
        """The metric by rate; None until all trials have ended."""
        return None if self.values is None else RateCurve.of(self.values, self.better)

    @property
    def best(self) -> float | None:
        """The best rate, if there is one."""
        return None if self.curve is None else self.curve.best

    def extended(self) -> RateGrid:
        """The grid, with one more rate where the best one lies at an edge."""
        return self.grid if self.curve is None else self.grid.extended(self.curve)

    def row(self) -> dict[str, Any]:
        """Of the table of tuned values."""
        assert self.curve is not None
        assert self.values is not None
        means = dict(zip(self.curve.rates, self.curve.means, strict=True))
        return {
            "cell": self.grid.key,
            "name": self.grid.name,
            "training": {RATE: self.best},
            "metric": self.metric,
            "value": means[self.best or 0.0],
            "seeds": list(self.grid.seeds),
            "edge": self.curve.edge,
            "all_alike": self.curve.alike,
            "sensitivity": self.curve.sensitivity,
            "grid": [
                {RATE: rate, "mean": means[rate], "values": values}
                for rate, values in self.values.items()
            ],
        }

    def failed_in_words(self) -> str:
        """At which rates trials failed, and how many; empty if none did."""
        counts = {
            rate: sum(value is None for value in values)
            for rate, values in (self.values or {}).items()
        }
        seeds = len(self.grid.seeds)
        rates = [f"{rate:.3g} ({n} of {seeds})" for rate, n in counts.items() if n]
        return f"{self.grid.name} at {', '.join(rates)}" if rates else ""

    def in_words(self) -> str:
        """What won, how much hangs on it, and whether the grid was too narrow."""
        if self.curve is None:
            return "not all trials have ended"
        if self.best is None:
            return "no rate without a failed trial: try lower ones"
        row, loss = self.row(), self.curve.sensitivity
        lost = "a trial failed" if loss is None else f"loses up to {loss:.3g}"
        words = (
            f"{self.best:.3g}  {row['value']:.4f}; {lost} within a factor of {NEAR:.0f}"
        )
        return ". ".join(filter(None, (words, why_unsettled(row))))

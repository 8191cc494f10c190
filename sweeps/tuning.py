"""The command tune: trains a grid of learning rates for every cell of a sweep.

Trials are ordinary runs in `runs/NAME-tuning/`, with seeds of their own, judged on the
validation split. So a tuning continues where it stopped, can train on a cluster, and can be
collected into a table.
"""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweeps.cells import check_seeds
from sweeps.collected_runs import TABLES, rows_of_runs
from sweeps.commands import RunCommand
from sweeps.launch_display import align_columns
from sweeps.provenance import TypedCommand
from sweeps.rate_grid import (
    SENSITIVITY_FACTOR,
    RateCurve,
    RateGrid,
    build_grids,
    check_rates,
)
from sweeps.selected_runs import SweepSelection
from sweeps.survey import read_metrics
from sweeps.sweep_metric import (
    Rows,
    declared_metric,
    scores_by_name,
    validation_metric,
    value_of,
    why_unmeasured,
)
from sweeps.tuned_values import RATE, TABLE, update_table, why_unsettled
from synth.command_words import as_typed
from synth.metrics import Better
from synth.run.progress import tell
from synth.run.standing import Standing, Survey
from synth.run.states import STOPPED_STATUS, TROUBLED, UNTRIED
from synth.run.store import RunFolder


@dataclass(frozen=True, kw_only=True)
class Tune(RunCommand):
    """Train a grid of learning rates for every cell; the best must lie inside the grid."""

    seeds: int | None = 3
    """Number of seeds of each rate; none is a seed of the sweep."""
    rates: tuple[float, ...] = ()
    """The grid; by default the sweep's own, else a quarter to four times each rate."""
    metric: str | None = None
    """[mean:][SUITE/]METRIC[/SLICE], measured on validation data, at the end or as the mean
    over training; the sweep's own if not given. Only tuned.json and the output name it:
    collected trials are read by the sweep's own."""

    def run(self) -> int:
        """Train the grids, extend them at their edges, and write the table."""
        selected = replace(self, seeds=None).resolve_sweep()
        if self.rates:
            check_rates(self.rates, "--rates")
        seeds = 3 if self.seeds is None else self.seeds
        check_seeds(seeds)
        metric = self.metric or selected.metric
        for config in selected.configs:  # check the metric before anything is trained
            validation_metric(metric, config)
        root = selected.root.with_name(f"{selected.root.name}-tuning")
        selected = replace(selected, metric=metric, root=root, title=root.name)
        grids = build_grids(selected.configs, self.rates or selected.rates, seeds)
        while True:
            trials = [run for grid in grids for run in grid.trials]
            typed = TypedCommand("tune", self.words())
            result = self.launch(replace(selected, configs=trials), UNTRIED, typed)
            if result is None:  # a dry run
                return 0
            measured = self._read_values(result.standings)
            cells = [GridResult.of(grid, measured, metric) for grid in grids]
            wider = [cell.extend_grid() for cell in cells]
            ended = {outcome.state for outcome in result.outcomes}
            gave_up = self.fail_fast and not ended.isdisjoint(TROUBLED)
            stopped = "stopped" in ended and not gave_up
            if stopped or gave_up or wider == grids:
                break
            if not self.json:
                tell_extensions(cells, wider)
            grids = wider
        status = STOPPED_STATUS if stopped else 1 if gave_up else 0
        return self._write_and_report(root / TABLE, cells, status)

    def _read_values(
        self, standings: Survey[Standing]
    ) -> dict[str, dict[str, float | None]]:
        """The measurements of each run that ended; a failed run has an empty dict."""
        root, done = standings.root, standings.ids("done")
        here = {run_id for run_id in done if (root / run_id).exists()}
        rows: dict[str, Rows] = dict.fromkeys(standings.ids(*TROUBLED), ())
        rows |= {name: read_metrics(RunFolder(root, name)) for name in here}
        rows |= rows_of_runs(done - here, TABLES)
        return {run_id: scores_by_name(measured) for run_id, measured in rows.items()}

    def words(self) -> str:
        words = ["--rates", *map(str, self.rates)] if self.rates else []
        words += ["--metric", self.metric] if self.metric else []
        return f"{super().words()} {shlex.join(words)}".rstrip()

    def _write_and_report(
        self, path: Path, cells: "Sequence[GridResult]", status: int
    ) -> int:
        """Write the best rates; print them and the next command; return the status.

        `status` is not 0 if the last launch was stopped, by a signal or a failed run.
        """
        rows = [cell.row() for cell in cells if cell.best is not None]
        update_table(path, rows)
        whole = status == 0 and all(cell.values is not None for cell in cells)
        failed = [words for cell in cells if (words := cell.describe_failures())]
        status = status or (1 if failed else 0 if whole else STOPPED_STATUS)
        if failed:
            some = "some" if rows else "all"
            print(
                f"{some} trials failed: {'; '.join(failed)}. See "
                f"`{as_typed('sweeps status', path.parent)}`.",
                file=sys.stderr,
            )
        if self.json:
            tell(json.dumps(rows))
            return status
        lines = [(cell.grid.name, cell.describe()) for cell in cells]
        for line in align_columns(lines):
            tell(line)
        metrics = ", ".join(dict.fromkeys(cell.metric for cell in cells))
        seeds = len(cells[0].grid.seeds)
        tried = (
            f"{seeds} seeds a rate"
            if seeds > 1
            else "one trial a rate, which may be a lucky one (three: --seeds 3)"
        )
        tell(f"chosen by {metrics}, {tried}; table: {path}")
        if not whole:
            tell(f"to go on: {as_typed('sweeps tune')} {self.words()}")
        elif len(rows) == len(cells):
            unsettled = any(map(why_unsettled, rows))
            table = (*self.tuned, path)
            own = replace(self, seeds=None, tuned=table, unsettled=unsettled)
            as_it_is = " as it is" if unsettled else ""
            tell(
                f"to use it{as_it_is}: {as_typed('sweeps run')} {SweepSelection.words(own)}"
            )
        return status


@dataclass(frozen=True)
class GridResult:
    """A grid and the values of its trials."""

    grid: RateGrid
    values: dict[float, list[float | None]] | None
    """Values of the seeds by rate, None for a failed run; None until all have ended."""
    metric: str
    """The metric on validation data."""
    better: Better

    @classmethod
    def of(
        cls,
        grid: RateGrid,
        measured: Mapping[str, Mapping[str, float | None]],
        metric: str,
    ) -> "GridResult":
        """The result from the values of each run that ended, empty if it failed.

        Raises `ValueError` when a finished trial did not measure the metric.
        """
        metric, better = validation_metric(metric, grid.example)
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
        """The best rate, if any."""
        return None if self.curve is None else self.curve.best

    @property
    def none_is_best(self) -> bool:
        """Whether all rates have the same mean, below what counts as learned.

        Where all have learned the task equally well, any of them will do.
        """
        if self.curve is None or not self.curve.flat:
            return False
        declared = declared_metric(self.metric, self.grid.example.task)
        level = None if declared is None else declared.learned
        mean = self.curve.means[0]
        if level is None or mean is None:
            return True
        return mean < level if self.better == "higher" else mean > level

    def extend_grid(self) -> RateGrid:
        """The grid, with one more rate where the best lies at an edge."""
        return self.grid if self.curve is None else self.grid.extend(self.curve)

    def row(self) -> dict[str, Any]:
        """The row of the table of tuned values."""
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
            "added": list(self.grid.added),
            "all_alike": self.none_is_best,
            "sensitivity": self.curve.sensitivity,
            "grid": [
                {RATE: rate, "mean": means[rate], "values": values}
                for rate, values in self.values.items()
            ],
        }

    def describe_failures(self) -> str:
        """The rates at which trials failed, and how many; "" if none did."""
        counts = {
            rate: sum(value is None for value in values)
            for rate, values in (self.values or {}).items()
        }
        seeds = len(self.grid.seeds)
        rates = [f"{rate:.3g} ({n} of {seeds})" for rate, n in counts.items() if n]
        return f"{self.grid.name} at {', '.join(rates)}" if rates else ""

    def describe(self) -> str:
        """The best rate, the sensitivity, and whether the grid was too narrow."""
        if self.curve is None:
            return "not all trials have ended"
        if self.best is None:
            return "no rate without a failed trial: try lower ones"
        row, loss = self.row(), self.curve.sensitivity
        known = f"loses up to {loss:.3g}" if loss is not None else ""
        lost = known or "a trial failed or the grid ends"
        words = (
            f"{self.best:.3g}  {row['value']:.4f}; {lost} within a factor of "
            f"{SENSITIVITY_FACTOR:.0f}"
        )
        added = ", ".join(f"{rate:.3g}" for rate in self.grid.added)
        grown = f"grid extended by {added}" if added else ""
        return ". ".join(filter(None, (words, grown, why_unsettled(row))))


def tell_extensions(cells: Sequence[GridResult], wider: Sequence[RateGrid]) -> None:
    """Print which grids are extended before their further trials are trained."""
    for cell, grid in zip(cells, wider, strict=True):
        if grid != cell.grid:
            tell(
                f"{grid.name}: {cell.best:.3g} is best and at the edge of the grid, which "
                f"is extended by {grid.added[-1]:.3g}"
            )

"""The command search: tunes training values other than the learning rate with Optuna."""

import json
import shlex
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.launch_display import align_columns
from sweeps.selected_runs import SweepSelection, options_given
from synth.command_words import as_typed
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import tell
from synth.run.states import STOPPED_STATUS


@dataclass(frozen=True, kw_only=True)
class Search(SweepSelection):
    """Search values other than the learning rate by TPE, with equal effort a cell."""

    json: bool = False
    """Print JSON for programs."""
    fields: tuple[str, ...] = ("weight_decay",)
    """Fields of the training configuration: NAME, or NAME=LOW:HIGH[:linear]."""
    trials: int = 16
    """Trials for each combination of settings without seeds; each trial is one run."""
    metric: str | None = None
    """[mean:][SUITE/]METRIC[/SLICE], measured on validation data, at the end or as the mean
    over training; the sweep's own if not given."""
    seed: int = 1000
    """Seed of the trial runs and of the sampler; must not be a seed of the sweep."""
    workers: int = 2
    """Worker processes at a time."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """Search, write and print the table of the best values; 1 if a cell has none."""
        from sweeps.launch_display import Display
        from sweeps.optuna_search import search
        from sweeps.pool import LocalPool
        from sweeps.provenance import TypedCommand
        from sweeps.search_space import search_cells
        from sweeps.tuned_values import TABLE

        require(self.trials >= 1, "--trials", "at least 1", self.trials)
        require(0 <= self.seed < 1 << 32, "--seed", "from 0 to 2^32 - 1", self.seed)
        selected = self.resolve_sweep()
        root = selected.root.with_name(f"{selected.root.name}-search")
        cells = search_cells(selected.configs, self.fields, self.seed)
        pool = LocalPool(self.workers)
        TypedCommand("search", self.words()).save(root)
        rows, outcomes = search(
            cells,
            root,
            self.metric or selected.metric,
            self.trials,
            pool,
            self.execution,
            Display(quiet=self.json),
        )
        stopped = any(outcome.state == "stopped" for outcome in outcomes)
        best = {row["cell"]: row for row in rows}
        if self.json:
            tell(json.dumps(rows))
        else:
            lines = [(c.name, _format_row(best.get(c.key))) for c in cells]
            for line in align_columns(lines):
                tell(line)
            metrics = ", ".join(dict.fromkeys(row["metric"] for row in rows))
            tell(f"chosen by {metrics or 'nothing yet'}; table: {root / TABLE}")
            if stopped:
                tell(f"to go on: {as_typed('sweeps search')} {self.words()}")
            elif len(best) == len(cells):
                tables = (*self.tuned, root / TABLE)
                words = SweepSelection.words(replace(self, tuned=tables))
                tell(f"to use it: {as_typed('sweeps run')} {words}")
        if stopped:
            return STOPPED_STATUS
        return 0 if len(best) == len(cells) else 1

    def words(self) -> str:
        words = ["--fields", *self.fields, "--trials", str(self.trials)]
        if self.metric is not None:
            words += ["--metric", self.metric]
        words += ["--seed", str(self.seed), *options_given(self, ("workers",))]
        words += options_given(self.execution)
        return f"{super().words()} {shlex.join(words)}"


def _format_row(row: dict[str, Any] | None) -> str:
    """The best values of a cell in a line."""
    if row is None:
        return "no trial has completed"
    values = ", ".join(f"{k} {v}" for k, v in row["training"].items())
    edge = "  (at the edge of its range)" if row["at_edge"] else ""
    return f"{values}  {row['value']:.4f}{edge}"

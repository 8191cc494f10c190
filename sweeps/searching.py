"""The command search: values of training other than the rate, by Optuna."""

import json
import shlex
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.chosen import Chosen
from sweeps.commands import STOPPED
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import tell


@dataclass(frozen=True, kw_only=True)
class Search(Chosen):
    """Search values other than the rate by TPE with a pruner, equally for every cell."""

    json: bool = False
    """Print JSON for programs."""
    fields: tuple[str, ...] = ("weight_decay",)
    """Fields of the training configuration: NAME, or NAME=LOW:HIGH[:linear]."""
    trials: int = 16
    """Trials of each cell."""
    metric: str | None = None
    """suite/metric[/slice]; the sweep's own if not given. Measured on validation data."""
    seed: int = 1000
    """Of the trial runs and of the sampler; none of the sweep's own seeds."""
    workers: int = 2
    """Worker processes at a time."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """Search, write the table of winning values, and print it."""
        from sweeps.display import Display
        from sweeps.optuna_search import search
        from sweeps.pool import LocalPool
        from sweeps.provenance import Typed
        from sweeps.search_space import search_cells
        from sweeps.tuned import TABLE

        require(self.trials >= 1, "--trials", "at least 1", self.trials)
        require(0 <= self.seed < 1 << 32, "--seed", "from 0 to 2^32 - 1", self.seed)
        chosen = self.resolve()
        root = chosen.root.with_name(f"{chosen.root.name}-search")
        cells = search_cells(chosen.configs, self.fields, self.seed)
        pool = LocalPool(self.workers)
        Typed("search", self.words()).remember(root)
        rows, outcomes = search(
            cells,
            root,
            self.metric or chosen.metric,
            self.trials,
            pool,
            self.execution,
            Display(quiet=self.json),
        )
        stopped = any(outcome.state == "stopped" for outcome in outcomes)
        if self.json:
            tell(json.dumps(rows))
        else:
            won = {row["cell"]: row for row in rows}
            for cell in cells:
                tell(f"{cell.name:<40}{_winner(won.get(cell.key))}")
            tell(f"table: {root / TABLE}")
            if stopped:
                tell(f"to go on: python -m sweeps search {self.words()}")
            elif len(won) == len(cells):
                tables = (*self.tuned, root / TABLE)
                words = Chosen.words(replace(self, tuned=tables))
                tell(f"to use it: python -m sweeps run {words}")
        return STOPPED if stopped else 0

    def words(self) -> str:
        """The arguments that go on with this search."""
        parts = ["--fields", *self.fields, "--trials", str(self.trials)]
        if self.metric is not None:
            parts += ["--metric", self.metric]
        return f"{super().words()} {shlex.join([*parts, '--seed', str(self.seed)])}"


def _winner(row: dict[str, Any] | None) -> str:
    """What won in a cell, in a line."""
    if row is None:
        return "no trial has ended well"
    values = ", ".join(f"{k} {v:.3g}" for k, v in row["training"].items())
    edge = "  (at the edge of its range)" if row["at_edge"] else ""
    return f"{values}  {row['value']:.4f}{edge}"

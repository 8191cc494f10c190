"""Search of training values by Optuna: TPE with a median pruner, one study a cell.

Trials are runs like any other, but of the validation split: what they are judged on is
neither in their training data nor in any test set. They lie in folders below
`runs/NAME-search/`, the studies in a journal file beside them, so a search goes on where
it stopped, and several launches may share it. A pruned trial stops at an evaluation and
keeps its checkpoint. With workers in parallel the order of results, hence the points
proposed, is not repeatable; the points tried and their values are all in the journal.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps.board import Active, Board
from sweeps.display import Display
from sweeps.executor import Work
from sweeps.journal import open_journal
from sweeps.packs import PackRuns
from sweeps.pool import Launch, LocalPool, counting_signals
from sweeps.process import WorkerProcess
from sweeps.search_space import SearchCell
from sweeps.survey import metrics
from sweeps.sweep_metric import (
    Better,
    by_name,
    chosen_by,
    value_of,
    why_unmeasured,
)
from sweeps.tuned import TABLE, round_value, write_table
from synth.config import RunConfig
from synth.run.execution import Execution
from synth.run.progress import Event, Outcome
from synth.run.store import RunFolder

if TYPE_CHECKING:
    import optuna

DIRECTIONS: dict[Better, Literal["minimize", "maximize"]] = {
    "lower": "minimize",
    "higher": "maximize",
}
JOURNAL = "search.log"


@dataclass
class CellStudy:
    """One cell's study, and its trials that train here and now."""

    cell: SearchCell
    study: "optuna.Study"
    metric: str
    """On validation data."""
    trials: int
    """Trials in all, those of earlier launches included."""
    running: "dict[str, optuna.Trial]" = field(default_factory=dict)
    """By run id."""
    resumable: "deque[tuple[RunConfig, optuna.Trial]]" = field(default_factory=deque)
    """Trials that an earlier launch left unfinished."""

    def next_run(self) -> RunConfig | None:
        """A point to try; `None` when the trials are used up."""
        from optuna.trial import TrialState

        if self.resumable:
            config, trial = self.resumable.popleft()
            self.running[config.run_id] = trial
            return config
        # A run that failed counts: a rate at which training diverges is an answer.
        known = self.study.get_trials(deepcopy=False)
        if sum(t.state != TrialState.WAITING for t in known) >= self.trials:
            return None
        trial = self.study.ask()
        values = {
            r.name: trial.suggest_float(r.name, r.low, r.high, log=r.log)
            for r in self.cell.ranges
        }
        config = self.cell.run(values)
        if config.run_id in self.running:
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        trial.set_user_attr("run_id", config.run_id)
        self.running[config.run_id] = trial
        return config

    def best(self) -> dict[str, Any] | None:
        """The row of the winning table; `None` when no trial has ended well."""
        from optuna.trial import TrialState

        whole = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not whole:
            return None
        best = self.study.best_trial
        ranges = self.cell.ranges
        edges = [r.name for r in ranges if r.at_edge(best.params[r.name])]
        return {
            "cell": self.cell.key,
            "name": self.cell.name,
            "training": {n: round_value(v) for n, v in best.params.items()},
            "value": best.value,
            "run_id": best.user_attrs["run_id"],
            "trials": len(self.study.get_trials(deepcopy=False)),
            "complete": len(whole),
            "at_edge": edges,
        }


def search(
    cells: Sequence[SearchCell],
    root: Path,
    metric: str,
    trials: int,
    pool: LocalPool,
    execution: Execution,
    display: Display,
) -> tuple[list[dict[str, Any]], list[Outcome]]:
    """Search every cell; returns the rows of the winning table, also written, and news.

    `metric` is as `sweep_metric` has it, its suite by its name in the test split or in
    that of validation, on which it is measured. The task says which way is better.

    Raises
    ------
    ValueError
        When the task has no validation split or no such metric; when the runs do not
        measure it, after the first trial, not the last.
    """
    for cell in cells:
        chosen_by(
            metric, cell.example
        )  # what is wrong is told before anything is trained
    root.mkdir(parents=True, exist_ok=True)
    storage = open_journal(root / JOURNAL)
    searches = [_search(cell, storage, root, metric, trials) for cell in cells]
    board = Board(len(cells) * trials, 0, metric, {})
    board.done_before = sum(_ended(search) for search in searches)
    work = Work(packs=[], root=root, execution=execution, board=board, display=display)
    launch = _SearchLaunch(pool, work, searches)
    display.say(
        f"{len(cells)} cells of {trials} trials, {board.done_before} trials ended before, "
        f"{pool.slots} at a time, in {root}"
    )
    try:
        with counting_signals(launch):
            launch.train()
    finally:
        display.close()
    if launch.unmeasured is not None:
        raise ValueError(launch.unmeasured)
    rows = [row for search in searches if (row := search.best())]
    write_table(root / TABLE, rows)
    return rows, list(board.outcomes.values())


class _SearchLaunch(Launch):
    """A launch whose packs are thought of one at a time."""

    def __init__(
        self, pool: LocalPool, work: Work, searches: Sequence[CellStudy]
    ) -> None:
        super().__init__(pool, work, [search.cell.example for search in searches])
        self.searches = list(searches)
        self.pruned: set[str] = set()
        self.unmeasured: str | None = None
        """Why no trial can have a value, if so."""

    def _more(self) -> bool:
        """Ask for a point when a worker could take it, the cells in turn."""
        free = self.pool.slots - sum(1 for w in self.workers if w.active)
        wanted = free - len(self.queue)
        order = sorted(self.searches, key=lambda s: (len(s.running), _ended(s)))
        for search in order if wanted > 0 and not self.stopping else ():
            config = search.next_run()
            if config is not None:
                pack: PackRuns = (config,)
                self.queue.append(pack)
                break
        return bool(self.queue)

    def _progress(self, worker: WorkerProcess, active: Active, news: Event) -> None:
        """Report the value of an evaluation; stop the trial if the pruner says so."""
        super()._progress(worker, active, news)
        (config,) = active.pack
        found, step = self._find(config.run_id), news.step
        if news.kind != "evaluation" or found is None or not 0 < step < news.steps:
            return
        value = value_of(self._values(config.run_id), found.metric)
        if value is None:
            return
        trial = found.running[config.run_id]
        trial.report(value, step)
        if trial.should_prune() and not self.stopping:
            self.pruned.add(config.run_id)
            worker.stop()

    def _asked_to_stop(self, config: RunConfig) -> bool:
        return self.stopping or config.run_id in self.pruned

    def end(self, outcome: Outcome) -> None:
        """Tell the study."""
        from optuna.trial import TrialState

        run_id, found = outcome.run_id, self._find(outcome.run_id)
        if found is not None and (outcome.state != "stopped" or run_id in self.pruned):
            trial = found.running.pop(run_id)
            value = value_of(self._values(run_id), found.metric)
            if outcome.state == "done" and value is not None:
                found.study.tell(trial, value)
            elif run_id in self.pruned:
                found.study.tell(trial, state=TrialState.PRUNED)
                outcome = Outcome(run_id, "done", "pruned")
            elif outcome.state == "done" and not self._has_metric(run_id, found.metric):
                # The study forgets nothing: with another metric there is another study.
                found.study.tell(trial, state=TrialState.FAIL)
            else:
                trial.set_user_attr("error", outcome.message)
                found.study.tell(trial, state=TrialState.FAIL)
        super().end(outcome)

    def _has_metric(self, run_id: str, metric: str) -> bool:
        """Whether a finished run measured the metric at all; stops the search if not."""
        self.unmeasured = why_unmeasured(self._values(run_id), metric)
        if self.unmeasured is None:
            return True
        self._stop()
        return False

    def _values(self, run_id: str) -> dict[str, float | None]:
        return by_name(metrics(RunFolder(self.root, run_id)))

    def _find(self, run_id: str) -> CellStudy | None:
        return next((s for s in self.searches if run_id in s.running), None)


def study_name(cell: SearchCell, metric: str) -> str:
    """One study for each cell, metric and seed: values of others do not compare."""
    return f"{cell.name} [{cell.key}] {metric} seed {cell.seed}"


def _search(
    cell: SearchCell, storage: Any, root: Path, metric: str, trials: int
) -> CellStudy:
    """Open a cell's study; the default values are its first point."""
    import optuna
    from optuna.trial import Trial, TrialState

    metric, better = chosen_by(metric, cell.example)
    study = optuna.create_study(
        study_name=study_name(cell, metric),
        storage=storage,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        direction=DIRECTIONS[better],
        load_if_exists=True,
    )
    known = study.get_trials(deepcopy=False)
    # Every cell has the same points to begin with; a search that goes on has new ones.
    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=5, seed=cell.seed + len(known)
    )
    if not known:
        default = {r.name: getattr(cell.example.training, r.name) for r in cell.ranges}
        if all(r.low <= default[r.name] <= r.high for r in cell.ranges):
            study.enqueue_trial(default)
    found = CellStudy(cell, study, metric, trials)
    for trial in known:
        if trial.state != TrialState.RUNNING or len(trial.params) < len(cell.ranges):
            continue
        config = cell.run(trial.params)
        if RunFolder(root, config.run_id).state() != "running":
            found.resumable.append((config, Trial(study, trial._trial_id)))
    return found


def _ended(search: CellStudy) -> int:
    found = search.study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() for trial in found)

"""Search of training values with Optuna: TPE with a median pruner, one study a cell.

Trials are ordinary runs with the validation split: the examples that judge them are
neither in their training data nor in a test set. Their folders are in
`runs/NAME-search/`, the studies in a journal file beside them, so a search continues where
it stopped, and several launches may share it. A pruned trial stops at an evaluation and
keeps its checkpoint. With several workers the order of results, and so the proposed
points, is not reproducible; the journal holds every point and its value.
"""

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps.executor import Work
from sweeps.journal import asking, open_journal
from sweeps.launch_display import Display
from sweeps.launch_progress import ActivePack, LaunchProgress
from sweeps.packs import PackRuns
from sweeps.pool import Launch, LocalPool, counting_signals
from sweeps.process import WorkerProcess
from sweeps.search_space import SearchCell
from sweeps.survey import read_metrics
from sweeps.sweep_metric import (
    scores_by_name,
    validation_metric,
    value_of,
    why_unmeasured,
)
from sweeps.tuned_values import TABLE, read_table, update_table
from synth.config import RunConfig
from synth.metrics import Better
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
    """The study of one cell, and its trials in this process."""

    cell: SearchCell
    study: "optuna.Study"
    metric: str
    """The metric on validation data."""
    trials: int
    """Number of trials, including those of other launches."""
    journal: Path
    running: "dict[str, optuna.Trial]" = field(default_factory=dict)
    """By run id."""
    resumable: "deque[tuple[RunConfig, optuna.Trial]]" = field(default_factory=deque)
    """Trials that an earlier launch left unfinished."""

    def next_run(self) -> RunConfig | None:
        """The next trial; `None` when all trials have been started."""
        trials = self.study.get_trials(deepcopy=False)
        while self.resumable:
            config, trial = self.resumable.popleft()
            if not trials[trial.number].state.is_finished():  # by another search
                self.running[config.run_id] = trial
                return config
        with asking(self.journal):
            return self._ask()

    def _ask(self) -> RunConfig | None:
        """A new trial; `None` when there are enough."""
        import optuna
        from optuna.trial import TrialState

        # Failed runs count: that training diverges at a value is a result. A trial
        # without values does not: its process died before it had any.
        trials = self.study.get_trials(deepcopy=False)
        if sum(self.has_values(trial) for trial in trials) >= self.trials:
            return None
        # Every trial draws from a stream of its own, the same in every cell: in two
        # searches at a time, streams that began with the study would give equal points.
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=5, seed=self.cell.seed + len(trials)
        )
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

    def has_values(self, trial: "optuna.trial.FrozenTrial") -> bool:
        """Whether a trial has a value in each range, as all have that were begun."""
        return len(trial.params) == len(self.cell.ranges)

    def should_prune(self, run_id: str, value: float, step: int) -> bool:
        """Report a value; whether to stop the trial, by the pruner or as it has ended."""
        from optuna.exceptions import UpdateFinishedTrialError

        trial = self.running[run_id]
        try:
            trial.report(value, step)
            return trial.should_prune()
        except UpdateFinishedTrialError:  # another search had it too
            return True

    def end(
        self,
        run_id: str,
        state: "optuna.trial.TrialState",
        value: float | None = None,
        error: str = "",
    ) -> None:
        """Tell the study how a trial ended, unless another search has told it."""
        from optuna.exceptions import UpdateFinishedTrialError

        trial = self.running.pop(run_id)
        with contextlib.suppress(UpdateFinishedTrialError):
            if error:
                trial.set_user_attr("error", error)
            self.study.tell(trial, value, state, skip_if_finished=True)

    def best(self) -> dict[str, Any] | None:
        """The cell's row of the table; `None` when no trial has completed."""
        from optuna.trial import TrialState

        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if not complete:
            return None
        best = self.study.best_trial
        ranges = self.cell.ranges
        edges = [r.name for r in ranges if r.at_edge(best.params[r.name])]
        return {
            "cell": self.cell.key,
            "name": self.cell.name,
            "training": self.cell.round(best.params),
            "metric": self.metric,
            "value": best.value,
            "run_id": self.cell.run(best.params).run_id,
            "seeds": [self.cell.seed],
            "trials": len(self.study.get_trials(deepcopy=False)),
            "complete": len(complete),
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
    """Search every cell; returns its rows of the table, and the outcomes.

    The table keeps the rows of other cells in which the same fields were searched.

    `metric` is written as in `sweep_metric`; its suite may be named by the test or by the
    validation split, and is measured on validation. The task declares its direction.

    Raises `ValueError` when the task has no validation split or no such metric, when
    the table is not one, or, after the first trial, when the runs do not measure the
    metric.
    """
    for cell in cells:  # check the metric before anything is trained
        validation_metric(metric, cell.example)
    if (root / TABLE).exists():
        read_table(root / TABLE)
    root.mkdir(parents=True, exist_ok=True)
    storage = open_journal(root / JOURNAL)
    studies = [_open_study(cell, storage, root, metric, trials) for cell in cells]
    ended_before = sum(map(_count_ended, studies))
    progress = LaunchProgress(len(cells) * trials, ended_before, metric, {})
    work = Work(
        packs=[], root=root, execution=execution, progress=progress, display=display
    )
    launch = _SearchLaunch(pool, work, studies)
    display.say(
        f"{len(cells)} cells of {trials} trials, {ended_before} trials ended before, "
        f"{pool.slots} at a time, in {root}"
    )
    try:
        with counting_signals(launch):
            launch.train()
    finally:
        display.close()
    if launch.unmeasured is not None:
        raise ValueError(launch.unmeasured)
    rows = [row for study in studies if (row := study.best())]
    update_table(root / TABLE, rows)
    return rows, list(progress.outcomes.values())


class _SearchLaunch(Launch):
    """A launch that asks Optuna for one trial at a time, a pack of its own."""

    def __init__(
        self, pool: LocalPool, work: Work, studies: Sequence[CellStudy]
    ) -> None:
        super().__init__(pool, work, [study.cell.example for study in studies])
        self.studies = list(studies)
        self.pruned: set[str] = set()
        self.unmeasured: str | None = None
        """An error message, if the runs do not measure the metric."""

    def _has_packs(self) -> bool:
        """Ask for a trial when a worker is free, the cells in turn."""
        free = self.pool.slots - sum(1 for w in self.workers if w.active)
        wanted = free - len(self.queue)
        order = sorted(self.studies, key=lambda s: (len(s.running), _count_ended(s)))
        for study in order if wanted > 0 and not self.stopping else ():
            config = study.next_run()
            if config is not None:
                pack: PackRuns = (config,)
                self.queue.append(pack)
                break
        return bool(self.queue)

    def _update(self, worker: WorkerProcess, active: ActivePack, event: Event) -> None:
        """Report the value of an evaluation; stop the trial if the pruner asks for it."""
        super()._update(worker, active, event)
        (config,) = active.pack
        study, step = self._find_study(config.run_id), event.step
        if event.kind != "evaluation" or study is None or not 0 < step < event.steps:
            return
        value = value_of(self._values(config.run_id), study.metric)
        if value is None:
            return
        known = self.stopping or config.run_id in self.pruned
        if not known and study.should_prune(config.run_id, value, step):
            self.pruned.add(config.run_id)
            worker.stop()

    def _stop_requested(self, config: RunConfig) -> bool:
        return self.stopping or config.run_id in self.pruned

    def record(self, outcome: Outcome) -> None:
        """Tell the study how its trial ended."""
        from optuna.trial import TrialState

        run_id, study = outcome.run_id, self._find_study(outcome.run_id)
        if study is not None and (outcome.state != "stopped" or run_id in self.pruned):
            value = value_of(self._values(run_id), study.metric)
            if outcome.state == "done" and value is not None:
                study.end(run_id, TrialState.COMPLETE, value)
            elif run_id in self.pruned:
                study.end(run_id, TrialState.PRUNED)
                outcome = Outcome(run_id, "done", "pruned")
            elif outcome.state == "done" and not self._has_metric(run_id, study.metric):
                # The trial stays failed: another metric gets a study of its own.
                study.end(run_id, TrialState.FAIL)
            else:
                study.end(run_id, TrialState.FAIL, error=outcome.message)
        super().record(outcome)

    def _has_metric(self, run_id: str, metric: str) -> bool:
        """Whether a finished run measured the metric; stops the search if not."""
        self.unmeasured = why_unmeasured(self._values(run_id), metric)
        if self.unmeasured is None:
            return True
        self._stop()
        return False

    def _values(self, run_id: str) -> dict[str, float | None]:
        return scores_by_name(read_metrics(RunFolder(self.root, run_id)))

    def _find_study(self, run_id: str) -> CellStudy | None:
        return next((s for s in self.studies if run_id in s.running), None)


def study_name(cell: SearchCell, metric: str) -> str:
    """One study for each cell, its ranges, metric and seed.

    Trials in another range do not count: a range that is widened has to be searched.
    """
    ranges = " ".join(sorted(map(str, cell.ranges)))
    return f"{cell.name} [{cell.key}] {ranges} {metric} seed {cell.seed}"


def _open_study(
    cell: SearchCell, storage: Any, root: Path, metric: str, trials: int
) -> CellStudy:
    """Open or create a cell's study; the default values are its first trial."""
    import optuna
    from optuna.trial import Trial, TrialState

    metric, better = validation_metric(metric, cell.example)
    study = optuna.create_study(
        study_name=study_name(cell, metric),
        storage=storage,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=4),
        direction=DIRECTIONS[better],
        load_if_exists=True,
    )
    with asking(root / JOURNAL):
        trials_so_far = study.get_trials(deepcopy=False)
        default = {r.name: getattr(cell.example.training, r.name) for r in cell.ranges}
        inside = all(r.low <= default[r.name] <= r.high for r in cell.ranges)
        if inside and not trials_so_far:
            study.enqueue_trial(default)
    cell_study = CellStudy(cell, study, metric, trials, root / JOURNAL)
    for trial in trials_so_far:
        if trial.state != TrialState.RUNNING or not cell_study.has_values(trial):
            continue
        config = cell.run(trial.params)
        if RunFolder(root, config.run_id).state() != "running":
            cell_study.resumable.append((config, Trial(study, trial._trial_id)))
    return cell_study


def _count_ended(study: CellStudy) -> int:
    trials = study.study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() for trial in trials)

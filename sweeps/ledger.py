"""The ledger of a sweep: an Optuna study in a journal file, an index of its folders.

Every grid point is a trial, enqueued with its values; trials follow the folders (waiting,
running, complete, failed) and hold the sweep's metric. The folders are the truth: the
file may be removed at any time and is rebuilt from them. Nothing reads it back to decide
what to train. `optuna-dashboard runs/NAME/ledger.log` shows it.
"""

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps.plan import flatten
from sweeps.survey import Standing, Survey, headline
from synth.config import RunConfig
from synth.store import RunFolder

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

NAME = "ledger.log"


def ledger_path(root: Path) -> Path:
    """Where the ledger of a sweep's folder lies."""
    return root / NAME


def sync(
    title: str, configs: Sequence[RunConfig], found: Survey, metric: str
) -> "optuna.Study":
    """Bring the ledger up to what the folders say; creates it when there is none."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    root = found.root
    root.mkdir(parents=True, exist_ok=True)
    axes = varied(configs)
    about = {"metric": metric, "axes": axes}
    with _alone(root):
        study = _study(title, root, metric)
        if study.user_attrs and study.user_attrs != about:
            ledger_path(root).unlink()  # the sweep has other runs now: start afresh
            study = _study(title, root, metric)
        if not study.user_attrs:
            for name, value in about.items():
                study.set_user_attr(name, value)
        known = {
            trial.user_attrs.get("run_id"): trial
            for trial in study.get_trials(deepcopy=False)
        }
        for config, run in zip(configs, found.runs, strict=True):
            _follow(study, known.get(config.run_id), config, run, root, metric, axes)
    return study


def rebuild(
    title: str, configs: Sequence[RunConfig], found: Survey, metric: str
) -> "optuna.Study":
    """Write the ledger afresh from the folders."""
    ledger_path(found.root).unlink(missing_ok=True)
    return sync(title, configs, found, metric)


def open_journal(path: Path) -> "optuna.storages.JournalStorage":
    """The journal file as a storage; two processes may have it open."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(path)))


def direction(metric: str) -> Literal["minimize", "maximize"]:
    """Losses are minimised, everything else is maximised."""
    return "minimize" if "loss" in metric else "maximize"


def varied(configs: Sequence[RunConfig]) -> dict[str, list[Any]]:
    """The dotted fields in which the runs differ, with their values in order."""
    flat = [flatten(config) for config in configs]
    names = dict.fromkeys(name for values in flat for name in values)
    found = {name: list(dict.fromkeys(v.get(name) for v in flat)) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def _study(title: str, root: Path, metric: str) -> "optuna.Study":
    """Open the study; only a new one is written to the file."""
    import optuna

    storage = open_journal(ledger_path(root))
    try:
        return optuna.load_study(study_name=title, storage=storage)
    except KeyError:
        return optuna.create_study(
            study_name=title, storage=storage, direction=direction(metric)
        )


def _follow(
    study: "optuna.Study",
    trial: "FrozenTrial | None",
    config: RunConfig,
    run: Standing,
    root: Path,
    metric: str,
    axes: dict[str, list[Any]],
) -> None:
    """Make the newest trial of a run agree with its folder."""
    from optuna.trial import TrialState

    wanted = {
        "new": TrialState.WAITING,
        "stopped": TrialState.WAITING,
        "running": TrialState.RUNNING,
        "done": TrialState.COMPLETE,
        "failed": TrialState.FAIL,
    }[run.state]
    value = None
    if wanted == TrialState.COMPLETE:
        value = headline(RunFolder(root, run.run_id)).get(metric)
        if value is None:  # no such metric, or not a finite one
            wanted = TrialState.FAIL
    if trial is not None and trial.state == wanted:
        return
    # A trial that has ended stays ended: a retried run gets a new one.
    if trial is not None and not trial.state.is_finished():
        if wanted != TrialState.WAITING:  # a run that stopped stays "running" there
            study._storage.set_trial_state_values(
                trial._trial_id, wanted, None if value is None else [value]
            )
        return
    study.add_trial(_trial(config, axes, wanted, value, run))


def _trial(
    config: RunConfig,
    axes: dict[str, list[Any]],
    state: Any,
    value: float | None,
    run: Standing,
) -> "FrozenTrial":
    """One grid point: categorical over the values that the sweep has for each field."""
    from optuna.distributions import CategoricalDistribution
    from optuna.trial import TrialState, create_trial

    flat = flatten(config)
    params = {name: flat.get(name) for name in axes}
    attributes: dict[str, Any] = {"run_id": run.run_id}
    if run.error:
        attributes["error"] = run.error
    found = create_trial(
        state=state,
        value=value,
        params=params,
        distributions={n: CategoricalDistribution(v) for n, v in axes.items()},
        user_attrs=attributes,
        system_attrs={"fixed_params": params} if state == TrialState.WAITING else None,
    )
    if state != TrialState.WAITING and found.datetime_start is None:
        found.datetime_start = datetime.now()
    return found


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Two launches of one sweep take turns, so that no point gets two trials."""
    with (root / ".ledger.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

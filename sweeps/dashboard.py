"""A sweep as an Optuna study in memory, built from its run folders on each call.

Every run is a trial: its parameters are the fields in which the runs differ, its value is
the sweep's metric if the run is done. Nothing is written.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from sweeps.cells import flat_fields
from sweeps.survey import read_metrics
from sweeps.sweep_metric import (
    declared_metric,
    default_metric,
    scores_by_name,
    value_of,
)
from synth.config import RunConfig
from synth.run.standing import Standing, Survey
from synth.run.states import TROUBLED
from synth.run.store import RunFolder

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MISSING = "This needs the dashboard extra: pip install 'synth[dashboard]'."


def direction(
    metric: str, configs: Sequence[RunConfig]
) -> Literal["minimize", "maximize"]:
    """The direction that the tasks declare; "maximize" if none declares the metric.

    Raises `ValueError` when two of the tasks disagree.
    """
    directions = set()
    for task in dict.fromkeys(config.task for config in configs):
        name = metric or default_metric(task)
        declared = declared_metric(name, task)
        directions |= {declared.better} if declared else set()
    if directions >= {"lower", "higher"}:
        raise ValueError(
            "The tasks of this sweep disagree on which direction of their metrics is "
            "better, so they share no dashboard. Take a sweep of one task."
        )
    return "minimize" if directions == {"lower"} else "maximize"


def build_study(
    title: str, configs: Sequence[RunConfig], standings: Survey[Standing], metric: str
) -> "optuna.Study":
    """Build the study of a sweep; `standings` has the runs of `configs`, in order."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name=title, direction=direction(metric, configs))
    study.set_user_attr("metric", metric)
    flat = [flat_fields(config) for config in configs]
    axes = _axes(flat)
    defaults = [default_metric(config.task) for config in configs]
    study.add_trials(
        [
            _trial(values, axes, run, _value(standings, run, metric or own))
            for values, run, own in zip(flat, standings.runs, defaults, strict=True)
        ]
    )
    return study


def serve(study: "optuna.Study", host: str, port: int) -> None:
    """Show the study in a browser until the process is interrupted.

    Raises `ValueError` when optuna-dashboard is not installed.
    """
    try:
        from optuna_dashboard import run_server
    except ImportError:
        raise ValueError(MISSING) from None
    run_server(study._storage, host=host, port=port)


def _axes(flat: Sequence[dict[str, Any]]) -> "dict[str, BaseDistribution]":
    """The fields in which the runs differ, by dotted name, with their distributions."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    names = dict.fromkeys(name for values in flat for name in values)
    axes: dict[str, BaseDistribution] = {}
    for name in names:
        values: list[Any] = list(dict.fromkeys(fields.get(name) for fields in flat))
        if len(values) < 2:
            continue
        kinds = set(map(type, values))
        # A range, since every trial keeps a copy: ten thousand seeds stay small.
        if kinds == {int}:
            axes[name] = IntDistribution(min(values), max(values))
        elif kinds <= {int, float}:
            axes[name] = FloatDistribution(min(values), max(values))
        else:
            axes[name] = CategoricalDistribution(values)
    return axes


def _value(standings: Survey[Standing], run: Standing, metric: str) -> float | None:
    """The metric of a finished run; `None` where it is missing or not finite."""
    if run.state != "done":
        return None
    try:
        values = scores_by_name(read_metrics(RunFolder(standings.root, run.run_id)))
    except (OSError, ValueError):
        return None
    value = value_of(values, metric)
    return float(value) if isinstance(value, (int, float)) else None


def _trial(
    values: dict[str, Any],
    axes: "dict[str, BaseDistribution]",
    run: Standing,
    value: float | None,
) -> "FrozenTrial":
    from optuna.trial import TrialState, create_trial

    if run.state == "done":
        state = TrialState.FAIL if value is None else TrialState.COMPLETE
    elif run.state in TROUBLED:
        state = TrialState.FAIL
    else:
        running = run.state == "running"
        state = TrialState.RUNNING if running else TrialState.WAITING
    attributes = {"run_id": run.run_id} | ({"error": run.error} if run.error else {})
    return create_trial(
        state=state,
        value=value,
        params={name: values.get(name) for name in axes},
        distributions=axes,
        user_attrs=attributes,
    )

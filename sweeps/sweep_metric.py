"""The metric of a sweep: it is displayed, and training values are chosen by it.

It is written `[SUITE/]METRIC[/SLICE]`. A metric alone means the whole of the first test
set that has it, or else its slice of the next token. Where nobody names one, it is the
first that the task declares, on the part that says whether it was learned.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from synth.config import RunConfig
from synth.identity import nearest
from synth.metrics import TRAINING_METRICS, Metric, metric_of, split_metric
from synth.tasks.task import TaskConfig, suite_in

Better = Literal["higher", "lower"]
Rows = Sequence[dict[str, Any]]
"""Measurements of a run, as the rows of its `metrics.jsonl`."""


def default_metric(task: TaskConfig) -> str:
    """The first metric with a direction that a task declares; "" if there is none.

    It is read on its `Metric.part`: choice points are judged at choices.
    """
    first = next((metric for metric in task.metrics if metric.better), None)
    return "/".join(filter(None, (first.name, first.part))) if first else ""


def declared_metric(metric: str, task: TaskConfig | type[TaskConfig]) -> Metric | None:
    """What the metric of a sweep means; None if neither the task nor training has it."""
    names = [one.name for one in (*TRAINING_METRICS, *task.metrics)]
    return metric_of([task.metrics], split_metric(metric, names)[1])


def validation_metric(
    metric: str, config: RunConfig, said_by: str = "--metric"
) -> tuple[str, Better]:
    """The name of a metric on validation data, and its direction.

    An empty `metric` means the default of the run's task; `said_by` is who named it.

    Raises `ValueError` when the task does not declare the metric, or declares it
    without a direction.
    """
    task = type(config.task)
    given, metric = metric, metric or default_metric(config.task)
    metrics = {one.name: one.better for one in (*TRAINING_METRICS, *task.metrics)}
    if not metric:
        raise ValueError(
            f"The task {task.kind} declares no metric with a direction, so name one: "
            "--metric test/loss/horizon=1, or @sweep(metric='test/loss/horizon=1')."
        )
    suite, name, slice_ = split_metric(metric, metrics)
    declared = metric_of([task.metrics], name)
    if declared is None:
        raise ValueError(
            f"{said_by} {given!r}: the task {task.kind} declares no metric {name!r}. "
            f"{nearest(name, filter(metrics.get, metrics))}"
        )
    if declared.better is None:
        raise ValueError(
            f"{said_by} {given!r}: {name} is only a reference for other metrics, so no "
            "direction is better. Choose one of those."
        )
    suite = suite_in(suite, "validation") if suite else ""
    return "/".join(filter(None, (suite, name, slice_))), declared.better


def measured_metric(metric: str, config: RunConfig) -> str:
    """The name of a metric as a run measures it: trials do so on validation data.

    An empty `metric` means the default of the run's task.
    """
    metric = metric or default_metric(config.task)
    names = [one.name for one in (*TRAINING_METRICS, *config.task.metrics)]
    suite, name, slice_ = split_metric(metric, names)
    suite = suite_in(suite, config.split) if suite else ""
    return "/".join(filter(None, (suite, name, slice_)))


def values_by_name(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """The last value of each `suite/metric` and `suite/metric/slice`."""
    keys = ("suite", "metric", "slice")
    return {"/".join(filter(None, (r[k] for k in keys))): r["value"] for r in rows}


def value_of(values: Mapping[str, float | None], metric: str) -> float | None:
    """The value of a metric of a run; None if it is missing or not finite."""
    name = _full_name(values, metric)
    return None if name is None else values[name]


def why_unmeasured(values: Mapping[str, float | None], metric: str) -> str | None:
    """An error message if a finished run did not measure the metric, else None."""
    if _full_name(values, metric) is not None:
        return None
    return (
        f"--metric {metric!r}: these runs do not measure it. {nearest(metric, values)}"
    )


def _full_name(names: Iterable[str], metric: str) -> str | None:
    """The name of a metric with suite and slice, as a run's measurements have it."""
    if metric in names:
        return metric
    for wanted in (metric, f"{metric}/horizon=1"):
        for name in names:
            suite, _, rest = name.partition("/")
            if rest == wanted and suite != "train":
                return name
    return None

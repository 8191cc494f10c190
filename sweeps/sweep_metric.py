"""The metric of a sweep: it is displayed, and training values are chosen by it.

It is written `[mean:][SUITE/]METRIC[/SLICE]`. A metric alone means the whole of the first
test set that has it, or else its slice of the next token. Where nobody names one, it is
the first that the task declares, on the part that says whether it was learned. With
`mean:` it is the mean over a run's evaluations, else the last one: where all runs learn
a task in the end, only how soon they do tells them apart. `mean:` alone is that of the
task's own metric.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from synth.config import RunConfig
from synth.identity import nearest
from synth.metrics import TRAINING_METRICS, Better, Metric, metric_of, split_metric
from synth.tasks.task import TaskConfig, suite_in

Rows = Sequence[dict[str, Any]]
"""Measurements of a run, as the rows of its `metrics.jsonl`."""
MEAN = "mean:"
"""Begins the name of a mean over the evaluations of a run."""


def split_mean(metric: str) -> tuple[str, str]:
    """`MEAN`, or "" for the last evaluation; and the metric without it."""
    prefix = MEAN if metric.startswith(MEAN) else ""
    return prefix, metric.removeprefix(prefix)


def default_metric(task: TaskConfig) -> str:
    """The first metric with a direction that a task declares; "" if there is none.

    It is read on its `Metric.part`: choice points are judged at choices.
    """
    first = next((metric for metric in task.metrics if metric.better), None)
    return "/".join(filter(None, (first.name, first.part))) if first else ""


def _with_default(metric: str, task: TaskConfig) -> tuple[str, str]:
    """`split_mean`, with the default of the task where no metric is named."""
    prefix, named = split_mean(metric)
    return prefix, named or default_metric(task)


def declared_metric(metric: str, task: TaskConfig | type[TaskConfig]) -> Metric | None:
    """What the metric of a sweep means; None if neither the task nor training has it."""
    names = [one.name for one in (*TRAINING_METRICS, *task.metrics)]
    return metric_of([task.metrics], split_metric(split_mean(metric)[1], names)[1])


def validation_metric(
    metric: str, config: RunConfig, said_by: str = "--metric"
) -> tuple[str, Better]:
    """The name of a metric on validation data, and its direction.

    An empty `metric`, or `MEAN` alone, means the default of the run's task; `said_by` is
    who named it.

    Raises `ValueError` when the task does not declare the metric, or declares it
    without a direction.
    """
    task = type(config.task)
    given = metric
    prefix, metric = _with_default(metric, config.task)
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
    return prefix + "/".join(filter(None, (suite, name, slice_))), declared.better


def measured_metric(metric: str, config: RunConfig) -> str:
    """The name of a metric as a run measures it: trials do so on validation data.

    An empty `metric` means the default of the run's task.
    """
    prefix, metric = _with_default(metric, config.task)
    names = [one.name for one in (*TRAINING_METRICS, *config.task.metrics)]
    suite, name, slice_ = split_metric(metric, names)
    suite = suite_in(suite, config.split) if suite else ""
    return prefix + "/".join(filter(None, (suite, name, slice_)))


def values_by_name(rows: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """The last value of each `suite/metric` and `suite/metric/slice`."""
    return {_name_of(row): row["value"] for row in rows}


def scores_by_name(rows: Rows) -> dict[str, float | None]:
    """`values_by_name`, and with `MEAN` before the name the mean of all its values.

    A mean is None if a value is missing. The rows are in the order of their steps.
    """
    values: dict[str, list[float | None]] = {}
    for row in rows:
        values.setdefault(MEAN + _name_of(row), []).append(row["value"])
    means: dict[str, float | None] = {}
    for name, given in values.items():
        finite = [value for value in given if value is not None]
        means[name] = sum(finite) / len(finite) if len(finite) == len(given) else None
    return values_by_name(rows) | means


def _name_of(row: dict[str, Any]) -> str:
    return "/".join(filter(None, (row[key] for key in ("suite", "metric", "slice"))))


def value_of(values: Mapping[str, float | None], metric: str) -> float | None:
    """The value of a metric of a run; None if it is missing or not finite."""
    name = _full_name(values, metric)
    return None if name is None else values[name]


def why_unmeasured(values: Mapping[str, float | None], metric: str) -> str | None:
    """An error message if a finished run did not measure the metric, else None."""
    if _full_name(values, metric) is not None:
        return None
    names = [n for n in values if not split_mean(n)[0] and "position=" not in n]
    hint = nearest(split_mean(metric)[1], names)
    return f"--metric {metric!r}: these runs do not measure it. {hint}"


def _full_name(names: Iterable[str], metric: str) -> str | None:
    """The name of a metric with suite and slice, as a run's measurements have it."""
    if metric in names:
        return metric
    prefix, metric = split_mean(metric)
    for wanted in (metric, f"{metric}/horizon=1"):
        for name in names:
            own, whole = split_mean(name)
            suite, _, rest = whole.partition("/")
            if own == prefix and rest == wanted and suite != "train":
                return name
    return None

"""The metric of a sweep: what is shown of runs, and what values of training are chosen by.

It is written `suite/metric`, `suite/metric/slice`, or `metric` alone: then it is that of
the first test set that has it, over all of it, or else of the next token.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from synth.config import RunConfig
from synth.identity import nearest
from synth.metrics import TRAINING_METRICS
from synth.tasks.task import TaskConfig, metric_of, suite_in

Better = Literal["higher", "lower"]
Rows = Sequence[dict[str, Any]]
"""Measurements of a run, as in its `metrics.jsonl`."""


def default_metric(task: TaskConfig) -> str:
    """The first metric with a direction that a task declares; empty if there is none."""
    return next((metric.name for metric in task.metrics if metric.better), "")


def chosen_by(metric: str, config: RunConfig) -> tuple[str, Better]:
    """The metric by its name on validation data, and which way is better.

    An empty one is the default of the run's task.

    Raises
    ------
    ValueError
        When the task does not declare it, or says that no direction is better.
    """
    task = type(config.task)
    given, metric = metric, metric or default_metric(config.task)
    known = [one.name for one in (*TRAINING_METRICS, *task.metrics) if one.better]
    if not metric:
        raise ValueError(
            f"The task {task.kind} declares no metric with a direction, so name one: "
            "--metric test/loss/horizon=1, or @sweep(metric='test/loss/horizon=1')."
        )
    suite, name, *rest = metric.split("/", 2) if "/" in metric else ("", metric)
    found = metric_of([task], name)
    if found is None:
        raise ValueError(
            f"--metric {given!r}: the task {task.kind} declares no metric {name!r}. "
            f"{nearest(name, dict.fromkeys(known))}"
        )
    if found.better is None:
        raise ValueError(
            f"--metric {given!r}: neither a high nor a low {name} is better; it is a "
            "reference for other metrics. Choose one of those."
        )
    suites = [suite_in(suite, "validation")] if suite else []
    return "/".join([*suites, name, *rest]), found.better


def by_name(rows: Rows) -> dict[str, float | None]:
    """The last value of each `suite/metric` and `suite/metric/slice`."""
    keys = ("suite", "metric", "slice")
    return {"/".join(filter(None, (r[k] for k in keys))): r["value"] for r in rows}


def value_of(values: Mapping[str, float | None], metric: str) -> float | None:
    """The value of a metric among those of a run; None where it has no finite one."""
    name = _full_name(values, metric)
    return None if name is None else values[name]


def why_unmeasured(values: Mapping[str, float | None], metric: str) -> str | None:
    """What is wrong with a metric that a finished run did not measure."""
    if _full_name(values, metric) is not None:
        return None
    return (
        f"--metric {metric!r} is not what these runs measure. {nearest(metric, values)}"
    )


def _full_name(names: Iterable[str], metric: str) -> str | None:
    """The name that a metric has among those of a run, suite and slice included."""
    if "/" in metric:
        return metric if metric in names else None
    for wanted in (metric, f"{metric}/horizon=1"):
        for name in names:
            suite, _, rest = name.partition("/")
            if rest == wanted and suite != "train":
                return name
    return None

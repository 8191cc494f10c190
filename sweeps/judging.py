"""What values of training are chosen by: a metric on the validation split."""

from collections.abc import Sequence
from typing import Any, Literal

from synth.config import RunConfig
from synth.identity import nearest, require
from synth.metrics import TRAINING_METRICS
from synth.tasks.task import metric_of, suite_in

Better = Literal["higher", "lower"]


def chosen_by(metric: str, configs: Sequence[RunConfig]) -> tuple[str, Better]:
    """The metric by its name on validation data, and which way is better.

    Raises
    ------
    ValueError
        When the tasks do not declare it, or say that no direction is better.
    """
    require("/" in metric, "--metric", "suite/metric or suite/metric/slice", metric)
    suite, name, *rest = metric.split("/", 2)
    tasks = [type(config.task) for config in configs]
    found = metric_of(tasks, name)
    if found is None:
        every = (one for task in tasks for one in (*TRAINING_METRICS, *task.metrics))
        known = [one.name for one in every if one.better]
        kinds = ", ".join(dict.fromkeys(task.kind for task in tasks))
        raise ValueError(
            f"--metric {metric!r}: the task {kinds} declares no metric {name!r}. "
            f"{nearest(name, dict.fromkeys(known))}"
        )
    if found.better is None:
        raise ValueError(
            f"--metric {metric!r}: neither a high nor a low {name} is better; it is a "
            "reference for other metrics. Choose one of those."
        )
    return "/".join([suite_in(suite, "validation"), name, *rest]), found.better


Rows = Sequence[dict[str, Any]]
"""Measurements of a run, as in its `metrics.jsonl`."""


def value_of(rows: Rows, metric: str) -> float | None:
    """The last value of `suite/metric` or `suite/metric/slice`."""
    for row in reversed(rows):
        if _name(row) == metric:
            value: float | None = row["value"]
            return value
    return None


def why_unmeasured(rows: Rows, metric: str) -> str | None:
    """What is wrong with a metric that a finished run did not measure."""
    names = dict.fromkeys(_name(row) for row in rows)
    if metric in names:
        return None
    return (
        f"--metric {metric!r} is not what these runs measure. {nearest(metric, names)}"
    )


def _name(row: dict[str, Any]) -> str:
    """`suite/metric`, and `/slice` where there is one."""
    return "/".join(filter(None, (row["suite"], row["metric"], row["slice"])))

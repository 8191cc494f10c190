"""The long form of results: one row per measured number.

`SCHEMA` is the only list of columns; writing, reading and the tables of `analysis` all
use it. Values are finite or null, since JSON has no NaN. A `Metric` says what a number
means and which direction is better; tasks declare theirs.
"""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from synth.identity import require

Better = Literal["higher", "lower"]
"""Which direction of a metric is success."""
HEADLINE_SLICES = ("", "horizon=1")
"""A whole suite, and the next token: what stands for a run in a line or a result."""
PROBE = "probe/"
"""Prefix of the suites of probes, which measure other examples under the same names."""
SCHEMA: dict[str, type] = {
    "run_id": str,
    "step": int,  # optimiser steps taken when the number was measured
    "tokens": int,  # training positions seen by then
    "suite": str,  # what was measured on: "train", "in_domain", "out_of_domain", ...
    "metric": str,  # "exact_match", "loss", ...
    "slice": str,  # the part of the suite: "operations=3", "horizon=2", "layer=4", ""
    "value": float,  # in the metric's unit: nats for losses, a share for accuracies
    "count": int,  # how many items the value is a mean over
}


@dataclass(frozen=True)
class Metric:
    """What the numbers of one name mean, declared once where they are measured."""

    name: str
    unit: str
    """"share", "nats", or empty for a number without a unit."""
    better: Better | None
    """The direction of success; None for references, which no model changes."""
    floor: float | str | None = None
    """The lowest value that means something: what guessing scores, or for a loss the
    exact optimum. A number, or the metric of the same task that measures it."""
    ceiling: float | str | None = None
    """The highest such value, in the same form. Both are those of the next token, and None
    where no exact value follows from the task."""
    learned: float | None = None
    """The level at which a run counts as having learned what is measured; None where
    learning is no event."""
    part: str = ""
    """The slice that says whether it was learned, where that is not all of the suite."""

    def __post_init__(self) -> None:
        """Refuse a direction that is none: everything that compares would go wrong."""
        known = self.better in ("higher", "lower", None)
        allowed = "'higher', 'lower' or None"
        require(known, f"Metric {self.name!r}: better", allowed, self.better)


TRAINING_METRICS = (
    Metric("loss", "nats", "lower", floor=0.0),
    Metric("gradient_norm", "", None, floor=0.0),
)
"""Of the suite "train", the same for every task."""


def metric_of(by_task: Iterable[Sequence[Metric]], name: str) -> Metric | None:
    """What a metric of tasks, or of training, means; None if nobody declares it.

    `by_task` holds the metrics that each task declares.

    Raises `ValueError` when two of the tasks measure other things under this name.
    """
    of_tasks = [one for metrics in by_task for one in metrics if one.name == name]
    declared = of_tasks or [one for one in TRAINING_METRICS if one.name == name]
    for other in declared:
        if other.better != declared[0].better:
            raise ValueError(
                f"Tasks disagree on what is better of the metric {name!r}: "
                f"{declared[0].better} and {other.better}. Look at one task at a time."
            )
    return declared[0] if declared else None


def split_metric(word: str, metrics: Collection[str]) -> tuple[str, str, str]:
    """Suite, metric and slice of `[SUITE/]METRIC[/SLICE]`; "" for what it does not name.

    The metric is the word that is one of `metrics`. If none is, it is the last one that
    is not of the form `name=value`, and the caller refuses it.

    >>> split_metric("probe/test/loss/layer=1", ["loss"])
    ('probe/test', 'loss', 'layer=1')
    >>> split_metric("loss", ["loss"]), split_metric("test/lost/layer=1", ["loss"])
    (('', 'loss', ''), ('test', 'lost', 'layer=1'))
    """
    words = word.split("/")
    guess = max(len(words) - 1 - ("=" in words[-1]), 0)
    place = next((i for i, one in enumerate(words) if one in metrics), guess)
    return "/".join(words[:place]), words[place], "/".join(words[place + 1 :])


@dataclass(frozen=True)
class Score:
    """One measured number, before it is known which run and step it belongs to."""

    suite: str
    metric: str
    slice: str
    value: float
    count: int

    @classmethod
    def mean(cls, suite: str, metric: str, slice_: str, values: ArrayLike) -> "Score":
        """The mean of the values, whose number is the count; NaN of nothing."""
        given = np.asarray(values)
        mean = float(given.mean(dtype=np.float64)) if given.size else math.nan
        return cls(suite, metric, slice_, mean, given.size)

    def to_dict(self) -> dict[str, Any]:
        """The entries of a row; a value that is not finite becomes null."""
        value = float(self.value)
        finite = {"value": value if math.isfinite(value) else None}
        return vars(self) | finite | {"count": int(self.count)}


@dataclass(frozen=True)
class Measurement:
    """One row of `metrics.jsonl`."""

    run_id: str
    step: int
    tokens: int
    suite: str
    metric: str
    slice: str
    value: float | None
    count: int

    @property
    def name(self) -> str:
        """`suite/metric`, or `suite/metric/slice`."""
        return "/".join(filter(None, (self.suite, self.metric, self.slice)))

    @classmethod
    def of(cls, score: Score, run_id: str, step: int, tokens: int) -> "Measurement":
        """The row for `score`; a value that is not finite becomes null."""
        return cls(run_id, step, tokens, **score.to_dict())


assert [field.name for field in fields(Measurement)] == list(SCHEMA)


def to_lines(measurements: Iterable[Measurement]) -> str:
    """Whole JSON lines, keys in schema order."""
    rows = ({name: getattr(row, name) for name in SCHEMA} for row in measurements)
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def from_line(line: str) -> Measurement:
    """The row written in one line; raises `ValueError` for anything else."""
    row: Any = json.loads(line)
    if not isinstance(row, dict) or list(row) != list(SCHEMA):
        raise ValueError(f"expected the columns {', '.join(SCHEMA)}; got {line:.60}")
    return Measurement(**row)


class LossSums:
    """Sums of losses and norms of each lane since its last row of metrics.

    The sums are part of a checkpoint, so a run that was interrupted between two rows
    writes the same means.
    """

    def __init__(self, num_lanes: int, terms: Sequence[str]) -> None:
        self._terms = list(terms)
        self._losses_KN = [[0.0] * len(terms) for _ in range(num_lanes)]
        self._norms_K = [0.0] * num_lanes
        self._counts_K = [0] * num_lanes

    def add(self, lane: int, losses: Sequence[float], norm: float) -> None:
        """One step of a lane: the loss of each term, the gradient norm."""
        for index, loss in enumerate(losses):
            self._losses_KN[lane][index] += loss
        self._norms_K[lane] += norm
        self._counts_K[lane] += 1

    def any(self) -> bool:
        """Whether any lane has added a step."""
        return any(self._counts_K)

    def mean_losses(self, lanes: Sequence[int]) -> list[float]:
        """Mean over steps and lanes of each term; NaN where there is nothing."""
        kept = [lane for lane in lanes if self._counts_K[lane]]
        return [
            float(np.mean([self._losses_KN[k][n] / self._counts_K[k] for k in kept]))
            if kept
            else math.nan
            for n in range(len(self._losses_KN[0]))
        ]

    def close(self, lane: int) -> list[Score]:
        """The means of a lane as scores; its sums go back to zero."""
        scores, count = [], self._counts_K[lane]
        if count:
            for term, total in zip(self._terms, self._losses_KN[lane], strict=True):
                scores.append(Score("train", "loss", term, total / count, count))
            norm = self._norms_K[lane] / count
            scores.append(Score("train", "gradient_norm", "", norm, count))
        self._losses_KN[lane] = [0.0] * len(self._losses_KN[lane])
        self._norms_K[lane], self._counts_K[lane] = 0.0, 0
        return scores

    def saved(self, lane: int) -> dict[str, list[float]]:
        """One lane's sums, for a checkpoint."""
        return {
            "losses": self._losses_KN[lane],
            "norm": [self._norms_K[lane]],
            "count": [float(self._counts_K[lane])],
        }

    def restore(self, lane: int, saved: dict[str, list[float]]) -> None:
        """Set a lane's sums to those of a checkpoint."""
        self._losses_KN[lane] = list(saved["losses"])
        self._norms_K[lane] = saved["norm"][0]
        self._counts_K[lane] = int(saved["count"][0])

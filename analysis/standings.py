"""Which value of a field leads on which task: the contrasts of several tasks together.

Each task has its own metric and is a family of tests of its own: Holm's correction is over
the rows of a task.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from analysis.configurations import format_value
from analysis.contrasts import Contrasts
from analysis.views import Query, select


@dataclass(frozen=True)
class Standings:
    """The contrasts of each task by its name, and notes on the tasks that have none."""

    by_task: dict[str, Contrasts]
    notes: list[str]

    @property
    def table(self) -> pl.DataFrame:
        """The tables of all tasks below each other, with `task` and `metric` first.

        Where baselines differ, `minus` names that of each task.
        """
        parts = [
            one.table.select(
                pl.lit(task).alias("task"),
                pl.lit(one.measure.title).alias("metric"),
                pl.lit(format_value(one.baseline)).alias("minus"),
                *one.table.columns,
            )
            for task, one in self.by_task.items()
        ]
        table = pl.concat(parts, how="vertical_relaxed")
        return table.drop("minus") if self.same_base else table

    @property
    def title(self) -> str:
        """The number of tasks, when their metrics were read, and the baseline."""
        first = self.first
        count = len(self.by_task)
        return f"{count} task{'s' * (count > 1)}{first.moment}, minus {self.base}"

    @property
    def base(self) -> str:
        """The baseline in words: one of all tasks, or that each has its own."""
        if self.same_base:
            return self.first.base
        return f"the baseline {self.first.column} of each task"

    @property
    def same_base(self) -> bool:
        """Whether all tasks have the same baseline."""
        return len({one.base for one in self.by_task.values()}) == 1

    @property
    def first(self) -> Contrasts:
        """The contrasts of one task: what varies is that of all."""
        return next(iter(self.by_task.values()))


def tasks_of(frame: pl.DataFrame, query: Query) -> list[str]:
    """The tasks of the runs that a query is about, by name."""
    return select(frame, query, one_task=False).done["task"].unique().sort().to_list()


def compute_standings(
    tasks: Sequence[str], query: Query, compare: Callable[[Query], Contrasts]
) -> Standings:
    """The contrasts of each task: what `compare` answers to the query about its runs.

    The metric is that of the query, or the first of each task if it names none. A task
    that `compare` refuses with `ValueError` gets a note with the reason.

    Raises `ValueError` when no task can be compared.
    """
    found: dict[str, Contrasts] = {}
    notes = []
    for task in tasks:
        try:
            one = compare(replace(query, where=(*query.where, f"task={task}")))
        except ValueError as error:
            notes.append(f"{task} is left out: {error}")
            continue
        found[task] = one
        notes += [f"{task}: {note}" for note in one.notes]
    if not found:
        raise ValueError("No task can be compared. " + " ".join(notes))
    return Standings(found, notes)

"""A question to a table: one number of each run, against fields that a person names."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from analysis.comparisons import COSTS, with_costs
from analysis.fields import MEASURED, NOT_ARM, Fields, list_values
from analysis.measures import (
    Measure,
    choose_measure,
    headline,
    slice_keys,
)
from analysis.selection import at_end, usable
from analysis.settings import EVALUATED, fields_of
from synth.identity import canonical_json
from synth.metrics import split_metric

ALONG = ("step", *COSTS)
"""Columns against which all evaluations are drawn: learning curves."""
WHOLE = "whole"
"""The column of a view without panels."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which runs and which number of theirs are meant."""

    metric: str | None = None
    """`[SUITE/]METRIC[/SLICE]`; None means the first metric that the task declares."""
    where: Sequence[str] = ()
    """Conditions FIELD=VALUE on the runs."""


@dataclass(frozen=True)
class Runs:
    """Finished runs of one task, and what of them a query is about."""

    done: pl.DataFrame
    fields: Fields
    suite: str
    """The suite that the query names; "" if it names none."""
    metric: str
    slice: str
    keys: list[str]
    """Names of the metric's slices, which can be axes like fields."""
    notes: list[str]

    def column(self, name: str) -> str:
        """The column that a name means."""
        return self.fields.resolve(name, self.keys)

    def measure(self, query: Query, columns: Sequence[str]) -> Measure:
        """The measure of a query whose axes are `columns`.

        Raises
        ------
        ValueError
            When no run has measured it, and when the query names a metric alone that
            was measured on several test sets, none of which is called `test`.
        """
        measure = choose_measure(
            self.done,
            self.metric,
            self.suite or None,
            self.slice,
            keys=[name for name in dict.fromkeys(columns) if name in self.keys],
            over_suites="suite" in columns,
        )
        if measure.also and not self.suite:
            suite, part = measure.suites[0], self.slice and f"/{self.slice}"
            tests = [s for s in (suite, *measure.also) if "validation" not in s]
            words = [f"--metric {one}/{self.metric}{part}" for one in tests]
            if query.metric and suite != "test" and len(tests) > 1:
                raise ValueError(
                    f"{query.metric} was measured on several test sets: write "
                    f"{' or '.join(words)}."
                )
            self.notes.append(
                f"{self.metric} on {suite}; also measured on {', '.join(measure.also)}: "
                f"--metric SUITE/{self.metric}."
            )
        return measure

    def with_fields(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows of the runs with the fields among `columns` added."""
        frame = self.done
        for name in columns:
            if self.is_field(name):
                frame = self.fields.add(frame, name)
        return frame

    def is_field(self, column: str) -> bool:
        """Whether a run has one value of it."""
        return column not in (*MEASURED, *self.keys, WHOLE)


def select(frame: pl.DataFrame, query: Query, one_task: bool = True) -> Runs:
    """The finished runs that a query is about.

    Raises
    ------
    ValueError
        When no run is finished, none meets the conditions, or there are several tasks.
    """
    notes = []
    done = usable(frame).filter(pl.col("state") == "done")
    others = frame.unique("run_id").filter(pl.col("state") != "done")["state"]
    counts = [f"{n} {state}" for state, n in others.value_counts(sort=True).iter_rows()]
    if done.is_empty():
        states = ", ".join(counts) or "there are no runs"
        if "done" in frame["state"]:
            states = "the configurations of finished runs could not be read"
        raise ValueError(f"The sweep has no finished run: {states}. Train it first.")
    if counts:
        notes.append(f"Runs that are not finished are left out: {', '.join(counts)}.")
    done = Fields(done).where(done, query.where)
    fields, tasks = Fields(done), done["task"].unique().sort().to_list()
    if len(tasks) > 1 and one_task:
        raise ValueError(
            f"The runs are of several tasks: {', '.join(tasks)}. Choose one: --where "
            f"task={tasks[0]}."
        )
    measured = done["metric"].drop_nulls().unique().to_list()
    suite, metric, part = split_metric(query.metric or headline(done), measured)
    return Runs(done, fields, suite, metric, part, slice_keys(done, metric), notes)


@dataclass(frozen=True)
class View:
    """What a figure draws: one row a run and x, of runs that differ in seeds alone."""

    rows: pl.DataFrame
    x: str
    hue: str
    panel: str
    measure: Measure
    notes: list[str] = field(default_factory=list)

    @property
    def along(self) -> bool:
        """Whether it is one of learning curves."""
        return self.x in ALONG


def view(
    frame: pl.DataFrame,
    query: Query,
    x: str | None = None,
    hue: str = "arm",
    panel: str | None = None,
    heat: bool = False,
) -> View:
    """The rows behind a figure; nothing is averaged over a field that is on no axis.

    Without `x`: size where there are several, else training tokens where there are
    several evaluations, else the series side by side. In a `heat` map `hue` is the second
    axis, and may be a moment of training as well.

    Raises
    ------
    ValueError
        For an unknown field or measure, and where runs of one place in the figure differ
        in more than their seeds; names the fields.
    """
    runs = _drop_repeats(select(frame, query, one_task="task" not in (x, hue, panel)))
    x = runs.column(x) if x else None
    hue, panel = runs.column(hue), runs.column(panel) if panel else WHOLE
    if hue in MEASURED and hue != "suite" and not heat:
        raise ValueError(f"--hue {hue} is no field of a run. Put it on --x.")
    measure = runs.measure(query, [name for name in (x, hue, panel) if name])
    x = x or _default_x(runs, measure, hue)
    shown = list(dict.fromkeys((x, hue, panel)))
    _refuse_mixtures(runs, [name for name in shown if runs.is_field(name)])
    rows = measure.rows(runs.with_fields(shown)).with_columns(pl.lit("").alias(WHOLE))
    moments = [name for name in (x, hue) if name in ALONG]
    rows = with_costs(rows) if moments else at_end(rows)
    rows = rows.drop_nulls(moments)
    if rows.is_empty():
        raise ValueError(f"{moments[0]} of these runs are unknown. Take --x tokens.")
    rows = rows.drop_nulls([name for name in shown if name != WHOLE])
    return View(rows, x, hue, panel, measure, runs.notes)


def _drop_repeats(runs: Runs) -> Runs:
    """Of runs that differ only in numbers of evaluation examples, keep the largest."""
    configs = {c: fields_of(c) for c in runs.done["config"].unique().sort()}
    largest: dict[str, str] = {}
    for config in sorted(configs, key=lambda c: [configs[c][p] for p in EVALUATED]):
        training = {p: v for p, v in configs[config].items() if p not in EVALUATED}
        largest[canonical_json(training)] = config
    if len(largest) < len(configs):
        runs.notes.append(
            "Left out, as they repeat a training with fewer evaluation examples: "
            f"{len(configs) - len(largest)}."
        )
    kept = runs.done.filter(pl.col("config").is_in(list(largest.values())))
    return replace(runs, done=kept)


def _default_x(runs: Runs, measure: Measure, hue: str) -> str:
    if runs.done["parameters"].n_unique() > 1:
        return "parameters"
    several = measure.rows(runs.done)["step"].n_unique() > 1
    return "tokens" if several else hue


def _refuse_mixtures(runs: Runs, columns: Sequence[str]) -> None:
    """Refuse fields that vary in one place; note those that vary from place to place."""
    frame = runs.with_fields(columns)
    mixed = _mixed(runs, columns)
    if mixed:
        first = next((p for p in mixed if not _mixed(runs, [*columns, p])), mixed[0])
        value = list_values(runs.fields.values(first)[:1])
        raise ValueError(
            "Runs that would share a place differ in more than their seeds: "
            f"{_told(runs, mixed)}. They are not averaged: give --panel {first}, or "
            f"choose with --where {first}={value}."
        )
    beside = runs.fields.beside(frame, columns)
    beside = [path for path in beside if path != NOT_ARM]
    if beside:
        told = _told(runs, beside)
        runs.notes.append(f"Also differs from place to place: {told}.")


def _mixed(runs: Runs, columns: Sequence[str]) -> list[str]:
    return runs.fields.mixed(runs.with_fields(columns), columns)


def _told(runs: Runs, paths: Sequence[str]) -> str:
    """Fields with their first values."""
    return "; ".join(f"{p} ({list_values(runs.fields.values(p))})" for p in paths)

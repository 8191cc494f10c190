"""Selections of a table: one number of each run, against fields that a person names."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from analysis.comparisons import COSTS, with_costs
from analysis.configurations import EVALUATION_SIZES, format_value, read_fields
from analysis.fields import MEASURED, SCORED, Fields, list_values, sort_distinct
from analysis.finished_runs import is_rate, select_runs
from analysis.measures import Measure, choose_measure, first_metric, slice_keys
from analysis.readings import LEARNED, split_reading
from analysis.selection import at_end
from analysis.trajectories import declared
from synth.command_words import as_typed
from synth.families.family import members
from synth.identity import canonical_json
from synth.metrics import split_metric

PROGRESS = ("step", *COSTS)
"""Columns against which all evaluations are drawn as learning curves."""
FEWEST_POINTS = 4
"""With fewer evaluations there is no curve to see."""
WHOLE = "whole"
"""The panel column of a view that has one panel."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """Which runs to take, and which number of each."""

    metric: str | None = None
    """`[mean:|learned:][SUITE/]METRIC[/SLICE]`; without a metric, the first that the task
    declares, with `mean:` or `learned:` on the part that says whether it is learned."""
    where: Sequence[str] = ()
    """Conditions FIELD=VALUE on the runs."""


@dataclass(frozen=True)
class Runs:
    """The finished runs of a query, and the metric that it is about."""

    done: pl.DataFrame
    fields: Fields
    suite: str
    """The suite that the query names; "" if it names none."""
    metric: str
    slice: str
    keys: list[str]
    """Names of the metric's slices, which can be axes like fields."""
    notes: list[str]
    """Remarks for the reader; methods add to them."""
    reading: str = ""
    """`mean:` or `learned:`: one number a run (`readings`)."""

    def column(self, name: str) -> str:
        """The column that a name means, a field or the name of a slice."""
        try:
            return self.fields.resolve(name, self.keys)
        except ValueError:
            metrics = self.done["metric"].unique().sort().to_list()
            others = [one for one in metrics if name in slice_keys(self.done, one)]
            if not others:
                raise
            raise ValueError(
                f"{self.metric} has no slices by {name}. Add --metric "
                f"{' or --metric '.join(others)}."
            ) from None

    def measure(self, query: Query, columns: Sequence[str]) -> Measure:
        """The measure of a query whose axes are `columns`.

        Raises `ValueError` when no run has measured it, and when the query names a
        metric alone that was measured on several test sets, none of which is called
        `test`.
        """
        measure = choose_measure(
            self.done,
            self.metric,
            self.suite or None,
            self.slice,
            keys=[name for name in dict.fromkeys(columns) if name in self.keys],
            over_suites="suite" in columns,
        )
        measure = replace(measure, reading=self.reading)
        self._read_whole_runs(measure, columns)
        others = measure.other_suites
        if others and not self.suite:
            suite, suffix = measure.suites[0], self.slice and f"/{self.slice}"
            tests = [name for name in (suite, *others) if "validation" not in name]
            read = self.reading + "{}/" + self.metric + suffix
            options = [f"--metric {read.format(name)}" for name in tests]
            is_named = split_reading(query.metric or "")[1]
            if is_named and suite != "test" and len(tests) > 1:
                raise ValueError(
                    f"{query.metric} was measured on several test sets: write "
                    f"{' or '.join(options)}."
                )
            self.notes.append(
                f"{self.metric} on {suite}; also measured on {', '.join(others)}: "
                f"--metric {self.reading}SUITE/{self.metric}."
            )
        return measure

    def _read_whole_runs(self, measure: Measure, columns: Sequence[str]) -> None:
        """Refuse a reading along training, or that no run has; note what has none."""
        along = [name for name in columns if name in PROGRESS]
        if self.reading and along:
            raise ValueError(
                f"{self.reading} gives one number of a run, so {along[0]} cannot be an "
                f"axis. Leave out {self.reading} or take another axis."
            )
        cells: list[str] = []
        if self.reading == LEARNED:
            cells = measure.cells_not_learned(self.done)
        events = f"`{as_typed('analysis events')}` takes them into account."
        note = f"Left out, as runs never learned it: {', '.join(cells)}. {events}"
        if self.reading and measure.rows(self.done).is_empty():
            reason = note if cells else "Every run lacks a value at an evaluation."
            raise ValueError(f"No cell is left for {measure.title}. {reason}")
        if cells:
            self.notes.append(note)

    def with_fields(self, columns: Sequence[str]) -> pl.DataFrame:
        """The rows of the runs with the fields among `columns` added."""
        frame = self.done
        for name in columns:
            if self.is_field(name):
                frame = self.fields.add_column(frame, name)
        return frame

    def is_field(self, column: str) -> bool:
        """Whether a run has one value of the column."""
        return column not in (*MEASURED, *self.keys, WHOLE)


def select(
    frame: pl.DataFrame, query: Query, one_task: bool = True, all_rates: bool = False
) -> Runs:
    """The finished runs that a query is about, as `select_runs`, and its metric.

    Raises `ValueError` also when there are several tasks, unless `one_task` is false.
    """
    on_trials = "validation" in (query.metric or "")
    done, notes = select_runs(frame, query.where, all_rates, on_trials)
    fields, tasks = Fields(done), done["task"].unique().sort().to_list()
    if len(tasks) > 1 and one_task:
        raise ValueError(
            f"The runs are of several tasks: {', '.join(tasks)}. Choose one: --where "
            f"task={tasks[0]}."
        )
    if unknown := [kind for kind in tasks if kind not in members("task")]:
        notes.append(
            f"The task {list_values(unknown)} is not known here: its metrics have no unit, "
            "so intervals of shares may leave [0, 1], and no floor is drawn. Name the "
            "file that defines it: --plugin FILE."
        )
    metrics = done["metric"].drop_nulls().unique().to_list()
    reading, wanted = split_reading(query.metric or "")
    suite, metric, slice_ = split_metric(wanted or first_metric(done), metrics)
    if reading and not wanted and (meant := declared(done, metric)):
        slice_ = meant.part
    keys = slice_keys(done, metric)
    return Runs(done, fields, suite, metric, slice_, keys, notes, reading)


@dataclass(frozen=True)
class View:
    """The rows of a figure, one for each run and x.

    Runs of equal x, hue and panel differ in their seeds alone.
    """

    rows: pl.DataFrame
    x: str
    hue: str
    panel: str
    measure: Measure
    notes: list[str] = field(default_factory=list)

    @property
    def is_curves(self) -> bool:
        """Whether the figure has learning curves."""
        return self.x in PROGRESS


def view(
    frame: pl.DataFrame,
    query: Query,
    x: str | None = None,
    hue: str = "arm",
    panel: str | None = None,
    heat: bool = False,
) -> View:
    """Select the rows of a figure. No field varies where rows are averaged.

    Without `x`: size where there are several, else training tokens where there are
    `FEWEST_POINTS` evaluations, else the series side by side. In a `heat` map `hue` is
    the second axis, which may be a column of `PROGRESS` too.

    Raises `ValueError` for an unknown field or measure, and where runs of equal x, hue
    and panel differ in more than their seeds; names the fields.
    """
    axes = (x, hue, panel)
    runs = select(
        frame, query, one_task="task" not in axes, all_rates=any(map(is_rate, axes))
    )
    runs = _drop_repeats(runs)
    x = runs.column(x) if x else None
    hue, panel = runs.column(hue), runs.column(panel) if panel else WHOLE
    if hue in MEASURED and hue != "suite" and not heat:
        raise ValueError(f"--hue {hue} is not a field of a run. Put it on --x.")
    measure = runs.measure(query, [name for name in (x, hue, panel) if name])
    rows = measure.rows(runs.done)
    runs = _keep_measured(runs, rows, measure)
    x = x or _default_x(runs, rows, hue)
    columns = list(dict.fromkeys((x, hue, panel)))
    _refuse_mixtures(runs, [name for name in columns if runs.is_field(name)])
    rows = measure.rows(runs.with_fields(columns)).with_columns(pl.lit("").alias(WHOLE))
    progress = [name for name in (x, hue) if name in PROGRESS]
    rows = with_costs(rows) if progress else at_end(rows)
    rows = rows.drop_nulls(progress)
    if rows.is_empty():
        raise ValueError(f"{progress[0]} of these runs are unknown. Take --x tokens.")
    rows = rows.drop_nulls([name for name in columns if name != WHOLE])
    return View(rows, x, hue, panel, measure, runs.notes)


def _drop_repeats(runs: Runs) -> Runs:
    """Keep the run with most evaluation examples of those that differ only in these."""
    configs = {c: read_fields(c) for c in runs.done["config"].unique().sort()}
    sizes = {c: [fields[p] for p in EVALUATION_SIZES] for c, fields in configs.items()}
    largest: dict[str, str] = {}
    for config in sorted(configs, key=sizes.__getitem__):
        fields = configs[config].items()
        training = {p: v for p, v in fields if p not in EVALUATION_SIZES}
        largest[canonical_json(training)] = config
    if len(largest) < len(configs):
        runs.notes.append(
            "Left out, as they repeat a training with fewer evaluation examples: "
            f"{len(configs) - len(largest)}."
        )
    kept = runs.done.filter(pl.col("config").is_in(list(largest.values())))
    return replace(runs, done=kept)


def _keep_measured(runs: Runs, rows: pl.DataFrame, measure: Measure) -> Runs:
    """The runs that have `rows` of the measure; notes the tasks that have none."""
    drawn = runs.done.filter(pl.col("run_id").is_in(rows["run_id"].implode()))
    if lacking := sorted(set(runs.done["task"]) - set(drawn["task"])):
        tasks = ", ".join(lacking)
        runs.notes.append(f"Left out, as they have no {measure.title}: {tasks}.")
    return replace(runs, done=drawn, fields=Fields(drawn))


def _default_x(runs: Runs, rows: pl.DataFrame, hue: str) -> str:
    if runs.done["parameters"].n_unique() > 1:
        return "parameters"
    return "tokens" if rows["step"].n_unique() >= FEWEST_POINTS else hue


def _refuse_mixtures(runs: Runs, columns: Sequence[str]) -> None:
    """Refuse fields that vary where runs are averaged; note others that vary."""
    frame = runs.with_fields(columns)
    mixed = runs.fields.varying_within(frame, columns)
    if mixed:
        raise ValueError(
            "Runs to be averaged differ in more than their seeds: "
            f"{_list_fields(runs, mixed)}. {_way_out(runs, columns, mixed)}"
        )
    others = runs.fields.varying_besides(frame, columns)
    others = [path for path in others if path != SCORED]
    if others:
        runs.notes.append(
            f"Also differs between the cells: {_list_fields(runs, others)}."
        )


def _way_out(runs: Runs, columns: Sequence[str], mixed: Sequence[str]) -> str:
    """What to give where the fields `mixed` vary between runs of equal `columns`."""
    by_arm = list(dict.fromkeys([*columns, "arm"]))
    left = _varying_within(runs, by_arm)
    enough = [path for path in left if not _varying_within(runs, [*by_arm, path])]
    chosen = enough[:1] or left or ["arm"]
    values = [sort_distinct(runs.with_fields([name])[name])[0] for name in chosen]
    pairs = zip(chosen, map(format_value, values), strict=True)
    where = f"--where {' '.join(map('='.join, pairs))}."
    if left and left != mixed:
        return f"Give --panel arm, and choose with {where}"
    if enough or not left:
        return f"Give --panel {chosen[0]}, or choose with {where}"
    return f"Choose with {where}"


def _varying_within(runs: Runs, columns: Sequence[str]) -> list[str]:
    """Fields, but for seeds, in which runs of equal `columns` differ."""
    return runs.fields.varying_within(runs.with_fields(columns), columns)


def _list_fields(runs: Runs, paths: Sequence[str]) -> str:
    """Fields with their first values."""
    return "; ".join(f"{p} ({list_values(runs.fields.values(p))})" for p in paths)

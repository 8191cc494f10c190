"""Contrasts over any field of a sweep: differences paired by data seed, with a test.

Each value of the field is compared with a baseline, setting by setting: the runs of a pair
differ only in this field and in values that a tuned sweep sets cell by cell.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.arm_names import BASELINE, in_arm_order
from analysis.comparisons import at_equal_cost, holm, pair_by_seed
from analysis.configurations import format_value
from analysis.contrast_notes import explain_no_pairs, note_differences, note_unpaired
from analysis.differences import LEVEL, judge_differences
from analysis.fields import list_values, sort_distinct
from analysis.finished_runs import is_rate
from analysis.measures import Measure
from analysis.modes import BOUNDS, span_of
from analysis.selection import at_end
from analysis.settings import settings_of, with_setting
from analysis.views import Query, Runs, select
from synth.identity import first_few


@dataclass(frozen=True)
class Contrasts:
    """A table of differences, a row for each setting and value, with its measure."""

    table: pl.DataFrame
    measure: Measure
    column: str
    baseline: Any
    at: str | None
    notes: list[str]
    over: tuple[str, ...] = ()
    """Columns over whose values each seed is averaged."""

    @property
    def title(self) -> str:
        """The measure, when it was read, what it is averaged over, and the baseline."""
        over = f", mean over {' and '.join(self.over)}" if self.over else ""
        return f"{self.measure.title}{self.moment}{over}, minus {self.base}"

    @property
    def moment(self) -> str:
        """Words for when the measure was read; none if it is of the whole training."""
        if self.measure.reading:
            return ""
        return f" at equal {self.at}" if self.at else " at the end"

    @property
    def base(self) -> str:
        """The field that varies, with the value of the baseline."""
        return f"{self.column} {format_value(self.baseline)}"


def compute_contrasts(
    frame: pl.DataFrame,
    query: Query,
    vary: str = "arm",
    baseline: str | None = None,
    at: str | None = None,
    beside: Sequence[str] = (),
    over: Sequence[str] = (),
) -> Contrasts:
    """Compare every value of a field with a baseline, at the end or at equal cost.

    `vary` is the field, or `arm`, and `baseline` one of its values: by default next-token
    prediction among arms, else the first. With `at` "tokens" or "flops" both runs of a
    pair are read at equal cost. The fields of `beside` may also differ. A seed counts once
    for all values of the fields of `over`, with its mean over them: cells that share seeds
    are no independent pairs. Of cells that were tuned, the runs at the tuned rate are
    compared, unless rates are what varies.

    Raises `ValueError` when no runs form pairs; names the fields in which they also
    differ.
    """
    runs = select(frame, query, all_rates=is_rate(vary))
    column, others, averaged = _comparable_columns(runs, vary, beside, over)
    measure = runs.measure(query, [at] if at else [])
    done = runs.with_fields([column, *others, *averaged])
    rows = measure.rows(done).drop_nulls(column)
    first, values = _choose_baseline(runs, done, rows, column, vary, baseline)
    equal = [name for name in ("scale", "arm") if _is_equal_in_pairs(name, column)]
    keys = [name for name in equal if name not in averaged]
    cell = [*keys, *averaged]
    ended = at_end(rows)
    span = span_of(ended)
    differences, notes, paired = [], runs.notes, set[str]()
    for setting in settings_of(rows, column, *cell, *others):
        by = {"where": setting.label or None}
        _require_one_run_a_seed(at_end(setting.frame), [*cell, column], others)
        for value in (one for one in values if one != first):
            pairs = _pairs(setting.frame, cell, column, (first, value), at)
            paired.update(pairs["second_run"])
            for key, group in _groups(pairs, keys):
                where = by | dict(zip(keys, key, strict=True)) | {column: value}
                seeds, lacking = _average_over(group, averaged)
                differences.append(where | judge_differences(seeds, span, measure))
                notes += lacking
                notes += note_differences(runs.fields, rows, group, column)
    if not differences:
        raise ValueError(explain_no_pairs(runs, column, first, values))
    marked = with_setting(done.unique("run_id"), column, *cell, *others)
    of_first = pl.col(column) == first
    alone = pl.col("run_id").is_in(list(set(ended["run_id"]) - paired)) & ~of_first
    sides = marked.filter(alone), marked.filter(of_first)
    notes += note_unpaired(runs.fields, *sides, column, ["setting", *cell, "data_seed"])
    return Contrasts(
        _table(differences, rows.schema, keys, column, measure.higher_is_better),
        measure,
        column,
        first,
        at,
        list(dict.fromkeys(notes)),
        tuple(averaged),
    )


def _groups(
    pairs: pl.DataFrame, keys: Sequence[str]
) -> Iterable[tuple[tuple[Any, ...], pl.DataFrame]]:
    """The pairs of each cell with the values of `keys`; all of them without keys."""
    if keys:
        return pairs.group_by(keys, maintain_order=True)
    return [((), pairs)] if pairs.height else []


def _average_over(
    pairs: pl.DataFrame, columns: Sequence[str]
) -> tuple[pl.DataFrame, list[str]]:
    """One pair a seed, its mean over the cells of `columns`; notes on seeds left out.

    A seed that lacks a cell is left out: its mean would be over other cells.
    """
    if not columns:
        return pairs, []
    cells = pairs.select(columns).n_unique()
    numbers = pl.col("first", "second", "difference", *BOUNDS)
    seeds = pairs.group_by("data_seed", maintain_order=True).agg(
        numbers.mean(), pl.len()
    )
    lacking = seeds.filter(pl.col("len") < cells)["data_seed"].sort().to_list()
    named = f"of {cells} cells that differ in {' and '.join(columns)}"
    if len(lacking) == seeds.height:
        raise ValueError(
            f"No seed has pairs in all {named}. Choose values with --where."
        )
    words = f"Left out, as they lack pairs in some {named}: data seeds "
    notes = [words + f"{first_few(lacking)}."] if lacking else []
    return seeds.filter(pl.col("len") == cells), notes


def _comparable_columns(
    runs: Runs, vary: str, beside: Sequence[str], over: Sequence[str]
) -> tuple[str, list[str], list[str]]:
    """The columns of the fields; refuses to average over one that may differ in a pair."""
    column = _require_comparable(runs, vary, "--vary")
    others = [_require_comparable(runs, name, "--beside") for name in beside]
    averaged = [_require_comparable(runs, name, "--over") for name in over]
    if twice := {column, *others}.intersection(averaged):
        raise ValueError(
            f"--over {' '.join(twice)}: it varies, or stands beside what varies. Average "
            "over another field."
        )
    return column, others, averaged


def _require_comparable(runs: Runs, name: str, option: str) -> str:
    """The column of a field that may differ between runs of one task."""
    column = runs.column(name)
    if column == "parameters":
        return "scale"
    if column == "task" or not runs.is_field(column):
        raise ValueError(
            f"{option} {name}: runs of one task do not differ in it. Fields that vary: "
            f"{', '.join(runs.fields.varying())}."
        )
    return column


def _require_one_run_a_seed(
    runs: pl.DataFrame, cell: Sequence[str], beside: Sequence[str]
) -> None:
    """Refuse fields of `--beside` in which runs of one cell and seed differ."""
    twice = runs.filter(runs.select(*cell, "data_seed").is_duplicated())
    if twice.is_empty() or not beside:
        return
    options = [f"{name}={format_value(twice[name][0])}" for name in beside]
    there = [f"{name} {list_values(sort_distinct(twice[name]))}" for name in beside]
    raise ValueError(
        f"--beside {' '.join(beside)}: runs of one seed differ in it ({'; '.join(there)}), "
        f"so pairs are not unique. Choose a value: --where {' '.join(options)}."
    )


def _is_equal_in_pairs(name: str, column: str) -> bool:
    """Whether size, or arm, is the same in a pair when `column` varies."""
    if name == "arm":
        return column != "arm" and not column.startswith("objective.")
    return column not in ("scale", "model.scale")


def _choose_baseline(
    runs: Runs,
    done: pl.DataFrame,
    measured: pl.DataFrame,
    column: str,
    vary: str,
    wanted: str | None,
) -> tuple[Any, list[Any]]:
    """The baseline, and the values of the field in `measured`, at least two.

    `done` has all finished runs, `measured` those with a value to compare.
    """
    finished, values = (
        sort_distinct(frame[column].drop_nulls()) for frame in (done, measured)
    )
    values = in_arm_order(values) if column == "arm" else values
    by_text = {format_value(value): value for value in values}
    if wanted is not None and wanted not in map(format_value, finished):
        raise ValueError(
            f"No finished run has {vary}={wanted} as a baseline. Values here: "
            f"{list_values(finished)}."
        )
    if len(finished) < 2:
        raise ValueError(
            f"All finished runs have {vary}={list_values(finished)}: there is nothing to "
            f"compare. Fields that vary: {', '.join(runs.fields.varying()) or 'none'}. "
            f"{' '.join(runs.notes)}".rstrip()
        )
    if len(values) < 2 or (wanted is not None and wanted not in by_text):
        raise ValueError(
            f"Only runs with {vary}={list_values(values)} have a value to compare. "
            f"{' '.join(runs.notes)}".rstrip()
        )
    first = by_text.get(BASELINE, values[0]) if wanted is None else by_text[wanted]
    return first, values


def _pairs(
    rows: pl.DataFrame,
    keys: list[str],
    column: str,
    values: tuple[Any, Any],
    at: str | None,
) -> pl.DataFrame:
    """Paired values of one setting, with the bounds of the metric."""
    two = rows.filter(pl.col(column).is_in(list(values)))
    ends = at_end(two)
    read = at_equal_cost(two, keys, column, at) if at else ends
    pairs = pair_by_seed(read, keys, column, *values)
    bounds = ends.group_by([*keys, "data_seed"]).agg(pl.col(*BOUNDS).mean())
    return pairs.join(
        bounds, on=[*keys, "data_seed"], how="left", maintain_order="left"
    )


def _table(
    differences: list[dict[str, Any]],
    schema: pl.Schema,
    keys: Sequence[str],
    column: str,
    rising: bool | None,
) -> pl.DataFrame:
    """The table of contrasts, with Holm's correction over all rows and the results."""
    numbers = (
        "baseline",
        "value",
        "difference",
        "direction",
        "low",
        "high",
        "p",
        "noise",
    )
    kinds: dict[str, Any] = {"where": pl.String()}
    kinds |= {name: schema[name] for name in (*keys, column)}
    kinds |= {"pairs": pl.Int64()} | dict.fromkeys(numbers, pl.Float64())
    kinds |= {"test": pl.String(), "higher": pl.String()}
    kinds |= {"resolves_with": pl.Int64(), "settled": pl.String()}
    table = pl.DataFrame(differences, schema=kinds, orient="row")
    table = table.with_columns(p_holm=pl.Series(holm(table["p"].to_list())))
    words = {True: ("better", "worse"), False: ("worse", "better")}
    up, down = words[rising] if rising is not None else ("higher", "lower")
    significant = (pl.col("p_holm") < LEVEL) & pl.col("settled").is_null()
    result = (
        pl.when(significant & (pl.col("direction") > 0))
        .then(pl.lit(up))
        .when(significant)
        .then(pl.lit(down))
        .otherwise(pl.lit("not told apart"))
    )
    table = table.with_columns(result=pl.coalesce("settled", result)).drop("settled")
    first = ["where", *keys, column, "pairs", "baseline", "value", "difference"]
    last = ["low", "high", "noise", "p", "p_holm", "test", "higher", "result"]
    return table.select(*first, *last, "resolves_with")

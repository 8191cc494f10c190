"""Any field of a sweep as a contrast: differences paired by data seed, tested as fits.

Each value of the field is compared with a baseline, in each setting of its own: runs of
a pair differ in the field and in nothing else but what a tuned sweep sets cell by cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from analysis.arm_names import BASELINE, in_arm_order
from analysis.comparisons import PATHS, at_equal_cost, holm, paired
from analysis.differences import LEVEL, judged
from analysis.fields import Fields, distinct, list_values, shown
from analysis.measures import Measure
from analysis.modes import BOUNDS, span_of
from analysis.selection import at_end
from analysis.settings import TUNED, settings_of
from analysis.views import Query, Runs, select


@dataclass(frozen=True)
class Contrasts:
    """A table of differences, a row a setting and value, and what they rest on."""

    table: pl.DataFrame
    measure: Measure
    column: str
    baseline: Any
    at: str | None
    notes: list[str]

    @property
    def title(self) -> str:
        """What is compared with what."""
        moment = f"at equal {self.at}" if self.at else "at the end"
        return (
            f"{self.measure.title} {moment}, minus {self.column} {shown(self.baseline)}"
        )


def contrasts(
    frame: pl.DataFrame,
    query: Query,
    vary: str = "arm",
    baseline: str | None = None,
    at: str | None = None,
    beside: Sequence[str] = (),
) -> Contrasts:
    """Every value of a field minus a baseline, at the end or at equal cost.

    Parameters
    ----------
    vary
        The field, or `arm`.
    baseline
        One of its values; next-token prediction among arms, else the first.
    at
        "tokens" or "flops": pairs are read where both have spent as much. None: each
        run at its end.
    beside
        Fields that may differ along with it.

    Raises
    ------
    ValueError
        When there is nothing to compare; says which further fields keep runs apart.
    """
    runs = select(frame, query)
    column = _comparable(runs, vary)
    others = [runs.column(name) for name in beside]
    measure = runs.measure(query, [])
    rows = measure.rows(runs.with_fields([column, *others]))
    rows = rows.drop_nulls(column)
    values = distinct(rows[column])
    values = in_arm_order(values) if column == "arm" else values
    first = _baseline(values, vary, baseline)
    if len(values) < 2:
        raise ValueError(
            f"All finished runs have {vary}={shown(first)}: there is nothing to compare. "
            f"Fields that vary: {', '.join(runs.fields.varying()) or 'none'}."
        )
    apart = [name for name in ("scale", "arm") if _tells_apart(name, column)]
    ended = at_end(rows)
    span = span_of(ended)
    found, notes = [], runs.notes
    for setting in settings_of(rows, column, *apart, *others):
        by = {"where": setting.label or None}
        for value in values:
            if value == first:
                continue
            pairs = _pairs(setting.frame, apart, column, (first, value), at)
            for key, group in pairs.group_by(apart, maintain_order=True):
                where = by | dict(zip(apart, key, strict=True)) | {column: value}
                found.append(where | judged(group, span, measure))
                notes += _named_apart(runs.fields, rows, group, column)
    if not found:
        raise ValueError(_why_none(runs, column, first, values))
    return Contrasts(
        _table(found, rows.schema, apart, column, measure.higher_is_better),
        measure,
        column,
        first,
        at,
        list(dict.fromkeys(notes)),
    )


def _comparable(runs: Runs, vary: str) -> str:
    column = runs.column(vary)
    if column == "parameters":
        return "scale"
    if column == "task" or not runs.is_field(column):
        raise ValueError(
            f"--vary {vary} is no field in which runs of one task differ. Fields that "
            f"vary: {', '.join(runs.fields.varying())}."
        )
    return column


def _tells_apart(name: str, column: str) -> bool:
    """Whether size, or arm, is the same in a pair when `column` varies."""
    if name == "arm":
        return column != "arm" and not column.startswith("objective.")
    return column not in ("scale", "model.scale")


def _baseline(values: Sequence[Any], vary: str, wanted: str | None) -> Any:
    known = {shown(value): value for value in values}
    if wanted is None:
        return known.get(BASELINE, values[0])
    if wanted not in known:
        raise ValueError(
            f"No finished run has {vary}={wanted} as a baseline. Values here: "
            f"{list_values(values)}."
        )
    return known[wanted]


def _pairs(
    rows: pl.DataFrame,
    apart: list[str],
    column: str,
    values: tuple[Any, Any],
    at: str | None,
) -> pl.DataFrame:
    """Paired values of one setting, with the bounds of the metric."""
    two = rows.filter(pl.col(column).is_in(list(values)))
    ends = at_end(two)
    read = at_equal_cost(two, apart, column, at) if at else ends
    pairs = paired(read, apart, column, *values)
    bounds = ends.group_by([*apart, "data_seed"]).agg(pl.col(*BOUNDS).mean())
    return pairs.join(
        bounds, on=[*apart, "data_seed"], how="left", maintain_order="left"
    )


def _table(
    found: list[dict[str, Any]],
    schema: pl.Schema,
    apart: Sequence[str],
    column: str,
    rising: bool | None,
) -> pl.DataFrame:
    """Rows in order, with Holm's correction over all of them and how each one reads."""
    numbers = ("baseline", "value", "difference", "low", "high", "p")
    kinds: dict[str, Any] = {"where": pl.String()}
    kinds |= {name: schema[name] for name in (*apart, column)}
    kinds |= {"pairs": pl.Int64()} | dict.fromkeys((*numbers, "noise"), pl.Float64())
    kinds |= {"test": pl.String(), "higher": pl.String()}
    kinds |= {"resolves_with": pl.Int64(), "settled": pl.String()}
    table = pl.DataFrame(found, schema=kinds, orient="row")
    table = table.with_columns(p_holm=pl.Series(holm(table["p"].to_list())))
    known = {True: ("better", "worse"), False: ("worse", "better")}
    up, down = known[rising] if rising is not None else ("higher", "lower")
    told = (pl.col("p_holm") < LEVEL) & pl.col("settled").is_null()
    reads = (
        pl.when(told & (pl.col("difference") > 0))
        .then(pl.lit(up))
        .when(told)
        .then(pl.lit(down))
        .otherwise(pl.lit("not told apart"))
    )
    table = table.with_columns(result=pl.coalesce("settled", reads)).drop("settled")
    first = ["where", *apart, column, "pairs", "baseline", "value", "difference"]
    last = ["low", "high", "noise", "p", "p_holm", "test", "higher", "result"]
    return table.select(*first, *last, "resolves_with")


def _named_apart(
    fields: Fields, rows: pl.DataFrame, pairs: pl.DataFrame, column: str
) -> list[str]:
    """In what else the sides of some pairs differ: execution paths, tuned values."""
    lanes = pl.when(pl.col("lanes") > 1).then(pl.lit("a pack")).otherwise(pl.lit("one"))
    runs = rows.unique("run_id").with_columns(lanes=lanes)
    sides = [
        runs.filter(pl.col("run_id").is_in(pairs[f"{side}_run"].implode()))
        for side in ("first", "second")
    ]
    values = [side[column][0] for side in sides]
    found = []
    for name, words in PATHS.items():
        if column.endswith(f".{name}"):
            continue
        known = [distinct(side[name].drop_nulls()) for side in sides]
        if all(known) and known[0] != known[1]:
            told = " and ".join(
                f"{shown(value)} ({list_values(one)})"
                for value, one in zip(values, known, strict=True)
            )
            found.append(f"Trained through different execution paths, {words}: {told}.")
    configs = pl.concat(sides)["config"].unique().sort()
    for path in fields.differing(configs):
        if path.rpartition(".")[2] in TUNED and path != column:
            told = list_values(fields.values(path))
            found.append(f"{path} differs from cell to cell ({told}).")
    return found


def _why_none(runs: Runs, column: str, first: Any, values: Sequence[Any]) -> str:
    """Why no pair was found: the fields that keep the nearest runs apart."""
    frame = runs.with_fields([column]).unique("run_id")
    fields = Fields(frame)
    sides = [
        frame.filter(pl.col(column) == first),
        frame.filter(pl.col(column) != first),
    ]
    fewest: list[str] | None = None
    for one in sides[0]["config"].unique().sort():
        for two in sides[1]["config"].unique().sort():
            apart = fields.differing([one, two])
            own = [p for p in apart if not _is_of(p, column)]
            if fewest is None or len(own) < len(fewest):
                fewest = own
    reason = "they have no data seed in common"
    if fewest:
        reason = (
            f"they also differ in {', '.join(fewest)}. If that is meant, add --beside "
            f"{' '.join(fewest)}"
        )
    return f"No two runs of {column}={list_values(values)} form a pair: {reason}."


def _is_of(path: str, column: str) -> bool:
    if column == "arm":
        return path.startswith("objective.")
    return path == ("model.scale" if column == "scale" else column)

"""Which number of a run is meant: its metric, suite and slice, and what bounds it.

What is not asked for has a default: the first metric that the task declares with a
direction, on the test set, over all of it. A measure says what else there was.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from analysis.fields import list_values
from analysis.modes import BOUNDS
from analysis.parquet import PROBE
from analysis.schema import SWEEP_SCHEMA
from analysis.selection import at_end, slice_value
from analysis.trajectories import declared
from synth.families.family import members
from synth.identity import nearest
from synth.metrics import Metric

APART = "slice."
"""What a name of slices has in front where a table has such a column as well."""
NEXT_TOKEN = {"horizon": "1"}
"""Where a metric is known of each prediction alone, that of the next token is meant."""


@dataclass(frozen=True)
class Measure:
    """One metric on some suites, in the slices that are made of the same names."""

    metric: str
    suites: tuple[str, ...]
    fixed: dict[str, str]
    """Names and values that every slice has."""
    keys: tuple[str, ...]
    """Columns of the names by which the slices differ: axes. See `slice_keys`."""
    meant: Metric | None
    """What the task declares of it; None where no task known here does."""
    also: tuple[str, ...] = ()
    """Other suites that have it."""

    @property
    def title(self) -> str:
        """`suite/metric/slice`, as on the command line."""
        suite = self.suites[0] if len(self.suites) == 1 else ""
        part = ",".join(f"{name}={value}" for name, value in self.fixed.items())
        return "/".join(filter(None, (suite, self.metric, part)))

    @property
    def label(self) -> str:
        """What an axis calls it, with its unit."""
        unit = self.meant.unit if self.meant else ""
        fixed = {k: v for k, v in self.fixed.items() if (k, v) != ("horizon", "1")}
        part = "".join(f", {name} {value}" for name, value in fixed.items())
        nats = f" ({unit})" if unit not in ("", "share") else ""
        return f"{self.metric.replace('_', ' ')}{part}{nats}"

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, from 0 to 1."""
        return self.meant is not None and self.meant.unit == "share"

    @property
    def higher_is_better(self) -> bool | None:
        """Whether more of it is success; None where nobody says."""
        better = self.meant.better if self.meant else None
        return None if better is None else better == "higher"

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """All evaluations of it, with a column a key, and `floor` and `ceiling`."""
        rows = self._of(frame, self.metric).drop_nulls("value")
        for name in self.keys:
            rows = rows.with_columns(slice_value(_in_slices(name)).alias(name))
            if (number := as_numbers(rows[name])) is not None:
                rows = rows.with_columns(number)
        for name in BOUNDS:
            rows = self._with_bound(frame, rows, name)
        return rows.sort("run_id", "step", "suite", "slice")

    def _of(self, frame: pl.DataFrame, metric: str) -> pl.DataFrame:
        chosen = frame.filter(
            pl.col("metric") == metric, pl.col("suite").is_in(list(self.suites))
        )
        same = _matching(chosen, self.fixed, self.keys)
        return chosen.filter(pl.col("slice").is_in(same))

    def _with_bound(
        self, frame: pl.DataFrame, rows: pl.DataFrame, name: str
    ) -> pl.DataFrame:
        """Add what the metric declares as its floor or ceiling, measured or a number."""
        bound = getattr(self.meant, name) if self.meant else None
        if not isinstance(bound, str):
            return rows.with_columns(pl.lit(bound, pl.Float64()).alias(name))
        at = ["run_id", "step", "suite"]
        known = frame.filter(pl.col("metric") == bound).drop_nulls("value")
        same = known.select(*at, "slice", pl.col("value").alias(name))
        rows = rows.join(same, on=[*at, "slice"], how="left", maintain_order="left")
        if self.fixed or self.keys:
            return rows
        share = (pl.col("value") * pl.col("count")).sum() / pl.col("count").sum()
        whole = known.group_by(at).agg(share.alias("over_slices"))
        rows = rows.join(whole, on=at, how="left", maintain_order="left")
        return rows.with_columns(pl.coalesce(name, "over_slices").alias(name)).drop(
            "over_slices"
        )


def parts_of(slice_: str) -> dict[str, str]:
    """The names and values of a slice.

    >>> parts_of("horizon=1,role=choice")
    {'horizon': '1', 'role': 'choice'}
    """
    pairs = (pair.partition("=") for pair in slice_.split(",") if pair)
    return {name: value for name, _, value in pairs}


def as_numbers(column: pl.Series) -> pl.Series | None:
    """A column of text as integers or floats, if all of it can be read so."""
    for kind in (pl.Int64(), pl.Float64()):
        found = column.cast(kind, strict=False)
        if found.null_count() == column.null_count():
            return found
    return None


def slice_keys(done: pl.DataFrame, metric: str) -> list[str]:
    """The names that slices of a metric are made of, as columns.

    One that a table has as a column (stories have slices `tokens=seen`) is
    `slice.tokens`.
    """
    slices = done.filter(pl.col("metric") == metric)["slice"].unique().to_list()
    names = sorted({name for one in slices for name in parts_of(one)})
    return [f"{APART}{name}" if name in SWEEP_SCHEMA else name for name in names]


def _in_slices(column: str) -> str:
    return column.removeprefix(APART)


def headline(done: pl.DataFrame) -> str:
    """The metric that a task puts first: of those with a direction, the first declared.

    Raises
    ------
    ValueError
        When the task is not known here; lists the metrics.
    """
    kinds = done["task"].drop_nulls().unique().sort().to_list()
    measured = metrics_of(done)
    for kind in kinds:
        task = members("task").get(kind)
        for metric in task.metrics if task else ():
            if metric.better and metric.name in measured:
                return metric.name
    raise ValueError(
        f"Nothing is known here of the task {list_values(kinds)}, so that a metric has "
        f"to be named: --metric {'|'.join(measured)}. With --plugin FILE, the file that "
        "defines the task, its first metric is taken, and its floor is drawn."
    )


def metrics_of(done: pl.DataFrame) -> list[str]:
    """The metrics that were measured on evaluation sets, by name."""
    tested = done.filter(_is_evaluation())
    return tested["metric"].drop_nulls().unique().sort().to_list()


def _is_evaluation() -> pl.Expr:
    suite = pl.col("suite")
    return (suite != "train") & ~suite.str.starts_with(PROBE)


def choose_measure(
    done: pl.DataFrame,
    metric: str | None = None,
    suite: str | None = None,
    part: str = "",
    *,
    keys: Collection[str] = (),
    over_suites: bool = False,
) -> Measure:
    """The measure that is asked for, of runs that are done.

    `keys` are names of slices that are axes; with `over_suites` the suite is one.

    Raises
    ------
    ValueError
        For what no finished run has measured; lists what they have.
    """
    metric = headline(done) if metric is None else metric
    ended = at_end(done).drop_nulls("value")
    rows = ended.filter(pl.col("metric") == metric)
    if rows.is_empty():
        known = ended["metric"].unique().sort().to_list()
        hint = nearest(metric, known) if known else "They end without any finite value."
        raise ValueError(f"No finished run has measured {metric!r}. {hint}")
    given = parts_of(part)
    suites = _suites(rows, metric, suite)
    if suite is None and not over_suites:
        forms = (given, NEXT_TOKEN | given)
        fitting = [part for form in forms for part in _matching(rows, form, keys)]
        having = rows.filter(pl.col("slice").is_in(fitting))["suite"]
        suites = [name for name in suites if name in having][:1] or suites[:1]
    here = rows.filter(pl.col("suite").is_in(suites))
    fixed = _fixed(here, metric, given, keys)
    same = rows.filter(pl.col("slice").is_in(_matching(rows, fixed, keys)))
    also = same.filter(_is_evaluation())["suite"].unique().sort().to_list()
    return Measure(
        metric,
        tuple(suites),
        fixed,
        tuple(keys),
        declared(here, metric),
        tuple(name for name in also if name not in suites),
    )


def _suites(rows: pl.DataFrame, metric: str, suite: str | None) -> list[str]:
    """The suite that is named, or those of test sets, `test` first."""
    known = rows["suite"].unique().sort().to_list()
    if suite is not None:
        if suite not in known:
            raise ValueError(
                f"{metric} was not measured on {suite!r}. {nearest(suite, known)}"
            )
        return [suite]
    tested = rows.filter(_is_evaluation())["suite"].unique().sort().to_list() or known
    return sorted(tested, key=lambda name: (name != "test", "validation" in name))


def _matching(
    rows: pl.DataFrame, fixed: dict[str, str], keys: Iterable[str]
) -> list[str]:
    """The slices that are made of these names, with the values that are fixed."""
    wanted = {*fixed, *map(_in_slices, keys)}
    return [
        part
        for part in rows["slice"].drop_nulls().unique().sort().to_list()
        if (one := parts_of(part)).keys() == wanted and fixed.items() <= one.items()
    ]


def _fixed(
    rows: pl.DataFrame, metric: str, given: dict[str, str], keys: Collection[str]
) -> dict[str, str]:
    """What every slice has: what is given, and the next token where there must be one."""
    clash = given.keys() & set(map(_in_slices, keys))
    if clash:
        raise ValueError(
            f"{clash.pop()} is in --metric and on an axis. Drop one of them."
        )
    for fixed in (given, NEXT_TOKEN | given):
        if _matching(rows, fixed, keys):
            return fixed
    known = [parts_of(one) for one in rows["slice"].unique().sort().to_list()]
    shapes = list(dict.fromkeys(tuple(one) for one in known))
    told = "; ".join(_example(known, shape) for shape in shapes)
    given_slice = ",".join(f"{name}={value}" for name, value in given.items())
    raise ValueError(
        f"{metric} has no slice {given_slice!r}. Write --metric SUITE/{metric}/SLICE, or "
        f"put its names on axes. Slices of {metric}: {told}."
    )


def _example(known: Sequence[dict[str, str]], shape: Sequence[str]) -> str:
    """How slices of some names look: `role=choice|forced`."""
    if not shape:
        return "all of it (without SLICE)"
    same = [one for one in known if tuple(one) == tuple(shape)]
    return ",".join(f"{name}={_options(one[name] for one in same)}" for name in shape)


def _options(values: Iterable[str]) -> str:
    found = list(dict.fromkeys(values))
    return "|".join(found[:6]) + ("|..." if len(found) > 6 else "")

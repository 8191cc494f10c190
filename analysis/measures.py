"""Measures: the metric, suite and slice of a number of a run, and its bounds.

The defaults are the first metric that the task declares with a direction, the test set,
and all of it. A reading (`readings`) gives a run one number for its whole training.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from analysis.fields import list_values
from analysis.modes import BOUNDS
from analysis.readings import (
    LEARNED,
    describe_unlearned,
    learned_cells,
    mean_over_training,
    when_learned,
)
from analysis.schema import SWEEP_SCHEMA
from analysis.selection import at_end, select_metric, slice_value
from analysis.trajectories import declared
from sweeps.sweep_metric import MEAN
from synth.families.family import members
from synth.identity import nearest
from synth.metrics import PROBE, Metric

SLICE_PREFIX = "slice."
"""Before a name of slices that is also the name of a column of tables."""
NEXT_TOKEN = {"horizon": "1"}
"""The default slice of a metric that is measured for each prediction alone."""


@dataclass(frozen=True)
class Measure:
    """One metric on some suites, in slices made of the same names."""

    metric: str
    suites: tuple[str, ...]
    fixed: dict[str, str]
    """Names and values that every slice has."""
    keys: tuple[str, ...]
    """Columns for the names in which the slices differ; see `slice_keys`."""
    definition: Metric | None
    """The metric as the task declares it; None if no task known here does."""
    other_suites: tuple[str, ...] = ()
    """Further suites on which the metric was measured."""
    reading: str = ""
    """`MEAN` or `LEARNED`: one number a run; "" for all of its evaluations."""

    @property
    def title(self) -> str:
        """`suite/metric/slice` after its reading, as on the command line."""
        suite = self.suites[0] if len(self.suites) == 1 else ""
        pairs = ",".join(f"{name}={value}" for name, value in self.fixed.items())
        return self.reading + "/".join(filter(None, (suite, self.metric, pairs)))

    @property
    def label(self) -> str:
        """Its name on an axis, with the unit."""
        unit = self.definition.unit if self.definition else ""
        fixed = [p for p in self.fixed.items() if p not in NEXT_TOKEN.items()]
        words = [self.metric.replace("_", " "), *(f"{k} {v}" for k, v in fixed)]
        if self.reading == LEARNED and self.definition:
            bound = "at least" if self.definition.better == "higher" else "at most"
            level = f"{bound} {self.definition.learned:g}"
            return f"tokens until {', '.join(words)} is {level}"
        words += ["mean over training"] if self.reading == MEAN else []
        suffix = f" ({unit})" if unit else ""
        return ", ".join(words) + suffix

    @property
    def is_share(self) -> bool:
        """Whether its values are shares, from 0 to 1."""
        share = self.definition is not None and self.definition.unit == "share"
        return share and self.reading != LEARNED

    @property
    def higher_is_better(self) -> bool | None:
        """Whether higher values are better; None if the task declares no direction."""
        if self.reading == LEARNED:
            return False
        better = self.definition.better if self.definition else None
        return None if better is None else better == "higher"

    def rows(self, frame: pl.DataFrame) -> pl.DataFrame:
        """All its evaluations, with `floor`, `ceiling` and a column for each key.

        With a reading, one row a run at its last step. Cells in which a run never
        learned it have no row then: a mean over the others would flatter them.
        """
        rows = self._evaluations(frame)
        if self.reading == MEAN:
            return mean_over_training(rows)
        if self.reading == LEARNED:
            return learned_cells(when_learned(rows, self.metric))
        return rows

    def cells_not_learned(self, frame: pl.DataFrame) -> list[str]:
        """The cells without rows because runs never learned it: `n2 at 100k (1 of 5)`."""
        rows = self._evaluations(frame)
        return describe_unlearned(when_learned(rows, self.metric))

    def _evaluations(self, frame: pl.DataFrame) -> pl.DataFrame:
        rows = self._select(frame)
        if self.reading != MEAN:  # `mean_over_training` asks which were missed
            rows = rows.drop_nulls("value")
        for name in self.keys:
            rows = rows.with_columns(slice_value(_slice_name(name)).alias(name))
            if (numbers := _cast_to_numbers(rows[name])) is not None:
                rows = rows.with_columns(numbers)
        for name in BOUNDS:
            rows = self._with_bound(frame, rows, name)
        return rows.sort("run_id", "step", "suite", "slice")

    def _select(self, frame: pl.DataFrame) -> pl.DataFrame:
        rows = select_metric(frame, self.metric, *self.suites)
        slices = _matching_slices(rows, self.fixed, self.keys)
        return rows.filter(pl.col("slice").is_in(slices))

    def _with_bound(
        self, frame: pl.DataFrame, rows: pl.DataFrame, name: str
    ) -> pl.DataFrame:
        """Add the floor or ceiling of the metric, a number or another metric's value."""
        bound = getattr(self.definition, name) if self.definition else None
        if not isinstance(bound, str):
            return rows.with_columns(pl.lit(bound, pl.Float64()).alias(name))
        at = ["run_id", "step", "suite"]
        bounds = select_metric(frame, bound).drop_nulls("value")
        by_slice = bounds.select(*at, "slice", pl.col("value").alias(name))
        rows = rows.join(by_slice, on=[*at, "slice"], how="left", maintain_order="left")
        if self.fixed or self.keys:
            return rows
        share = (pl.col("value") * pl.col("count")).sum() / pl.col("count").sum()
        whole = bounds.group_by(at).agg(share.alias("over_slices"))
        rows = rows.join(whole, on=at, how="left", maintain_order="left")
        return rows.with_columns(pl.coalesce(name, "over_slices").alias(name)).drop(
            "over_slices"
        )


def parse_slice(slice_: str) -> dict[str, str]:
    """The names and values of a slice.

    >>> parse_slice("horizon=1,role=choice")
    {'horizon': '1', 'role': 'choice'}
    """
    pairs = (pair.partition("=") for pair in slice_.split(",") if pair)
    return {name: value for name, _, value in pairs}


def _cast_to_numbers(column: pl.Series) -> pl.Series | None:
    """A column of text as integers or floats; None if some text is no number."""
    for kind in (pl.Int64(), pl.Float64()):
        numbers = column.cast(kind, strict=False)
        if numbers.null_count() == column.null_count():
            return numbers
    return None


def slice_keys(done: pl.DataFrame, metric: str) -> list[str]:
    """The names that slices of a metric are made of, as columns.

    A name that tables have as a column gets a prefix: slices `tokens=seen` of stories
    have the key `slice.tokens`.
    """
    slices = done.filter(pl.col("metric") == metric)["slice"].unique().to_list()
    names = sorted({name for one in slices for name in parse_slice(one)})
    return [f"{SLICE_PREFIX}{name}" if name in SWEEP_SCHEMA else name for name in names]


def _slice_name(column: str) -> str:
    return column.removeprefix(SLICE_PREFIX)


def first_metric(done: pl.DataFrame) -> str:
    """The first measured metric that the task declares with a direction.

    Raises `ValueError` when the task is not known here, or declares no direction; lists
    the metrics.
    """
    kinds = done["task"].drop_nulls().unique().sort().to_list()
    tested = done.filter(_is_evaluation())
    metrics = tested["metric"].drop_nulls().unique().sort().to_list()
    for kind in kinds:
        task = members("task").get(kind)
        for metric in task.metrics if task else ():
            if metric.better and metric.name in metrics:
                return metric.name
    if all(kind in members("task") for kind in kinds):
        raise ValueError(
            f"The task {list_values(kinds)} declares no direction ('higher' or 'lower') of "
            f"a metric that was measured. Name one: --metric {'|'.join(metrics)}."
        )
    raise ValueError(
        f"The task {list_values(kinds)} is not known here. Name a metric: --metric "
        f"{'|'.join(metrics)}. Or name the file that defines the task, --plugin FILE: "
        "then its first metric is the default, and its floor is drawn."
    )


def _is_evaluation() -> pl.Expr:
    suite = pl.col("suite")
    return (suite != "train") & ~suite.str.starts_with(PROBE)


def choose_measure(
    done: pl.DataFrame,
    metric: str | None = None,
    suite: str | None = None,
    slice_: str = "",
    *,
    keys: Collection[str] = (),
    over_suites: bool = False,
) -> Measure:
    """The measure with this metric, suite and slice, or the defaults.

    `keys` are names of slices that are axes; with `over_suites` the suite is one too.

    Raises `ValueError` for a metric, suite or slice that no finished run has; lists
    those they have.
    """
    metric = first_metric(done) if metric is None else metric
    ended = at_end(done).drop_nulls("value")
    rows = ended.filter(pl.col("metric") == metric)
    if rows.is_empty():
        metrics = ended["metric"].unique().sort().to_list()
        hint = "They end without any finite value."
        hint = nearest(metric, metrics) if metrics else hint
        raise ValueError(f"No finished run has measured {metric!r}. {hint}")
    given = parse_slice(slice_)
    suites = _choose_suites(rows, metric, suite)
    if suite is None and not over_suites:
        slices = [
            name
            for fixed in (given, NEXT_TOKEN | given)
            for name in _matching_slices(rows, fixed, keys)
        ]
        with_slices = rows.filter(pl.col("slice").is_in(slices))["suite"]
        suites = [name for name in suites if name in with_slices][:1] or suites[:1]
    here = rows.filter(pl.col("suite").is_in(suites))
    fixed = _choose_fixed(here, metric, given, keys)
    alike = rows.filter(pl.col("slice").is_in(_matching_slices(rows, fixed, keys)))
    measured_on = alike.filter(_is_evaluation())["suite"].unique().sort().to_list()
    return Measure(
        metric,
        tuple(suites),
        fixed,
        tuple(keys),
        declared(here, metric),
        tuple(name for name in measured_on if name not in suites),
    )


def _choose_suites(rows: pl.DataFrame, metric: str, suite: str | None) -> list[str]:
    """The named suite alone, or all suites of test sets, `test` first."""
    suites = rows["suite"].unique().sort().to_list()
    if suite is not None:
        if suite not in suites:
            raise ValueError(
                f"{metric} was not measured on {suite!r}. {nearest(suite, suites)}"
            )
        return [suite]
    tested = rows.filter(_is_evaluation())["suite"].unique().sort().to_list() or suites
    return sorted(tested, key=lambda name: (name != "test", "validation" in name))


def _matching_slices(
    rows: pl.DataFrame, fixed: dict[str, str], keys: Iterable[str]
) -> list[str]:
    """The slices made of the names in `fixed` and `keys`, with the values of `fixed`."""
    names = {*fixed, *map(_slice_name, keys)}
    return [
        slice_
        for slice_ in rows["slice"].drop_nulls().unique().sort().to_list()
        if (pairs := parse_slice(slice_)).keys() == names
        and fixed.items() <= pairs.items()
    ]


def _choose_fixed(
    rows: pl.DataFrame, metric: str, given: dict[str, str], keys: Collection[str]
) -> dict[str, str]:
    """The pairs that every slice has: those given, and `NEXT_TOKEN` if slices need it."""
    clash = given.keys() & set(map(_slice_name, keys))
    if clash:
        raise ValueError(
            f"{clash.pop()} is in --metric and on an axis. Drop one of them."
        )
    for fixed in (given, NEXT_TOKEN | given):
        if _matching_slices(rows, fixed, keys):
            return fixed
    slices = [parse_slice(text) for text in rows["slice"].unique().sort().to_list()]
    forms = [_describe_form(slices, f) for f in dict.fromkeys(map(tuple, slices))]
    given_slice = ",".join(f"{name}={value}" for name, value in given.items())
    raise ValueError(
        f"{metric} has no slice {given_slice!r}. Write --metric SUITE/{metric}/SLICE, or "
        f"put its names on axes. Slices of {metric}: {'; '.join(forms)}."
    )


def _describe_form(slices: Sequence[dict[str, str]], names: tuple[str, ...]) -> str:
    """The slices of these names, with their values: `role=choice|forced`."""
    if not names:
        return "all of it (without SLICE)"
    alike = [pairs for pairs in slices if tuple(pairs) == names]
    return ",".join(
        f"{name}={_join_options(pairs[name] for pairs in alike)}" for name in names
    )


def _join_options(values: Iterable[str]) -> str:
    options = list(dict.fromkeys(values))
    return "|".join(options[:6]) + ("|..." if len(options) > 6 else "")

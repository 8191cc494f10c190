"""Parts of a sweep's table: one metric at one moment, slices as columns.

Names of metrics, suites and slices are those of the tasks (`synth.tasks`) and probes
(`synth.probes`); this is the one place of `analysis` where they are written down.
"""

import polars as pl

from synth.identity import canonical_json
from synth.scales import resolve

IN_DOMAIN = "in_domain"
TRAIN = "train"
EXACT_MATCH, GUESS_FLOOR = "exact_match", "guess_floor"
OPERATIONS = "operations"
CHOICE = "horizon=1,role=choice"
SECOND_TOKEN, NAMES_SUITE = "second_token_accuracy", "test_seen"
IS_TRIAL = pl.col("config").str.contains(
    canonical_json({"split": "validation"})[1:-1], literal=True
)
"""Runs on which a rate is chosen: they are judged on validation data."""


def slice_value(name: str, kind: pl.DataType | None = None) -> pl.Expr:
    """The value of `name=...` in the slice column; null where the slice lacks it.

    A slice is `name=value` pairs with commas: `operations=1,negation=no`.
    """
    text = pl.col("slice").str.extract(rf"(?:^|,){name}=([^,]*)")
    return (text if kind is None else text.cast(kind)).alias(name)


def is_slice_of(*names: str) -> pl.Expr:
    """Whether the slice is made of exactly these names, in this order."""
    if not names:
        return pl.col("slice") == ""
    pattern = ",".join(rf"{name}=[^,]*" for name in names)
    return pl.col("slice").str.contains(f"^{pattern}$")


def select_metric(frame: pl.DataFrame, metric: str, *suites: str) -> pl.DataFrame:
    """Rows of one metric, of all suites or of the named ones."""
    chosen = frame.filter(pl.col("metric") == metric)
    return chosen.filter(pl.col("suite").is_in(suites)) if suites else chosen


NEEDED = ("config", "parameters", "scale", "arm", "seed", "data_seed", "steps")


def drop_unreadable(frame: pl.DataFrame) -> pl.DataFrame:
    """Drop runs whose configuration could not be read: they belong to no cell."""
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in NEEDED)
    counted = pl.col("metric").is_null() | pl.col("count").is_not_null()
    return frame.filter(known & counted)


def at_end(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of runs that are done, at their last step."""
    done = frame.filter(pl.col("state") == "done")
    return done.filter(pl.col("step") == pl.col("steps"))


def best_step(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a run: its highest value, at the first step that has it."""
    order = ["run_id", "value", "step"]
    ranked = rows.drop_nulls("value").sort(order, descending=[False, True, False])
    return ranked.unique("run_id", keep="first", maintain_order=True)


def at_step_of(rows: pl.DataFrame, chosen: pl.DataFrame) -> pl.DataFrame:
    """The rows of each run at the step that `chosen` has for it."""
    where = chosen.select("run_id", "step")
    return rows.join(where, on=["run_id", "step"], how="semi").sort("run_id")


def by_scale(frame: pl.DataFrame) -> list[str]:
    """The scales in `frame`, small to large."""
    names = frame["scale"].drop_nulls().unique().to_list()
    return sorted(names, key=lambda name: (resolve(name)[1].nominal_parameters, name))

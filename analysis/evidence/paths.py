"""Evidence on star graphs and on loss by offset: C24 to C28."""

from collections.abc import Iterator

import polars as pl

from analysis.arm_names import BASELINE
from analysis.claims import Evidence, ExploratoryTest
from analysis.comparisons import pair_by_seed
from analysis.events import event_times
from analysis.evidence.pairs import (
    CELL,
    add_settings,
    compare_with_next_token,
    final_rows,
    split_groups,
)
from analysis.evidence.pooling import (
    STRATUM,
    add_strata,
    compare_events,
    pool_strata,
)
from analysis.modes import lower_group_size
from analysis.selection import at_end, select_metric, slice_value
from analysis.settings import append_label
from analysis.trajectories import curve_rows, learned_level

FOLLOWED = 0.9
"""A run follows edges if it gets at least this share of each later node right."""
FIRST_HOP = 2
"""Position of the first hop in an answer; what comes later, an edge leads to."""
ANSWERS = "task.answers"
"""Column of the order in which a path is written, which settings do not tell apart."""


def _star(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows of star graphs, with `ANSWERS` and `graph`, the text G(d, l)."""

    def field_of(name: str) -> pl.Expr:
        return pl.col("config").str.json_path_match(f"$.{name}")

    degree, length = field_of("task.degree"), field_of("task.length")
    return frame.filter(pl.col("task") == "star").with_columns(
        field_of(ANSWERS).alias(ANSWERS), graph=pl.format("G({}, {})", degree, length)
    )


def first_hop(frame: pl.DataFrame) -> Evidence | None:
    """C24: first hop minus 1/d with n = 1, of runs that get every later node right.

    Later nodes are predicted from the true path so far. Whole decoded paths do not tell
    whether edges are followed: a model that guesses the first hop and ends at the goal,
    which the question names, has left the edges.
    """
    rows = final_rows(_star(frame), "star", ANSWERS).filter(
        pl.col("arm") == BASELINE, pl.col(ANSWERS) == "forward"
    )
    whole = rows.filter(pl.col("slice") == "")
    guesses = select_metric(whole, "arm_floor", "test")
    later = select_metric(rows, "accuracy", "test").filter(
        slice_value("horizon") == "1",
        slice_value("position", pl.Int64()) > FIRST_HOP,
    )
    follows = later.group_by("run_id").agg(follows=pl.col("value").min())
    hops = (
        select_metric(whole, "first_hop", "test")
        .join(guesses.select("run_id", guess="value"), on="run_id", how="left")
        .join(follows, on="run_id", how="left")
        .filter(pl.col("follows") >= FOLLOWED)
        .with_columns(
            difference=pl.col("value") - pl.col("guess"), span=1 - pl.col("guess")
        )
    )
    rows = add_strata(hops, "graph")
    return pool_strata(rows, rows, "first hop minus 1/d, n = 1")


def reversed_paths(frame: pl.DataFrame) -> Evidence | None:
    """C25: whether a run with n = 1 learns paths, reversed answers minus forward ones.

    Runs are counted: their accuracies fall into groups, so a mean describes none.
    """
    next_token = _star(frame).filter(pl.col("arm") == BASELINE)
    curves = add_settings(curve_rows(next_token, "path", "test"), ANSWERS)
    if curves.is_empty():
        return None
    times = event_times(curves, learned_level(curves, "path"), "higher")
    learned = times.select("run_id", value=pl.col("happened").cast(pl.Float64))
    runs = curves.unique("run_id", maintain_order=True).drop("value")
    rows = add_strata(runs.join(learned, on="run_id"), "graph")
    rows = rows.with_columns(side=pl.col(ANSWERS), floor=pl.lit(0.0))
    pairs = pair_by_seed(rows, STRATUM, ANSWERS, "forward", "reversed")
    names = "share of runs, n = 1, reversed minus forward"
    return pool_strata(pairs, rows, names, counts=True)


def _compare_times_to_solve(
    frame: pl.DataFrame, graph: str, second: str, first: str
) -> Evidence | None:
    """Whether `second` solves star graphs earlier than `first`, by log-rank."""
    rows = _star(frame).filter(pl.col("graph") == graph, pl.col(ANSWERS) == "forward")
    rows = add_settings(curve_rows(rows, "path", "test"))
    if rows.is_empty():
        return None
    level = learned_level(rows, "path")
    return compare_events(rows, level, "higher", (second,), (first,))


def four_heads_over_two(frame: pl.DataFrame) -> Evidence | None:
    """C26: when G(3, 5) is solved, n = 4 against n = 2."""
    return _compare_times_to_solve(frame, "G(3, 5)", "n4_added", "n2_added")


def token_order_over_heads(frame: pl.DataFrame) -> Evidence | None:
    """C27: when G(5, 5) is solved, the token-order arm against n = 4."""
    return _compare_times_to_solve(frame, "G(5, 5)", "top", "n4_added")


def star_arms(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """Path accuracy of every arm minus n = 1 on star graphs."""
    rows = select_metric(final_rows(frame, "star"), "path", "test")
    rows = rows.filter(pl.col("slice") == "")

    def remark(both: pl.DataFrame) -> str:
        sides = both.partition_by("arm")
        split = any(lower_group_size(side["value"], span=1.0) for side in sides)
        return "seeds in two groups" if split else ""

    yield from compare_with_next_token(rows, [], "path accuracy", "above", remark)


def loss_by_offset(frame: pl.DataFrame) -> Evidence | None:
    """C28: rise of loss from one head of n = 4 to the next, on text.

    For each data seed, the rise between the two heads that rise least on the other
    seeds. The least rise on the seed itself would be below zero by noise alone.
    """
    rows = select_metric(final_rows(frame, "text"), "loss").filter(
        pl.col("arm") == "n4"
    )
    heads = pl.col("slice").str.contains("^horizon=[0-9]+$") & (
        pl.col("suite") == "test"
    )
    rows = add_strata(rows.filter(heads)).with_columns(
        slice_value("horizon", pl.Int64())
    )
    rise = pl.col("value").diff().over("run_id")
    steps = rows.sort("run_id", "horizon").with_columns(rise=rise).drop_nulls("rise")
    differences = []
    for cell in steps.partition_by("setting", maintain_order=True):
        for seed in cell["data_seed"].unique().sort().to_list():
            own = cell.filter(pl.col("data_seed") == seed)
            others = cell.filter(pl.col("data_seed") != seed).group_by("horizon")
            means = others.agg(pl.col("rise").mean()).sort("rise", "horizon")
            if means.height:
                smallest = own.filter(pl.col("horizon") == means["horizon"][0])
                differences.append(smallest.with_columns(difference="rise"))
    if not differences:
        return None
    return pool_strata(pl.concat(differences), rows, "heads of n = 4")


def offsets_in_order(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C28: the smallest rise of loss from head to head, on every task."""
    rows = add_settings(at_end(frame)).filter(pl.col("metric") == "loss")
    heads = rows.filter(
        pl.col("slice").str.contains("^horizon=[0-9]+$"), pl.col("suite") != "train"
    )
    heads = heads.with_columns(slice_value("horizon", pl.Int64()))
    heads = heads.sort("run_id", "suite", "horizon")
    rise = pl.col("value").diff().over("run_id", "suite")
    steps = heads.with_columns(rise=rise).drop_nulls("rise")
    by = ["task", "suite", *CELL, "arm"]
    runs = steps.group_by([*by, "run_id", "data_seed"]).agg(pl.col("rise").min())
    cells = runs.sort(*by, "data_seed").rename({"rise": "difference"})
    for key, values, _ in split_groups(cells, by):
        names = [key[name] for name in ("task", "suite", "arm", "scale")]
        about = ", ".join(["smallest rise of loss between heads", *names])
        yield ExploratoryTest(append_label(about, key["label"]), "above", values)

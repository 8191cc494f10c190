"""Evidence on star graphs and on loss by offset: C24 to C28."""

from collections.abc import Iterator

import polars as pl

from analysis.arm_names import BASELINE, arms_of
from analysis.claims import Evidence, ExploratoryTest
from analysis.comparisons import pair_by_seed
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
    select_task,
)
from analysis.selection import at_end, select_metric, slice_value
from analysis.settings import append_label
from analysis.trajectories import curve_rows, learned_level

FOLLOWED = 0.9
"""A run follows edges if it gets at least this share of each later node right."""
CHOICE = 2
"""Position of the first hop in an answer; what comes later, an edge leads to."""
SOLVED = 0.95
"""A run has solved its graphs if it gets at least this share of whole paths right."""

ANSWERS = "task.answers"
"""Column of the order in which a path is written, which settings do not tell apart."""


def _star(frame: pl.DataFrame, metric: str) -> pl.DataFrame:
    """A row for each finished run with n = 1: the metric as `value`, and five columns.

    `difference` is the metric minus 1/d, `span` is 1 - 1/d, `follows` the share right of
    the node after the first hop that is right least often, given the true path so far,
    `graph` the text G(d, l), and `ANSWERS`. Whole decoded paths do not tell whether edges
    are followed: a model that guesses the first hop and ends at the goal, which the
    question names, has left the edges.
    """
    answers = pl.col("config").str.json_path_match(f"$.{ANSWERS}")
    rows = final_rows(frame.with_columns(answers.alias(ANSWERS)), "star", ANSWERS)
    rows = rows.filter(pl.col("arm") == BASELINE)
    whole = rows.filter(pl.col("slice") == "")
    guesses = select_metric(whole, "arm_floor", "test")
    later = select_metric(rows, "accuracy", "test").filter(
        slice_value("horizon") == "1",
        slice_value("position", pl.Int64()) > CHOICE,
    )
    scores = (
        select_metric(whole, metric, "test")
        .join(guesses.select("run_id", guess="value"), on="run_id", how="left")
        .join(
            later.group_by("run_id").agg(follows=pl.col("value").min()),
            on="run_id",
            how="left",
        )
    )
    graph = pl.col("config").str.json_path_match("$.task.degree")
    length = pl.col("config").str.json_path_match("$.task.length")
    scores = scores.with_columns(
        graph=pl.format("G({}, {})", graph, length),
        difference=pl.col("value") - pl.col("guess"),
        span=1 - pl.col("guess"),
    )
    return add_strata(scores, "graph")


def first_hop(frame: pl.DataFrame) -> Evidence | None:
    """C24: first hop minus 1/d with n = 1, of runs that get every later node right."""
    rows = _star(frame, "first_hop").filter(pl.col(ANSWERS) == "forward")
    rows = rows.filter(pl.col("follows") >= FOLLOWED)
    return pool_strata(rows, rows, "first hop minus 1/d, n = 1")


def reversed_paths(frame: pl.DataFrame) -> Evidence | None:
    """C25: whether a run with n = 1 solves, reversed answers minus forward ones.

    Runs and not paths are counted: either nearly all paths of a run are right, or about
    as many as by guessing.
    """
    solved = (pl.col("value") >= SOLVED).cast(pl.Float64)
    rows = _star(frame, "path").drop("span", "ceiling", "items_right", strict=False)
    rows = rows.with_columns(side=pl.col(ANSWERS), value=solved, floor=pl.lit(0.0))
    pairs = pair_by_seed(rows, STRATUM, ANSWERS, "forward", "reversed")
    return pool_strata(pairs, rows, "runs solved, n = 1, reversed minus forward")


def _compare_times_to_solve(
    frame: pl.DataFrame,
    graphs: tuple[tuple[int, int], ...],
    second: str | None,
    first: str,
) -> Evidence | None:
    """Whether `second` solves star graphs earlier than `first`, by log-rank."""
    star = frame.filter(pl.col("task") == "star")
    frames = [
        select_task(star, answers="forward", degree=degree, length=length)
        for degree, length in graphs
    ]
    rows = add_settings(curve_rows(pl.concat(frames), "path", "test"))
    if rows.is_empty() or second is None:
        return None
    level = learned_level(rows, "path")
    return compare_events(rows, level, "higher", (second,), (first,))


def four_heads_over_two(frame: pl.DataFrame) -> Evidence | None:
    """C26: when G(3, 5) is solved, n = 4 against n = 2."""
    return _compare_times_to_solve(frame, ((3, 5),), "n4_added", "n2_added")


def token_order_over_heads(frame: pl.DataFrame) -> Evidence | None:
    """C27: when G(5, 5) is solved, the first token-order arm against n = 4."""
    arms = [arm for arm in arms_of(frame) if arm.startswith("top")]
    return _compare_times_to_solve(
        frame, ((5, 5),), arms[0] if arms else None, "n4_added"
    )


def star_arms(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """Path accuracy of every arm minus n = 1 on star graphs."""
    rows = select_metric(final_rows(frame, "star"), "path", "test")
    rows = rows.filter(pl.col("slice") == "")
    yield from compare_with_next_token(rows, [], "path accuracy", "above")


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

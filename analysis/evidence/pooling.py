"""Evidence of a claim's contrast, pooled over sizes, from rows of runs."""

import json
from collections.abc import Sequence

import polars as pl

from analysis.arm_names import BASELINE, arm_name
from analysis.claims import ENOUGH_SEEDS, MARGIN, Evidence
from analysis.comparisons import pair_by_seed
from analysis.events import Times, event_times, log_rank
from analysis.evidence.pairs import CELL, difference_over_items
from analysis.execution_paths import path_difference
from analysis.modes import lower_group_size
from analysis.settings import append_label, rates_are_tuned
from analysis.statistics import Interval
from synth.metrics import Better

STRATUM = ["stratum", *CELL, "budget"]
"""Columns of a stratum: a size (or another pooled condition), its setting and tokens."""


def add_strata(rows: pl.DataFrame, *conditions: str) -> pl.DataFrame:
    """Rows of transformers with `budget` and `stratum`: the size and the `conditions`."""
    names = [pl.col("scale"), *(pl.format(f"{c} {{}}", pl.col(c)) for c in conditions)]
    return rows.filter(~pl.col("scale").str.contains(" ")).with_columns(
        budget=pl.col("steps") * pl.col("batch_rows") * pl.col("context"),
        stratum=pl.concat_str(names, separator=", "),
    )


def select_task(rows: pl.DataFrame, **fields: object) -> pl.DataFrame:
    """The rows of runs whose task has these fields."""
    kept = []
    for config in rows["config"].drop_nulls().unique().to_list():
        task = json.loads(config).get("task", {})
        if all(task.get(name) == value for name, value in fields.items()):
            kept.append(config)
    return rows.filter(pl.col("config").is_in(kept))


def compare_arms(
    rows: pl.DataFrame, second: str, first: str = BASELINE, *conditions: str
) -> Evidence | None:
    """`value` of the arm `second` minus that of `first`, paired by data seed.

    `rows` has one row a run with its setting, and the `floor` and `ceiling` of the value
    if there are any. None without a pair.
    """
    rows = add_strata(rows.filter(pl.col("arm").is_in([first, second])), *conditions)
    differences = pair_by_seed(rows, STRATUM, "arm", first, second)
    names = f"{arm_name(second)} minus {arm_name(first)}"
    return pool_strata(differences, rows, names)


def pool_strata(
    differences: pl.DataFrame,
    rows: pl.DataFrame | None = None,
    names: str = "",
    counts: bool = False,
) -> Evidence | None:
    """One value a data seed: the mean over strata of `difference`.

    Each stratum has the setting with the largest budget, then with most seeds. Strata of
    fewer than five seeds do not count where others have five, nor seeds that lack a
    stratum or a side. `rows` are those of the compared runs, for floors, items and
    execution paths. `counts`: values are shares of runs.
    """
    differences = differences.drop_nulls("difference")
    if differences.is_empty():
        return None
    chosen, tie = _choose_settings(differences)
    kept = differences.join(chosen, on=["stratum", "setting"], how="semi")
    strata = kept["stratum"].n_unique()
    each = kept.group_by("stratum", "data_seed").agg(pl.col("difference").mean())
    means = each.group_by("data_seed").agg(pl.col("difference").mean(), pl.len())
    whole = means.filter(pl.col("len") == strata).sort("data_seed")
    counted = pl.col("data_seed").is_in(whole["data_seed"].implode())
    cells = chosen.sort("parameters")
    names_and_labels = cells.select("stratum", "label").iter_rows()
    words = ", ".join(append_label(*pair) for pair in names_and_labels)
    used = (
        None
        if rows is None
        else rows.join(chosen, on=["stratum", "setting"], how="semi")
    )
    return Evidence(
        runs=f"{names} at {words}" if names else words,
        seeds=whole.height,
        parameters=tuple(cells["parameters"].to_list()),
        values_S=tuple(whole["difference"].to_list()),
        data_seeds_S=tuple(whole["data_seed"].to_list()),
        over_items=_over_items(kept.filter(counted), used),
        tuned=used is not None and rates_are_tuned(used),
        counts=counts,
        obstacle=tie
        or ("" if whole.height else "no seed was trained in all of them")
        or ("" if used is None else _find_obstacle(used.filter(counted))),
        notes=() if used is None else _remarks(used),
    )


def _choose_settings(rows: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The setting of each stratum, and a message where several tie."""
    counts = rows.group_by("stratum", "setting", "label", "parameters", "budget").agg(
        pl.col("data_seed").n_unique().alias("seeds")
    )
    ranked = counts.sort(
        ["stratum", "budget", "seeds", "setting"], descending=[False, True, True, False]
    )
    first = ranked.unique("stratum", keep="first", maintain_order=True)
    tied = ranked.join(
        first.select("stratum", "budget", "seeds"), on=["stratum", "budget", "seeds"]
    )
    message = ""
    several = tied.filter(pl.len().over("stratum") > 1)
    if several.height:
        stratum = several["stratum"][0]
        labels = several.filter(pl.col("stratum") == stratum)["label"].to_list()
        message = (
            f"{stratum} was trained at several settings of one budget: "
            f"{', or '.join(labels)}; keep one, such as the tuned one"
        )
    full = first.filter(pl.col("seeds") >= ENOUGH_SEEDS)
    return (full if full.height else first), message


def _over_items(pairs: pl.DataFrame, used: pl.DataFrame | None) -> Interval | None:
    named = {"first_run", "second_run"} <= set(pairs.columns)
    if used is None or not named or "items_right" not in used.columns:
        return None
    return difference_over_items(used, pairs)


def _find_obstacle(rows: pl.DataFrame) -> str:
    """Why a mean over seeds is no evidence; empty if it is.

    All sides of all strata are at the floor (their means below it, or above by the margin
    at most), all are at the ceiling, or the seeds of one fall into two groups. The range of
    the measure is its column `span`, or floor to ceiling; without it there are no groups.
    Only shares have the columns `floor` and `ceiling`, and `MARGIN` is one of shares; a
    measure in nats with such a column has to bring its own `end_margin`.
    """
    sides = [name for name in ("stratum", "arm", "side") if name in rows.columns]
    for name, sign in (("floor", 1), ("ceiling", -1)):
        if name not in rows.columns:
            continue
        ends = (
            rows.drop_nulls(["value", name])
            .group_by(sides)
            .agg(
                distance=sign * (pl.col("value") - pl.col(name)).mean(),
                margin=pl.col("end_margin").first()
                if "end_margin" in rows.columns
                else pl.lit(MARGIN),
            )
        )
        if ends.height and (ends["distance"] <= ends["margin"]).all():
            return f"both sides are at the {name}"
    if {"floor", "ceiling"} <= set(rows.columns):
        rows = rows.with_columns(span=pl.col("ceiling") - pl.col("floor"))
    if "span" in rows.columns:
        for _, cell in rows.drop_nulls(["value", "span"]).group_by(sides):
            if lower_group_size(cell["value"], cell["span"].to_numpy().mean()):
                return "seeds fall into two groups, whose mean describes neither"
    return ""


def _remarks(rows: pl.DataFrame) -> tuple[str, ...]:
    paths = path_difference(rows)
    return (f"the arms trained through different paths: {paths}",) if paths else ()


def compare_events(
    curves: pl.DataFrame,
    level: float,
    better: Better,
    second: Sequence[str],
    first: Sequence[str] = (BASELINE,),
) -> Evidence | None:
    """Whether runs of `second` reach a level earlier than those of `first`; by log-rank.

    `curves` has all evaluations of runs, with their setting. None without both sides.
    """
    if curves.is_empty():
        return None
    rows = add_strata(curves.filter(pl.col("arm").is_in([*first, *second])))
    side = pl.col("arm").is_in(list(second)).alias("second")
    runs = rows.unique("run_id", maintain_order=True).drop("tokens")
    times = runs.join(event_times(rows, level, better), on="run_id").with_columns(side)
    both = times.filter(pl.col("second").n_unique().over("stratum", "setting") == 2)
    if both.is_empty():
        return None
    chosen, tie = _choose_settings(both)
    kept = both.join(chosen, on=["stratum", "setting"], how="semi")
    frames = kept.partition_by("stratum", maintain_order=True)
    strata = [
        (Times.of(rows.filter(~pl.col("second"))), Times.of(rows.filter("second")))
        for rows in frames
    ]
    seeds = min(len(times.tokens_S) for pair in strata for times in pair)
    counts = [
        f"{arm_name(arm)} {cell['happened'].sum()} of {cell.height}"
        for (arm,), cell in kept.group_by("arm", maintain_order=True)
    ]
    where = ", ".join(append_label(f["stratum"][0], f["label"][0]) for f in frames)
    return Evidence(
        runs=f"reached it: {', '.join(sorted(counts))}, at {where}",
        seeds=seeds,
        parameters=tuple(sorted(chosen["parameters"].to_list())),
        events=log_rank(strata),
        happened_share=float(kept["happened"].to_numpy().mean()),
        tuned=rates_are_tuned(kept),
        obstacle=tie,
        notes=_remarks(kept),
    )

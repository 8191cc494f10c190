"""From rows of runs to the evidence of a claim's one contrast."""

import json
from collections.abc import Sequence

import polars as pl

from analysis.arm_names import BASELINE, arm_name
from analysis.claims import ENOUGH_SEEDS, MARGIN, Evidence
from analysis.comparisons import paired
from analysis.events import Better, Times, event_times, log_rank
from analysis.evidence.pairs import CELL, difference_over_items
from analysis.execution_paths import path_difference
from analysis.modes import lower_group_size, span_of
from analysis.settings import rates_are_tuned
from analysis.statistics import Interval

STRATUM = ["stratum", *CELL, "budget"]
"""A size (or another part that is pooled), its setting, and its training tokens."""


def strata_of(rows: pl.DataFrame, *parts: str) -> pl.DataFrame:
    """Transformers alone, with `budget` and `stratum`: the size, and the `parts`."""
    names = [pl.col("scale"), *(pl.format(f"{p} {{}}", pl.col(p)) for p in parts)]
    return rows.filter(~pl.col("scale").str.contains(" ")).with_columns(
        budget=pl.col("steps") * pl.col("batch_rows") * pl.col("context"),
        stratum=pl.concat_str(names, separator=", "),
    )


def with_task(rows: pl.DataFrame, **fields: object) -> pl.DataFrame:
    """The runs whose task has these fields."""
    kept = []
    for config in rows["config"].drop_nulls().unique().to_list():
        task = json.loads(config).get("task", {})
        if all(task.get(name) == value for name, value in fields.items()):
            kept.append(config)
    return rows.filter(pl.col("config").is_in(kept))


def arms_apart(
    rows: pl.DataFrame, second: str, first: str = BASELINE, *parts: str
) -> Evidence | None:
    """`value` of the arm `second` minus that of `first`, paired by data seed.

    `rows` has one row a run with its setting, and where there are any, the `floor` and
    `ceiling` of the value. None without a pair.
    """
    rows = strata_of(rows.filter(pl.col("arm").is_in([first, second])), *parts)
    differences = paired(rows, STRATUM, "arm", first, second)
    names = f"{arm_name(second)} minus {arm_name(first)}"
    return pool(differences, rows, names)


def pool(
    differences: pl.DataFrame, rows: pl.DataFrame | None = None, names: str = ""
) -> Evidence | None:
    """One value a data seed: the mean over strata of `difference`.

    Of each stratum the setting with the largest budget counts, then the one with most
    seeds. Strata of fewer than five seeds do not count where others have them. `rows`
    are those of the runs that were compared, for floors, items and execution paths.
    """
    differences = differences.drop_nulls("difference")
    if differences.is_empty():
        return None
    chosen, crowded = _settings(differences)
    kept = differences.join(chosen, on=["stratum", "setting"], how="semi")
    strata = kept["stratum"].n_unique()
    means = kept.group_by("data_seed").agg(pl.col("difference").mean(), pl.len())
    whole = means.filter(pl.col("len") == strata).sort("data_seed")
    cells = chosen.sort("parameters")
    words = ", ".join(
        f"{stratum} ({setting})"
        for stratum, setting in cells.select("stratum", "setting").iter_rows()
    )
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
        over_items=_over_items(kept.join(whole, on="data_seed", how="semi"), used),
        tuned=used is not None and rates_are_tuned(used),
        barred=crowded or ("" if used is None else _barred(used)),
        notes=() if used is None else _notes(used),
    )


def _settings(rows: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The setting of each stratum, and why none can be chosen."""
    counts = rows.group_by("stratum", "setting", "parameters", "budget").agg(
        pl.col("data_seed").n_unique().alias("seeds")
    )
    ranked = counts.sort(
        ["stratum", "budget", "seeds", "setting"], descending=[False, True, True, False]
    )
    first = ranked.unique("stratum", keep="first", maintain_order=True)
    tied = ranked.join(
        first.select("stratum", "budget", "seeds"), on=["stratum", "budget", "seeds"]
    )
    crowded = ""
    several = tied.filter(pl.len().over("stratum") > 1)
    if several.height:
        stratum = several["stratum"][0]
        ids = several.filter(pl.col("stratum") == stratum)["setting"].to_list()
        crowded = f"{stratum} was trained at several settings of one budget: " + (
            f"{', '.join(ids)}; keep one, such as the tuned one"
        )
    full = first.filter(pl.col("seeds") >= ENOUGH_SEEDS)
    return (full if full.height else first), crowded


def _over_items(pairs: pl.DataFrame, used: pl.DataFrame | None) -> Interval | None:
    named = {"first_run", "second_run"} <= set(pairs.columns)
    if used is None or not named or "items_right" not in used.columns:
        return None
    return difference_over_items(used, pairs)


def _barred(rows: pl.DataFrame) -> str:
    """Why a mean over seeds says nothing; empty if it says something.

    Every side of every stratum is at the floor (its mean no further than the margin from
    it, or below), every one is at the ceiling, or the seeds of one fall into two groups.
    """
    sides = [name for name in ("stratum", "arm", "side") if name in rows.columns]
    for name, sign in (("floor", 1), ("ceiling", -1)):
        if name not in rows.columns:
            continue
        ends = (
            rows.drop_nulls(["value", name])
            .group_by(sides)
            .agg(
                apart=sign * (pl.col("value") - pl.col(name)).mean(),
                least=pl.col("end_margin").first()
                if "end_margin" in rows.columns
                else pl.lit(MARGIN),
            )
        )
        if ends.height and (ends["apart"] <= ends["least"]).all():
            return f"both sides are at the {name}"
    if {"floor", "ceiling"} <= set(rows.columns):
        for _, cell in rows.drop_nulls(["value", "floor"]).group_by(sides):
            if lower_group_size(cell["value"], span_of(cell)) is not None:
                return "seeds fall into two groups, whose mean describes neither"
    return ""


def _notes(rows: pl.DataFrame) -> tuple[str, ...]:
    paths = path_difference(rows)
    return (f"the arms trained through different paths: {paths}",) if paths else ()


def event_apart(
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
    rows = strata_of(curves.filter(pl.col("arm").is_in([*first, *second])))
    side = pl.col("arm").is_in(list(second)).alias("second")
    runs = rows.unique("run_id", maintain_order=True).drop("tokens")
    times = runs.join(event_times(rows, level, better), on="run_id").with_columns(side)
    both = times.filter(pl.col("second").n_unique().over("stratum", "setting") == 2)
    if both.is_empty():
        return None
    chosen, crowded = _settings(both)
    kept = both.join(chosen, on=["stratum", "setting"], how="semi")
    parts = kept.partition_by("stratum", maintain_order=True)
    strata = [
        (Times.of(part.filter(~pl.col("second"))), Times.of(part.filter("second")))
        for part in parts
    ]
    seeds = min(len(one.tokens_S) for pair in strata for one in pair)
    counts = [
        f"{arm_name(arm)} {cell['happened'].sum()} of {cell.height}"
        for (arm,), cell in kept.group_by("arm", maintain_order=True)
    ]
    where = ", ".join(f"{part['stratum'][0]} ({part['setting'][0]})" for part in parts)
    return Evidence(
        runs=f"reached it: {', '.join(sorted(counts))}, at {where}",
        seeds=seeds,
        parameters=tuple(sorted(chosen["parameters"].to_list())),
        events=log_rank(strata),
        happened_share=float(kept["happened"].to_numpy().mean()),
        tuned=rates_are_tuned(kept),
        barred=crowded,
        notes=_notes(kept),
    )

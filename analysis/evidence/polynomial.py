"""Evidence on polynomial arithmetic: C7 to C11."""

import math
from collections.abc import Iterator

import polars as pl

from analysis.arm_names import BASELINE, arm_name, sort_rows
from analysis.claims import Evidence, ExploratoryTest
from analysis.comparisons import pair_arms, pair_by_seed
from analysis.evidence.pairs import (
    CELL,
    TWO_TOKENS,
    compare_with_next_token,
    final_rows,
    select_arms,
    select_multi_token,
    split_groups,
)
from analysis.evidence.pooling import STRATUM, add_strata, compare_arms, pool_strata
from analysis.selection import (
    EXACT_MATCH,
    GUESS_FLOOR,
    OPERATIONS,
    at_end,
    is_slice_of,
    select_metric,
    slice_value,
)
from analysis.settings import append_label
from analysis.statistics import NORMAL, Interval, binomial_error
from synth.scales import format_count

AT_FLOOR = "may be guessing"


def _polynomial(
    frame: pl.DataFrame, inside: bool, pauses: bool, *varied: str
) -> pl.DataFrame:
    """Exact match and floor by operations, in domain or not, with pause tokens or not."""
    rows = final_rows(frame, "polynomial", *varied)
    rows = select_metric(rows.filter(is_slice_of(OPERATIONS)), EXACT_MATCH)
    rows = rows.with_columns(slice_value(OPERATIONS, pl.Int64()))
    domain = pl.col(OPERATIONS) <= pl.col("max_operations")
    paused = pl.col("pause_tokens") > 0
    rows = rows.filter(domain if inside else ~domain, paused if pauses else ~paused)
    final = at_end(frame).with_columns(slice_value(OPERATIONS, pl.Int64()))
    floor = select_metric(final, GUESS_FLOOR).select(
        "run_id", OPERATIONS, floor=pl.col("value")
    )
    return rows.join(
        floor, on=["run_id", OPERATIONS], how="left", maintain_order="left"
    )


def _sampling_error(rows: pl.DataFrame) -> float:
    """Standard error of guessing at the floor, mean over m, on one test set."""
    floors = (
        rows.drop_nulls("floor")
        .group_by(OPERATIONS)
        .agg(pl.col("floor").mean(), pl.col("count").min())
    )
    errors = [
        binomial_error(floor, count)
        for floor, count in floors.select("floor", "count").iter_rows()
    ]
    return math.hypot(*errors) / len(errors) if errors else 0.0


def _at_floor(rows: pl.DataFrame) -> bool:
    """Whether no arm's mean exceeds what guessing may score on a test set of this size."""
    above = rows.with_columns(above=pl.col("value") - pl.col("floor"))
    means = above.group_by("arm").agg(pl.col("above").mean())["above"].drop_nulls()
    error = _sampling_error(rows)
    return len(means) > 0 and all(mean <= NORMAL * error for mean in means)


def _remark(rows: pl.DataFrame) -> str:
    """The note of a test of these rows."""
    return AT_FLOOR if _at_floor(rows) else ""


_RING = ["modulus", OPERATIONS]
PAPERS_RING = 7
"""The modulus of F_7[X]/(X^5), which C7 to C11 are about."""


def _mean_over_m(rows: pl.DataFrame) -> pl.DataFrame:
    """One row a run of the paper's ring: mean exact match and guess floor over m.

    `end_margin` is how much guessing may exceed its floor on a test set of this size.
    """
    rows = rows.filter(pl.col("modulus") == PAPERS_RING)
    others = [name for name in rows.columns if name not in ("run_id", "value", "floor")]
    spread = pl.col("floor") * (1 - pl.col("floor")) / pl.col("count")
    return rows.group_by("run_id", maintain_order=True).agg(
        pl.col(others).first(),
        pl.col("value", "floor").mean(),
        end_margin=NORMAL * spread.sum().sqrt() / pl.len(),
        ceiling=pl.lit(1.0),
    )


def gain(frame: pl.DataFrame, inside: bool, pauses: bool) -> Evidence | None:
    """C7, C8, C10: n = 2 minus n = 1, mean over m and contexts, or over pause tokens."""
    rows = _mean_over_m(_polynomial(frame, inside, pauses))
    condition = "pause_tokens" if pauses else "context"
    return compare_arms(rows, "n2", BASELINE, condition)


def gain_by_pauses(frame: pl.DataFrame) -> Evidence | None:
    """C11: gain in domain with pause tokens minus gain without."""
    sides = []
    for pauses in (False, True):
        rows = _mean_over_m(_polynomial(frame, True, pauses, "pause_tokens"))
        rows = add_strata(select_arms(rows, TWO_TOKENS), "pause_tokens")
        by = [*STRATUM, "pause_tokens"]
        sides.append((rows, pair_by_seed(rows, by, "arm", BASELINE, "n2")))
    (plain, gain), (paused, gain_paused) = sides
    keys = ["setting", "scale", "data_seed"]
    gains = gain_paused.join(gain.select(*keys, without="difference"), on=keys)
    gains = gains.with_columns(difference=pl.col("difference") - pl.col("without"))
    gains = gains.drop("first_run", "second_run", strict=False)
    rows = pl.concat([plain, paused], how="diagonal_relaxed")
    return pool_strata(gains, rows, "n = 2")


def loss_or_size(frame: pl.DataFrame) -> Evidence | None:
    """C9: the smaller model with n = 2 minus the larger with n = 1, at one context."""
    varied = ("scale", "batch_rows")
    rows = add_strata(_mean_over_m(_polynomial(frame, True, False, *varied)), "context")
    sizes = rows["parameters"].unique().sort().to_list()
    if len(sizes) < 2:
        return None
    keys = ["setting", "context", "data_seed"]
    small = rows.filter(pl.col("arm") == "n2", pl.col("parameters") == sizes[0])
    large = rows.filter(pl.col("arm") == BASELINE, pl.col("parameters") == sizes[-1])
    both = small.join(large, on=keys, suffix="_large").with_columns(
        difference=pl.col("value") - pl.col("value_large")
    )
    used = pl.concat([small, large])
    strata = used.join(both.select(*keys, name="stratum"), on=keys)
    strata = strata.with_columns(stratum=pl.col("name"))
    first, last = format_count(sizes[0]), format_count(sizes[-1])
    return pool_strata(both, strata, f"{first} with n = 2 minus {last} with n = 1")


def polynomial_in_domain(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C7: exact match at each m that was trained."""
    rows = _polynomial(frame, inside=True, pauses=False)
    yield from compare_with_next_token(rows, _RING, "exact match", "above", _remark)


def polynomial_out_of_domain(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C8: exact match at each larger m, and its distance from the guess floor."""
    rows = _polynomial(frame, inside=False, pauses=False)
    yield from compare_with_next_token(rows, _RING, "exact match", "above", _remark)
    above = (
        select_multi_token(rows).filter(pl.col("arm") != BASELINE).drop_nulls("floor")
    )
    above = above.with_columns(difference=pl.col("value") - pl.col("floor"))
    by = [*CELL, "arm", *_RING]
    for key, values, cell in split_groups(sort_rows(above, *by, "data_seed"), by):
        error, mean = NORMAL * _sampling_error(cell), sum(values) / len(values)
        problems = min(cell["count"].to_list())
        about = (
            f"exact match minus guess floor, {arm_name(key['arm'])}, {key['scale']}, "
            f"operations {key[OPERATIONS]}"
        )
        yield ExploratoryTest(
            append_label(about, key["label"]),
            "above",
            values,
            over_items=Interval(mean, mean - error, mean + error, problems, math.nan),
            note=_remark(cell),
        )


def paused_polynomials(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C10: C7 and C8 with pause tokens."""
    by = ["pause_tokens", *_RING]
    for inside in (True, False):
        rows = _polynomial(frame, inside, pauses=True)
        yield from compare_with_next_token(rows, by, "exact match", "above", _remark)


def pause_interaction(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C11: gain with pause tokens minus gain without, mean over m.

    Where both arms may be guessing, with pause tokens and without, there is no gap to
    widen, and the note says so.
    """
    by = [*CELL, "modulus"]
    for inside, where in ((True, "in domain"), (False, "out of domain")):
        rows = [
            select_multi_token(_polynomial(frame, inside, pauses, "pause_tokens"))
            for pauses in (False, True)
        ]
        plain, paused = map(_mean_gain, rows)
        rows_of_all = pl.concat(rows)
        keys = [*by, "arm", "data_seed"]
        both = paused.join(plain, on=keys, suffix="_plain")
        both = both.with_columns(
            difference=pl.col("difference") - pl.col("difference_plain")
        )
        both = sort_rows(both, *keys, "pause_tokens")
        by_pause = [*by, "arm", "pause_tokens"]
        for key, values, _ in split_groups(both, by_pause):
            here = rows_of_all.filter(
                pl.col("arm").is_in([BASELINE, key["arm"]]),
                pl.col("pause_tokens").is_in([0, key["pause_tokens"]]),
                *(pl.col(name).eq_missing(key[name]) for name in by),
            )
            guessing = all(map(_at_floor, here.partition_by("pause_tokens")))
            about = (
                f"gain with {key['pause_tokens']} pause tokens minus gain without, "
                f"{where}, {arm_name(key['arm'])}, {key['scale']}"
            )
            yield ExploratoryTest(
                append_label(about, key["label"]),
                "within",
                values,
                note=AT_FLOOR if guessing else "",
            )


def _mean_gain(rows: pl.DataFrame) -> pl.DataFrame:
    """`difference` of every other arm from n = 1, of the mean over m."""
    by = [*CELL, "modulus", "pause_tokens"]
    cell = [*by, "arm", "data_seed"]
    means = rows.group_by(cell).agg(pl.col("value").mean()).sort(cell)
    return pair_arms(means, by).select(*by, "data_seed", "difference", "arm")


def loss_against_size(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C9: the smaller multi-token model minus the larger with n = 1."""
    varied = ("scale", "batch_rows", "context")
    for inside, where in ((True, "in domain"), (False, "out of domain")):
        rows = select_multi_token(_polynomial(frame, inside, False, *varied))
        cell = ["setting", "label", "modulus", "data_seed", "arm", *varied]
        means = rows.group_by([*cell, "parameters"]).agg(pl.col("value").mean())
        next_token = means.filter(pl.col("arm") == BASELINE)
        longer = means.filter(pl.col("arm") != BASELINE)
        keys = ["setting", "label", "modulus", "data_seed"]
        both = longer.join(next_token, on=keys, suffix="_large")
        ratio = pl.col("parameters_large") / pl.col("parameters")
        both = both.filter(ratio.is_between(2, 5)).with_columns(
            difference=pl.col("value") - pl.col("value_large")
        )
        by = [*keys[:3], "scale", "scale_large", "context", "context_large", "arm"]
        by += ["parameters_large"]
        for key, values, _ in split_groups(sort_rows(both, *by, "data_seed"), by):
            about = (
                f"exact match {where}, {key['scale']} with {arm_name(key['arm'])} "
                f"(context {key['context']}) minus {key['scale_large']} with n = 1 "
                f"(context {key['context_large']})"
            )
            yield ExploratoryTest(append_label(about, key["label"]), "above", values)

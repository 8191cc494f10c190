"""Evidence on induction in stories: C1 to C6.

The runs of a cell are measured on the same stories, so their last scores have a
bootstrap interval over stories besides the t interval over seeds.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from analysis.arm_names import arm_name, sort_rows
from analysis.claims import MARGIN, Direction, Evidence, ExploratoryTest
from analysis.comparisons import pair_by_seed
from analysis.events import event_times
from analysis.evidence.pairs import (
    CELL,
    TWO_TOKENS,
    add_settings,
    compare_with_next_token,
    final_rows,
    select_arms,
    select_multi_token,
    split_groups,
)
from analysis.evidence.pooling import (
    STRATUM,
    add_strata,
    compare_arms,
    pool_strata,
)
from analysis.selection import (
    NAMES_SUITE,
    SECOND_TOKEN,
    at_end,
    at_step_of,
    best_step,
    is_slice_of,
    select_metric,
    slice_value,
)
from analysis.settings import append_label
from analysis.trajectories import curve_rows, floor_of, learned_level


def _stories(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Second-token accuracy at the last step."""
    rows = final_rows(frame, "stories", *varied)
    rows = select_metric(rows, SECOND_TOKEN, NAMES_SUITE).filter(pl.col("slice") == "")
    return rows.drop_nulls("value")


def _at_best(frame: pl.DataFrame, suite: str) -> pl.DataFrame:
    """Second-token accuracy of each run at its best step on a suite.

    Without counts by story, which only rows of last steps have.
    """
    done = frame.filter(state="done", task="stories", slice="")
    rows = select_metric(done, SECOND_TOKEN)
    best = best_step(rows.filter(suite=suite))
    rows = at_step_of(rows.filter(suite=NAMES_SUITE), best)
    missing = [
        pl.lit(None, rows.schema[name]).alias(name)
        for name in ("items_right", "items_number")
    ]
    return add_settings(rows.with_columns(missing))


_STORIES_BY = ["open_names", "books_parts"]
SMALL = 5_000_000
"""C5: parameters above the paper's two smallest sizes, 1M and 3M."""
OPEN, ALONE = pl.col("open_names") == 1, pl.col("books_parts") == 0


def _with_ends(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Last second-token accuracies; their floor is guessing the commonest name."""
    majority = select_metric(at_end(frame), "second_token_majority", NAMES_SUITE)
    floors = majority.select("run_id", floor="value").unique("run_id")
    return (
        _stories(frame, *varied)
        .join(floors, on="run_id", how="left")
        .with_columns(ceiling=pl.lit(1.0))
    )


def gain_of_two(frame: pl.DataFrame) -> Evidence | None:
    """C1, C2: n = 2 minus n = 1 at the last step, stories alone, open names."""
    return compare_arms(_with_ends(frame).filter(OPEN & ALONE), "n2")


def seen_over_unseen(frame: pl.DataFrame) -> Evidence | None:
    """C3: n = 1, accuracy on second tokens that training showed, minus others."""
    rows = select_metric(final_rows(frame, "stories"), SECOND_TOKEN, "test")
    rows = rows.filter(is_slice_of("tokens"), OPEN & ALONE, pl.col("arm") == "n1")
    floors = select_metric(at_end(frame), "second_token_majority", "test")
    rows = rows.join(
        floors.select("run_id", floor="value"), on="run_id", how="left"
    ).with_columns(side=slice_value("tokens"), ceiling=pl.lit(1.0))
    rows = add_strata(rows)
    differences = pair_by_seed(rows, STRATUM, "side", "unseen", "seen")
    return pool_strata(differences, rows, "seen minus unseen")


def gain_of_books(frame: pl.DataFrame) -> Evidence | None:
    """C4: n = 1, nine to one minus stories alone, at the end."""
    rows = _with_ends(frame, "books_parts").filter(pl.col("arm") == "n1")
    rows = add_strata(rows.with_columns(side="books_parts"))
    differences = pair_by_seed(rows, STRATUM, "books_parts", 0, 9)
    return pool_strata(differences, rows, "nine to one minus stories alone")


def gain_by_size(frame: pl.DataFrame) -> Evidence | None:
    """C5: gain of n = 2 on the mix below 5M minus its gain above."""
    rows = _with_ends(frame).filter(~ALONE)
    small = pl.col("parameters") < SMALL
    low, high, both = (
        compare_arms(rows.filter(side), "n2") for side in (small, ~small, pl.lit(True))
    )
    if low is None or high is None or both is None:
        return None
    large = dict(zip(high.data_seeds_S, high.values_S, strict=True))
    pairs = zip(low.data_seeds_S, low.values_S, strict=True)
    gaps = {seed: value - large[seed] for seed, value in pairs if seed in large}
    return replace(  # rates and obstacles are those of all sizes
        both,
        runs=f"gain of {low.runs} minus gain at {high.runs.partition(' at ')[2]}",
        seeds=len(gaps),
        values_S=tuple(gaps.values()),
        data_seeds_S=tuple(gaps),
        over_items=None,
    )


def gap_after_forming(frame: pl.DataFrame) -> Evidence | None:
    """C6: n = 2 minus n = 1 once both have formed induction, open names."""
    gaps = _gaps(frame).filter(OPEN & ALONE)
    rows = add_strata(select_arms(_with_ends(frame), TWO_TOKENS))
    return pool_strata(add_strata(gaps), rows, "n = 2 minus n = 1")


def induction_small(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C1: n = 2 minus n = 1 at 1M to 30M, at three steps: last, best, validated."""
    for rows, step in (
        (_stories(frame), "last step"),
        (_at_best(frame, NAMES_SUITE), "best step"),  # as the paper chose
        (_at_best(frame, "validation"), "step chosen on validation names"),
    ):
        no_books = select_arms(rows.filter(pl.col("books_parts") == 0), TWO_TOKENS)
        what = f"second-token accuracy at the {step}"
        yield from compare_with_next_token(no_books, _STORIES_BY, what, "above")


def induction_large(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C2: the same difference from 100M on."""
    rows = _stories(frame).filter(pl.col("books_parts") == 0)
    rows = select_arms(rows, TWO_TOKENS)
    what = "second-token accuracy at the last step"
    yield from compare_with_next_token(rows, _STORIES_BY, what, "below")


def unseen_names(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C3: accuracy on second tokens in training minus others, and of others alone.

    Where those in training are no better than guessing the commonest name of the story,
    nothing has been learnt that could be capped, and the note says so.
    """
    rows = select_multi_token(
        select_metric(final_rows(frame, "stories"), SECOND_TOKEN, "test")
    )
    rows = rows.filter(is_slice_of("tokens")).with_columns(slice_value("tokens"))
    by = [*CELL, "arm", *_STORIES_BY]
    wide = rows.select(*by, "data_seed", "run_id", "tokens", "value")
    seen = wide.filter(pl.col("tokens") == "seen")
    unseen = wide.filter(pl.col("tokens") == "unseen").select("run_id", "value")
    both = seen.join(unseen, on="run_id", suffix="_unseen")
    both = sort_rows(both, *by, "data_seed")
    gap = both.with_columns(difference=pl.col("value") - pl.col("value_unseen"))
    level = both.with_columns(difference=pl.col("value_unseen"))
    tests: tuple[tuple[str, Direction, pl.DataFrame], ...] = (
        ("seen minus unseen second tokens", "above", gap),
        ("unseen second tokens", "within", level),
    )
    for what, direction, differences in tests:
        for key, values, cell in split_groups(differences, by):
            runs = frame.filter(pl.col("run_id").is_in(cell["run_id"].to_list()))
            guess = floor_of(runs, SECOND_TOKEN, "test")
            about = (
                f"second-token accuracy, {what}, {arm_name(key['arm'])}, "
                f"{key['scale']}, open names {key['open_names']}"
            )
            yield ExploratoryTest(
                append_label(about, key["label"]),
                direction,
                values,
                note=_remark_at_ends(cell, guess, "value", "value_unseen"),
            )


def _remark_at_ends(cell: pl.DataFrame, guess: float, *sides: str) -> str:
    """A note where no side is above the score `guess`, or all are nearly at 1.

    A difference is no evidence there.
    """
    means = cell.select(pl.col(*sides).mean()).row(0)
    if None in means:
        return ""
    if max(means) <= max(MARGIN, guess):
        return "both at the floor"
    if min(means) >= 1 - MARGIN:
        return "both at the ceiling"
    return ""


def books_mix(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C4: nine to one minus stories alone, at the end."""
    final = select_multi_token(_stories(frame, "books_parts"))
    by = [*CELL, "arm", "open_names"]
    differences = pair_by_seed(final, by, "books_parts", 0, 9)
    for key, values, _ in split_groups(sort_rows(differences, *by, "data_seed"), by):
        about = (
            "second-token accuracy, nine to one minus stories alone, "
            f"{arm_name(key['arm'])}, {key['scale']}"
        )
        yield ExploratoryTest(append_label(about, key["label"]), "above", values)


def mix_by_size(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C5: on the mix, n = 2 minus n = 1: above at 1M and 3M, nothing from 10M on."""
    rows = _stories(frame).filter(pl.col("books_parts") > 0)
    rows = select_arms(rows, TWO_TOKENS)
    small = pl.col("parameters") < SMALL
    what = "second-token accuracy on the mix"
    tests: tuple[tuple[pl.Expr, Direction], ...] = (
        (small, "above"),
        (~small, "within"),
    )
    for sizes, direction in tests:
        here = rows.filter(sizes)
        yield from compare_with_next_token(here, _STORIES_BY, what, direction)


def _gaps(frame: pl.DataFrame) -> pl.DataFrame:
    """A row for each pair of runs, n = 1 and n = 2 of a data seed, that formed induction.

    `first_gap` is n = 2 minus n = 1 when the later of the two formed it, `difference` its
    mean over the later half of the remaining training.
    """
    stories = frame.filter(pl.col("task") == "stories")
    curves = add_settings(curve_rows(stories, SECOND_TOKEN, NAMES_SUITE))
    formed = _times_to_form(curves) if curves.height else {}
    by = [*CELL, "steps", "batch_rows", "context", *_STORIES_BY, "data_seed"]
    gaps: list[tuple[object, ...]] = []
    pairs = select_arms(curves, TWO_TOKENS)
    for cell, group in pairs.group_by(by, maintain_order=True):
        runs = {run["arm"][0]: run for run in group.partition_by("run_id")}
        if runs.keys() >= set(TWO_TOKENS):
            first, second = (runs[arm] for arm in TWO_TOKENS)
            start = max(
                formed.get(run["run_id"][0], math.inf) for run in (first, second)
            )
            gap = _gap_after(first, second, start)
            if gap is not None:
                gaps.append((*cell, *gap))
    schema = {name: curves.schema[name] for name in by}
    schema |= {"first_gap": pl.Float64(), "difference": pl.Float64()}
    return pl.DataFrame(gaps, schema=schema, orient="row").sort(by)


def formed_induction(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C6: n = 2 minus n = 1 after both have formed induction.

    A run has formed it when its accuracy reaches the level that the task declares. The
    note has the gap at that time, which tells whether the gap closes.
    """
    table = _gaps(frame)
    for key, values, group in split_groups(table, [*CELL, *_STORIES_BY]):
        about = (
            "second-token accuracy over the later half of the time after both formed "
            f"induction, n = 2 minus n = 1, {key['scale']}, open names "
            f"{key['open_names']}, books {key['books_parts']}"
        )
        first_gap = np.mean(group["first_gap"].to_list())
        yield ExploratoryTest(
            append_label(about, key["label"]),
            "within",
            values,
            note=f"gap when the later one formed: {first_gap:+.3f}",
        )


def _times_to_form(curves: pl.DataFrame) -> dict[str, float]:
    """The tokens at which each run had formed induction; infinite if it never did."""
    times = event_times(curves, learned_level(curves, SECOND_TOKEN))
    return {
        run_id: tokens if happened else math.inf
        for run_id, tokens, happened in times.iter_rows()
    }


def _gap_after(
    first: pl.DataFrame, second: pl.DataFrame, start: float
) -> tuple[float, float] | None:
    """`second` minus `first` at `start`, and its mean over the later half of the rest.

    Evaluated at the evaluations of `first`, with `second` interpolated. None if that half
    has fewer than two evaluations.
    """
    first, second = first.sort("step"), second.sort("step")
    x, y = first["tokens"].to_numpy(), second["tokens"].to_numpy()
    end = float(min(x[-1], y[-1]))
    if not start < end:
        return None
    at = x[(x >= (start + end) / 2) & (x <= end)]
    if len(at) < 2:
        return None
    values = (first["value"].to_numpy(), second["value"].to_numpy())
    gaps = [
        np.interp(w, y, values[1]) - np.interp(w, x, values[0]) for w in (start, at)
    ]
    return float(gaps[0]), float(gaps[1].mean())

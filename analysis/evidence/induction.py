"""Evidence on induction in stories: C1 to C6.

The runs of a cell are measured on the same stories, so their last scores have, beside
the t interval over seeds, a bootstrap interval over stories.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from analysis.arm_names import arm_name, sort_rows
from analysis.claims import MARGIN, Direction, Evidence, Test
from analysis.comparisons import paired
from analysis.events import event_times
from analysis.evidence.pairs import (
    CELL,
    TWO_TOKENS,
    against_next_token,
    finished,
    groups,
    in_settings,
    multi_token,
    of_arms,
    parameters,
)
from analysis.evidence.pooling import (
    STRATUM,
    arms_apart,
    pool,
    strata_of,
)
from analysis.selection import (
    NAMES_SUITE,
    SECOND_TOKEN,
    at_end,
    at_step_of,
    best_step,
    is_slice_of,
    measured,
    slice_value,
)
from analysis.trajectories import curve_rows, floor_of, learned_level


def _stories(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Second-token accuracy at the last step."""
    rows = finished(frame, "stories", *varied)
    rows = measured(rows, SECOND_TOKEN, NAMES_SUITE).filter(pl.col("slice") == "")
    return rows.drop_nulls("value")


def _oracle(frame: pl.DataFrame) -> pl.DataFrame:
    """Second-token accuracy at the best evaluation of each run, as the paper chose."""
    done = frame.filter(pl.col("state") == "done", pl.col("task") == "stories")
    rows = measured(done, SECOND_TOKEN, NAMES_SUITE).filter(pl.col("slice") == "")
    return _without_items(best_step(rows))


def _validated(frame: pl.DataFrame) -> pl.DataFrame:
    """Second-token accuracy at the step that validation names and stories choose."""
    done = frame.filter(pl.col("state") == "done", pl.col("task") == "stories")
    rows = measured(done, SECOND_TOKEN).filter(pl.col("slice") == "")
    by_names = measured(rows, SECOND_TOKEN, "validation")
    found = at_step_of(measured(rows, SECOND_TOKEN, NAMES_SUITE), best_step(by_names))
    return _without_items(found)


def _without_items(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of several steps: only those of the last one had counts by story."""
    nothing = [
        pl.lit(None, rows.schema[name]).alias(name)
        for name in ("items_right", "items_number")
    ]
    return in_settings(rows.with_columns(nothing))


_STORIES_BY = ["open_names", "books_parts"]


SMALL = 5_000_000
"""C5: the two smallest sizes of the paper, 1M and 3M, lie below."""
OPEN, ALONE = pl.col("open_names") == 1, pl.col("books_parts") == 0


def _with_ends(frame: pl.DataFrame, suite: str = NAMES_SUITE) -> pl.DataFrame:
    """Last second-token accuracies with floor and ceiling: the commonest name, and 1."""
    majority = measured(at_end(frame), "second_token_majority", suite)
    floors = majority.select("run_id", floor="value").unique("run_id")
    return (
        _stories(frame)
        .join(floors, on="run_id", how="left")
        .with_columns(ceiling=pl.lit(1.0))
    )


def gain_of_two(frame: pl.DataFrame) -> Evidence | None:
    """C1, C2: n = 2 minus n = 1 at the last step, stories alone, open names."""
    return arms_apart(_with_ends(frame).filter(OPEN & ALONE), "n2")


def seen_over_unseen(frame: pl.DataFrame) -> Evidence | None:
    """C3: n = 1, accuracy on second tokens that training showed, minus others."""
    rows = measured(finished(frame, "stories"), SECOND_TOKEN, "test")
    rows = rows.filter(is_slice_of("tokens"), OPEN & ALONE, pl.col("arm") == "n1")
    floors = measured(at_end(frame), "second_token_majority", "test")
    rows = rows.join(
        floors.select("run_id", floor="value"), on="run_id", how="left"
    ).with_columns(side=slice_value("tokens"), ceiling=pl.lit(1.0))
    rows = strata_of(rows)
    differences = paired(rows, STRATUM, "side", "unseen", "seen")
    return pool(differences, rows, "seen minus unseen")


def gain_of_books(frame: pl.DataFrame) -> Evidence | None:
    """C4: n = 1, nine to one minus stories alone, at the end."""
    rows = strata_of(_stories(frame, "books_parts").filter(pl.col("arm") == "n1"))
    differences = paired(rows, STRATUM, "books_parts", 0, 9)
    return pool(differences, rows, "nine to one minus stories alone")


def gain_by_size(frame: pl.DataFrame) -> Evidence | None:
    """C5: gain of n = 2 on the mix below 5M minus its gain above."""
    rows = _with_ends(frame).filter(~ALONE)
    small = pl.col("parameters") < SMALL
    low, high = (arms_apart(rows.filter(side), "n2") for side in (small, ~small))
    if low is None or high is None:
        return None
    large = dict(zip(high.data_seeds_S, high.values_S, strict=True))
    pairs = zip(low.data_seeds_S, low.values_S, strict=True)
    gaps = {seed: value - large[seed] for seed, value in pairs if seed in large}
    return replace(
        low,
        runs=f"gain of {low.runs} minus gain at {high.runs.partition(' at ')[2]}",
        seeds=len(gaps),
        parameters=low.parameters + high.parameters,
        values_S=tuple(gaps.values()),
        data_seeds_S=tuple(gaps),
        over_items=None,
        barred=low.barred and high.barred,
    )


def gap_after_forming(frame: pl.DataFrame) -> Evidence | None:
    """C6: the gap of the losses once both have formed induction, open names."""
    gaps = _gaps(frame).filter(OPEN & ALONE)
    rows = strata_of(of_arms(_with_ends(frame), TWO_TOKENS))
    return pool(strata_of(gaps), rows, "n = 2 minus n = 1")


def induction_small(frame: pl.DataFrame) -> Iterator[Test]:
    """C1: n = 2 minus n = 1 at 1M to 30M: at the last step, the best, the validated."""
    for rows, chosen in (
        (_stories(frame), "last step"),
        (_oracle(frame), "best step"),
        (_validated(frame), "step chosen on validation names"),
    ):
        alone = of_arms(rows.filter(pl.col("books_parts") == 0), TWO_TOKENS)
        what = f"second-token accuracy at the {chosen}"
        yield from against_next_token(alone, _STORIES_BY, what, "above")


def induction_large(frame: pl.DataFrame) -> Iterator[Test]:
    """C2: the same difference from 100M on."""
    rows = _stories(frame).filter(pl.col("books_parts") == 0)
    rows = of_arms(rows, TWO_TOKENS)
    what = "second-token accuracy at the last step"
    yield from against_next_token(rows, _STORIES_BY, what, "below")


def unseen_names(frame: pl.DataFrame) -> Iterator[Test]:
    """C3: accuracy on second tokens that training never showed is zero, others not.

    Where seen ones are no better than guessing the commonest name of the story, nothing
    has been learnt that could be capped.
    """
    rows = multi_token(measured(finished(frame, "stories"), SECOND_TOKEN, "test"))
    part = slice_value("tokens").alias("part")
    rows = rows.filter(is_slice_of("tokens")).with_columns(part)
    by = [*CELL, "arm", *_STORIES_BY]
    wide = rows.select(*by, "data_seed", "run_id", "part", "value")
    seen = wide.filter(pl.col("part") == "seen")
    unseen = wide.filter(pl.col("part") == "unseen").select("run_id", "value")
    both = seen.join(unseen, on="run_id", suffix="_unseen")
    both = sort_rows(both, *by, "data_seed")
    gap = both.with_columns(difference=pl.col("value") - pl.col("value_unseen"))
    level = both.with_columns(difference=pl.col("value_unseen"))
    tests: tuple[tuple[str, Direction, pl.DataFrame], ...] = (
        ("seen minus unseen second tokens", "above", gap),
        ("unseen second tokens", "within", level),
    )
    for what, direction, frame_ in tests:
        for key, values, cell in groups(frame_, by):
            runs = frame.filter(pl.col("run_id").is_in(cell["run_id"].to_list()))
            guess = floor_of(runs, SECOND_TOKEN, "test")
            remark = _at_an_end(cell, guess, "value", "value_unseen")
            yield Test(
                f"second-token accuracy, {what}, {arm_name(str(key['arm']))}, "
                f"{key['scale']}, open names {key['open_names']} ({key['setting']})",
                direction,
                values,
                parameters(key),
                note=remark,
            )


def _at_an_end(cell: pl.DataFrame, guess: float, *sides: str) -> str:
    """A remark where no side is above guessing (`guess`), or all have next to all right.

    No difference says anything there: what beats no rule that knows no language has not
    learnt what could be capped.
    """
    means = [mean for mean in (cell[side].mean() for side in sides) if mean is not None]
    levels = [mean for mean in means if isinstance(mean, float)]
    if levels and max(levels) <= max(MARGIN, guess):
        return "both at the floor"
    if levels and min(levels) >= 1 - MARGIN:
        return "both at the ceiling"
    return ""


def books_mix(frame: pl.DataFrame) -> Iterator[Test]:
    """C4: nine to one minus stories alone, at the end."""
    varied = ("books_parts",)
    final = multi_token(_stories(frame, *varied))
    by = [*CELL, "arm", "open_names"]
    pairs = [
        final.filter(pl.col("books_parts") == parts).select(
            *by, "data_seed", "run_id", "value"
        )
        for parts in (0, 9)
    ]
    both = pairs[0].join(
        pairs[1], on=[*by, "data_seed"], suffix="_mix", nulls_equal=True
    )
    higher = both.with_columns(difference=pl.col("value_mix") - pl.col("value"))
    tests: tuple[tuple[str, Direction, pl.DataFrame], ...] = (
        ("second-token accuracy", "above", higher),
    )
    for what, direction, frame_ in tests:
        for key, values, _ in groups(sort_rows(frame_, *by, "data_seed"), by):
            yield Test(
                f"{what}, nine to one minus stories alone, {arm_name(str(key['arm']))}, "
                f"{key['scale']} ({key['setting']})",
                direction,
                values,
                parameters(key),
            )


def mix_by_size(frame: pl.DataFrame) -> Iterator[Test]:
    """C5: on the mix, n = 2 minus n = 1: above at 1M and 3M, nothing from 10M on."""
    rows = _stories(frame).filter(pl.col("books_parts") > 0)
    rows = of_arms(rows, TWO_TOKENS)
    small = pl.col("parameters") < 5_000_000
    what = "second-token accuracy on the mix"
    tests: tuple[tuple[pl.Expr, Direction], ...] = (
        (small, "above"),
        (~small, "within"),
    )
    for part, direction in tests:
        here = rows.filter(part)
        yield from against_next_token(here, _STORIES_BY, what, direction)


def _gaps(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a data seed of a cell in which both losses formed induction.

    `difference` is n = 2 minus n = 1, mean over the later half of the time that the two
    runs have left after that; `first_gap` that at the start of this time.
    """
    alone = frame.filter(pl.col("task") == "stories")
    curves = in_settings(curve_rows(alone, SECOND_TOKEN, NAMES_SUITE))
    formed = _formed(curves) if curves.height else {}
    by = [*CELL, "steps", "batch_rows", "context", *_STORIES_BY, "data_seed"]
    gaps: list[tuple[object, ...]] = []
    of_claim = of_arms(curves, TWO_TOKENS)
    for cell, group in of_claim.group_by(by, maintain_order=True):
        runs = {run["arm"][0]: run for run in group.partition_by("run_id")}
        if runs.keys() >= set(TWO_TOKENS):
            first, second = (runs[arm] for arm in TWO_TOKENS)
            start = max(
                formed.get(run["run_id"][0], math.inf) for run in (first, second)
            )
            found = _gap_after(first, second, start)
            if found is not None:
                gaps.append((*cell, *found))
    schema = {name: curves.schema[name] for name in by}
    schema |= {"first_gap": pl.Float64(), "difference": pl.Float64()}
    return pl.DataFrame(gaps, schema=schema, orient="row").sort(by)


def formed_induction(frame: pl.DataFrame) -> Iterator[Test]:
    """C6: the gap between the losses along training, once both have formed induction.

    A run has formed it when its accuracy reaches the level that the task declares. The
    remark gives the gap at the start of the time, to see whether it closes.
    """
    table = _gaps(frame)
    for key, values, group in groups(table, [*CELL, *_STORIES_BY]):
        gaps_here = group["first_gap"].to_list()
        yield Test(
            "second-token accuracy over the later half of the time after both formed "
            f"induction, n = 2 minus n = 1, {key['scale']}, open names "
            f"{key['open_names']}, books {key['books_parts']} ({key['setting']})",
            "within",
            values,
            parameters(key),
            note=f"gap when the later one formed: {np.mean(gaps_here):+.3f}",
        )


def _formed(curves: pl.DataFrame) -> dict[str, float]:
    """Run -> tokens at which induction had formed; infinite where it never did."""
    times = event_times(curves, learned_level(curves, SECOND_TOKEN))
    return {
        run_id: tokens if happened else math.inf
        for run_id, tokens, happened in times.iter_rows()
    }


def _gap_after(
    first: pl.DataFrame, second: pl.DataFrame, start: float
) -> tuple[float, float] | None:
    """Gap of two curves at `start`, and its mean over the later half of the time left.

    At the evaluations of `first`, `second` interpolated; None with fewer than two
    evaluations in that half.
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

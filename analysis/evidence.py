"""What each claim is tested on: from the table of all runs to tests of a claim."""

from collections.abc import Callable, Iterator

import polars as pl

from analysis.claims import Direction, Test
from analysis.comparisons import formation, paired
from analysis.selection import (
    EXACT_MATCH,
    GUESS_FLOOR,
    NAMES_SUITE,
    OPERATIONS,
    SECOND_TOKEN,
    at_end,
    is_slice_of,
    measured,
    size_name,
    slice_value,
)
from analysis.settings import with_setting

FORMED = 0.5
"""Second-token accuracy from which induction counts as formed (C6)."""
_CELL = ["setting", "scale", "parameters"]


def _finished(frame: pl.DataFrame, task: str, *varied: str) -> pl.DataFrame:
    """Last rows of finished runs of a task, with the setting that `varied` leaves."""
    rows = at_end(frame).filter(pl.col("task") == task)
    return with_setting(rows, "horizon", *varied) if rows.height else _no_setting(rows)


def _no_setting(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(setting=pl.lit(None, pl.String()))


def _groups(
    differences: pl.DataFrame, by: list[str]
) -> Iterator[tuple[dict[str, object], tuple[float, ...]]]:
    for key, group in differences.group_by(by, maintain_order=True):
        values = group["difference"].drop_nulls().to_list()
        yield dict(zip(by, key, strict=True)), tuple(values)


def _against_next_token(
    rows: pl.DataFrame,
    by: list[str],
    what: str,
    direction: Direction,
    stated: Callable[[dict[str, object]], bool],
) -> Iterator[Test]:
    """Every longer horizon minus n = 1, in each group of `by`."""
    for horizon in rows["horizon"].unique().sort().to_list():
        if horizon == 1:
            continue
        pairs = paired(rows, [*_CELL, *by], "horizon", 1, horizon)
        for key, values in _groups(pairs, [*_CELL, *by]):
            words = ", ".join(f"{name} {key[name]}" for name in by)
            yield Test(
                f"{what}, n = {horizon} minus n = 1, {key['scale']}"
                + (f", {words}" if words else "")
                + f" ({key['setting']})",
                direction,
                values,
                _parameters(key),
                as_stated=stated(key),
            )


def _parameters(key: dict[str, object]) -> int:
    value = key["parameters"]
    assert isinstance(value, int)
    return value


def _between(low: float, high: float) -> Callable[[dict[str, object]], bool]:
    """Whether a cell's size lies in the claim's; 0.8 and 1.3 as rungs are not exact."""
    return lambda key: 0.8 * low <= _parameters(key) <= 1.3 * high


def _polynomial(
    frame: pl.DataFrame, inside: bool, pauses: bool, *varied: str
) -> pl.DataFrame:
    """Exact match by operations in (or out of) domain, without (or with) pauses."""
    rows = _finished(frame, "polynomial", *varied)
    rows = measured(rows.filter(is_slice_of(OPERATIONS)), EXACT_MATCH)
    rows = rows.with_columns(slice_value(OPERATIONS, pl.Int64()))
    domain = pl.col(OPERATIONS) <= pl.col("max_operations")
    paused = pl.col("pause_tokens") > 0
    return rows.filter(domain if inside else ~domain, paused if pauses else ~paused)


def _as_figure_8(key: dict[str, object]) -> bool:
    return _between(30e6, 100e6)(key) and key.get("modulus") == 7


_RING = ["modulus", OPERATIONS]


def polynomial_in_domain(frame: pl.DataFrame) -> Iterator[Test]:
    """C7: exact match at each m that was trained."""
    rows = _polynomial(frame, inside=True, pauses=False)
    yield from _against_next_token(rows, _RING, "exact match", "above", _as_figure_8)


def polynomial_out_of_domain(frame: pl.DataFrame) -> Iterator[Test]:
    """C8: exact match at each larger m, and its distance from the guess floor."""
    rows = _polynomial(frame, inside=False, pauses=False)
    yield from _against_next_token(rows, _RING, "exact match", "above", _as_figure_8)
    final = at_end(frame).with_columns(slice_value(OPERATIONS, pl.Int64()))
    floor = measured(final, GUESS_FLOOR).select(
        "run_id", OPERATIONS, floor=pl.col("value")
    )
    above = rows.filter(pl.col("horizon") > 1).join(floor, on=["run_id", OPERATIONS])
    above = above.with_columns(difference=pl.col("value") - pl.col("floor"))
    by = [*_CELL, "horizon", *_RING]
    for key, values in _groups(above.sort(*by, "data_seed"), by):
        yield Test(
            f"exact match minus guess floor, n = {key['horizon']}, {key['scale']}, "
            f"operations {key[OPERATIONS]} ({key['setting']})",
            "above",
            values,
            _parameters(key),
            as_stated=_as_figure_8(key),
        )


def paused_polynomials(frame: pl.DataFrame) -> Iterator[Test]:
    """C10: C7 and C8 with pause tokens."""
    by = ["pause_tokens", *_RING]
    for inside in (True, False):
        rows = _polynomial(frame, inside, pauses=True)
        yield from _against_next_token(rows, by, "exact match", "above", _as_figure_8)


def pause_interaction(frame: pl.DataFrame) -> Iterator[Test]:
    """C11: gain with pause tokens minus gain without, mean over m."""
    by = [*_CELL, "modulus"]
    for inside, where in ((True, "in domain"), (False, "out of domain")):
        plain = _mean_gain(_polynomial(frame, inside, False, "pause_tokens"))
        paused = _mean_gain(_polynomial(frame, inside, True, "pause_tokens"))
        keys = [*by, "horizon", "data_seed"]
        both = paused.join(plain, on=keys, suffix="_plain")
        both = both.with_columns(
            difference=pl.col("difference") - pl.col("difference_plain")
        ).sort(*keys, "pause_tokens")
        by_pause = [*by, "horizon", "pause_tokens"]
        for key, values in _groups(both, by_pause):
            yield Test(
                f"gain with {key['pause_tokens']} pause tokens minus gain without, "
                f"{where}, n = {key['horizon']}, {key['scale']} ({key['setting']})",
                "within",
                values,
                _parameters(key),
                as_stated=_as_figure_8(key),
            )


def _mean_gain(rows: pl.DataFrame) -> pl.DataFrame:
    by = [*_CELL, "modulus", "pause_tokens"]
    cell = [*by, "horizon", "data_seed"]
    means = rows.group_by(cell).agg(pl.col("value").mean()).sort(cell)
    parts = [
        paired(means, by, "horizon", 1, n).with_columns(horizon=pl.lit(n, pl.Int64()))
        for n in means["horizon"].unique().sort().to_list()
        if n > 1
    ]
    columns = [*by, "data_seed", "difference", "horizon"]
    empty = means.select(*by, "data_seed", "horizon").clear()
    empty = empty.with_columns(difference=pl.lit(None, pl.Float64()))
    return pl.concat([empty.select(columns), *(part.select(columns) for part in parts)])


def loss_against_size(frame: pl.DataFrame) -> Iterator[Test]:
    """C9: the smaller model with a longer horizon minus the larger with n = 1."""
    varied = ("scale", "batch_rows", "context")
    for inside, where in ((True, "in domain"), (False, "out of domain")):
        rows = _polynomial(frame, inside, False, *varied)
        cell = ["setting", "modulus", "data_seed", "horizon", *varied]
        means = rows.group_by([*cell, "parameters"]).agg(pl.col("value").mean())
        next_token = means.filter(pl.col("horizon") == 1)
        longer = means.filter(pl.col("horizon") > 1)
        keys = ["setting", "modulus", "data_seed"]
        both = longer.join(next_token, on=keys, suffix="_large")
        ratio = pl.col("parameters_large") / pl.col("parameters")
        both = both.filter(ratio.is_between(2, 5)).with_columns(
            difference=pl.col("value") - pl.col("value_large")
        )
        by = [*keys[:2], "scale", "scale_large", "context", "context_large", "horizon"]
        by += ["parameters_large"]
        for key, values in _groups(both.sort(*by, "data_seed"), by):
            here = {"parameters": key["parameters_large"], "modulus": key["modulus"]}
            yield Test(
                f"exact match {where}, {key['scale']} with n = {key['horizon']} "
                f"(context {key['context']}) minus {key['scale_large']} with n = 1 "
                f"(context {key['context_large']}) ({key['setting']})",
                "above",
                values,
                _parameters(here),
                as_stated=_as_figure_8(here),
            )


def _stories(frame: pl.DataFrame, *varied: str) -> pl.DataFrame:
    """Second-token accuracy at the last step."""
    rows = _finished(frame, "stories", *varied)
    return measured(rows, SECOND_TOKEN, NAMES_SUITE).filter(pl.col("slice") == "")


def _oracle(frame: pl.DataFrame) -> pl.DataFrame:
    """Second-token accuracy at the best evaluation of each run, as the paper chose."""
    done = frame.filter(pl.col("state") == "done", pl.col("task") == "stories")
    rows = measured(done, SECOND_TOKEN, NAMES_SUITE).filter(pl.col("slice") == "")
    best = rows.sort("value", descending=True, nulls_last=True).unique(
        "run_id", keep="first", maintain_order=True
    )
    best = best.sort("run_id")
    return with_setting(best, "horizon") if best.height else _no_setting(best)


_STORIES_BY = ["open_names", "books_parts"]


def induction_small(frame: pl.DataFrame) -> Iterator[Test]:
    """C1: n = 2 minus n = 1 at 1M to 30M, at the last step and at the best one."""
    stated = _between(1e6, 30e6)
    for rows, chosen in ((_stories(frame), "last step"), (_oracle(frame), "best step")):
        alone = rows.filter(pl.col("books_parts") == 0, pl.col("horizon") <= 2)
        what = f"second-token accuracy at the {chosen}"
        yield from _against_next_token(alone, _STORIES_BY, what, "above", stated)


def induction_large(frame: pl.DataFrame) -> Iterator[Test]:
    """C2: the same difference from 100M on."""
    rows = _stories(frame).filter(pl.col("books_parts") == 0, pl.col("horizon") <= 2)
    what = "second-token accuracy at the last step"
    stated = _between(100e6, 1e12)
    yield from _against_next_token(rows, _STORIES_BY, what, "below", stated)


def unseen_names(frame: pl.DataFrame) -> Iterator[Test]:
    """C3: accuracy on second tokens that training never showed is zero, others not."""
    rows = measured(_finished(frame, "stories"), SECOND_TOKEN, "test")
    part = slice_value("tokens").alias("part")
    rows = rows.filter(is_slice_of("tokens")).with_columns(part)
    by = [*_CELL, "horizon", *_STORIES_BY]
    wide = rows.select(*by, "data_seed", "run_id", "part", "value")
    seen = wide.filter(pl.col("part") == "seen")
    unseen = wide.filter(pl.col("part") == "unseen").select("run_id", "value")
    both = seen.join(unseen, on="run_id", suffix="_unseen").sort(*by, "data_seed")
    gap = both.with_columns(difference=pl.col("value") - pl.col("value_unseen"))
    level = both.with_columns(difference=pl.col("value_unseen"))
    tests: tuple[tuple[str, Direction, pl.DataFrame], ...] = (
        ("seen minus unseen second tokens", "above", gap),
        ("unseen second tokens", "within", level),
    )
    for what, direction, frame_ in tests:
        for key, values in _groups(frame_, by):
            yield Test(
                f"second-token accuracy, {what}, n = {key['horizon']}, {key['scale']}, "
                f"open names {key['open_names']} ({key['setting']})",
                direction,
                values,
                _parameters(key),
            )


def books_mix(frame: pl.DataFrame) -> Iterator[Test]:
    """C4: nine to one minus stories alone: end level, and tokens to a common level."""
    varied = ("books_parts",)
    final = _stories(frame, *varied)
    done = frame.filter(pl.col("state") == "done", pl.col("task") == "stories")
    curves = measured(done, SECOND_TOKEN, NAMES_SUITE).filter(pl.col("slice") == "")
    by = [*_CELL, "horizon", "open_names"]
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
    earlier = [
        _formed_at(curves, row["run_id_mix"], level)
        - _formed_at(curves, row["run_id"], level)
        for row in both.iter_rows(named=True)
        for level in (min(row["value"], row["value_mix"]) / 2,)
    ]
    sooner = both.with_columns(difference=pl.Series(earlier, dtype=pl.Float64()))
    tests: tuple[tuple[str, Direction, pl.DataFrame], ...] = (
        ("second-token accuracy", "above", higher),
        ("tokens to half of the lower end level", "below", sooner),
    )
    for what, direction, frame_ in tests:
        for key, values in _groups(frame_.sort(*by, "data_seed"), by):
            yield Test(
                f"{what}, nine to one minus stories alone, n = {key['horizon']}, "
                f"{key['scale']} ({key['setting']})",
                direction,
                values,
                _parameters(key),
                as_stated=_between(1e6, 1e12)(key),
            )


def _formed_at(curves: pl.DataFrame, run_id: str, level: float) -> float:
    found = formation(curves.filter(pl.col("run_id") == run_id), level)["formed"][0]
    return float(found)


def mix_by_size(frame: pl.DataFrame) -> Iterator[Test]:
    """C5: on the mix, n = 2 minus n = 1: above at 1M and 3M, nothing from 10M on."""
    rows = _stories(frame).filter(pl.col("books_parts") > 0, pl.col("horizon") <= 2)
    small = pl.col("parameters") < 5_000_000
    what = "second-token accuracy on the mix"
    tests: tuple[tuple[pl.Expr, Direction], ...] = (
        (small, "above"),
        (~small, "within"),
    )
    for part, direction in tests:
        stated = _between(1e6, 1e12)
        here = rows.filter(part)
        yield from _against_next_token(here, _STORIES_BY, what, direction, stated)


def formed_induction(frame: pl.DataFrame) -> Iterator[Test]:
    """C6: where both losses have formed induction, no gap is left at the end."""
    rows = _stories(frame).filter(pl.col("value") >= FORMED, pl.col("horizon") <= 2)
    what = f"second-token accuracy where both are above {FORMED:.0%}"
    stated = _between(1e6, 1e12)
    yield from _against_next_token(rows, _STORIES_BY, what, "within", stated)


def choice_shares(frame: pl.DataFrame) -> Iterator[Test]:
    """C12: the choice point's share of gradient, n minus 1 (its terms are a count)."""
    rows = _finished(frame, "choice-points")
    rows = rows.filter(pl.col("slice") == "role=choice-point")
    here = measured(rows, "gradient_share", "probe/test")
    what = "gradient share of choice points"
    yield from _against_next_token(here, [], what, "above", lambda key: True)


def _gains(rows: pl.DataFrame, first: str, second: str, what: str) -> Iterator[Test]:
    """Gain in excess loss of n over 1 at slice `second` minus that at `first`."""
    excess = measured(rows, "excess_loss", "test")
    parts = []
    for part in (first, second):
        here = excess.filter(pl.col("slice") == part)
        parts.append(here.select("run_id", value=pl.col("value")))
    both = parts[0].join(parts[1], on="run_id", suffix="_second")
    gap = both.select("run_id", gap=pl.col("value") - pl.col("value_second"))
    runs = rows.unique("run_id", keep="first", maintain_order=True).drop("value")
    cells = runs.join(gap, on="run_id").rename({"gap": "value"})
    yield from _against_next_token(cells, [], what, "above", lambda key: True)


def right_decisions(frame: pl.DataFrame) -> Iterator[Test]:
    """C13: nats of excess loss of head 1 gained at choices minus at forced positions."""
    rows = _finished(frame, "choice-points")
    what = "gain in excess nats at choices minus at forced positions"
    yield from _gains(rows, "horizon=1,role=forced", "horizon=1,role=choice", what)


def informed_symbols(frame: pl.DataFrame) -> Iterator[Test]:
    """C14: gain in excess loss of X where I(X;Y) is highest minus where it is zero."""
    rows = _finished(frame, "sources")
    what = "gain in excess nats on X, coupling 1 minus coupling 0"
    low, high = (f"horizon=1,role=X,coupling={c}" for c in (0, 1))
    yield from _gains(rows, low, high, what)


def running_gap(frame: pl.DataFrame) -> Iterator[Test]:
    """C15: forced minus free share of possible tokens, n minus 1."""
    rows = measured(_finished(frame, "choice-points"), "gap", "probe/test-sampled")
    what = "forced minus free share of possible tokens"
    yield from _against_next_token(rows, [], what, "below", lambda key: True)


def straight_law(frame: pl.DataFrame) -> Iterator[Test]:
    """C21: 5 % minus the share of monotone sequences that are as straight; slope."""
    rows = at_end(frame).filter(pl.col("slice") == "path=head 1,of=residual,target=t+1")
    rows = with_setting(rows, "horizon") if rows.height else _no_setting(rows)
    by = [*_CELL, "task", "layout", "horizon"]
    tests: tuple[tuple[str, str, Direction, pl.Expr], ...] = (
        ("fit_null_share", "5 % minus share of monotone null as straight", "above",
         0.05 - pl.col("value")),
        ("fit_slope", "slope in decades a layer", "below", pl.col("value")),
    )  # fmt: skip
    for metric, what, direction, value in tests:
        here = measured(rows, metric).with_columns(difference=value)
        for key, values in _groups(here.sort(*by, "data_seed"), by):
            yield Test(
                f"{what}, {key['task']}, n = {key['horizon']}, {key['layout']}, "
                f"{key['scale']} ({size_name(_parameters(key))}) ({key['setting']})",
                direction,
                values,
                _parameters(key),
            )

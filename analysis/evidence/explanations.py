"""Evidence on the explanations: choice points, information, the layer law."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from analysis.arm_names import BASELINE, arm_name, arms_of, sort_rows
from analysis.claims import Direction, Test
from analysis.evidence.pairs import (
    CELL,
    against_next_token,
    any_size,
    finished,
    groups,
    in_settings,
    multi_token,
    parameters,
)
from analysis.selection import at_end, measured, size_name


def choice_shares(frame: pl.DataFrame) -> Iterator[Test]:
    """C12: the choice point's share of gradient and of loss, n minus 1.

    Its share of terms is a count, and given as a remark.
    """
    rows = finished(frame, "choice-points")
    rows = rows.filter(pl.col("slice") == "role=choice-point")
    terms = measured(rows, "term_share", "probe/test").select(
        "run_id", terms=pl.col("value")
    )

    def remark(both: pl.DataFrame) -> str:
        shares = both.group_by("arm").agg(pl.col("terms").mean()).drop_nulls()
        known = sort_rows(shares, "arm").iter_rows()
        return ", ".join(
            f"{terms:.1%} of the terms at {arm_name(arm)}" for arm, terms in known
        )

    for metric in ("gradient_share", "loss_share"):
        here = measured(rows, metric, "probe/test").join(
            terms, on="run_id", how="left", maintain_order="left"
        )
        what = f"{metric.replace('_', ' ')} of choice points"
        yield from against_next_token(here, [], what, "above", any_size, remark)


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
    yield from against_next_token(cells, [], what, "above", any_size)


def right_decisions(frame: pl.DataFrame) -> Iterator[Test]:
    """C13: nats of excess loss of head 1 gained at choices minus at forced positions."""
    rows = finished(frame, "choice-points")
    what = "gain in excess nats at choices minus at forced positions"
    yield from _gains(rows, "horizon=1,role=forced", "horizon=1,role=choice", what)


def informed_symbols(frame: pl.DataFrame) -> Iterator[Test]:
    """C14: gain in excess loss of X where I(X;Y) is highest minus where it is zero."""
    rows = finished(frame, "sources")
    what = "gain in excess nats on X, coupling 1 minus coupling 0"
    low, high = (f"horizon=1,role=X,coupling={c}" for c in (0, 1))
    yield from _gains(rows, low, high, what)


def running_gap(frame: pl.DataFrame) -> Iterator[Test]:
    """C15: forced minus free share of possible tokens at equal forced share.

    Each run is a curve through its probed steps: gap against forced share. The two runs
    of a seed are compared where their forced shares overlap; where they do not, their
    last gaps are shown, and are no evidence: a better model has a smaller gap anyway.
    """
    rows = multi_token(_running_points(frame))
    for arm in arms_of(rows):
        if arm == BASELINE:
            continue
        for key, group in rows.group_by(CELL, maintain_order=True):
            matched, unmatched = [], []
            for _, pair in group.group_by("data_seed", maintain_order=True):
                one, many = (pair.filter(pl.col("arm") == a) for a in (BASELINE, arm))
                if one.height and many.height:
                    gap = _gap_at_equal(one, many)
                    if gap is not None:
                        matched.append(gap)
                    unmatched.append(many["gap"][-1] - one["gap"][-1])
            cell = dict(zip(CELL, key, strict=True))
            names = f"{arm_name(arm)} minus {arm_name(BASELINE)}"
            where = f"{names}, {cell['scale']} ({cell['setting']})"
            found = f"{len(matched)} of {len(unmatched)} pairs overlap"
            if matched:
                what = "forced minus free share of possible tokens, equal forced share"
                values = tuple(matched)
            else:
                what = "forced minus free share of possible tokens, not matched"
                values = tuple(unmatched)
            yield Test(
                f"{what}, {where}",
                "below",
                values,
                parameters(cell),
                as_stated=bool(matched),
                note=found,
            )


NEAR = 0.01
"""Forced shares as near as this count as equal."""


def _running_points(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a run and probed step: forced share and gap."""
    done = frame.filter(pl.col("state") == "done", pl.col("task") == "choice-points")
    probed = in_settings(done.filter(pl.col("suite") == "probe/test-sampled"))
    forced = measured(probed, "possible").filter(pl.col("slice") == "running=forced")
    gap = measured(probed, "gap").select("run_id", "step", gap=pl.col("value"))
    both = forced.rename({"value": "forced"}).join(gap, on=["run_id", "step"])
    known = both.drop_nulls(["forced", "gap"])
    return sort_rows(known, *CELL, "arm", "data_seed", "step")


def _gap_at_equal(one: pl.DataFrame, many: pl.DataFrame) -> float | None:
    """Mean over the common range of forced shares of the gap of `many` minus `one`."""
    curves = [
        side.sort("forced").select("forced", "gap").to_numpy() for side in (one, many)
    ]
    low = max(curve[0, 0] for curve in curves)
    high = min(curve[-1, 0] for curve in curves)
    if low - high > NEAR:
        return None
    at = np.linspace(min(low, high), max(low, high), 33)
    first, second = (np.interp(at, curve[:, 0], curve[:, 1]) for curve in curves)
    return float((second - first).mean())


def straight_law(frame: pl.DataFrame) -> Iterator[Test]:
    """C21: 5 % minus the share of monotone sequences that are as straight; slope.

    Numbers to look at: the share saturates, so they decide nothing.
    """
    rows = at_end(frame).filter(pl.col("slice") == "path=head 1,of=residual,target=t+1")
    rows = in_settings(rows)
    by = [*CELL, "task", "arm"]
    tests: tuple[tuple[str, str, Direction, pl.Expr], ...] = (
        ("fit_null_share", "5 % minus share of monotone null as straight", "above",
         0.05 - pl.col("value")),
        ("fit_slope", "slope in decades a layer", "below", pl.col("value")),
    )  # fmt: skip
    for metric, what, direction, value in tests:
        here = measured(rows, metric).with_columns(difference=value)
        for key, values, _ in groups(sort_rows(here, *by, "data_seed"), by):
            yield Test(
                f"{what}, {key['task']}, {arm_name(str(key['arm']))}, "
                f"{key['scale']} ({size_name(parameters(key))}) ({key['setting']})",
                direction,
                values,
                parameters(key),
            )

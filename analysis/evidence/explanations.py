"""Evidence on the explanations: choice points, information, the layer law."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from analysis.arm_names import BASELINE, arm_name, arms_of, sort_rows
from analysis.claims import Evidence, Test
from analysis.evidence.pairs import (
    CELL,
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
    event_apart,
    pool,
    strata_of,
    with_task,
)
from analysis.selection import CHOICE, at_end, measured, slice_value
from analysis.trajectories import curve_rows, learned_level
from synth.scales import format_count

FOUR = "n4"
"""The arm of the claims about choice points: every scale of their sweeps trains it."""
PAPERS_TEXT = {"branches": 5, "consequences": [1, 3, 7]}
"""The choice points of the sweep; others are easier, and are shown."""
OPTIMUM = 0.02
"""Nats of excess loss that leave nothing to gain."""


def _choice_points(rows: pl.DataFrame) -> pl.DataFrame:
    return with_task(rows.filter(pl.col("task") == "choice-points"), **PAPERS_TEXT)


def gradient_at_choices(frame: pl.DataFrame) -> Evidence | None:
    """C12: the choice points' share of the gradient, n = 4 minus n = 1."""
    rows = _choice_points(finished(frame, "choice-points"))
    rows = rows.filter(pl.col("slice") == "role=choice-point")
    return arms_apart(measured(rows, "gradient_share", "probe/test"), FOUR)


def choices_learned(frame: pl.DataFrame) -> Evidence | None:
    """C13: when the excess loss at choices falls to the level that the task declares."""
    rows = _choice_points(curve_rows(frame, "excess_loss", "test", CHOICE))
    if rows.is_empty():
        return None
    level = learned_level(rows, "excess_loss")
    return event_apart(in_settings(rows), level, "lower", (FOUR,))


def gain_with_information(frame: pl.DataFrame) -> Evidence | None:
    """C14: gain of n = 4 in excess loss of X at coupling 1, minus that at 0."""
    rows = finished(frame, "sources")
    cells = _gap_rows(rows, *(f"horizon=1,role=X,coupling={c}" for c in (0, 1)))
    found = arms_apart(cells, FOUR)
    if found is not None and cells["worst"].to_numpy().mean() < OPTIMUM:
        found = replace(found, barred=f"nothing to gain: less than {OPTIMUM} nats left")
    return found


def gap_at_equal_forced(frame: pl.DataFrame) -> Evidence | None:
    """C15: free-running gap of n = 4 minus that of n = 1 at equal forced share."""
    points = of_arms(_running_points(frame), (BASELINE, FOUR))
    rows = strata_of(_choice_points(points))
    found = []
    by = [*STRATUM, "data_seed"]
    for key, pair in rows.group_by(by, maintain_order=True):
        one, many = (pair.filter(pl.col("arm") == arm) for arm in (BASELINE, FOUR))
        gap = _gap_at_equal(one, many) if one.height and many.height else None
        if gap is not None:
            found.append((*key, gap))
    schema = {name: rows.schema[name] for name in by} | {"difference": pl.Float64()}
    return pool(
        pl.DataFrame(found, schema=schema, orient="row"), rows, "n = 4 minus n = 1"
    )


def _loss_while_learning(frame: pl.DataFrame) -> pl.DataFrame:
    """One row a run with n heads: minus its mean excess loss at choices over training.

    A run that learns the choices earlier scores higher. Evaluations lie at equal steps.
    """
    curves = in_settings(curve_rows(frame, "excess_loss", "test", CHOICE))
    value = -pl.col("value").mean()
    rows = curves.group_by("run_id", maintain_order=True).agg(
        pl.exclude("value").last(), value.alias("value")
    )
    lengths = pl.col("config").str.json_path_match("$.task.consequences")
    return strata_of(multi_token(rows).with_columns(lengths=lengths), "lengths")


def best_n(frame: pl.DataFrame) -> Evidence | None:
    """C18: the best n between the ends, minus the better end.

    For each data seed, the n in between and the end are those that are best on the other
    seeds, so choosing does not flatter. Needs n = 1 and three others.
    """
    rows = _loss_while_learning(frame)
    parts = []
    for cell in rows.partition_by("setting", maintain_order=True):
        arms = arms_of(cell)
        if len(arms) < 4 or BASELINE not in arms:
            continue
        wide = cell.pivot("arm", index="data_seed", values="value").drop_nulls()
        for own in wide.iter_rows(named=True):
            others = wide.filter(pl.col("data_seed") != own["data_seed"])
            if others.is_empty():
                continue
            means = {arm: float(others[arm].to_numpy().mean()) for arm in arms}
            inside, ends = arms[1:-1], (arms[0], arms[-1])
            middle, end = (max(some, key=means.__getitem__) for some in (inside, ends))
            row = cell.filter(pl.col("data_seed") == own["data_seed"]).head(1)
            parts.append(row.with_columns(difference=pl.lit(own[middle] - own[end])))
    if not parts:
        return None
    return pool(pl.concat(parts), rows, "better end minus best n between")


def arms_at_choices(frame: pl.DataFrame) -> Iterator[Test]:
    """C18: excess loss at choices, mean over training, n = 1 minus every other n."""
    rows = _loss_while_learning(frame)
    what = "gain in excess nats at choices, mean over training"
    yield from against_next_token(rows, ["lengths"], what, "above")


def bend_of_the_law(frame: pl.DataFrame) -> Evidence | None:
    """C21: how much the residual's decline bends, less a tenth of its fall; n = 1.

    Of each run a parabola through log10 of the one-hot residual at layers 1 to L: `bend`
    is how far it leaves its own chord half-way, `fall` how far the line goes down in all,
    both in decades. Below zero: it falls, and bends by less than a tenth of that. One-hot
    targets do not depend on how tokens are numbered.
    """
    rows = in_settings(at_end(frame).filter(pl.col("suite") == LAW))
    rows = measured(rows, "one_hot").filter(
        pl.col("slice").str.contains("^path=head 1,layer=[0-9]+,target=t[+]1$"),
        pl.col("arm") == BASELINE,
        pl.col("value") > 0,
    )
    rows = _choice_points(rows.with_columns(slice_value("layer", pl.Int64())))
    runs = [
        run.head(1).with_columns(difference=pl.lit(bend - fall / 10))
        for run in strata_of(rows).partition_by("run_id", maintain_order=True)
        for bend, fall in (_bend_and_fall(run),)
    ]
    return (
        pool(pl.concat(runs), names="bend less a tenth of the fall") if runs else None
    )


def _bend_and_fall(run: pl.DataFrame) -> tuple[float, float]:
    """Decades by which a run's residual bends (never negative), and falls."""
    layers = run.filter(pl.col("layer") > 0).sort("layer")
    place = np.linspace(-1, 1, layers.height)
    square, slope, _ = np.polyfit(place, np.log10(layers["value"].to_numpy()), 2)
    return abs(float(square)), -2 * float(slope)


LAW = "probe/prediction-law"


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
        yield from against_next_token(here, [], what, "above", remark)


def _gains(rows: pl.DataFrame, first: str, second: str, what: str) -> Iterator[Test]:
    """Gain in excess loss of n over 1 at slice `second` minus that at `first`."""
    cells = _gap_rows(rows, first, second)
    yield from against_next_token(cells, [], what, "above")


def _gap_rows(rows: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    """One row a run: excess loss at slice `first` minus that at `second`, and the worst."""
    excess = measured(rows, "excess_loss", "test")
    parts = []
    for part in (first, second):
        here = excess.filter(pl.col("slice") == part)
        parts.append(here.select("run_id", value=pl.col("value")))
    both = (
        parts[0]
        .join(parts[1], on="run_id", suffix="_second")
        .select(
            "run_id",
            gap=pl.col("value") - pl.col("value_second"),
            worst=pl.max_horizontal("value", "value_second"),
        )
    )
    runs = rows.unique("run_id", keep="first", maintain_order=True).drop("value")
    return runs.join(both, on="run_id").rename({"gap": "value"})


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
    """C21: slope in decades a layer, of token ids as they are and of one-hot targets."""
    rows = in_settings(at_end(frame).filter(pl.col("suite") == LAW))
    by = [*CELL, "task", "arm"]
    for target in ("residual", "one_hot"):
        part = f"path=head 1,of={target},target=t+1"
        here = measured(rows, "fit_slope").filter(pl.col("slice") == part)
        here = here.with_columns(difference="value")
        for key, values, _ in groups(sort_rows(here, *by, "data_seed"), by):
            yield Test(
                f"slope of {target.replace('_', '-')}, {key['task']}, "
                f"{arm_name(str(key['arm']))}, {key['scale']} "
                f"({format_count(parameters(key))}) ({key['setting']})",
                "below",
                values,
                parameters(key),
            )

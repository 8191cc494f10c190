"""Evidence on the explanations: choice points, information, the layer law."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import polars as pl

from analysis.arm_names import BASELINE, arm_name, arms_of, sort_rows
from analysis.claims import Evidence, ExploratoryTest
from analysis.evidence.pairs import (
    CELL,
    add_settings,
    check_one_run_a_seed,
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
    compare_events,
    pool_strata,
    select_task,
)
from analysis.readings import mean_over_training
from analysis.selection import (
    CHOICE,
    at_end,
    drop_unreadable,
    select_metric,
    slice_value,
)
from analysis.settings import append_label
from analysis.trajectories import curve_rows, learned_level
from synth.scales import format_count

FOUR = "n4"
"""The arm of the claims about choice points: every scale of their sweeps has it."""
TWO = "n2"
"""The arm of the claim about information, which is on a loss of two tokens."""
PAPERS_TEXT = {"branches": 5, "consequences": [1, 3, 7]}
"""The choice points of the claims; those of other sweeps are easier."""
OPTIMUM = 0.02
"""Nats of excess loss that leave nothing to gain."""
LAW = "probe/prediction-law"
NEAR = 0.01
"""Forced shares that differ by no more than this count as equal."""


def _choice_points(rows: pl.DataFrame) -> pl.DataFrame:
    return select_task(rows.filter(pl.col("task") == "choice-points"), **PAPERS_TEXT)


def gradient_at_choices(frame: pl.DataFrame) -> Evidence | None:
    """C12: the choice points' share of the gradient, n = 4 minus n = 1."""
    rows = _choice_points(final_rows(frame, "choice-points"))
    rows = rows.filter(pl.col("slice") == "role=choice-point")
    shares = select_metric(rows, "gradient_share", "probe/test")
    return compare_arms(shares.with_columns(span=pl.lit(1.0)), FOUR)


def choices_learned(frame: pl.DataFrame) -> Evidence | None:
    """C13: when the excess loss at choices falls to the level that the task declares."""
    rows = _choice_points(curve_rows(frame, "excess_loss", "test", CHOICE))
    if rows.is_empty():
        return None
    level = learned_level(rows, "excess_loss")
    return compare_events(add_settings(rows), level, "lower", (FOUR,))


def gain_with_information(frame: pl.DataFrame) -> Evidence | None:
    """C14: gain of n = 2 in excess loss of X at coupling 1, minus that at 0.

    Settings whose runs have learnt X do not count where another has not.
    """
    rows = select_arms(final_rows(frame, "sources"), (BASELINE, TWO))
    cells = _gap_rows(rows, *(f"horizon=1,role=X,coupling={c}" for c in (0, 1)))
    learnt = pl.col("worst").mean().over(CELL) < OPTIMUM
    evidence = compare_arms(cells.filter(~learnt), TWO)
    if evidence is None and (evidence := compare_arms(cells, TWO)) is not None:
        obstacle = f"nothing to gain: less than {OPTIMUM} nats left"
        evidence = replace(evidence, obstacle=obstacle)
    return evidence


def gap_at_equal_forced(frame: pl.DataFrame) -> Evidence | None:
    """C15: free-running gap of n = 4 minus that of n = 1 at equal forced share."""
    points = select_arms(_running_points(frame), (BASELINE, FOUR))
    rows = _probed_alike(add_strata(_choice_points(points)))
    gaps = []
    by = [*STRATUM, "data_seed"]
    for key, pair in rows.group_by(by, maintain_order=True):
        one, many = (pair.filter(pl.col("arm") == arm) for arm in (BASELINE, FOUR))
        gap = _gap_at_equal(one, many) if one.height and many.height else None
        if gap is not None:
            gaps.append((*key, gap))
    schema = {name: rows.schema[name] for name in by} | {"difference": pl.Float64()}
    differences = pl.DataFrame(gaps, schema=schema, orient="row")
    return pool_strata(differences, rows, "n = 4 minus n = 1")


def _probed_alike(points: pl.DataFrame) -> pl.DataFrame:
    """The points of runs that were probed at as many steps as any of their setting.

    The gap is a mean over probed steps: along training and at its end it differs.
    """
    probed = pl.col("step").n_unique().over("run_id")
    most = probed.max().over("stratum", "setting")
    return points.filter(probed == most)


def _loss_while_learning(frame: pl.DataFrame) -> pl.DataFrame:
    """Mean excess loss at choices over training of each run with n heads, negated.

    So a run that learns the choices earlier scores higher.
    """
    done = drop_unreadable(frame).filter(
        pl.col("state") == "done",
        pl.col("task") == "choice-points",
        pl.col("slice") == CHOICE,
    )
    evaluations = select_metric(done, "excess_loss", "test").sort("run_id", "step")
    rows = add_settings(mean_over_training(evaluations)).with_columns(-pl.col("value"))
    lengths = pl.col("config").str.json_path_match("$.task.consequences")
    return add_strata(select_multi_token(rows).with_columns(lengths=lengths), "lengths")


def best_n(frame: pl.DataFrame) -> Evidence | None:
    """C18: the best n between the ends, minus the better end.

    Both are chosen on the other data seeds, so that the choice does not bias the
    difference. Needs n = 1 and three other arms.
    """
    rows = _loss_while_learning(frame)
    differences = []
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
            differences.append(
                row.with_columns(difference=pl.lit(own[middle] - own[end]))
            )
    if not differences:
        return None
    return pool_strata(pl.concat(differences), rows, "better end minus best n between")


def arms_at_choices(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C18: excess loss at choices, mean over training, n = 1 minus every other n."""
    rows = _loss_while_learning(frame)
    what = "gain in excess nats at choices, mean over training"
    yield from compare_with_next_token(rows, ["lengths"], what, "above")


def bend_of_the_law(frame: pl.DataFrame) -> Evidence | None:
    """C21: how much the residual's decline bends, less a tenth of its fall; n = 1.

    A parabola is fitted to log10 of the one-hot residual at layers 1 to L of each run.
    The bend is its distance from its chord half-way, the fall that of the chord from end
    to end, both in decades. One-hot targets do not depend on the numbering of tokens.
    """
    rows = add_settings(at_end(frame).filter(pl.col("suite") == LAW))
    rows = select_metric(rows, "one_hot").filter(
        pl.col("slice").str.contains("^path=head 1,layer=[0-9]+,target=t[+]1$"),
        pl.col("arm") == BASELINE,
        pl.col("value") > 0,
    )
    rows = _choice_points(rows.with_columns(slice_value("layer", pl.Int64())))
    runs = [
        run.head(1).with_columns(difference=pl.lit(bend - fall / 10))
        for run in add_strata(rows).partition_by("run_id", maintain_order=True)
        if (run["layer"] > 0).sum() > 2  # through two points goes any parabola
        for bend, fall in (_bend_and_fall(run),)
    ]
    return (
        pool_strata(pl.concat(runs), names="bend less a tenth of the fall")
        if runs
        else None
    )


def _bend_and_fall(run: pl.DataFrame) -> tuple[float, float]:
    """Decades by which a run's residual bends (never negative), and falls."""
    layers = run.filter(pl.col("layer") > 0).sort("layer")
    place = np.linspace(-1, 1, layers.height)
    square, slope, _ = np.polyfit(place, np.log10(layers["value"].to_numpy()), 2)
    return abs(float(square)), -2 * float(slope)


def choice_shares(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C12: the choice point's share of gradient and of loss, n minus 1.

    The note has its share of loss terms, which is a count.
    """
    rows = final_rows(frame, "choice-points")
    rows = rows.filter(pl.col("slice") == "role=choice-point")
    terms = select_metric(rows, "term_share", "probe/test").select(
        "run_id", terms=pl.col("value")
    )

    def remark(both: pl.DataFrame) -> str:
        shares = both.group_by("arm").agg(pl.col("terms").mean()).drop_nulls()
        by_arm = sort_rows(shares, "arm").iter_rows()
        return ", ".join(
            f"{terms:.1%} of the terms at {arm_name(arm)}" for arm, terms in by_arm
        )

    for metric in ("gradient_share", "loss_share"):
        here = select_metric(rows, metric, "probe/test").join(
            terms, on="run_id", how="left", maintain_order="left"
        )
        what = f"{metric.replace('_', ' ')} of choice points"
        yield from compare_with_next_token(here, [], what, "above", remark)


def _compare_gains(
    rows: pl.DataFrame, first: str, second: str, what: str
) -> Iterator[ExploratoryTest]:
    """Gain in excess loss of n over 1 at slice `second` minus that at `first`."""
    cells = _gap_rows(rows, first, second)
    yield from compare_with_next_token(cells, [], what, "above")


def _gap_rows(rows: pl.DataFrame, first: str, second: str) -> pl.DataFrame:
    """For each run, excess loss at slice `first` minus that at `second`, and the larger."""
    excess = select_metric(rows, "excess_loss", "test")
    one, other = (
        excess.filter(pl.col("slice") == name).select("run_id", "value")
        for name in (first, second)
    )
    both = one.join(other, on="run_id", suffix="_second").select(
        "run_id",
        value=pl.col("value") - pl.col("value_second"),
        worst=pl.max_horizontal("value", "value_second"),
    )
    runs = rows.unique("run_id", keep="first", maintain_order=True).drop("value")
    return runs.join(both, on="run_id")


def right_decisions(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C13: nats of excess loss of head 1 gained at choices minus at forced positions."""
    rows = final_rows(frame, "choice-points")
    what = "gain in excess nats at choices minus at forced positions"
    yield from _compare_gains(
        rows, "horizon=1,role=forced", "horizon=1,role=choice", what
    )


def informed_symbols(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C14: gain in excess loss of X where I(X;Y) is highest minus where it is zero."""
    rows = final_rows(frame, "sources")
    what = "gain in excess nats on X, coupling 1 minus coupling 0"
    low, high = (f"horizon=1,role=X,coupling={c}" for c in (0, 1))
    yield from _compare_gains(rows, low, high, what)


def running_gap(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C15: forced minus free share of possible tokens at equal forced share.

    The probed steps of a run give a curve, gap against forced share. The two runs of a
    seed are compared where their forced shares overlap. If no pair overlaps, the test has
    the last gaps, which are no evidence: a better model has a smaller gap anyway.
    """
    rows = select_multi_token(_running_points(frame))
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
            how = "equal forced share" if matched else "not matched"
            about = (
                f"forced minus free share of possible tokens, {how}, {arm_name(arm)} "
                f"minus {arm_name(BASELINE)}, {cell['scale']}"
            )
            yield ExploratoryTest(
                append_label(about, str(cell["label"])),
                "below",
                tuple(matched or unmatched),
                note=f"{len(matched)} of {len(unmatched)} pairs overlap",
            )


def _running_points(frame: pl.DataFrame) -> pl.DataFrame:
    """For each run and probed step, `forced` share and `gap`."""
    done = frame.filter(pl.col("state") == "done", pl.col("task") == "choice-points")
    probed = add_settings(done.filter(pl.col("suite") == "probe/test-sampled"))
    forced = select_metric(probed, "possible").filter(
        pl.col("slice") == "running=forced"
    )
    gap = select_metric(probed, "gap").select("run_id", "step", gap=pl.col("value"))
    both = forced.rename({"value": "forced"}).join(gap, on=["run_id", "step"])
    both = both.drop_nulls(["forced", "gap"])
    check_one_run_a_seed(both, *CELL, "arm")
    return sort_rows(both, *CELL, "arm", "data_seed", "step")


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


def straight_law(frame: pl.DataFrame) -> Iterator[ExploratoryTest]:
    """C21: slope in decades a layer, for token ids and for one-hot targets."""
    rows = add_settings(at_end(frame).filter(pl.col("suite") == LAW))
    by = [*CELL, "task", "arm"]
    for target in ("residual", "one_hot"):
        name = f"path=head 1,of={target},target=t+1"
        here = select_metric(rows, "fit_slope").filter(pl.col("slice") == name)
        here = here.with_columns(difference="value")
        for key, values, _ in split_groups(sort_rows(here, *by, "data_seed"), by):
            about = (
                f"slope of {target.replace('_', '-')}, {key['task']}, "
                f"{arm_name(key['arm'])}, {key['scale']} "
                f"({format_count(key['parameters'])})"
            )
            yield ExploratoryTest(append_label(about, key["label"]), "below", values)

"""The finished runs that an answer is about: no trials, tuned cells at their rate."""

from collections.abc import Sequence

import polars as pl

from analysis.fields import Fields
from analysis.selection import IS_TRIAL, drop_unreadable
from analysis.superseded import keep_tuned_rates


def is_rate(field: str | None) -> bool:
    """Whether a person means the learning rate by a field."""
    return (field or "").rpartition(".")[2] == "learning_rate"


def select_runs(
    frame: pl.DataFrame,
    where: Sequence[str] = (),
    all_rates: bool = False,
    with_trials: bool = False,
) -> tuple[pl.DataFrame, list[str]]:
    """The finished runs that meet the conditions, and notes on those left out.

    Of cells that were tuned, those at the tuned rate, unless `all_rates` are wanted or
    the conditions choose rates. Trials beside other runs are left out, unless wanted.

    Raises `ValueError` when no run is finished, or none meets the conditions.
    """
    notes = []
    done = drop_unreadable(frame).filter(pl.col("state") == "done")
    others = frame.unique("run_id").filter(pl.col("state") != "done")["state"]
    counts = [f"{n} {state}" for state, n in others.value_counts(sort=True).iter_rows()]
    if done.is_empty():
        states = ", ".join(counts) or "there are no runs"
        if "done" in frame["state"]:
            states = "the configurations of finished runs could not be read"
        raise ValueError(f"The sweep has no finished run: {states}. Train it first.")
    if counts:
        notes.append(f"Runs that are not finished are left out: {', '.join(counts)}.")
    done = Fields(done).select_runs(done, where)
    trials = done.filter(IS_TRIAL)
    count = trials["run_id"].n_unique()
    is_mixed = 0 < count < done["run_id"].n_unique()
    if is_mixed and not with_trials:
        done = done.filter(~IS_TRIAL)
        notes.append(f"Trials of rates are left out: {count}.")
    chooses = any(is_rate(one.partition("=")[0].strip()) for one in where)
    if not (all_rates or chooses):
        before = done["run_id"].n_unique()
        done = keep_tuned_rates(done, trials)
        if left_out := before - done["run_id"].n_unique():
            notes.append(
                f"Runs at other rates than the tuned ones are left out: {left_out}."
            )
    return done, notes


def answering_runs(frame: pl.DataFrame) -> pl.DataFrame:
    """The finished runs that verdicts are about: no trials, tuned cells at their rate."""
    readable = drop_unreadable(frame)
    done = readable.filter(~IS_TRIAL, pl.col("state") == "done")
    return keep_tuned_rates(done, readable.filter(IS_TRIAL))

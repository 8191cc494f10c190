"""Which runs an answer leaves out after a sweep was tuned again."""

import dataclasses

import polars as pl
import pytest

from analysis.collect import collect
from analysis.contrasts import compute_contrasts
from analysis.load_sweep import load_sweep, load_table, load_tables
from analysis.parquet import write
from analysis.plots.families import FIGURES
from analysis.selection import IS_TRIAL
from analysis.superseded import drop_superseded
from analysis.views import Query, select, view
from sweeps.catalogue import CATALOGUE
from tests.analysis.test_rate_curves import SUITE, trial, write_trial

CHOSEN, EARLIER = 2e-3, 4e-3
TRIALS = {1e-3: (0.5, 0.6), CHOSEN: (0.8, 0.7), EARLIER: (0.7, 0.6)}


def write_tables(tmp_path, runs, values=TRIALS):
    """The tables of a tuned sweep and of its trials; `runs` are (rate, value) pairs."""
    for rate, each in values.items():
        for seed, value in zip((1000, 1001), each, strict=True):
            write_trial(tmp_path / "made-tuning", trial(rate, seed), value)
    for rate, value in runs:
        for seed in (0, 1):
            config = trial(rate, seed, split="test")
            write_trial(tmp_path / "made-tuned", config, value, suite="in_domain")
    for name in ("made-tuned", "made-tuning"):
        frame = collect(tmp_path / name).frame
        write(frame, tmp_path / "results" / f"{name}.parquet")
    return tmp_path / "results"


def rates(frame):
    return frame.filter(sweep="made-tuned")["learning_rate"].unique().sort().to_list()


def test_runs_at_an_earlier_choice_are_left_out_of_answers(tmp_path):
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)])
    assert rates(load_tables(results)) == [
        CHOSEN
    ]  # although they are better on the test
    assert rates(load_sweep("made-tuned", results)) == [CHOSEN]
    path = results / "made-tuned.parquet"
    assert rates(load_sweep(str(path), tmp_path)) == [CHOSEN]
    for name in ("made-tuned", str(results)):  # what `merge` reads
        assert rates(load_table(name, results)) == [CHOSEN, EARLIER]


@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([(EARLIER, 0.9)], id="nothing is trained at the choice"),
        pytest.param([(CHOSEN, None), (EARLIER, 0.9)], id="all failed at the choice"),
    ],
)
def test_a_cell_without_a_run_at_the_chosen_rate_keeps_its_runs(tmp_path, runs):
    results = write_tables(tmp_path, runs)
    assert rates(load_tables(results)) == [rate for rate, _ in runs]


def test_a_rate_at_which_a_trial_failed_is_not_chosen(tmp_path):
    values = TRIALS | {CHOSEN: (0.8, None)}
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)], values)
    assert rates(load_tables(results)) == [EARLIER]


@pytest.mark.parametrize(
    ("name", "folder"),
    [("best-horizon", "best-horizon"), ("choice-points", "choice-points-night")],
)
def test_trials_choose_by_the_metric_of_their_sweep(
    tmp_path, monkeypatch, name, folder
):
    chosen_by = dataclasses.replace(CATALOGUE[name], metric="out_of_domain/exact_match")
    monkeypatch.setitem(CATALOGUE, name, chosen_by)
    for rate, value, suite in (
        (CHOSEN, 0.8, SUITE),  # best by the metric of the task
        (EARLIER, 0.7, "validation_out_of_domain"),
    ):
        for seed in (0, 1):
            one = trial(rate, 1000 + seed)
            write_trial(tmp_path / f"{folder}-tuning", one, value, suite)
            one = trial(rate, seed, split="test")
            write_trial(tmp_path / f"{folder}-tuned", one, 0.6, suite="in_domain")
    trials, tuned = (
        collect(tmp_path / f"{folder}-{kind}").frame for kind in ("tuning", "tuned")
    )
    kept = drop_superseded(tuned, trials)
    assert kept["learning_rate"].unique().to_list() == [EARLIER]


def test_trials_by_another_metric_are_not_pooled(tmp_path, monkeypatch):
    """The metric with most trials chooses."""
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)])
    other = dataclasses.replace(
        CATALOGUE["best-horizon"], metric="out_of_domain/exact_match"
    )
    monkeypatch.setitem(CATALOGUE, "best-horizon", other)
    folder = tmp_path / "best-horizon-tuning"
    for rate, value in ((CHOSEN, 0.5), (EARLIER, 1.0)):
        write_trial(folder, trial(rate, 1002), value, "validation_out_of_domain")
    write(collect(folder).frame, results / f"{folder.name}.parquet")
    assert rates(load_tables(results)) == [CHOSEN]


def test_without_trials_all_rates_stay(tmp_path):
    results = write_tables(tmp_path, [(CHOSEN, 0.6), (EARLIER, 0.9)])
    (results / "made-tuning.parquet").unlink()
    assert rates(load_tables(results)) == [CHOSEN, EARLIER]
    assert rates(load_sweep("made-tuned", results)) == [CHOSEN, EARLIER]


def write_mixed(tmp_path, names=("made", "made-tuning", "made-tuned")):
    """An untuned sweep of two arms, their trials, and the tuned runs of one of them.

    The trials choose for n2 the rate that the untuned runs have, so it is not retrained.
    """
    untuned, tuning, tuned = (tmp_path / name for name in names)
    for arm, best in ((1, CHOSEN), (2, EARLIER)):
        for rate in (CHOSEN, EARLIER):
            for seed in (1000, 1001):
                one = trial(rate, seed, arm=arm)
                write_trial(tuning, one, 0.8 if rate == best else 0.7)
        for seed in range(3):
            one = trial(EARLIER, seed, split="test", arm=arm)
            write_trial(untuned, one, 0.5 + seed / 100, suite="in_domain")
    for seed in range(3):
        one = trial(CHOSEN, seed, split="test")
        write_trial(tuned, one, 0.6 + seed / 100, suite="in_domain")
    for name in dict.fromkeys(names):
        write(collect(tmp_path / name).frame, tmp_path / "results" / f"{name}.parquet")
    return tmp_path / "results"


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("made", "made-tuning", "made-tuned"), id="tables"),
        pytest.param(("made",) * 3, id="one folder"),
    ],
)
@pytest.mark.parametrize("beside", [(), ("learning_rate",)])
def test_compare_takes_tuned_rates_from_a_mixture(tmp_path, names, beside):
    results = write_mixed(tmp_path, names)
    frame = load_sweep(str(results), results)
    found = compute_contrasts(frame, Query(), beside=beside)
    (row,) = found.table.to_dicts()
    assert (row["pairs"], row["arm"]) == (3, "n2")
    assert (row["baseline"], row["value"]) == pytest.approx((0.61, 0.51))
    note = "Runs at other rates than the tuned ones are left out: 3."
    assert note in found.notes
    by_rate = compute_contrasts(frame, Query(where=["arm=n1"]), "learning_rate")
    assert by_rate.table["pairs"].to_list() == [3]


@pytest.mark.parametrize("heat", [False, True])
def test_plot_takes_tuned_rates_unless_rates_are_an_axis(tmp_path, heat):
    results = write_mixed(tmp_path)
    frame = load_sweep(str(results), results)
    plotted = view(frame, Query(), x="step" if heat else "arm", hue="arm", heat=heat)
    rates_by_arm = plotted.rows.group_by("arm").agg(pl.col("learning_rate").unique())
    assert dict(rates_by_arm.rows()) == {"n1": [CHOSEN], "n2": [EARLIER]}
    assert "Runs at other rates than the tuned ones are left out: 3." in plotted.notes
    every = {"n1": {EARLIER, CHOSEN}, "n2": {EARLIER}}
    for axes in ({"x": "learning_rate"}, {"panel": "training.learning_rate"}):
        rows = view(frame, Query(), **axes).rows
        rates_by_arm = rows.group_by("arm").agg(pl.col("learning_rate").unique())
        assert {arm: set(of) for arm, of in rates_by_arm.rows()} == every
    chosen = Query(where=[f"learning_rate={EARLIER},{CHOSEN}", "arm=n1"])
    assert select(frame, chosen).done["learning_rate"].n_unique() == 2


def test_figures_and_report_draw_the_tuned_rates(tmp_path):
    """Else each tuned arm is drawn alone, and arms together only at an untuned rate."""
    results = write_mixed(tmp_path)
    for name in ("made", "made-tuned"):  # figures want operations
        frame = load_table(name, results)
        by_operations = frame.filter(metric="exact_match").with_columns(
            slice=pl.lit("operations=1")
        )
        write(pl.concat([frame, by_operations]), results / f"{name}.parquet")
    pictures, _ = FIGURES["figure-8-polynomial"].pictures(load_tables(results))
    (picture,) = pictures
    means = picture.table.drop_nulls("mean").group_by("arm").agg(pl.col("mean").mean())
    assert dict(means.rows()) == pytest.approx({"n1": 0.61, "n2": 0.51})
    assert "learning rate 0.002 to 0.004" in picture.training


def test_beside_a_rate_that_nothing_chooses_says_how_to_choose(tmp_path):
    results = write_mixed(tmp_path)
    frame = load_sweep(str(results), results)
    frame = frame.filter(~IS_TRIAL).with_columns(sweep=pl.lit("made"))
    words = (
        r"runs of one seed differ in it .*--where training\.learning_rate=0\.00[24]\.$"
    )
    with pytest.raises(ValueError, match=words):
        compute_contrasts(frame, Query(), beside=["learning_rate"])

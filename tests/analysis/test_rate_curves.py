"""Rate curves of a collected table of trials, by hand."""

import dataclasses

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.plots.learning_rates import rate_figure
from analysis.plots.overview import all_pictures
from analysis.rate_curves import TriedRates, _points, rate_curves, tried_rates
from analysis.selection import IS_TRIAL
from analysis.statistics import mean_interval
from sweeps.catalogue import CATALOGUE
from synth.metrics import Measurement
from tests.analysis.conftest import polynomial_run, write_run

ACCURACY = {
    1e-3: (0.50, 0.60),
    2e-3: (0.80, 0.70),
    4e-3: (0.70, 0.60),
    8e-3: (0.90, None),  # a run diverged
}
SUITE = "validation_in_domain"


def trial(rate, seed, split="validation", arm=1):
    config = polynomial_run(horizon=arm, seed=seed)
    training = dataclasses.replace(config.training, learning_rate=rate)
    return dataclasses.replace(config, training=training, split=split)


def write_trial(root, config, value, suite=SUITE):
    """The folder of a trial; a run that diverged has rows of its start alone."""
    step = config.training.steps if value is not None else 50
    where = (config.run_id, step, step * config.training.tokens_per_step)
    measured = 0.99 if value is None else value
    before = (config.run_id, 10, 10 * config.training.tokens_per_step)
    rows = [
        Measurement(*before, suite, "exact_match", "", 0.98, 100),
        Measurement(*where, suite, "exact_match", "", measured, 100),
        Measurement(*where, suite, "guess_floor", "", 0.01, 100),
        Measurement(*where, suite, "loss", "horizon=1", 1 - measured, 100),
    ]
    write_run(root, config, rows, state="failed" if value is None else "done")


@pytest.fixture
def frame(tmp_path):
    for rate, values in ACCURACY.items():
        for seed, value in zip((1000, 1001), values, strict=True):
            write_trial(tmp_path, trial(rate, seed), value)
    # The runs of the sweep itself, on the test split, choose nothing.
    write_trial(tmp_path, trial(8e-3, 0, split="test"), 1.0, suite="in_domain")
    return collect(tmp_path).frame


def test_a_curve_has_means_intervals_and_its_best_rate(frame):
    curves = rate_curves(frame)
    found = curves.filter(metric="exact_match")
    assert found.height == curves.height  # what did not choose the rate has no curve
    assert found["learning_rate"].to_list() == list(ACCURACY)
    assert found["mean"].to_list() == pytest.approx([0.55, 0.75, 0.65, None])
    assert found["seeds"].to_list() == [2, 2, 2, 1]
    assert found["diverged"].to_list() == [0, 0, 0, 1]
    assert found["best"].to_list() == [False, True, False, False]
    assert found["interior"].to_list() == [True] * 4
    interval = mean_interval(ACCURACY[1e-3], share=True)
    assert found["low"][0] == pytest.approx(interval.low)
    assert found["high"][0] == pytest.approx(interval.high)
    assert found["low"][3] is None
    # From 1e-3 to 4e-3: the run that diverged at 8e-3 does not count.
    assert found["sensitivity"].to_list() == pytest.approx([0.2] * 4)


def test_a_rate_at_which_a_run_diverged_has_no_mean_but_its_ends():
    values = {1e-3: [0.5, 0.7, 0.6], 2e-3: [0.9, None, 0.8]}
    first, second = _points(TriedRates("m", "higher", "share", values))
    assert first["mean"] == pytest.approx(0.6)
    assert (first["lowest"], first["highest"]) == (0.5, 0.7)
    assert (first["seeds"], first["diverged"], first["best"]) == (3, 0, True)
    assert [second[name] for name in ("mean", "low", "high")] == [None] * 3
    assert (second["lowest"], second["highest"]) == (0.8, 0.9)
    assert (second["seeds"], second["diverged"], second["best"]) == (2, 1, False)
    (none,) = _points(TriedRates("m", "higher", "share", {1e-3: [None]}))
    assert (none["best"], none["interior"]) == (False, False)


def test_a_trial_that_goes_on_is_not_counted(frame):
    running = pl.when(pl.col("learning_rate") == 8e-3).then(pl.lit("running"))
    states = running.otherwise("state").alias("state")
    (tried,) = tried_rates(frame.filter(IS_TRIAL).with_columns(states)).values()
    found = {rate: sorted(values) for rate, values in tried.values.items()}
    assert found == {r: sorted(two) for r, two in ACCURACY.items() if r < 8e-3}


def test_arms_have_a_curve_each_and_an_edge_is_no_inside(tmp_path):
    for arm, best in ((1, 2e-3), (2, 4e-3)):
        for rate in (1e-3, 2e-3, 4e-3):
            value = 0.9 if rate == best else 0.1
            write_trial(tmp_path, trial(rate, 1000, arm=arm), value)
    curves = rate_curves(collect(tmp_path).frame)
    best = curves.filter("best")
    assert best["arm"].to_list() == ["n1", "n2"]
    assert best["learning_rate"].to_list() == [2e-3, 4e-3]
    assert best["interior"].to_list() == [True, False]
    assert best["setting"].n_unique() == 1
    assert best["low"].to_list() == [None, None]


def test_the_figure_is_of_what_chose_the_rate(tmp_path, monkeypatch):
    """All trials end alike: only the mean over training tells the rates apart."""
    chosen_by = dataclasses.replace(
        CATALOGUE["best-horizon"], metric="mean:in_domain/exact_match"
    )
    monkeypatch.setitem(CATALOGUE, "best-horizon", chosen_by)
    folder = tmp_path / "best-horizon-tuning"
    for rate, halfway in ((1e-3, 0.2), (2e-3, 0.8), (4e-3, 0.6)):
        config = trial(rate, 1000)
        rows = [
            Measurement(
                config.run_id, step, step * 128, suite, "exact_match", "", *what
            )
            for step, value in ((50, halfway), (100, 1.0))
            for suite, *what in (("train", 1 - value, 100), (SUITE, value, 100))
        ]
        write_run(folder, config, rows)
    frame = collect(folder).frame
    figure, table = rate_figure(frame)
    assert table["metric"].unique().to_list() == [f"mean:{SUITE}/exact_match"]
    assert table["mean"].to_list() == pytest.approx([0.6, 0.9, 0.8])
    assert table.filter("best")["learning_rate"].to_list() == [2e-3]
    label = figure.axes[0].get_ylabel().replace("\n", " ")
    assert label == "exact match, mean over training (share), validation"


def test_a_table_without_trials_has_no_curve(tmp_path):
    write_trial(tmp_path, trial(1e-3, 0, split="test"), 1.0, suite="in_domain")
    assert rate_curves(collect(tmp_path).frame).is_empty()


def test_the_figure_marks_the_best_rate_of_each_curve(frame):
    trials = frame.filter(IS_TRIAL)
    pictures, reasons = all_pictures(trials)
    (rates,) = pictures  # no other figure shows trials, or says that it leaves them out
    (no_runs,) = reasons
    assert no_runs.startswith("no finished run is for ")
    assert "8 seeds" not in rates.training
    (axes,) = rates.figure.axes
    (legend,) = rates.figure.legends
    assert legend.get_texts()[0].get_text() == "n = 1 (0.2)"
    assert "lost within a factor of 2" in legend.get_title().get_text()
    assert [t.get_text() for t in axes.get_xticklabels()][:2] == ["0.001", "0.002"]
    rings = [line for line in axes.lines if line.get_markersize() == 10]
    assert [tuple(line.get_xydata()[0]) for line in rings] == [(2e-3, 0.75)]
    assert rates.table["diverged"].to_list() == [0, 0, 0, 1]
    with pytest.raises(ValueError, match="no trials of `sweeps tune`"):
        rate_figure(frame.clear())


def test_answers_leave_trials_out_and_name_runs_at_another_rate(tmp_path, capsys):
    """A folder with an untuned sweep, its trials, and n2 at the rate that these chose."""
    for seed in range(3):
        for arm, rate in ((1, 1e-3), (2, 1e-3), (2, 4e-3)):
            config = trial(rate, seed, split="test", arm=arm)
            write_trial(tmp_path / "runs", config, 0.5 + rate, suite="in_domain")
        write_trial(tmp_path / "runs", trial(2e-3, 1000 + seed), 0.5)
    sweep = str(tmp_path / "runs")
    assert main(["compare", sweep, "--csv"]) == 0
    printed = capsys.readouterr()
    (row,) = pl.read_csv(printed.out.encode()).iter_rows(named=True)
    assert (row["where"], row["arm"], row["pairs"]) == ("learning rate 0.001", "n2", 3)
    assert "Trials of rates are left out: 3." in printed.err
    assert (
        "as no run of n1 pairs with them: n2 at learning rate 0.004 (3). The most "
        "similar run of n1 differs in training.learning_rate. A table NAME-tuned"
        in printed.err
    )
    where = ["--where", "learning_rate=0.001", "--figures", str(tmp_path / "figures")]
    assert main(["plot", sweep, "--x", "arm", "--csv", *where]) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table["seeds"].to_list() == [3, 3]
    validation = ["--metric", f"{SUITE}/exact_match", "--csv"]
    assert main(["plot", sweep, "--x", "learning_rate", *validation, *where[2:]]) == 0
    table = pl.read_csv(capsys.readouterr().out.encode())
    assert table["training.learning_rate"].to_list() == [2e-3]


def test_a_hint_names_all_fields_that_have_to_be_chosen(tmp_path, capsys):
    for rate in (1e-3, 2e-3):
        for pause in (0, 5):
            config = trial(rate, 0, split="test")
            task = dataclasses.replace(config.task, pause_tokens=pause)
            config = dataclasses.replace(config, task=task)
            write_trial(tmp_path / "runs", config, 0.5, suite="in_domain")
    assert main(["plot", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    chosen = "task.pause_tokens=0 training.learning_rate=0.001"
    assert said.endswith(f"Choose with --where {chosen}.\n")

"""The noise floor against simulations, and worked tables."""

import json

import numpy as np
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.contrasts import compute_contrasts
from analysis.noise import decision_table, noise_band, noise_floor, noise_table
from analysis.parquet import load, results_folder
from analysis.plots.by_field import field_figure
from analysis.plots.curves import cost_figure
from analysis.plots.forest import forest_figure
from analysis.trajectories import curve_rows
from analysis.views import Query, select, view
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run


@pytest.mark.parametrize("seeds", [5, 10])
def test_a_band_holds_what_chance_does(seeds):
    """Of two arms that do not differ, 95 % of differences of means lie inside."""
    rng = np.random.default_rng(seeds)
    inside, halves = [], []
    for _ in range(800):
        one, two = rng.normal(0.4, 0.03, (2, seeds))
        inside.append(abs(one.mean() - two.mean()) < noise_floor(one).band)
        found = noise_floor(one)
        halves.append(abs(found.halves) < found.halves_band)
    assert 0.93 < np.mean(inside) < 0.97
    assert np.mean(halves) > 0.93


def test_few_seeds_have_no_band():
    assert np.isnan(noise_floor([0.4]).band)
    assert noise_floor([0.4, 0.5, 0.6]).halves is None
    found = noise_floor([0.1, 0.2, 0.4, 0.5, 0.9])
    assert found.halves == pytest.approx(0.15 - 0.45), "the fifth has no partner"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_band_of_shares_holds_what_chance_does(share):
    rng = np.random.default_rng(3)
    inside = []
    for one, two in rng.beta(20 * share, 20 * (1 - share), (1000, 2, 5)):
        low, high = noise_band(one, span=1.0, share=True) or (share, share)
        inside.append(low <= two.mean() <= high)
        assert 0 <= low <= high <= 1
    assert 0.92 < np.mean(inside) < 0.97


def test_what_has_no_band():
    assert noise_band([0.4, 0.5, 0.6], span=1.0) is None, "three seeds"
    assert noise_band([0.0, 0.1, 0.9, 1.0], span=1.0) is None, "two groups"
    values = [0.4, 0.5, 0.6, 0.5]
    band = noise_floor(values).band
    assert noise_band(values, span=1.0) == pytest.approx((0.5 - band, 0.5 + band))


ENDS = {
    "10k": {1: 0.30, 2: 0.40, 3: 0.35, 4: 0.20},
    "30k": {1: 0.50, 2: 0.60, 3: 0.62, 4: 0.45},
}
"""Of n = 2 and n = 3 alone, the two sizes disagree."""
SHIFTS = (-0.01, 0.0, 0.01, 0.02, -0.02)


@pytest.fixture
def runs(tmp_path):
    for scale, ends in ENDS.items():
        for horizon, end in ends.items():
            for seed, shift in enumerate(SHIFTS):
                config = polynomial_run(horizon, seed, scale)
                value = end + shift
                rows = polynomial_rows(config, lambda m, s, v=value: v * s / 100)
                write_run(tmp_path / "made-up", config, rows)
    return tmp_path / "made-up"


def test_signal_and_noise_of_a_sweep(runs):
    rows = curve_rows(collect(runs).frame, "exact_match", "in_domain")
    small, large = noise_table(rows).iter_rows(named=True)
    spread = np.std(SHIFTS, ddof=1)
    assert small["spread"] == pytest.approx(spread)
    assert small["band"] == pytest.approx(2.7764 * spread * np.sqrt(2 / 5), rel=1e-3)
    assert small["halves"] == pytest.approx(-0.005 - 0.015)
    assert (small["signal"], large["signal"]) == pytest.approx((0.20, 0.17))
    assert small["ratio"] == pytest.approx(0.20 / spread)
    assert small["apart"] == "n = 2; n = 3; n = 4"
    with pytest.raises(
        ValueError, match="an arm of the runs: n1, n2, n3, n4; got 'n9'"
    ):
        noise_table(rows, baseline="n9")
    assert small["setting"] == "10k"


def test_no_arm_is_apart_from_a_baseline_without_spread_or_mean(runs):
    rows = curve_rows(collect(runs).frame, "exact_match", "in_domain")
    first = (pl.col("arm") == "n1") & (pl.col("scale") == "10k")
    flat = pl.when(first).then(0.0).otherwise("value").alias("value")
    assert noise_table(rows.with_columns(flat))["apart"][0] == ""
    once = pl.when(first & (pl.col("data_seed") == 0)).then(1.0).otherwise(flat)
    table = noise_table(rows.with_columns(value=once))
    assert table["apart"][0] == "seeds of n = 1 in two groups"


def test_what_a_small_size_says_of_a_larger_one(runs, capsys):
    rows = curve_rows(collect(runs).frame, "exact_match", "in_domain")
    (row,) = decision_table(rows).iter_rows(named=True)
    assert (row["smaller"], row["larger"]) == ("10.4k", "34.6k")
    assert (row["pairs"], row["agree"]) == (6, 5)
    assert row["low"] < 5 / 6 < row["high"]
    with pytest.raises(ValueError, match="at two sizes or more"):
        decision_table(rows.filter(pl.col("scale") == "10k"))
    small = rows.filter(pl.col("scale") == "10k")
    turned = small.with_columns(scale=pl.lit("d9-L3-h1"), value=1 - pl.col("value"))
    (row,) = decision_table(pl.concat([small, turned])).iter_rows(named=True)
    assert (row["smaller"], row["larger"], row["agree"]) == ("10k", "d9-L3-h1", 0)
    where = [str(runs), "--metric", "in_domain/exact_match"]
    assert main(["noise", *where, "--decisions", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agree"] == 5
    assert main(["noise", *where]) == 0
    assert "n = 2; n = 3; n = 4" in capsys.readouterr().out


def test_events_of_a_sweep_as_a_command(runs, capsys):
    where = [str(runs), "--metric", "in_domain/exact_match"]
    assert main(["events", *where, "--level", "0.55", "--in-a-row", "1", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    learned = {(row["scale"], row["arm"]): row["learned"] for row in rows}
    assert learned["30k", "n2"] == learned["30k", "n3"] == 5
    assert learned["30k", "n1"] == learned["10k", "n2"] == 0
    p_values = {(row["scale"], row["arm"]): row["p"] for row in rows}
    assert p_values["30k", "n2"] == pytest.approx(2 / 252)
    assert main(["events", *where]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert "at least 0.5, 2 evaluations in a row" in words
    assert main(["events", str(runs), "--metric", "accuracy"]) == 2


@pytest.mark.parametrize(("seeds", "drawn"), [(5, True), (3, False)])
def test_figures_of_arms_have_the_band(runs, seeds, drawn):
    """Levels, curves and contrasts, from four seeds of the baseline on."""
    frame = collect(runs).frame.filter(pl.col("data_seed") < seeds)
    whole = Query(metric="in_domain/exact_match")
    figures = [
        field_figure(view(frame, whole, x="parameters"))[0],
        field_figure(view(frame, whole, x="tokens", panel="scale"))[0],
        forest_figure(compute_contrasts(frame, whole))[0],
        cost_figure(frame, "exact_match", "in_domain")[0],
    ]
    for figure in figures:
        words = [text.get_text() for text in figure.legends[0].get_texts()]
        assert any("against itself, 95 %" in word for word in words) == drawn


def test_two_groups_are_those_that_compare_sees():
    """A loss falls from far above: only its last evaluations say how wide its range is."""
    table = load(results_folder() / "choice-points-night-tuned.parquet")
    frame = table.filter(pl.col("learning_rate") == 3e-3)  # one run of n = 1 is stuck
    query = Query(metric="excess_loss/horizon=1,role=choice")
    runs = select(frame, query)
    rows = runs.measure(query, []).rows(runs.done)
    (row,) = noise_table(rows).iter_rows(named=True)
    assert row["apart"] == "seeds of n = 1 in two groups"
    (compared,) = compute_contrasts(frame, query).table.iter_rows(named=True)
    assert compared["test"] != "paired t"

"""Comparisons against simulations with known truth, and worked numbers."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.collect import collect
from analysis.comparisons import (
    Difference,
    at_equal_cost,
    cluster_bootstrap,
    holm,
    matched_table,
    pair_by_seed,
    seeds_to_resolve,
    subtract_pairs,
    summarize_pairs,
    t_test,
)
from analysis.execution_paths import path_difference
from analysis.parquet import read_all
from analysis.selection import at_end, select_metric
from analysis.settings import with_setting
from analysis.trajectories import curve_rows
from tests.analysis.conftest import (
    polynomial_rows,
    polynomial_run,
    write_polynomial_sweep,
    write_run,
)


def exact_match(frame):
    rows = select_metric(with_setting(frame, "arm"), "exact_match")
    return rows.filter(pl.col("slice") != "")


def test_pairing_removes_what_seeds_share(sweep):
    rows = exact_match(at_end(collect(sweep).frame))
    pairs = pair_by_seed(rows, ["setting", "slice"], "arm", "n1", "n2")
    assert pairs.height == 4 * 5
    table = summarize_pairs(pairs, ["slice"])
    assert table["pairs"].to_list() == [5] * 4
    assert table["difference"].to_list() == pytest.approx([0.2] * 4, abs=0.02)
    spread_of_scores = rows.filter(
        (pl.col("arm") == "n1") & (pl.col("slice") == "operations=1")
    )["value"].std()
    widths = table["high"] - table["low"]
    assert widths.max() < spread_of_scores
    assert table["p_holm"].max() < 0.05
    assert table["p_holm"].to_list() == pytest.approx(holm(table["p"].to_list()))


def test_pairing_refuses_two_runs_of_a_cell():
    rows = pl.DataFrame(
        {"arm": ["n1", "n1", "n2"], "data_seed": [0, 0, 0], "value": [0.1, 0.2, 0.3]}
    )
    with pytest.raises(ValueError, match="several runs"):
        pair_by_seed(rows, [], "arm", "n1", "n2")


def test_only_common_seeds_are_compared():
    rows = pl.DataFrame(
        {"n": [1, 1, 2, 2], "data_seed": [0, 1, 1, 2], "value": [0.1, 0.2, 0.5, 0.9]}
    )
    pairs = pair_by_seed(rows, [], "n", 1, 2)
    assert pairs["data_seed"].to_list() == [1]
    assert pairs["difference"].to_list() == pytest.approx([0.3])


def test_runs_without_a_value_of_a_field_are_a_cell_of_their_own():
    rows = pl.DataFrame(
        {"n": [1, 2, 1, 2], "data_seed": 0, "value": [0.1, 0.2, 0.0, 1.0]}
    )
    rows = rows.with_columns(field=pl.Series([None, None, "a", "a"]))
    pairs = pair_by_seed(rows, ["field"], "n", 1, 2)
    assert pairs["field"].to_list() == [None, "a"]
    assert pairs["difference"].to_list() == pytest.approx([0.1, 1.0])
    nothing = subtract_pairs(pairs, pairs, ["field"])
    assert nothing["difference"].to_list() == [0.0, 0.0]


def test_settings_tell_runs_apart_by_what_matters(tmp_path):
    write_polynomial_sweep(tmp_path / "s", seeds=2, pauses=(0, 5))
    frame = collect(tmp_path / "s").frame
    assert with_setting(frame, "arm")["setting"].n_unique() == 2
    assert with_setting(frame, "arm", "pause_tokens")["setting"].n_unique() == 1


def test_tuned_rates_do_not_part_cells_but_sweeps_of_rates_do(tmp_path):
    from dataclasses import replace

    def run(horizon, rate):
        config = polynomial_run(horizon)
        changed = replace(config.training, learning_rate=rate)
        config = replace(config, training=changed)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))

    run(1, 1e-3)
    run(2, 3e-3)
    frame = collect(tmp_path).frame
    assert with_setting(frame, "arm")["setting"].n_unique() == 1
    run(1, 3e-3)
    frame = collect(tmp_path).frame
    assert with_setting(frame, "arm")["setting"].n_unique() == 2


def test_paired_interval_covers_the_truth():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(1500):
        shared = rng.normal(0, 1.0, 5)
        first = shared + rng.normal(0, 0.1, 5)
        second = shared + 0.25 + rng.normal(0, 0.1, 5)
        interval = Difference.of(second - first).interval
        inside.append(interval.low <= 0.25 <= interval.high)
    assert 0.93 < np.mean(inside) < 0.97


def test_t_test_is_that_of_scipy():
    values = [0.1, 0.4, -0.2, 0.3]
    assert t_test(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)
    assert t_test([0.3]) == 1.0
    assert t_test([0.0, 0.0]) == 1.0
    assert t_test([0.3 - 0.1, 0.2, 0.4 - 0.2]) == 0.25, "the sign test"
    signs = stats.binomtest(10, 10, 0.5).pvalue
    assert t_test([0.5] * 10) == t_test([-0.5] * 10) == pytest.approx(signs)


def test_holm_by_hand_and_under_the_null():
    assert holm([0.04, 0.001, 0.02]) == pytest.approx([0.04, 0.003, 0.04])
    assert holm([]) == []
    rng = np.random.default_rng(1)
    alarms = [min(holm(rng.uniform(size=8).tolist())) < 0.05 for _ in range(4000)]
    assert 0.03 < np.mean(alarms) < 0.065


def test_power_hint_holds_in_a_simulation():
    seeds = seeds_to_resolve(spread=0.05, difference=0.05)
    rng = np.random.default_rng(2)
    draws = rng.normal(0.05, 0.05, (2000, seeds))
    found = np.mean(stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05)
    assert 0.77 < found < 0.87
    # Tables of the paired t test (G*Power), by difference in standard deviations.
    sizes = {1.0: 10, 0.8: 15, 0.5: 34, 0.2: 199}
    assert {d: seeds_to_resolve(1.0, d) for d in sizes} == sizes
    assert seeds_to_resolve(0.05, 0.0) is None
    assert seeds_to_resolve(1.0, 1e-4) is None


def test_bootstrap_over_stories_covers_the_truth_and_single_mentions_do_not():
    rng = np.random.default_rng(3)
    inside, naive = [], []
    for draw in range(300):
        level = rng.beta(2, 2, 60)  # a story's own accuracy: truth 0.5
        mentions = rng.binomial(20, level) / 20
        interval = cluster_bootstrap(mentions.tolist(), draws=400, seed=draw)
        inside.append(interval.low <= 0.5 <= interval.high)
        error = 1.96 * np.sqrt(mentions.mean() * (1 - mentions.mean()) / (60 * 20))
        naive.append(abs(mentions.mean() - 0.5) <= error)
    assert 0.90 <= np.mean(inside) <= 0.97
    assert np.mean(naive) < 0.8
    with pytest.raises(ValueError, match="at least 20"):
        cluster_bootstrap([0.1, 0.2, 0.3])


def test_interaction_is_a_difference_of_differences():
    first = pl.DataFrame({"data_seed": [0, 1], "difference": [0.1, 0.2]})
    second = pl.DataFrame({"data_seed": [1, 0], "difference": [0.5, 0.1]})
    found = subtract_pairs(first, second, [])
    assert found["difference"].to_list() == pytest.approx([0.0, 0.3])


def curve(run_id, arm, tokens, values, flops=10.0):
    steps = list(range(len(tokens)))
    return pl.DataFrame(
        {
            "run_id": [run_id] * len(steps),
            "arm": [arm] * len(steps),
            "data_seed": [0] * len(steps),
            "step": steps,
            "steps": [steps[-1]] * len(steps),
            "tokens": tokens,
            "flops_per_token": [flops] * len(steps),
            "value": values,
        }
    )


def test_equal_cost_interpolates_the_dearer_run():
    cheap = curve("a", "n1", [0, 100, 200], [0.0, 0.2, 0.4])
    dear = curve("b", "n2", [0, 100, 200], [0.0, 0.4, 0.8], flops=20.0)
    curves = pl.concat([cheap, dear])
    by_flops = at_equal_cost(curves, [], "arm", "flops")
    assert by_flops["flops"].to_list() == [2000.0, 2000.0]
    assert by_flops["value"].to_list() == pytest.approx([0.4, 0.4])
    by_tokens = at_equal_cost(curves, [], "arm", "tokens")
    assert by_tokens["value"].to_list() == pytest.approx([0.4, 0.8])
    for cost in ("joules", "seconds"):
        with pytest.raises(ValueError, match="cost must be one of"):
            at_equal_cost(curves, [], "arm", cost)


def test_command_compares_at_equal_cost(results, capsys):
    arguments = ["compare", str(results), "--where", "task=polynomial"]
    metric = ["--metric", "in_domain/exact_match/operations=1"]
    for cost in ("tokens", "flops"):
        assert main([*arguments, *metric, "--at", cost]) == 0
        assert f"at equal {cost}" in capsys.readouterr().out


def test_equal_flops_take_from_the_longer_horizon_what_it_costs(results):
    rows = curve_rows(read_all(results), "exact_match", "in_domain", "operations=1")
    rows = rows.filter(pl.col("task") == "polynomial", pl.col("pause_tokens") == 0)
    tokens, flops = matched_table(rows, "tokens"), matched_table(rows, "flops")
    assert tokens["pairs"].to_list() == [5, 5]
    assert (flops["difference"] < tokens["difference"]).all()


def test_equal_cost_invents_no_score_before_the_first_measurement():
    curves = pl.concat(
        [
            curve("late", "n1", [100, 200], [0.8, 0.9]),
            curve("short", "n2", [0, 50], [0.0, 0.5]),
        ]
    )
    matched = at_equal_cost(curves, [], "arm", "tokens")
    assert matched["run_id"].to_list() == ["short"]


def test_other_execution_paths_are_named(tmp_path):
    """A gain of an arm that ran on other hardware or in other passes may be theirs."""
    write_polynomial_sweep(tmp_path, seeds=2, scales=("10k", "30k"))
    for folder in tmp_path.iterdir():
        native = "-n2-10k-" in folder.name
        session = {"step": "native" if native else "eager", "device": "x86_64"}
        text = json.dumps({"sessions": [session]})
        (folder / "environment.json").write_text(text)
    frame = collect(tmp_path).frame
    rows = curve_rows(frame, "exact_match", "in_domain")
    told = "step: n = 1 eager, n = 2 native"
    paths = matched_table(rows, "tokens").select("scale", "paths").rows()
    assert paths == [("10k", told), ("30k", "")]
    same = frame.with_columns(step_form=pl.lit("eager"))
    assert path_difference(same) == ""
    mixed = pl.DataFrame({"arm": ["n1", "n2", "n2"], "lanes": [1, 1, 3]})
    assert path_difference(mixed) == "lanes: n = 1 1, n = 2 1 or 3"
    unknown = pl.DataFrame({"arm": ["n1", "n2"], "step_form": ["eager", None]})
    assert path_difference(unknown) == ""

"""Grids of learning rates, and what a curve says: worked by hand."""

from dataclasses import replace

import pytest

from sweeps.rate_grid import (
    RateCurve,
    RateGrid,
    build_grids,
    check_rates,
    default_rates,
)
from sweeps.sweep import sweep
from synth.tasks.graph_paths import GraphPathsConfig
from tests.conftest import tiny_run, with_training

RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def curve(*means, better="higher", rates=RATES):
    return RateCurve(rates[: len(means)], means, better)


def test_the_best_rate_has_the_best_mean_over_seeds():
    values = {4e-3: [0.5, 0.5], 1e-3: [0.9, 0.2], 2e-3: [0.6, 0.7]}
    found = RateCurve.of(values, "higher")
    assert found.rates == (1e-3, 2e-3, 4e-3)
    assert found.means == pytest.approx((0.55, 0.65, 0.5))
    assert (found.best, found.edge) == (2e-3, None)
    losses = RateCurve.of(values, "lower")
    assert (losses.best, losses.edge) == (4e-3, "high")


def test_a_rate_at_which_one_seed_diverged_never_wins():
    found = RateCurve.of({1e-3: [0.1], 2e-3: [0.2], 4e-3: [0.9, None]}, "higher")
    assert found.means == (0.1, 0.2, None)
    assert (found.best, found.edge) == (2e-3, None)
    assert RateCurve.of({1e-3: [None], 2e-3: [None]}, "lower").best is None
    assert RateCurve.of({1e-3: [None], 2e-3: [None]}, "lower").edge is None


@pytest.mark.parametrize(
    ("means", "best"),
    [
        ((0.5, 1.0, 1.0, 1.0), 2e-3),
        ((0.5, 0.5, 1.0, 1.0), 4e-3),
        ((1.0, 1.0, 0.5, 0.5), 2e-3),
        ((0.5, 0.9, 0.9, 0.5), 2e-3),
    ],
)
def test_of_equals_the_one_nearest_to_the_middle_is_taken(means, best):
    found = curve(*means)
    assert (found.best, found.edge, found.flat) == (best, None, False)
    assert curve(0.0, 0.0, 0.0).flat


def test_sensitivity_is_the_most_that_is_lost_within_a_factor_of_two():
    # From 2e-3 to 8e-3: at 2e-3, half of the way from 1e-3, 0.65; at 8e-3, 0.75.
    rates = (1e-3, 4e-3, 1.6e-2)
    found = curve(0.5, 0.8, 0.7, rates=rates)
    assert found.sensitivity == pytest.approx(0.8 - 0.65)
    losses = curve(-0.5, -0.8, -0.7, rates=rates, better="lower")
    assert losses.sensitivity == pytest.approx(found.sensitivity)
    assert curve(0.1, 0.7, 0.8, 0.75).sensitivity == pytest.approx(0.1)  # neighbours
    dip = curve(0.7, 0.2, 0.8, 0.6, rates=(2e-3, 3e-3, 4e-3, 8e-3))
    assert dip.sensitivity == pytest.approx(0.6)
    assert curve(0.8, 0.8, 0.8).sensitivity == 0.0
    for rates in ((3.13e-4, 6.25e-4, 1.25e-3), (5.63e-4, 1.13e-3, 2.25e-3)):
        rounded = curve(0.6, 0.8, 0.7, rates=rates)
        assert rounded.sensitivity == pytest.approx(0.2, abs=2e-3)


def test_a_failed_run_has_no_sensitivity_unless_it_is_far_away():
    assert curve(0.2, 0.8, None).sensitivity is None
    assert curve(0.2, 0.8, None, rates=(1e-3, 4e-3, 2e-2)).sensitivity is None
    assert curve(0.2, 0.8, 0.7, None).sensitivity == pytest.approx(0.6)
    assert curve(None, 0.2, 0.8, 0.7).sensitivity == pytest.approx(0.6)


def test_where_the_grid_ends_nothing_is_known_of_sensitivity():
    """Beyond the last rate the metric may fall: what was not measured is not small."""
    assert curve(0.6, 0.7, 0.8).sensitivity is None
    assert curve(0.8, 0.7, 0.6).sensitivity is None
    narrow = (1e-3, 1.001e-3, 1.002e-3)
    assert curve(0.79, 0.8, 0.79, rates=narrow).sensitivity is None
    assert curve(0.6, 0.8, 0.7, rates=(1e-3, 4e-3, 7e-3)).sensitivity is None


def test_a_grid_is_extended_where_its_best_lies_at_an_edge():
    grid = RateGrid("cell", tiny_run(), RATES, (1000,))
    assert grid.extend(curve(0.1, 0.9, 0.1, 0.1)) == grid
    for number in range(3):
        grid = grid.extend(curve(*[0.1] * (3 + number), 0.9, rates=grid.rates))
    assert grid.rates == (*RATES, 1.6e-2, 3.2e-2, 6.4e-2)
    assert grid.added == (1.6e-2, 3.2e-2, 6.4e-2)
    assert grid.extend(curve(*[0.1] * 6, 0.9, rates=grid.rates)) == grid  # enough
    lower = RateGrid("cell", tiny_run(), RATES, (1000,)).extend(curve(1, 0, 0, 0))
    assert (lower.rates, lower.added) == ((5e-4, *RATES), (5e-4,))
    close = (1e-3, 1.0001e-3, 1.0002e-3)  # to three digits the next rate is 1e-3 again
    narrow = RateGrid("cell", tiny_run(), close, (1000,))
    assert narrow.extend(curve(0.1, 0.2, 0.3, rates=close)) == narrow


def test_trials_are_runs_of_the_cell_on_seeds_and_a_split_of_their_own():
    configs = [tiny_run(n, seed) for n in (1, 2) for seed in (0, 1)]
    one, two = build_grids(configs, RATES[:3], 2)
    assert [grid.example.objective.arm for grid in (one, two)] == ["n1", "n2"]
    assert [(run.training.learning_rate, run.seed) for run in one.trials] == [
        (rate, seed) for rate in RATES[:3] for seed in (1000, 1001)
    ]
    assert {run.split for run in one.trials} == {"validation"}
    assert len({run.pack_key for run in one.trials}) == 1  # lanes of one pack
    far = [tiny_run(1, 1001)]
    assert build_grids(far, RATES, 2)[0].seeds == (1002, 1003)


def test_trials_draw_graphs_of_their_own():
    graphs = [replace(tiny_run(), task=GraphPathsConfig(graph_seed=g)) for g in (0, 1)]
    (grid,) = build_grids(graphs, RATES, 2)
    assert {run.task.graph_seed for run in grid.trials} == {1000, 1001}
    last = [replace(tiny_run(), task=GraphPathsConfig(graph_seed=1004))]
    assert build_grids(last, RATES, 1)[0].seeds == (1005,)


def test_trials_draw_training_data_of_their_own():
    (grid,) = build_grids([replace(tiny_run(), data_seed=1005)], RATES, 2)
    assert grid.seeds == (1006, 1007)
    assert {run.resolved_data_seed for run in grid.trials} == {1006, 1007}


def test_a_sweep_without_a_grid_has_one_around_each_rate():
    slow = with_training(tiny_run(1), learning_rate=1e-3)
    assert default_rates(slow) == (2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3)
    (grid,) = build_grids([slow, with_training(slow, learning_rate=9.0)], (), 1)
    assert grid.rates == default_rates(slow)  # one cell: rates are no part of it


@pytest.mark.parametrize("rates", [(1e-3, 2e-3), (1e-3, 1e-3, 2e-3), (0.0, 1.0, 2.0)])
def test_a_grid_needs_an_inside(rates):
    with pytest.raises(ValueError, match="must be three or more rising learning rates"):
        check_rates(rates, "--rates")
    with pytest.raises(ValueError, match=r"@sweep\(rates=...\) of 'mine' must be"):
        sweep(rates=rates, name="mine")(lambda scale: [tiny_run()])

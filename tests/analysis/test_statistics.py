"""Statistics against simulations and numbers worked out elsewhere."""

import math

import numpy as np
import polars as pl
import pytest

from analysis.statistics import mean_interval, over_seeds, t_interval


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_t_interval_covers_what_it_says(seeds):
    rng = np.random.default_rng(seeds)
    draws = rng.normal(0.3, 0.05, size=(2000, seeds))
    inside = [
        interval.low <= 0.3 <= interval.high for interval in map(t_interval, draws)
    ]
    assert 0.93 < np.mean(inside) < 0.97


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_intervals_of_shares_cover_them_and_stay_inside(seeds, share):
    """Beta values with a spread of a fifth of the largest: t intervals cover less."""
    rng = np.random.default_rng(seeds)
    draws = rng.beta(20 * share, 20 * (1 - share), size=(2000, seeds))
    found = [mean_interval(values, share=True) for values in draws]
    plain = [t_interval(values) for values in draws]
    assert all(0 < one.low < one.mean < one.high < 1 for one in found)
    covered = np.mean([one.low <= share <= one.high for one in found])
    assert 0.93 < covered < 0.97
    assert covered >= np.mean([one.low <= share <= one.high for one in plain])


def test_intervals_of_shares_at_their_ends():
    ends = mean_interval([1.0, 1.0, 1.0], share=True)
    assert (ends.low, ends.high) == (1.0, 1.0), "as t intervals of equal values"
    assert mean_interval([0.0, 0.5, 1.0], share=True).low > 0
    outside = [0.5, 1.5, 1.0]
    assert mean_interval(outside, share=True) == t_interval(outside), "no shares"
    assert math.isinf(mean_interval([0.4], share=True).high)


def test_t_interval_of_known_numbers():
    # 12.706 = t(0.975; 1), the value of the tables.
    interval = t_interval([0.0, 1.0])
    assert interval.high == pytest.approx(0.5 + 12.706 * 0.5, abs=1e-3)
    assert interval.spread == pytest.approx(math.sqrt(0.5))
    assert math.isinf(t_interval([1.0]).high)
    assert math.isnan(t_interval([]).mean)


def test_over_seeds_golden():
    frame = pl.DataFrame(
        {"horizon": [2, 1, 1, 2, 4], "value": [0.3, 0.1, 0.3, 0.5, None]}
    )
    found = over_seeds(frame, ["horizon"])
    assert found["horizon"].to_list() == [1, 2, 4]
    assert found["mean"].to_list() == [pytest.approx(0.2), pytest.approx(0.4), None]
    assert found["seeds"].to_list() == [2, 2, 0]
    assert found["high"][0] == pytest.approx(0.2 + 12.7062 * 0.1, abs=1e-4)
    assert found["low"][2] is None
    shares, one = over_seeds(frame, ["horizon"], True), mean_interval([0.1, 0.3], True)
    assert (shares["low"][0], shares["high"][0]) == pytest.approx((one.low, one.high))
    assert found["low"][0] < 0 < shares["low"][0]

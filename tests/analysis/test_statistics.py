"""Statistics against simulations and numbers worked out elsewhere."""

import math

import numpy as np
import polars as pl
import pytest

from analysis.statistics import over_seeds, t_band, t_interval


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_t_interval_covers_what_it_says(seeds):
    rng = np.random.default_rng(seeds)
    draws = rng.normal(0.3, 0.05, size=(2000, seeds))
    inside = [
        interval.low <= 0.3 <= interval.high for interval in map(t_interval, draws)
    ]
    assert 0.93 < np.mean(inside) < 0.97


def test_t_interval_of_known_numbers():
    # 12.706 = t(0.975; 1), the value of the tables.
    interval = t_interval([0.0, 1.0])
    assert interval.high == pytest.approx(0.5 + 12.706 * 0.5, abs=1e-3)
    assert interval.spread == pytest.approx(math.sqrt(0.5))
    assert math.isinf(t_interval([1.0]).high)
    assert math.isnan(t_interval([]).mean)
    assert t_band([0.4]) == (0.4, 0.4)


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

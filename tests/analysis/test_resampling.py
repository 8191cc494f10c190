"""Other stories: intervals that cover, and how they stand beside those over seeds."""

import numpy as np
import polars as pl
import pytest

from analysis.resampling import add_items_interval, items_interval
from analysis.statistics import t_interval

STORIES, MENTIONS = 80, 6


def crossed(rng, seeds, gain=0.0):
    """Right mentions (seeds x stories) of models that differ by seed; hard stories."""
    story = 0.15 * rng.standard_normal(STORIES)
    shift = 0.03 * rng.standard_normal((seeds, 1))
    level = np.clip(0.5 + gain + shift + story, 0.01, 0.99)
    return rng.binomial(MENTIONS, level)


def interval(right, weights):
    number = [[MENTIONS] * STORIES] * len(right)
    return items_interval(right.tolist(), number, weights)


def test_bootstrap_over_stories_covers_what_other_stories_would_give():
    """The runs stay, the stories are new: nominal 95 % over 300 test sets."""
    rng = np.random.default_rng(0)
    shift = 0.03 * rng.standard_normal((4, 1))
    inside = []
    for _ in range(300):
        story = 0.15 * rng.standard_normal(STORIES)
        level = np.clip(0.5 + shift + story, 0.01, 0.99)
        found = interval(rng.binomial(MENTIONS, level), [0.25] * 4)
        inside.append(found.low <= 0.5 + shift.mean() <= found.high)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_seeds_alone_say_little_of_other_stories():
    """The t interval over seeds misses a truth about all stories; both do not."""
    rng = np.random.default_rng(1)
    seeds_alone, either = [], []
    for _ in range(200):
        right = crossed(rng, seeds=5)
        over_seeds = t_interval((right.mean(1) / MENTIONS).tolist())
        over_stories = interval(right, [0.2] * 5)
        seeds_alone.append(over_seeds.low <= 0.5 <= over_seeds.high)
        low = min(over_seeds.low, over_stories.low)
        high = max(over_seeds.high, over_stories.high)
        either.append(low <= 0.5 <= high)
    assert np.mean(seeds_alone) < 0.93
    assert np.mean(either) > np.mean(seeds_alone)
    assert np.mean(either) >= 0.95


def test_differences_on_the_same_stories_are_narrower_than_their_parts():
    rng = np.random.default_rng(2)
    story = 0.2 * rng.standard_normal(STORIES)
    both = [
        rng.binomial(MENTIONS, np.clip(0.5 + gain + story, 0, 1)) for gain in (0, 0.1)
    ]
    first, second = (interval(np.array([one]), [1.0]) for one in both)
    paired = interval(np.array(both), [-1.0, 1.0])
    expected = (both[1].sum() - both[0].sum()) / (STORIES * MENTIONS)
    assert paired.mean == pytest.approx(expected)
    assert paired.low < expected < paired.high
    unpaired = np.hypot(first.high - first.low, second.high - second.low)
    assert paired.high - paired.low < 0.9 * unpaired


def test_stories_weigh_as_many_as_they_have_mentions():
    rng = np.random.default_rng(3)
    number = rng.integers(1, 20, STORIES)
    right = rng.binomial(number, np.where(number > 10, 0.8, 0.3))
    found = items_interval([right.tolist()], [number.tolist()], [1.0])
    assert found.mean == pytest.approx(right.sum() / number.sum())
    drawn = rng.integers(0, STORIES, (4000, STORIES))
    shares = right[drawn].sum(1) / number[drawn].sum(1)
    ends = np.quantile(shares, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.01)


def test_what_cannot_be_compared_has_no_interval():
    right, number = [1] * 30, [2] * 30
    assert items_interval([right], [number], [1.0]).mean == 0.5
    assert items_interval([right, None], [number, None], [0.5, 0.5]) is None
    assert items_interval([right, right], [number, [3] * 30], [1, -1]) is None
    assert items_interval([right[:9]], [number[:9]], [1.0]) is None
    untold = items_interval([[*right, 0]], [[*number, 0]], [1.0])
    assert (untold.mean, untold.count) == (0.5, 30)


def test_tables_have_null_bounds_where_runs_kept_nothing():
    counts = pl.DataFrame(
        {
            "n": [1, 1, 2],
            "items_right": [[1] * 30, [2] * 30, None],
            "items_number": [[2] * 30, [2] * 30, None],
        }
    )
    table = pl.DataFrame({"n": [1, 2]})
    found = add_items_interval(counts, table, ["n"])
    assert found["items"].to_list() == [30, None]
    assert found["items_low"].to_list() == [0.75, None]
    without = add_items_interval(counts.select("n"), table, ["n"])
    assert without["items_low"].null_count() == 2

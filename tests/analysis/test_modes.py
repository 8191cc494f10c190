"""Two groups of seeds are seen where there are two, and seldom elsewhere."""

import numpy as np
import polars as pl
import pytest

from analysis.modes import lower_group_size, span_of, summarize_seeds


@pytest.mark.parametrize(
    ("values", "low"),
    [
        ([0.014, 0.027, 0.032, 0.338, 1.04], 4),  # one run of five stays on a plateau
        ([0.641, 1.088, 1.118, 1.121, 1.121], 1),
        ([0.003, 0.012, 0.036], None),  # too few
        ([0.5, 0.52, 0.51, 0.54, 0.55], None),  # close together
        ([0.0, 0.3, 0.6, 0.9], None),  # spread evenly: no gap wider than a group
    ],
)
def test_events_and_levels(values, low):
    assert lower_group_size(values, span=1.12) == low


@pytest.mark.parametrize("seeds", [5, 10])
def test_one_normal_group_is_seldom_split(seeds):
    rng = np.random.default_rng(0)
    draws = 0.5 + 0.12 * rng.standard_normal((2000, seeds))
    share = np.mean([lower_group_size(draw, span=1.0) is not None for draw in draws])
    assert share < 0.01


def test_a_split_cell_has_no_mean():
    values = {"a": [0.0, 0.1, 0.9, 1.0], "b": [0.4, 0.5, 0.5, 0.6]}
    rows = pl.DataFrame(
        [(arm, v) for arm, own in values.items() for v in own],
        schema=["arm", "value"],
        orient="row",
    )
    table = summarize_seeds(rows, ["arm"], span=1.0)
    first, second = table.sort("arm").iter_rows(named=True)
    assert (first["mean"], first["low"], first["groups"]) == (
        None,
        None,
        "2 low, 2 high",
    )
    assert (first["lowest"], first["median"], first["highest"]) == (0.0, 0.5, 1.0)
    assert second["mean"] == pytest.approx(0.5)
    assert (second["groups"], second["seeds"]) == (None, 4)


def test_the_span_is_that_of_the_metric():
    rows = pl.DataFrame(
        {"value": [0.3, 0.5], "floor": [0.1, 0.3], "ceiling": [1.0, 1.0]}
    )
    assert span_of(rows) == pytest.approx(0.8)
    assert span_of(rows.drop("ceiling")) == pytest.approx(0.3)
    assert span_of(rows.drop("ceiling"), share=True) == pytest.approx(0.8)
    assert span_of(rows.select("value"), share=True) == 1.0
    assert span_of(rows.select(value=-pl.col("value"))) == pytest.approx(0.5)

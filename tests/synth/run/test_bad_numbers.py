"""Numbers with which a run cannot go on."""

import pytest

from synth.metrics import Measurement
from synth.run.bad_numbers import require_usable


def row(value, slice_="horizon=1", suite="train", count=5):
    return Measurement("run", 100, 6400, suite, "loss", slice_, value, count)


def test_a_loss_of_zero_is_refused_among_the_first_alone():
    rows = [row(1.5), row(0.0, "horizon=9")]
    with pytest.raises(ValueError, match=r"first 100 steps .* for horizon=9: no"):
        require_usable(rows, first_losses=True)
    require_usable(rows, first_losses=False)
    require_usable([row(1.5), row(0.0, suite="test")], first_losses=True)


def test_a_null_is_refused_where_something_was_counted():
    with pytest.raises(ValueError, match=r"step 100: test/loss/horizon=1\."):
        require_usable([row(1.5), row(None, suite="test")], first_losses=False)
    require_usable([row(None, suite="test", count=0)], first_losses=False)


def test_many_names_are_counted():
    rows = [row(0.0, f"horizon={n}") for n in range(4, 10)]
    with pytest.raises(ValueError, match="horizon=7, horizon=8 and 1 more: "):
        require_usable(rows, first_losses=True)

"""Events against worked examples, scipy, and simulations with known truth."""

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.events import (
    Times,
    event_times,
    kaplan_meier,
    log_rank,
    median_tokens,
    runs_to_resolve,
)
from analysis.statistics import share_interval

EARLY = Times((1, 2, 3), (True, True, True))
LATE = Times((4, 5, 6), (True, True, False))


def curves(**values):
    return pl.DataFrame(
        [
            {"run_id": name, "step": i, "tokens": 10 * i, "value": value}
            for name, run in values.items()
            for i, value in enumerate(run)
        ]
    )


def test_an_event_is_the_first_of_evaluations_in_a_row():
    rows = curves(
        once=[0.1, 0.6, 0.2, 0.3, 0.6],
        twice=[0.1, 0.6, 0.2, 0.5, 0.7],
        never=[0.1, 0.2, None, 0.2, None],
        start=[0.9, 0.9, 0.1, 0.1, 0.1],
    )
    found = {run: rest for run, *rest in event_times(rows, 0.5).iter_rows()}
    assert found == {
        "never": [30.0, False],  # until its last value
        "once": [40.0, False],  # one alone, and one that nothing confirmed
        "start": [0.0, True],
        "twice": [30.0, True],
    }
    alone = {run: at for run, at, _ in event_times(rows, 0.5, in_a_row=1).iter_rows()}
    assert alone["once"] == 10
    falling = event_times(rows.filter(run_id="never"), 0.2, "lower", in_a_row=2)
    assert falling.rows() == [("never", 0.0, True)]
    assert event_times(rows.reverse(), 0.5).equals(event_times(rows, 0.5))
    lost = pl.when(pl.col("step") != 3).then("tokens").alias("tokens")
    found = event_times(rows.filter(run_id="twice").with_columns(lost), 0.5)
    assert found.rows() == [("twice", 40.0, False)]  # nothing is known to confirm it
    with pytest.raises(ValueError, match="in_a_row"):
        event_times(rows, 0.5, in_a_row=0)
    with pytest.raises(ValueError, match="level"):
        event_times(rows, math.nan)
    assert event_times(rows.clear(), 0.5).is_empty()


def test_kaplan_meier_by_hand():
    """Six runs: 5/6, then 5/6 x 4/5, then (one was censored at 2) 2/3 x 1/3."""
    times = Times((1, 2, 3, 3, 2, 5), (True, True, True, True, False, False))
    curve = kaplan_meier(times)
    assert curve["tokens"].to_list() == [0, 1, 2, 3, 5]
    waiting = [1 - share for share in curve["share"].to_list()]
    assert waiting == pytest.approx([1, 5 / 6, 2 / 3, 2 / 9, 2 / 9])
    assert median_tokens(times) == 3
    assert median_tokens(Times((1, 2), (False, False))) is None
    inside = curve.drop_nulls()
    assert (inside["low"] < inside["share"]).all()
    assert (inside["share"] < inside["high"]).all()
    # Greenwood's variance of log(-log S) after one event of six: 1 / (6 x 5 log(S)^2).
    half = stats.norm.ppf(0.975) * math.sqrt(1 / 30) / -math.log(5 / 6)
    ends = [1 - (5 / 6) ** math.exp(sign * half) for sign in (-1, 1)]
    assert inside.row(0) == (1.0, *map(pytest.approx, (1 / 6, *ends)))
    every = kaplan_meier(Times((1, 2), (True, True)))
    assert every["share"].to_list() == [0, 0.5, 1]
    assert every["high"].is_null().to_list() == [True, False, True]
    for runs in (4, 24):  # a product of 12 fractions is 0.4999999999999999
        half = Times(
            tuple(range(1, runs + 1)), tuple(i < runs / 2 for i in range(runs))
        )
        assert median_tokens(half) == runs / 2
    nothing = kaplan_meier(Times((5, 5), (False, False)))
    assert nothing["share"].to_list() == [0, 0]
    assert nothing["low"].null_count() == 2


def test_log_rank_by_hand_and_as_scipy():
    """Early minus expectation, at each of five events: 1/2, 3/5, 3/4 - ... by hand."""
    found = log_rank([(LATE, EARLY)])
    expected = 3 / 6 + 2 / 5 + 1 / 4  # of the early side, while any of it is at risk
    variance = 3 / 6 * 3 / 6 + 2 / 5 * 3 / 5 + 1 / 4 * 3 / 4
    assert found.z == pytest.approx((3 - expected) / math.sqrt(variance))
    assert found.hazard_ratio == pytest.approx(math.exp((3 - expected) / variance))
    scipys = stats.logrank(LATE.censored(), EARLY.censored())
    assert abs(found.z) == pytest.approx(abs(scipys.statistic))
    # Two of the 20 arrangements of six runs set them as far apart.
    assert found.p_value == pytest.approx(2 / 20)
    assert log_rank([(EARLY, LATE)]).z == pytest.approx(-found.z)
    # The two runs that end at 3 are alike: exchanged, with all others or not, they give
    # this |z| again. Four of 20, though they differ in the last bit.
    sides = Times((5, 3, 1), (True, True, False)), Times((1, 3, 1), (True, True, True))
    assert log_rank([sides]).p_value == pytest.approx(4 / 20)
    # Who is censored when another has the event was still at risk, and had none.
    tied = log_rank([(Times((3,), (False,)), Times((3,), (True,)))])
    assert tied.z == pytest.approx(0.5 / math.sqrt(0.25))
    # Two events at once among four: variance 2 x (4 - 2) / 3 x 1/4; then one of two.
    both = log_rank([(Times((2, 4), (True, True)), Times((2, 3), (True, True)))])
    assert both.z == pytest.approx(0.5 / math.sqrt(1 / 3 + 1 / 4))
    alone = log_rank([(Times((9,) * 200, (False,) * 200), Times((1,), (True,)))])
    assert alone.hazard_ratio == pytest.approx(math.exp(50)), "and not e to the 201"
    never = Times((9, 9), (False, False))
    none = log_rank([(never, never)])
    assert (none.z, none.p_value) == (0.0, 1.0)
    assert math.isnan(none.hazard_ratio)


def test_the_paired_form_is_a_sign_test_of_who_was_first():
    """A pair adds 1/2 to the earlier side and 1/4 to the variance; a tie adds nothing."""
    first = [(9, False), (9, False), (8, True), (7, True), (9, False), (4, True)]
    second = [(5, True), (4, True), (3, True), (2, True), (9, False), (2, True)]
    pairs = [
        (Times((one[0],), (one[1],)), Times((other[0],), (other[1],)))
        for one, other in zip(first, second, strict=True)
    ]
    found = log_rank(pairs)
    assert found.strata == 6
    assert found.z == pytest.approx(5 * 0.5 / math.sqrt(5 * 0.25))
    assert found.p_value == pytest.approx(2 / 2**5), "five pairs cannot pass 0.05"
    six = log_rank([*pairs, (Times((3,), (True,)), Times((2,), (True,)))])
    assert six.p_value == pytest.approx(2 / 2**6)
    sizes = [(LATE, EARLY), (LATE, EARLY)]
    assert log_rank(sizes).z == pytest.approx(math.sqrt(2) * log_rank(sizes[:1]).z)


def draw(rng, runs, rate, end=1.0):
    tokens = np.ceil(20 * rng.exponential(1 / rate, runs)) / 20
    return Times(tuple(np.minimum(tokens, end)), tuple((tokens <= end).tolist()))


def p_values(rng, runs, ratio, draws):
    """Log-rank p values of runs whose hazard on the second side is `ratio` times."""
    found = []
    for _ in range(draws):
        sides = draw(rng, runs, 1.0), draw(rng, runs, ratio)
        found.append(log_rank([sides]).p_value)
    return np.array(found)


def test_log_rank_errs_as_it_says_and_finds_what_it_says():
    rng = np.random.default_rng(4)
    assert np.mean(p_values(rng, 5, 1.0, 1200) < 0.05) < 0.06
    runs = runs_to_resolve(hazard_ratio=6.0, happened_share=0.8)
    assert runs == 7
    power = np.mean(p_values(rng, runs, 6.0, 300) < 0.05)
    assert 0.65 < power < 0.9
    assert runs_to_resolve(1.0, 0.5) is None
    assert runs_to_resolve(2.0, 0.0) is None
    assert runs_to_resolve(1.1, 0.5) is None, "more than a thousand"
    events = 4 * ((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) / math.log(2)) ** 2
    assert runs_to_resolve(2.0, events / (2 * 999.5)) == 1000
    assert runs_to_resolve(2.0, events / (2 * 1000.5)) is None


def test_many_arrangements_are_drawn():
    rng = np.random.default_rng(5)
    sides = draw(rng, 12, 1.0), draw(rng, 12, 3.0)
    found = log_rank([sides])
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(found.z)), abs=0.03)
    assert found.p_value == log_rank([sides]).p_value, "seeded"
    ahead = Times(tuple(range(12)), (True,) * 12), Times((99,) * 12, (True,) * 12)
    assert log_rank([ahead]).p_value == 1 / 10_001, "the observed one counts itself"
    pair = Times((2,), (True,)), Times((1,), (True,))
    assert log_rank([pair] * 20).p_value >= 1 / 10_001, "2^20 are not enumerated"


def test_the_interval_of_a_probability():
    """Wilson's formula by hand for 4 of 5."""
    z, n, p = 1.959964, 5, 0.8
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert share_interval(4, 5) == pytest.approx((centre - half, centre + half))
    assert share_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("runs", [5, 10])
def test_the_interval_of_a_probability_covers_it(runs):
    """On average over probabilities; exactly, by summing the binomial."""
    bounds = [share_interval(k, runs) for k in range(runs + 1)]
    covered = []
    for p in np.linspace(0.02, 0.98, 49):
        inside = [low <= p <= high for low, high in bounds]
        covered.append(stats.binom.pmf(np.arange(runs + 1), runs, p) @ inside)
    assert 0.93 < np.mean(covered) < 0.97

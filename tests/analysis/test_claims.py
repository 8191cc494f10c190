"""Verdicts on made-up runs whose truth is known, both ways."""

import itertools
import json
import math
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from analysis.__main__ import main
from analysis.claims import (
    RULE,
    Claim,
    Contrast,
    Evidence,
    ExploratoryTest,
    exploratory_table,
    judge,
    read_contrast,
)
from analysis.collect import collect
from analysis.comparisons import seeds_to_resolve
from analysis.events import Times, log_rank
from analysis.evidence.pooling import pool_strata
from analysis.modes import lower_group_size
from analysis.parquet import read_all, write
from analysis.selection import SECOND_TOKEN
from analysis.statements import CLAIMS, judge_all
from analysis.statistics import Interval
from sweeps.catalogue import CATALOGUE
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.star import StarConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.names import NameConfig
from tests.analysis.conftest import (
    write_polynomial_sweep,
    write_probed_sweep,
    write_run,
    write_stories_sweep,
)

TUNED = "made-up-tuned"
"""A sweep's name from which claims read that its rates were tuned."""
ONE_AND_TWO = (MultiTokenConfig(), MultiTokenConfig(horizon=2))


def draws(mean, seeds=5, spread=0.01, seed=0):
    rng = np.random.default_rng(seed)
    return tuple((mean + spread * rng.standard_normal(seeds)).tolist())


def contrast(direction="above", effect=0.05, **more):
    return Contrast("m", direction, lambda frame: None, effect, **more)


def verdict(direction, values, **evidence):
    evidence = {"tuned": True} | evidence
    found = Evidence("runs", len(values), values_S=tuple(values), **evidence)
    return read_contrast(contrast(direction), found)[0]


@pytest.mark.parametrize(
    ("direction", "mean", "expected"),
    [
        ("above", 0.2, "supported"),
        ("above", -0.2, "contradicted"),
        ("above", 0.0, "undecided"),
        ("below", -0.2, "supported"),
        ("below", 0.2, "contradicted"),
        ("within", 0.0, "supported"),
        ("within", 0.2, "contradicted"),
        ("within", -0.2, "contradicted"),
        ("within", 0.03, "undecided"),
    ],
)
def test_each_direction_both_ways(direction, mean, expected):
    assert verdict(direction, draws(mean)) == expected


def test_equal_values_at_all_seeds_decide_by_their_sign():
    """They have no spread: five seeds on one side are p = 0.063, six 0.031."""
    for direction, as_said in (("above", "supported"), ("below", "contradicted")):
        assert verdict(direction, (0.5,) * 5) == "undecided"
        assert verdict(direction, (0.5,) * 6) == as_said
    assert "the sign test decides" in RULE


def test_few_seeds_and_untuned_rates_never_decide():
    for direction in ("above", "below", "within"):
        for seeds in (1, 2, 3, 4):
            assert verdict(direction, draws(0.5, seeds, 1e-6)) == "undecided"
        assert verdict(direction, draws(0.5), tuned=False) == "undecided"
    found = Evidence("runs", 5, values_S=draws(0.5))
    parts_of_the_same_runs = contrast(needs_tuning=False)
    assert read_contrast(parts_of_the_same_runs, found)[0] == "supported"


def test_only_claims_about_parts_of_the_same_runs_do_without_tuned_rates():
    untuned = [claim.id for claim in CLAIMS if not claim.contrast.needs_tuning]
    assert untuned == ["C3", "C21", "C28"]
    assert "(C3, C21, C28)" in RULE


def test_shares_of_the_gradient_at_an_untuned_rate_decide_nothing(tmp_path):
    write_probed_sweep(tmp_path)
    frame = collect(tmp_path, "not chosen").frame
    for found in judge_all(frame, only=("C12", "C15")):
        assert found.verdict == "undecided"
        assert found.reason.endswith("rates were not tuned arm by arm")


def test_runs_at_the_rate_of_a_tuned_sweep_are_tuned_whatever_their_sweep(tmp_path):
    write_probed_sweep(tmp_path)
    frame = collect(tmp_path, TUNED).frame
    earlier = pl.col("seed") < 3
    sweep = pl.when(earlier).then(pl.lit("earlier")).otherwise(pl.lit(TUNED))
    mixed = frame.with_columns(sweep=sweep)
    other_rate = pl.when(earlier).then(9.0).otherwise("learning_rate")
    elsewhere = mixed.with_columns(learning_rate=other_rate)
    for table, seeds in ((mixed, 5), (elsewhere, 2)):  # other rates do not count
        (found,) = judge_all(table, only=("C12",))
        assert found.evidence.tuned
        assert found.evidence.seeds == seeds


@pytest.mark.parametrize(
    ("direction", "ids", "sizes"),
    [
        ("above", "C1", "1M to 30M parameters"),
        ("below", "C2", "100M parameters and more"),
        ("above", "C4 C5", "1M parameters and more"),
        ("within", "C6", "1M parameters and more"),
        ("above", "C7 C8 C9 C10", "30M to 100M parameters"),
        ("within", "C11", "30M to 100M parameters"),
        ("above", "C3 C12 C13 C14 C18 C25 C26 C27 C28", "any size"),
        ("below", "C15 C21", "any size"),
        ("within", "C24", "any size"),
    ],
)
def test_claims_are_judged_by_the_sign_and_at_the_sizes_that_they_state(
    direction, ids, sizes
):
    chosen = [claim.contrast for claim in CLAIMS if claim.id in ids.split()]
    assert len(chosen) == len(ids.split())
    assert {one.expected for one in chosen} == {direction}
    assert {one.stated_for for one in chosen} == {sizes}


def test_sizes_are_nominal():
    """A model of 1M may have 0.8M parameters, and one of 30M 39M."""
    stated = contrast(sizes=(1e6, 30e6))
    sizes = [799_999, 800_000, 39_000_000, 39_000_001]
    frame = pl.DataFrame({"parameters": sizes})
    assert stated.select_sizes(frame)["parameters"].to_list() == sizes[1:3]


def test_events_decide_by_log_rank():
    early = Times((1, 2, 2, 3, 3), (True,) * 5)
    never = Times((9,) * 5, (False,) * 5)
    for sides, expected in (
        ((never, early), "supported"),
        ((early, never), "contradicted"),
        ((early, early), "undecided"),
    ):
        found = Evidence("runs", 5, events=log_rank([sides]), tuned=True)
        assert read_contrast(contrast(), found)[0] == expected


def verdict_shares(mean, seeds, draws, direction="above"):
    """How often the rule supports and contradicts, at a mean in units of the spread."""
    rng = np.random.default_rng([seeds, draws])
    values = 0.01 * (mean + rng.standard_normal((draws, seeds)))
    found = [verdict(direction, one.tolist()) for one in values]
    return tuple(found.count(v) / draws for v in ("supported", "contradicted"))


def test_false_verdicts_are_one_in_twenty_and_power_is_as_computed():
    """With no effect 5 %; with five seeds 40 % at 1 sd and 91 % at 2 sd (noncentral t)."""
    assert sum(verdict_shares(0, 5, 1500)) == pytest.approx(0.05, abs=0.012)
    for mean, power in ((1, 0.40), (2, 0.91)):
        bound, shift = stats.t.ppf(0.975, 4), mean * math.sqrt(5)
        assert stats.nct.sf(bound, 4, shift) == pytest.approx(power, abs=0.01)
        assert verdict_shares(mean, 5, 300)[0] == pytest.approx(power, abs=0.07)
    assert seeds_to_resolve(spread=1.0, difference=1.0) == 10
    assert seeds_to_resolve(spread=1.0, difference=2.0) == 5
    # Just outside the margin of 3 points, "within" must not be supported by chance.
    assert verdict_shares(3, 5, 400, "within")[0] < 0.05


def test_other_items_must_say_the_same():
    values = draws(0.05, spread=0.001)
    for low, high, expected in ((0.02, 0.08, "supported"), (-0.01, 0.11, "undecided")):
        items = Interval(0.05, low, high, 200, 0.1)
        assert verdict("above", values, over_items=items) == expected
        other = Interval(-0.05, -high, -low, 200, 0.1)
        against = {"supported": "contradicted"}.get(expected, expected)
        down = tuple(-value for value in values)
        assert verdict("above", down, over_items=other) == against
    same = draws(0.0, spread=0.001)
    narrow, wide = Interval(0, -0.02, 0.02, 9, 0), Interval(0, -0.04, 0.04, 9, 0)
    assert verdict("within", same, over_items=narrow) == "supported"
    assert verdict("within", same, over_items=wide) == "undecided"
    for side in (1, -1):  # outside of the margin, for other items too or not
        far = draws(0.05 * side, spread=0.001)
        for other, expected in ((0.04, "contradicted"), (0.02, "undecided")):
            low, high = sorted((0.06 * side, other * side))
            items = Interval(0.05 * side, low, high, 9, 0)
            assert verdict("within", far, over_items=items) == expected


def differences(**cells):
    """Rows of paired differences: name=(budget, values by seed)."""
    return pl.DataFrame(
        [
            {
                "stratum": name.partition("_")[0],
                "setting": name,
                "label": name,
                "scale": "1M",
                "parameters": 1_000_000,
                "budget": budget,
                "data_seed": seed,
                "difference": float(value),
            }
            for name, (budget, values) in cells.items()
            for seed, value in enumerate(values)
        ]
    )


def test_a_seed_gives_the_mean_over_sizes_of_the_longest_setting():
    found = pool_strata(
        differences(
            a_long=(200, [1, 2, 3, 4, 5]),
            a_short=(100, [9, 9, 9, 9, 9, 9]),
            b_long=(200, [3, 4, 5, 6, 7, 8]),
            c_few=(200, [50, 50]),
        )
    )
    assert found.values_S == (2, 3, 4, 5, 6)
    assert found.data_seeds_S == (0, 1, 2, 3, 4)
    assert (found.obstacle, found.seeds) == ("", 5)
    assert found.runs == "a (a_long), b (b_long)"
    tied = pool_strata(differences(a_one=(1, [1] * 5), a_two=(1, [2] * 5)))
    assert "several settings of one budget: a_one, or a_two" in tied.obstacle
    assert pool_strata(differences(c_few=(200, [50, 60]))).values_S == (50, 60)


def test_every_stratum_gives_a_seed_one_value():
    """Two runs of a data seed in one stratum are no run of it in another."""
    both = differences(a_x=(1, [1, 2, 3, 4, 5]), b_x=(1, [3, 4, 5, 6, 7]))
    twice = both.filter(pl.col("stratum") == "a")
    found = pool_strata(pl.concat([both, twice]))
    assert found.values_S == (2, 3, 4, 5, 6)
    other = pl.col("stratum") == "b"
    later = pl.col("data_seed") + pl.when(other).then(5).otherwise(0)
    apart = pool_strata(pl.concat([both, twice]).with_columns(data_seed=later))
    assert (apart.seeds, apart.values_S) == (0, ())
    assert apart.obstacle == "no seed was trained in all of them"


def test_seeds_are_counted_that_would_resolve_the_effect():
    found = Evidence("r", 5, values_S=draws(0.0, 200, 0.05), tuned=True)
    for effect, seeds in ((0.05, 10), (0.1, 5)):
        stated = Contrast("m", "above", lambda frame: found, effect)
        claim = Claim("X", "says", "source", stated, lambda frame: [], "make")
        frame = pl.DataFrame(schema={"parameters": pl.Int64()})
        assert judge(claim, frame).seeds_needed == seeds
    events = log_rank([(Times((9,) * 5, (False,) * 5), Times((1,) * 5, (True,) * 5))])
    found = Evidence("r", 5, events=events, happened_share=0.8)
    stated = Contrast("m", "above", lambda frame: found, effect=4.0)
    claim = Claim("X", "says", "source", stated, lambda frame: [], "make")
    assert judge(claim, frame).seeds_needed == 11
    found = replace(found, parameters=(30_000, 100_000))  # a seed is two runs
    assert judge(claim, frame).seeds_needed == 6


def test_seeds_that_do_not_count_are_no_obstacle():
    """The mean has no part of an unpaired run, so its value is no reason against it."""
    both = differences(a_x=(1, [0.1, 0.2, 0.1, 0.2, 0.1]))
    rows = both.drop("difference").with_columns(
        value=pl.lit(0.9), floor=pl.lit(0.0), ceiling=pl.lit(1.0), arm=pl.lit("n1")
    )
    unpaired = rows.with_columns(data_seed=pl.col("data_seed") + 5, value=pl.lit(0.1))
    assert pool_strata(both, rows).obstacle == ""
    assert pool_strata(both, pl.concat([rows, unpaired])).obstacle == ""
    apart = unpaired.with_columns(data_seed=pl.col("data_seed") - 5)
    assert "two groups" in pool_strata(both, pl.concat([rows, apart])).obstacle


def judged(root, sweep=TUNED, only=()):
    return {
        one.claim.id: one for one in judge_all(collect(root, sweep).frame, only=only)
    }


def verdicts(root, sweep=TUNED):
    return {name: one.verdict for name, one in judged(root, sweep).items()}


def test_an_unrelated_sweep_changes_nothing(tmp_path):
    """Other tasks, other arms, other sizes, tasks with other fields."""
    write_probed_sweep(tmp_path / "a", choice_gain=0.15)
    write_probed_sweep(tmp_path / "two", choice_gain=0.15, objectives=ONE_AND_TWO[1:])
    write_stories_sweep(tmp_path / "b")
    own = [collect(tmp_path / name, TUNED).frame for name in ("a", "two", "b")]
    write_polynomial_sweep(tmp_path / "c", gain=-0.4, scales=("10k", "30k"))
    other_arms = (
        MultiTokenConfig(horizon=3),
        MultiTokenConfig(horizon=4, layout="anticausal"),
    )
    write_probed_sweep(tmp_path / "d", choice_gain=-0.9, objectives=other_arms)
    write_stories_sweep(tmp_path / "e", sizes=("100M",), gain=-0.2)
    more = [collect(tmp_path / name, "other").frame for name in ("c", "d", "e")]
    alone = {one.claim.id: one for one in judge_all(pl.concat(own))}
    beside = {one.claim.id: one for one in judge_all(pl.concat([*own, *more]))}
    for name in ("C1", "C12", "C13", "C14", "C15", "C21"):
        assert alone[name].verdict == "supported", name
        assert beside[name].evidence == alone[name].evidence, name
        assert beside[name].reason == alone[name].reason, name
    assert len(beside["C13"].exploratory) > len(alone["C13"].exploratory), (
        "shown, deciding nothing"
    )


def paper_run(scale, horizon, seed, pause=0):
    """The paper's ring, at a size that nobody trains here."""
    return RunConfig(
        task=PolynomialConfig(max_evaluated=6, pause_tokens=pause),
        model=ModelConfig(scale=scale),
        objective=MultiTokenConfig(horizon=horizon),
        training=TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1),
        seed=seed,
    )


def final_rows(config, level, rng):
    """Exact match at each m, in domain and out of it, at the last step."""
    return [
        Measurement(
            *(config.run_id, 100, 1, "in_domain" if m < 6 else "out_of_domain", metric),
            *(f"operations={m}", value, 500),
        )
        for m in range(1, 7)
        for metric, value in (
            ("exact_match", level + 0.005 * rng.standard_normal()),
            ("guess_floor", 0.002),
        )
    ]


def large(tmp_path, gain, top=0.4):
    """The paper's sizes, in folders that nobody trained; the larger gains 10 points."""
    rng = np.random.default_rng(1)
    for scale, bonus in (("30M", 0.0), ("100M", 0.1 * (top > 0.1))):
        for horizon in (1, 2):
            for seed in range(5):
                config = paper_run(scale, horizon, seed)
                level = top + bonus + gain * (horizon > 1)
                write_run(tmp_path, config, final_rows(config, level, rng))
    return verdicts(tmp_path)


def test_at_the_claimed_scale_it_is_a_verdict(tmp_path):
    better = large(tmp_path / "a", gain=0.2)
    assert [better[c] for c in ("C7", "C8", "C9")] == ["supported"] * 3
    little = large(tmp_path / "b", gain=0.05)
    assert [little[c] for c in ("C7", "C9")] == ["supported", "contradicted"]
    worse = large(tmp_path / "c", gain=-0.2)
    assert [worse[c] for c in ("C7", "C8", "C9")] == ["contradicted"] * 3
    assert verdicts(tmp_path / "a", "untuned")["C7"] == "undecided"


def test_below_the_claimed_scale_or_on_another_ring_there_is_none(tmp_path):
    write_polynomial_sweep(tmp_path / "s", pauses=(0, 5))
    found = judged(tmp_path / "s")
    for name in ("C7", "C8", "C9", "C10", "C11"):
        assert found[name].verdict == "not tested"
        assert "stated for 30M to 100M parameters" in found[name].reason
    assert len(found["C7"].exploratory) == 2, "a test each m"
    stories = judged(tmp_path / "s", only=("C1",))["C1"]
    assert stories.exploratory == ()
    write_stories_sweep(tmp_path / "b", sizes=("30k", "100k"), seeds=2)
    reason = judged(tmp_path / "b", only=("C1",))["C1"].reason
    assert reason == "stated for 1M to 30M parameters; runs reach 96k"


@pytest.mark.parametrize(
    ("gain", "gap", "expected"),
    [(0.2, 0.0, "supported"), (-0.2, -0.2, "contradicted")],
)
def test_claims_on_pause_tokens_both_ways(tmp_path, gain, gap, expected):
    """C10 is about the gain with pause tokens; C11 about what they change of it."""
    rng = np.random.default_rng(2)
    cells = itertools.product((0, 5, 10), (1, 2), range(5))
    for pause, horizon, seed in cells:
        effect = (gain + gap * (pause > 0)) * (horizon > 1)
        config = paper_run("100M", horizon, seed, pause)
        write_run(tmp_path, config, final_rows(config, 0.5 + effect, rng))
    found = verdicts(tmp_path)
    assert found["C10"] == expected
    assert found["C11"] == {0.0: "supported"}.get(gap, "contradicted")
    assert found["C8"] in ("not tested", expected)


def test_no_verdict_from_a_mean_over_two_groups(tmp_path):
    """Some seeds learned it and some did not: that is an event, not a level."""
    rng = np.random.default_rng(5)
    for horizon, seed in itertools.product((1, 2), range(5)):
        config = paper_run("30M", horizon, seed)
        level = 0.9 if seed < 2 * horizon else 0.1
        write_run(tmp_path, config, final_rows(config, level, rng))
    found = judged(tmp_path, only=("C7",))["C7"]
    assert found.verdict == "not tested"
    assert found.reason.startswith("seeds fall into two groups")


@pytest.mark.parametrize(("spread", "most"), [(0.05, 0.001), (0.1, 0.01), (0.2, 0.15)])
def test_seeds_of_one_group_are_seldom_called_two(spread, most):
    """False alarms on normal outcomes, by their spread as a share of the span."""
    rng = np.random.default_rng(1)
    draws = 0.5 + spread * rng.standard_normal((1500, 5))
    assert (
        np.mean([lower_group_size(one, span=1.0) is not None for one in draws]) <= most
    )
    learned = rng.random((300, 8)) < 0.5
    outcomes = np.where(learned, 0.9, 0.2) + 0.05 * rng.standard_normal((300, 8))
    mixed = learned.any(1) & ~learned.all(1)
    found = [lower_group_size(one, span=1.0) is not None for one in outcomes[mixed]]
    assert np.mean(found) > 0.95


def test_no_verdict_where_all_sides_guess(tmp_path):
    floor = large(tmp_path / "a", gain=0.0005, top=0.001)
    assert [floor[c] for c in ("C7", "C8", "C9")] == ["not tested"] * 3
    reason = judged(tmp_path / "a", only=("C7",))["C7"].reason
    assert reason.startswith("both sides are at the floor")


def test_induction_claims_both_ways(tmp_path):
    write_stories_sweep(tmp_path / "a")
    as_said = verdicts(tmp_path / "a")
    assert [as_said[c] for c in ("C1", "C3", "C4")] == ["supported"] * 3
    assert as_said["C2"] == "not tested"
    write_stories_sweep(tmp_path / "b", gain=-0.1, unseen=1.2, mix_gain=-0.1)
    against = verdicts(tmp_path / "b")
    assert [against[c] for c in ("C1", "C3", "C4")] == ["contradicted"] * 3


@pytest.mark.parametrize(
    ("small", "expected"), [(0.2, "supported"), (-0.2, "contradicted")]
)
def test_a_gain_of_small_models_alone(tmp_path, small, expected):
    for sizes, gain in ((("1M",), small), (("10M",), 0.0)):
        write_stories_sweep(tmp_path, sizes=sizes, gain=gain)
    found = judged(tmp_path, only=("C5",))["C5"]
    assert found.verdict == expected, found.reason
    assert np.mean(found.evidence.values_S) == pytest.approx(small, abs=0.02)


def test_small_against_large_needs_good_runs_of_both(tmp_path):
    """C5: rates of all sizes, and no size whose seeds fall into two groups."""
    for sizes, gain in ((("1M",), 0.2), (("10M",), 0.0)):
        write_stories_sweep(tmp_path, sizes=sizes, gain=gain, items=False)
    frame = collect(tmp_path, TUNED).frame
    of_large = pl.col("scale") == "10M"
    sweep = pl.when(of_large).then(pl.lit("not chosen")).otherwise("sweep")
    (untuned,) = judge_all(frame.with_columns(sweep=sweep), only=("C5",))
    assert untuned.verdict == "undecided"
    assert untuned.reason.endswith("rates were not tuned arm by arm")
    (found,) = judge_all(in_two_groups(frame, of_large), only=("C5",))
    assert (found.verdict, found.reason[:29]) == (
        "not tested",
        "seeds fall into two groups, w",
    )


def test_books_bring_nothing_that_two_groups_of_seeds_could_show(tmp_path):
    write_stories_sweep(tmp_path, items=False)
    mixed = in_two_groups(collect(tmp_path, TUNED).frame, pl.col("books_parts") == 9)
    (found,) = judge_all(mixed, only=("C4",))
    assert (found.verdict, found.reason[:29]) == (
        "not tested",
        "seeds fall into two groups, w",
    )


def in_two_groups(frame, where):
    """Stories with a floor; of the runs `where`, seeds 0 and 1 never form induction."""
    low = where & (pl.col("metric") == SECOND_TOKEN) & (pl.col("seed") < 2)
    halved = pl.when(low).then(pl.col("value") / 10).otherwise("value").alias("value")
    at_end = (pl.col("step") == 100) & (pl.col("suite") == "test_seen")
    floors = frame.filter(at_end, pl.col("slice") == "").with_columns(
        metric=pl.lit("second_token_majority"), value=pl.lit(0.0)
    )
    return pl.concat([frame.with_columns(halved), floors])


def test_large_models_and_formed_circuits(tmp_path):
    how = {"sizes": ("100M",), "end": 0.88, "mix_gain": 0.1, "rise": 40}
    write_stories_sweep(tmp_path / "a", gain=-0.08, **how)
    harmed = verdicts(tmp_path / "a")
    assert [harmed[c] for c in ("C1", "C2", "C6")] == [
        *("not tested", "supported", "contradicted")
    ]
    write_stories_sweep(tmp_path / "b", gain=0.0, **how)
    equal = verdicts(tmp_path / "b")
    assert [equal[c] for c in ("C2", "C6")] == ["undecided", "supported"]


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.15, "supported"), (-0.15, "contradicted"), (0.0, "undecided")],
)
def test_probed_claims_both_ways(tmp_path, gain, verdict):
    write_probed_sweep(tmp_path / "four", choice_gain=gain)
    write_probed_sweep(tmp_path / "two", choice_gain=gain, objectives=ONE_AND_TWO)
    four, two = verdicts(tmp_path / "four"), verdicts(tmp_path / "two")
    assert [four[c] for c in ("C12", "C13", "C15")] == [verdict] * 3
    assert two["C14"] == verdict


def test_nothing_to_gain_is_no_test(tmp_path):
    """C14: runs that have learnt X say nothing, and nothing against those that have not."""
    write_probed_sweep(tmp_path, objectives=ONE_AND_TWO)
    frame = collect(tmp_path, TUNED).frame
    of_x = pl.col("slice").str.contains("role=X")
    learnt = pl.when(of_x).then(pl.col("value") / 100).otherwise("value").alias("value")
    easy = frame.with_columns(learnt)
    (found,) = judge_all(easy, only=("C14",))
    assert found.verdict == "not tested"
    assert found.reason.startswith("nothing to gain")
    longer = easy.with_columns(
        steps=2 * pl.col("steps"), run_id=pl.col("run_id") + "-longer"
    )
    (found,) = judge_all(pl.concat([frame, longer]), only=("C14",))
    assert found.verdict == "supported"


def test_gaps_of_unequal_forced_quality_are_no_evidence(tmp_path):
    write_probed_sweep(tmp_path, choice_gain=0.15)
    frame = collect(tmp_path, TUNED).frame
    last = frame.filter(
        (pl.col("step") == 100) | (pl.col("suite") != "probe/test-sampled")
    )
    (found,) = judge_all(last, only=("C15",))
    assert found.verdict == "not tested"
    assert "not matched" in found.exploratory[0].about
    (matched,) = judge_all(frame, only=("C15",))
    assert np.mean(matched.evidence.values_S) == pytest.approx(-0.075, abs=0.02)


def test_only_runs_probed_at_the_same_steps_are_pooled(tmp_path):
    """Along training the gap is a mean over steps, at the end it is the last one."""
    write_probed_sweep(tmp_path, choice_gain=0.15)
    frame = collect(tmp_path, TUNED).frame
    late = pl.col("seed") >= 3
    probed_once = late & (pl.col("step") < 100)
    probed_once &= pl.col("suite") == "probe/test-sampled"
    (found,) = judge_all(frame.filter(~probed_once), only=("C15",))
    assert found.evidence.data_seeds_S == (0, 1, 2)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (lambda x, e: -0.10 * x + 0.002 * e, "supported"),  # a line
        (lambda x, e: -0.10 * x + 0.02 * x**2 + 0.002 * e, "contradicted"),  # bends
        (lambda x, e: 0.05 * x + 0.002 * e, "contradicted"),  # rises
        (lambda x, e: -0.05 * x + 0.06 * e, "undecided"),  # too noisy to say
    ],
)
def test_the_layer_law_is_judged_by_its_bend(tmp_path, shape, expected):
    write_probed_sweep(tmp_path)
    frame = collect(tmp_path).frame
    rng = np.random.default_rng(7)
    layers = frame.filter(pl.col("metric") == "one_hot").sort("run_id", "slice")
    depth = layers["slice"].str.extract("layer=([0-9]+)").cast(pl.Int64).to_numpy()
    noise = rng.standard_normal(len(depth))
    bent = layers.with_columns(value=pl.Series(10 ** shape(depth - 1, noise)))
    (found,) = judge_all(pl.concat([frame.filter(metric="floor"), bent]), only=("C21",))
    assert found.verdict == expected, found.reason


def test_two_layers_have_no_bend(tmp_path):
    write_probed_sweep(tmp_path)
    frame = collect(tmp_path).frame
    layer = pl.col("slice").str.extract("layer=([0-9]+)").cast(pl.Int64)
    few = frame.filter((pl.col("metric") != "one_hot") | (layer <= 2))
    (found,) = judge_all(few, only=("C21",))
    assert found.evidence is None


def test_a_gap_at_the_end_that_closes_is_seen_in_the_remark(tmp_path):
    write_stories_sweep(tmp_path, sizes=("1M",), gain=0.0, end=0.85, rise=40)
    found = judged(tmp_path, only=("C6",))["C6"]
    assert found.verdict == "supported"
    assert found.exploratory[0].note.startswith("gap when the later one formed:")


def test_a_gap_before_both_have_formed_it_is_no_evidence_against_c6(tmp_path):
    """n = 2 forms at 20 of 100 steps, n = 1 at 50; from then on they are equal."""
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    rng = np.random.default_rng(4)
    for horizon, seed in itertools.product((1, 2), range(5)):
        config = RunConfig(
            task=StoriesConfig(names=NameConfig(p_open=1.0)),
            model=ModelConfig(scale="1M"),
            objective=MultiTokenConfig(horizon=horizon),
            training=training,
            seed=seed,
        )
        start = 20 if horizon > 1 else 50
        rows = [
            Measurement(
                *(config.run_id, step, step * 128, "test_seen", SECOND_TOKEN, ""),
                0.9 * (step >= start) + 0.002 * rng.standard_normal(),
                900,
            )
            for step in range(0, 101, 10)
        ]
        write_run(tmp_path, config, rows)
    found = judged(tmp_path, only=("C6",))["C6"]
    assert found.verdict == "supported", found.reason
    assert abs(np.mean(found.evidence.values_S)) < 0.01


def unseen_verdict(root, seen, unseen, noise=0.002, guess=0.0):
    """C3 on cells whose seen and unseen second tokens score so much."""
    rng = np.random.default_rng(6)
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    for seed in range(5):
        config = RunConfig(
            task=StoriesConfig(names=NameConfig(p_open=1.0)),
            model=ModelConfig(scale="30k"),
            objective=MultiTokenConfig(horizon=1),
            training=training,
            seed=seed,
        )
        at = (config.run_id, 100, 12800, "test", SECOND_TOKEN)
        shift = noise * abs(rng.standard_normal(2))
        rows = [
            Measurement(*at, "tokens=seen", seen + shift[0], 900),
            Measurement(*at, "tokens=unseen", unseen + shift[1], 900),
            Measurement(*at[:4], "second_token_majority", "", guess, 900),
        ]
        write_run(root, config, rows)
    return judged(root, only=("C3",))["C3"]


@pytest.mark.parametrize(
    ("seen", "unseen", "reason"),
    [
        (0.0, 0.01, "both sides are at the floor"),
        (0.005, 0.0, "both sides are at the floor"),
        (0.98, 0.99, "both sides are at the ceiling"),
    ],
)
def test_no_verdict_where_both_sides_are_at_an_end(tmp_path, seen, unseen, reason):
    found = unseen_verdict(tmp_path, seen, unseen)
    assert found.verdict == "not tested"
    assert found.reason.startswith(reason)


def test_a_verdict_where_seen_names_have_left_the_floor(tmp_path):
    assert unseen_verdict(tmp_path / "a", 0.3, 0.0, guess=0.2).verdict == "supported"
    assert unseen_verdict(tmp_path / "c", 0.3, 0.0, guess=0.4).verdict == "not tested"
    assert unseen_verdict(tmp_path / "b", 0.3, 0.5).verdict == "contradicted"


def write_star(
    root, metrics, horizon=1, curve=(1.0, 1.0), later=1.0, seeds=5, **fields
):
    """Finished runs on star graphs with these scores, and a curve of `path`.

    `later` is the share right of a node after the first hop, given the true path.
    """
    rng = np.random.default_rng(horizon)
    training = TrainingConfig(steps=100, batch_rows=2, context=128, warmup_steps=1)
    for seed in range(seeds):
        config = RunConfig(
            task=StarConfig(**fields),
            model=ModelConfig(scale="100k"),
            objective=MultiTokenConfig(horizon=horizon, budget="added"),
            training=training,
            seed=seed,
        )
        at_end = (config.run_id, 100, 25600, "test")
        floor = 1 / config.task.degree
        rows = [
            Measurement(*at_end, "arm_floor", "", floor, 500),
            Measurement(*at_end, "accuracy", "horizon=1,position=2", 0.5, 500),
            Measurement(*at_end, "accuracy", "horizon=1,position=3", later, 500),
        ]
        for name, value in metrics.items():
            noisy = value + 0.005 * rng.standard_normal()
            rows.append(Measurement(*at_end, name, "", noisy, 500))
        steps = enumerate(curve, start=1)
        rows += [
            Measurement(config.run_id, s, s * 256, "test", "path", "", value, 500)
            for s, value in steps
        ]
        write_run(root, config, rows)


GUESSES, LEARNS = (0.5, 0.5), (0.5, 1.0, 1.0)
"""Curves of `path`."""


def test_star_claims_both_ways(tmp_path):
    write_star(tmp_path / "a", {"first_hop": 0.5}, curve=GUESSES, seeds=6)
    write_star(tmp_path / "a", {}, curve=LEARNS, seeds=6, answers="reversed")
    as_said = verdicts(tmp_path / "a")
    assert [as_said[c] for c in ("C24", "C25")] == ["supported"] * 2
    write_star(tmp_path / "b", {"first_hop": 0.99}, curve=LEARNS, seeds=6)
    write_star(tmp_path / "b", {}, curve=GUESSES, seeds=6, answers="reversed")
    against = verdicts(tmp_path / "b")
    assert [against[c] for c in ("C24", "C25")] == ["contradicted"] * 2
    write_star(tmp_path / "c", {"first_hop": 0.5}, later=0.3)
    assert verdicts(tmp_path / "c")["C24"] == "not tested", "it follows no edges"


def test_reversed_paths_prove_nothing_where_forward_ones_are_solved(tmp_path):
    """C25 is about what next-token prediction cannot do: 0.99 is no gain over 0.99."""
    write_star(tmp_path, {}, curve=LEARNS, answers="reversed")
    assert verdicts(tmp_path)["C25"] == "not tested", "nothing to compare with"
    write_star(tmp_path, {}, curve=LEARNS)
    assert verdicts(tmp_path)["C25"] == "undecided"


def test_reversed_paths_prove_nothing_where_neither_is_solved(tmp_path):
    for answers in ("forward", "reversed"):
        write_star(tmp_path, {}, curve=GUESSES, answers=answers)
    assert verdicts(tmp_path)["C25"] == "not tested"


def test_shares_of_runs_are_judged_by_the_sign_test(tmp_path):
    """Four runs of ten: a t test says p 0.04, the exact test 0.125."""
    write_star(tmp_path, {}, curve=LEARNS, seeds=10, answers="reversed")
    write_star(tmp_path, {}, curve=LEARNS, seeds=10)
    frame = collect(tmp_path, TUNED).frame
    four = (pl.col("metric") == "path") & (pl.col("seed") < 4)
    four &= pl.col("config").str.json_path_match("$.task.answers") == "forward"
    value = pl.when(four).then(0.5).otherwise("value").alias("value")
    (found,) = judge_all(frame.with_columns(value), only=("C25",))
    assert found.evidence.values_S == (1.0,) * 4 + (0.0,) * 6
    assert (found.verdict, found.to_dict()["p"]) == ("undecided", 0.125)


def test_both_orders_of_answers_need_tuned_rates(tmp_path):
    write_star(tmp_path / "tuned", {}, curve=GUESSES, seeds=6)
    write_star(tmp_path / "other", {}, curve=LEARNS, seeds=6, answers="reversed")
    sweeps = [
        collect(tmp_path / name, sweep).frame
        for name, sweep in (("tuned", TUNED), ("other", "star-quick"))
    ]
    (found,) = judge_all(pl.concat(sweeps), only=("C25",))
    assert found.verdict == "undecided"
    assert "not tuned" in found.reason


def test_first_hops_in_two_groups_have_no_mean(tmp_path):
    """Two of five runs find the way: neither "at 1/d" nor "above" is true of all."""
    write_star(tmp_path, {"first_hop": 0.5})
    frame = collect(tmp_path, TUNED).frame
    found_it = (pl.col("metric") == "first_hop") & (pl.col("seed") > 2)
    value = pl.when(found_it).then(0.99).otherwise("value").alias("value")
    (found,) = judge_all(frame.with_columns(value), only=("C24",))
    assert found.verdict == "not tested"
    assert found.reason.startswith("seeds fall into two groups")


@pytest.mark.parametrize(
    ("solver", "expected"), [(4, "supported"), (2, "contradicted")]
)
def test_more_heads_solve_longer_paths(tmp_path, solver, expected):
    for horizon in (2, 4):
        solved = (0.3, 0.95, 0.95) if horizon == solver else (0.3, 0.3, 0.3)
        write_star(tmp_path, {}, horizon, solved, degree=3)
    assert verdicts(tmp_path)["C26"] == expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [((0.7, 0.4, 0.5, 0.7), "supported"), ((0.7, 0.6, 0.5, 0.2), "contradicted")],
)
def test_the_best_n_lies_inside_or_at_an_end(tmp_path, losses, expected):
    rng = np.random.default_rng(3)
    where = ("test", "excess_loss", "horizon=1,role=choice")
    for horizon, loss in zip((1, 2, 3, 4), losses, strict=True):
        for consequence, seed in itertools.product((1, 3, 7), range(5)):
            config = RunConfig(
                task=ChoicePointsConfig(consequences=(consequence,) * 3),
                model=ModelConfig(scale="100k"),
                objective=MultiTokenConfig(horizon=horizon),
                training=TrainingConfig(steps=100, warmup_steps=1),
                seed=seed,
            )
            end = 2 * loss - 1 + 0.01 * rng.standard_normal()  # the first is 1
            rows = [
                Measurement(config.run_id, step, step, *where, value, 500)
                for step, value in ((50, 1.0), (100, end))
            ]
            write_run(tmp_path, config, rows)
    found = judged(tmp_path, only=("C18",))["C18"]
    assert found.verdict == expected, found.reason
    gain = {"supported": 0.3, "contradicted": -0.3}[expected]
    assert np.mean(found.evidence.values_S) == pytest.approx(gain, abs=0.02)
    first = (pl.col("step") == 50) & (pl.col("seed") == 4)
    missed = pl.when(first).then(None).otherwise("value").alias("value")
    frame = collect(tmp_path, TUNED).frame.with_columns(missed)
    (found,) = judge_all(frame, only=("C18",))
    assert found.evidence.seeds == 4  # a run that missed an evaluation has no mean


def test_two_runs_of_one_data_seed_are_told_by_name(tmp_path):
    """Else their points would pass for one curve."""
    write_probed_sweep(tmp_path, choice_gain=0.15)
    frame = collect(tmp_path, TUNED).frame
    again = frame.filter(seed=0, arm="n4").with_columns(
        pl.format("{}x", "run_id").alias("run_id")
    )
    (found,) = judge_all(pl.concat([frame, again]), only=("C15",))
    assert found.verdict == "not tested"
    assert "have one data seed and setting" in found.reason


def test_the_exploratory_table_is_corrected_and_decides_nothing(tmp_path):
    write_probed_sweep(tmp_path, choice_gain=0.15)
    found = judged(tmp_path, only=("C12",))["C12"].to_dict()
    assert {"p_holm", "mean"} <= found["tests"][0].keys()
    assert not {"result", "verdict"} & found["tests"][0].keys()
    loud = ExploratoryTest("loud", "above", draws(-5.0))
    weak = ExploratoryTest("weak", "above", draws(0.01))
    rows, quiet = [loud, weak, weak, weak], contrast("above")
    claim = Claim("X", "says", "source", quiet, lambda frame: rows, "make")
    frame = pl.DataFrame(schema={"parameters": pl.Int64()})
    judgement = judge(claim, frame)
    assert judgement.verdict == "not tested"
    corrected = 3 * stats.ttest_1samp(weak.values_S, 0).pvalue
    assert 0.01 < corrected < 0.05
    p_holm = exploratory_table(judgement)["p_holm"].to_list()
    assert p_holm[1:] == pytest.approx([corrected] * 3)


def test_a_run_in_two_sweeps_counts_once(tmp_path):
    write_probed_sweep(tmp_path / "s")
    for name in ("one", "two"):
        table = collect(tmp_path / "s", name).frame
        write(table, tmp_path / "results" / f"{name}.parquet")
    frame = read_all(tmp_path / "results")
    (found,) = judge_all(frame, only=("C12",))
    assert found.evidence.seeds == 5


def test_trials_that_chose_a_rate_count_for_no_claim(tmp_path):
    write_probed_sweep(tmp_path)
    frame = collect(tmp_path).frame
    held_out = pl.col("config").str.replace('"seed"', '"split":"validation","seed"')
    (found,) = judge_all(frame.with_columns(held_out), only=("C12",))
    assert found.verdict == "not tested"


def test_every_claim_has_a_contrast_a_command_and_a_source():
    ids = [f"C{i}" for i in (*range(1, 16), 18, 21, *range(24, 29))]
    assert [claim.id for claim in CLAIMS] == ids
    for claim in CLAIMS:
        assert claim.source.startswith("arXiv")
        assert claim.contrast.effect > 0
        command, _, cost = claim.settled_by.partition("  # ")
        seeds = r"--seeds (5|10)\b|0 1 2 3 4"
        assert re.search(seeds, command), claim.id
        assert "core-hours" in cost or "FLOP" in cost, claim.id
        assert "make " not in command, claim.id  # no Makefile where it is installed
        for name, scale in re.findall(r"sweeps \w+ (\S+) --scale (\w+)", command):
            assert scale in CATALOGUE[name].scales, claim.id
            assert claim.id in CATALOGUE[name].claims, claim.id


def test_command_prints_tables_and_json(sweep, tmp_path, capsys):
    write(collect(sweep).frame, tmp_path / "r" / "s.parquet")
    where = ["--results", str(tmp_path / "r")]
    assert main(["claims", *where, "--tests"]) == 0
    out = capsys.readouterr().out
    assert "not tested" in out
    assert "decides nothing" in out
    for claim in CLAIMS:  # to be copied, so each command is on one line
        assert claim.settled_by in out, claim.id
    assert main(["claims", "C7", *where, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["claim"] == "C7"
    assert printed["sizes"] == "30M to 100M parameters"
    assert printed["tests"][0]["seeds"] == 5
    assert main(["claims", "C77", *where]) == 2
    assert "No claim 'C77'" in capsys.readouterr().err
    assert main(["claims", "--results", str(tmp_path / "nothing")]) == 2

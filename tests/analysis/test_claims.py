"""Verdicts on made-up runs whose truth is known, both ways."""

import itertools
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.claims import Claim, Test, judge, judge_tests, outcome_table
from analysis.collect import collect
from analysis.parquet import read_all, write
from analysis.selection import SECOND_TOKEN
from analysis.statements import CLAIMS, judge_all
from analysis.statistics import Interval
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.stories import StoriesConfig
from tests.analysis.conftest import (
    write_polynomial_sweep,
    write_probed_sweep,
    write_run,
    write_stories_sweep,
)

BY_ID = {claim.id: claim for claim in CLAIMS}


def draws(mean, seeds=5, spread=0.01, seed=0):
    rng = np.random.default_rng(seed)
    return tuple((mean + spread * rng.standard_normal(seeds)).tolist())


def verdict(*tests):
    claim = Claim("X", "says", "source", lambda frame: tests, "any", "make")
    return judge(claim, pl.DataFrame()).verdict


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
        ("within", 0.03, "undecided"),
    ],
)
def test_each_direction_both_ways(direction, mean, expected):
    assert verdict(Test("t", direction, draws(mean), 1)) == expected


def test_few_seeds_never_decide():
    for seeds in (1, 2, 3, 4):
        for direction in ("above", "below", "within"):
            test = Test("t", direction, draws(0.5, seeds, 1e-6), 1)
            assert verdict(test) == "undecided"


def test_all_tests_must_hold_and_one_may_break_it():
    up, down, none = draws(0.2), draws(-0.2), draws(0.0)
    tests = {
        name: Test("t", "above", v, 1)
        for name, v in zip("udn", (up, down, none), strict=True)
    }
    assert verdict(tests["u"], tests["u"]) == "supported"
    assert verdict(tests["u"], tests["n"]) == "undecided"
    assert verdict(tests["u"], tests["n"], tests["d"]) == "contradicted"


def test_no_data_no_verdict_and_small_runs_are_no_verdict_either():
    assert verdict() == "not tested"
    small = Test("t", "above", draws(0.2), 10_000, as_stated=False)
    assert verdict(small) == "not tested"
    large = Test("t", "above", draws(-0.2), 30_000_000)
    assert verdict(small, large) == "contradicted"


def test_under_seeded_tests_do_not_hold_back_the_others():
    full, few = Test("a", "above", draws(0.2), 1), Test("b", "above", draws(0.2, 2), 1)
    assert verdict(full, few) == "supported"
    assert [o.counted for o in judge_tests([full, few])] == [True, False]


def test_false_verdicts_are_rare_under_the_null():
    rng = np.random.default_rng(7)
    wrong = 0
    for _ in range(400):
        tests = [
            Test("t", "above", tuple(rng.standard_normal(5).tolist()), 1)
            for _ in range(8)
        ]
        wrong += verdict(*tests) != "undecided"
    assert wrong / 400 < 0.08


def polynomial_verdicts(tmp_path, **how):
    write_polynomial_sweep(tmp_path / "s", **how)
    frame = collect(tmp_path / "s").frame
    return {one.claim.id: one for one in judge_all(frame)}


@pytest.mark.parametrize(
    ("gain", "reading"), [(0.2, "supported"), (-0.2, "contradicted"), (0, "undecided")]
)
def test_polynomial_claims_read_right_below_their_scale(tmp_path, gain, reading):
    # One draw; how often the rule errs is what the simulation above is for.
    found = polynomial_verdicts(
        tmp_path, gain=gain, pauses=(0, 5), noise=0.003, rng_seed=8
    )
    for name in ("C7", "C10"):
        assert found[name].verdict == "not tested"
        assert "10.4k" in found[name].reason
        assert "supported" not in found[name].reason
        assert {o.result for o in found[name].outcomes} == {"not tested"}
        tests = [o.test for o in found[name].outcomes]
        assert verdict(*(replace(test, as_stated=True) for test in tests)) == reading
    within = [replace(o.test, as_stated=True) for o in found["C11"].outcomes]
    assert verdict(*within) == "supported"
    assert found["C1"].outcomes == ()


def large(tmp_path, gain):
    """The paper's ring and sizes, in folders that nobody trained."""
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    rng = np.random.default_rng(1)
    for scale, bonus in (("30M", 0.0), ("100M", 0.1)):
        for horizon in (1, 2):
            for seed in range(5):
                config = RunConfig(
                    task=PolynomialConfig(max_evaluated=6),
                    model=ModelConfig(scale=scale),
                    objective=MultiTokenConfig(horizon=horizon),
                    training=training,
                    seed=seed,
                )
                rows = [
                    Measurement(
                        config.run_id, 100, 1, suite, metric, f"operations={m}", v, 500
                    )
                    for m in range(1, 7)
                    for suite in ("in_domain" if m < 6 else "out_of_domain",)
                    for metric, v in (
                        (
                            "exact_match",
                            0.4
                            + bonus
                            + gain * (horizon > 1)
                            + 0.005 * rng.standard_normal(),
                        ),
                        ("guess_floor", 0.002),
                    )
                ]
                write_run(tmp_path, config, rows)
    return {one.claim.id: one.verdict for one in judge_all(collect(tmp_path).frame)}


def test_at_the_claimed_scale_it_is_a_verdict(tmp_path):
    better = large(tmp_path / "a", gain=0.2)
    assert [better[c] for c in ("C7", "C8", "C9")] == ["supported"] * 3
    little = large(tmp_path / "b", gain=0.05)
    assert [little[c] for c in ("C7", "C9")] == ["supported", "contradicted"]
    worse = large(tmp_path / "c", gain=-0.2)
    assert [worse[c] for c in ("C7", "C8", "C9")] == ["contradicted"] * 3


def verdicts(root):
    return {one.claim.id: one.verdict for one in judge_all(collect(root).frame)}


def test_induction_claims_both_ways(tmp_path):
    write_stories_sweep(tmp_path / "a")
    as_said = verdicts(tmp_path / "a")
    assert [as_said[c] for c in ("C1", "C3", "C4", "C5")] == ["supported"] * 4
    assert as_said["C2"] == "not tested"
    write_stories_sweep(tmp_path / "b", gain=-0.1, unseen=1.0, mix_gain=-0.1)
    against = verdicts(tmp_path / "b")
    assert [against[c] for c in ("C1", "C3", "C4", "C5")] == ["contradicted"] * 4


def test_large_models_and_formed_circuits(tmp_path):
    write_stories_sweep(tmp_path / "a", sizes=("100M",), gain=-0.1, mix_gain=0.65)
    harmed = verdicts(tmp_path / "a")
    assert [harmed[c] for c in ("C2", "C5", "C6")] == [
        "supported",
        "contradicted",
        "contradicted",
    ]
    assert harmed["C1"] == "not tested"
    write_stories_sweep(tmp_path / "b", sizes=("100M",), gain=0.0, mix_gain=0.5)
    equal = verdicts(tmp_path / "b")
    assert [equal[c] for c in ("C2", "C5", "C6")] == [
        "undecided",
        "supported",
        "supported",
    ]


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [(0.15, "supported"), (-0.15, "contradicted"), (0.0, "undecided")],
)
def test_probed_claims_both_ways(tmp_path, gain, verdict):
    write_probed_sweep(tmp_path, choice_gain=gain)
    found = verdicts(tmp_path)
    assert [found[c] for c in ("C12", "C13", "C14", "C15")] == [verdict] * 4
    assert found["C21"] == "not tested"


def named(root, name):
    (one,) = judge_all(collect(root).frame, only=(name,))
    return one


def test_a_gap_at_the_end_that_closes_is_seen_in_the_remark(tmp_path):
    write_stories_sweep(tmp_path, sizes=("1M",), gain=0.0, mix_gain=0.5)
    (outcome,) = named(tmp_path, "C6").outcomes
    assert outcome.result == "supported"
    assert len(outcome.test.values_S) == 5
    assert outcome.test.note.startswith("gap when the later one formed:")


def test_a_gap_before_both_have_formed_it_is_no_evidence_against_c6(tmp_path):
    """n = 2 forms at 20 of 100 steps, n = 1 at 50; from then on they are equal."""
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    rng = np.random.default_rng(4)
    for horizon, seed in itertools.product((1, 2), range(5)):
        config = RunConfig(
            task=StoriesConfig(),
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
    judged = named(tmp_path, "C6")
    assert judged.verdict == "supported", judged.reason
    mean = judged.outcomes[0].test.difference.interval.mean
    assert abs(mean) < 0.01


def test_gaps_of_unequal_forced_quality_are_no_verdict(tmp_path):
    write_probed_sweep(tmp_path, choice_gain=0.15)
    frame = collect(tmp_path).frame
    last = frame.filter(
        (pl.col("step") == 100) | (pl.col("suite") != "probe/test-sampled")
    )
    (judged,) = judge_all(last, only=("C15",))
    assert judged.verdict == "not tested"
    assert "not matched" in judged.outcomes[0].test.about
    assert judged.outcomes[0].test.note == "0 of 5 pairs overlap"
    (matched,) = judge_all(frame, only=("C15",))
    mean = matched.outcomes[0].test.difference.interval.mean
    assert mean == pytest.approx(-0.075, abs=0.02), "without the gain in forced quality"


def test_other_stories_must_say_the_same():
    values = draws(0.05, spread=0.001)
    for low, high, expected in ((0.02, 0.08, "supported"), (-0.01, 0.11, "undecided")):
        items = Interval(0.05, low, high, 200, 0.1)
        assert verdict(Test("t", "above", values, 1, over_items=items)) == expected
        other = Interval(-0.05, -high, -low, 200, 0.1)
        against = {"supported": "contradicted"}.get(expected, expected)
        down = tuple(-value for value in values)
        assert verdict(Test("t", "above", down, 1, over_items=other)) == against
    same = draws(0.0, spread=0.001)
    narrow, wide = Interval(0, -0.02, 0.02, 9, 0), Interval(0, -0.04, 0.04, 9, 0)
    assert verdict(Test("t", "within", same, 1, over_items=narrow)) == "supported"
    assert verdict(Test("t", "within", same, 1, over_items=wide)) == "undecided"


def test_stories_give_an_interval_beside_the_one_over_seeds(tmp_path):
    write_stories_sweep(tmp_path / "a", sizes=("1M",), seeds=1)
    (one, _) = named(tmp_path / "a", "C1").outcomes
    table = outcome_table(named(tmp_path / "a", "C1"))
    assert one.result == "undecided"
    assert table["low"].null_count() == 2
    assert table["items_low"][0] > 0.1
    assert table["items_low"][1] is None, "the best step kept no counts"
    write_stories_sweep(tmp_path / "b", sizes=("1M",), items=False)
    assert outcome_table(named(tmp_path / "b", "C1"))["items_low"].null_count() == 2


def test_cells_at_the_guess_floor_are_named(tmp_path):
    write_polynomial_sweep(tmp_path / "s", gain=-0.6, pauses=(0, 5), floor=0.7)
    frame = collect(tmp_path / "s").frame
    found = {one.claim.id: one for one in judge_all(frame)}
    for name in ("C7", "C8", "C10", "C11"):
        notes = outcome_table(found[name])["note"].to_list()
        assert set(notes) == {"not told from guessing"}, name
    above = [o for o in found["C8"].outcomes if "minus guess floor" in o.test.about]
    assert all(o.test.over_items.low < 0 for o in above)


def test_a_run_in_two_sweeps_counts_once(tmp_path):
    write_polynomial_sweep(tmp_path / "s")
    for name in ("one", "two"):
        write(
            collect(tmp_path / "s", name).frame,
            tmp_path / "results" / f"{name}.parquet",
        )
    frame = read_all(tmp_path / "results")
    assert frame.height == collect(tmp_path / "s").frame.height
    (found,) = judge_all(frame, only=("C7",))
    assert {len(o.test.values_S) for o in found.outcomes} == {5}


@pytest.mark.parametrize("word", ["saturates", "curvature"])
def test_the_layer_law_is_shown_and_not_judged(tmp_path, word):
    """The share of straighter curves is 1 in every seed, or near 0 in every seed."""
    write_probed_sweep(tmp_path)
    judged = named(tmp_path, "C21")
    assert judged.verdict == "not tested"
    assert word in judged.reason
    assert judged.outcomes
    assert not any(o.counted for o in judged.outcomes)


def unseen_verdict(root, seen, unseen, noise=0.002, guess=0.0):
    """C3 on cells whose seen and unseen second tokens score so much."""
    rng = np.random.default_rng(6)
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    for seed in range(5):
        config = RunConfig(
            task=StoriesConfig(),
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
    return named(root, "C3")


@pytest.mark.parametrize(
    ("seen", "unseen", "remark"),
    [
        (0.0, 0.01, "both at the floor"),
        (0.005, 0.0, "both at the floor"),
        (0.98, 0.99, "both at the ceiling"),
    ],
)
def test_no_verdict_where_both_sides_are_at_an_end(tmp_path, seen, unseen, remark):
    judged = unseen_verdict(tmp_path, seen, unseen)
    assert judged.verdict == "not tested"
    assert {o.test.note for o in judged.outcomes} == {remark}


def test_a_verdict_where_seen_names_have_left_the_floor(tmp_path):
    assert unseen_verdict(tmp_path / "a", 0.3, 0.0, guess=0.2).verdict == "supported"
    assert unseen_verdict(tmp_path / "c", 0.3, 0.0, guess=0.4).verdict == "not tested"
    assert unseen_verdict(tmp_path / "b", 0.3, 0.5).verdict == "contradicted"


def test_every_claim_has_a_command_and_a_source():
    assert [c.id for c in CLAIMS] == [f"C{i}" for i in range(1, 16)] + ["C21"]
    for claim in CLAIMS:
        assert claim.settled_by.startswith("make sweep SWEEP=")
        assert claim.source.startswith("arXiv")
        assert claim.stated_for


def test_command_prints_tables_and_json(sweep, tmp_path, capsys):
    write(collect(sweep).frame, tmp_path / "r" / "s.parquet")
    assert main(["claims", "--results", str(tmp_path / "r"), "--tests"]) == 0
    assert "not tested" in capsys.readouterr().out
    assert main(["claims", "C7", "--results", str(tmp_path / "r"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["claim"] == "C7"
    assert printed["tests"][0]["seeds"] == 5
    assert main(["claims", "C77", "--results", str(tmp_path / "r")]) == 2
    assert "No claim 'C77'" in capsys.readouterr().err
    assert main(["claims", "--results", str(tmp_path / "nothing")]) == 2

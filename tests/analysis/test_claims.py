"""Verdicts on made-up runs whose truth is known, both ways."""

import json

import numpy as np
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.claims import Claim, Test, judge, judge_tests
from analysis.collect import collect, read_all, write
from analysis.statements import CLAIMS, judge_all
from synth.config import ModelConfig, ObjectiveConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.polynomial import PolynomialConfig
from synth.tasks.stories import StoriesConfig
from tests.analysis.conftest import write_polynomial_sweep, write_run

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
    assert verdict() == "not tested at this scale"
    small = Test("t", "above", draws(0.2), 10_000, as_stated=False)
    assert verdict(small) == "not tested at this scale"
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
        assert found[name].verdict == "not tested at this scale"
        assert f"would read {reading}" in found[name].reason
        assert "10.4k" in found[name].reason
    assert "would read supported" in found["C11"].reason
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
                    objective=ObjectiveConfig(horizon=horizon),
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


def stories(tmp_path, small_gain, unseen, mix_gain=0.3):
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    rng = np.random.default_rng(2)
    for parts in (0, 9):
        for horizon in (1, 2):
            for seed in range(5):
                config = RunConfig(
                    task=StoriesConfig(books_parts=parts),
                    model=ModelConfig(scale="1M"),
                    objective=ObjectiveConfig(horizon=horizon),
                    training=training,
                    seed=seed,
                )
                end = 0.3 + small_gain * (horizon > 1) + mix_gain * (parts > 0)
                end += 0.005 * rng.standard_normal()
                start_slow = parts == 0
                curve = {0: 0.0, 50: end * (0.2 if start_slow else 0.8), 100: end}
                rows = [
                    Measurement(
                        config.run_id, step, step * 128, "test_seen",
                        "second_token_accuracy", "", value, 900,
                    )
                    for step, value in curve.items()
                ]  # fmt: skip
                rows += [
                    Measurement(
                        config.run_id, 100, 12800, "test", "second_token_accuracy",
                        f"tokens={part}", value, 400,
                    )
                    for part, value in (("seen", end), ("unseen", unseen * end))
                ]  # fmt: skip
                write_run(tmp_path, config, rows)
    return {one.claim.id: one.verdict for one in judge_all(collect(tmp_path).frame)}


def test_induction_claims_both_ways(tmp_path):
    as_said = stories(tmp_path / "a", small_gain=0.2, unseen=0.0)
    assert [as_said[c] for c in ("C1", "C3", "C4", "C5")] == ["supported"] * 4
    assert as_said["C2"] == "not tested at this scale"
    against = stories(tmp_path / "b", small_gain=-0.1, unseen=1.0, mix_gain=-0.1)
    assert [against[c] for c in ("C1", "C3", "C4", "C5")] == ["contradicted"] * 4


def choices(tmp_path, choice_gain):
    training = TrainingConfig(steps=100, batch_rows=2, context=64, warmup_steps=1)
    rng = np.random.default_rng(3)
    for horizon in (1, 4):
        for seed in range(5):
            config = RunConfig(
                task=ChoicePointsConfig(),
                model=ModelConfig(scale="100k"),
                objective=ObjectiveConfig(horizon=horizon),
                training=training,
                seed=seed,
            )
            rows = [
                Measurement(
                    config.run_id, 100, 1, "test", "excess_loss",
                    f"horizon=1,role={role}", value, 100,
                )
                for role, value in (
                    ("choice", 1.0 - choice_gain * (horizon > 1)
                     + 0.01 * rng.standard_normal()),
                    ("forced", 0.5),
                )
            ]  # fmt: skip
            write_run(tmp_path, config, rows)
    (found,) = judge_all(collect(tmp_path).frame, only=("C13",))
    return found.verdict


def test_choice_points_both_ways(tmp_path):
    assert choices(tmp_path / "a", 0.3) == "supported"
    assert choices(tmp_path / "b", -0.3) == "contradicted"
    assert choices(tmp_path / "c", 0.0) == "undecided"


def test_a_run_in_two_sweeps_counts_once(tmp_path):
    write_polynomial_sweep(tmp_path / "s")
    for name in ("one", "two"):
        write(collect(tmp_path / "s", name), tmp_path / "results" / f"{name}.parquet")
    frame = read_all(tmp_path / "results")
    assert frame.height == collect(tmp_path / "s").frame.height
    (found,) = judge_all(frame, only=("C7",))
    assert {len(o.test.values_S) for o in found.outcomes} == {5}


def test_every_claim_has_a_command_and_a_source():
    assert [c.id for c in CLAIMS] == [f"C{i}" for i in range(1, 16)] + ["C21"]
    for claim in CLAIMS:
        assert claim.settled_by.startswith("make sweep SWEEP=")
        assert claim.source.startswith("arXiv")
        assert claim.stated_for


def test_command_prints_tables_and_json(sweep, tmp_path, capsys):
    write(collect(sweep), tmp_path / "r" / "s.parquet")
    assert main(["claims", "--results", str(tmp_path / "r"), "--tests"]) == 0
    assert "not tested at this scale" in capsys.readouterr().out
    assert main(["claims", "C7", "--results", str(tmp_path / "r"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["claim"] == "C7"
    assert printed["tests"][0]["seeds"] == 5
    assert main(["claims", "C77", "--results", str(tmp_path / "r")]) == 2
    assert "No claim 'C77'" in capsys.readouterr().err
    assert main(["claims", "--results", str(tmp_path / "nothing")]) == 2

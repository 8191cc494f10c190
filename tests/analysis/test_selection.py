"""Which evaluation of a run speaks for it: the last, the best, the validated one."""

import polars as pl

from analysis.collect import collect
from analysis.evidence.induction import induction_small
from analysis.selection import SECOND_TOKEN, at_step_of, best_step
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.metrics import Measurement
from synth.objectives.multi_token import MultiTokenConfig
from synth.tasks.stories import StoriesConfig
from tests.analysis.conftest import write_run

CURVES = {
    "test_seen": {0: 0.0, 25: 0.3, 50: 0.9, 75: 0.5, 100: 0.4},
    "validation": {0: 0.0, 25: 0.1, 50: 0.2, 75: 0.6, 100: 0.6},
}
"""Best on the tests at 50, on validation first at 75."""


def rows_of(suite):
    steps, values = zip(*CURVES[suite].items(), strict=True)
    return pl.DataFrame({"run_id": "a", "step": steps, "value": values})


def test_the_best_step_is_the_first_of_the_highest():
    assert best_step(rows_of("test_seen")).row(0) == ("a", 50, 0.9)
    assert best_step(rows_of("validation")).row(0) == ("a", 75, 0.6)
    missing = rows_of("test_seen").with_columns(value=pl.lit(None, pl.Float64()))
    assert best_step(missing).is_empty()


def test_a_step_chosen_on_validation_is_scored_on_the_tests():
    chosen = at_step_of(rows_of("test_seen"), best_step(rows_of("validation")))
    assert chosen.row(0) == ("a", 75, 0.5)


def test_c1_is_tested_at_the_last_the_best_and_the_validated_step(tmp_path):
    for horizon in (1, 2):
        for seed in range(5):
            config = RunConfig(
                task=StoriesConfig(),
                model=ModelConfig(scale="1M"),
                objective=MultiTokenConfig(horizon=horizon),
                training=TrainingConfig(steps=100, context=64, warmup_steps=1),
                seed=seed,
            )
            rows = [
                Measurement(
                    *(config.run_id, step, step * 64, suite, SECOND_TOKEN, ""),
                    value * horizon / 2,
                    900,
                )
                for suite, curve in CURVES.items()
                for step, value in curve.items()
            ]
            write_run(tmp_path, config, rows)
    tests = list(induction_small(collect(tmp_path).frame))
    means = {
        test.about.split("accuracy at the ")[1].split(",")[0]: sum(test.values_S)
        / len(test.values_S)
        for test in tests
    }
    assert means.keys() == {
        "last step",
        "best step",
        "step chosen on validation names",
    }
    assert [round(value, 6) for value in means.values()] == [0.2, 0.45, 0.25]

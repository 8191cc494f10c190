"""Which evaluation of a run speaks for it: the last, the best, the validated one."""

import polars as pl

from analysis.collect import collect
from analysis.evidence.induction import induction_small
from analysis.selection import (
    SECOND_TOKEN,
    at_end,
    at_step_of,
    best_step,
    by_scale,
    drop_unreadable,
    is_slice_of,
    select_metric,
    slice_value,
)
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


def test_each_run_has_a_best_step_of_its_own():
    rows = pl.concat(
        [
            rows_of("validation").with_columns(run_id=pl.lit("b")),
            rows_of("test_seen"),
            pl.DataFrame({"run_id": "a", "step": [60], "value": [None]}),
        ],
        how="vertical_relaxed",
    )
    best = best_step(rows)
    assert best.rows() == [("a", 50, 0.9), ("b", 75, 0.6)]
    assert at_step_of(rows, best).equals(best)


def test_slices_are_read_by_whole_names():
    slices = ["operations=1,negation=no", "negation=no", "", "max_operations=3"]
    frame = pl.DataFrame({"slice": slices})

    def found(expression):
        return frame.select(expression).to_series().to_list()

    assert found(slice_value("operations", pl.Int64())) == [1, None, None, None]
    assert found(slice_value("negation")) == ["no", "no", None, None]
    assert found(is_slice_of("operations", "negation")) == [True, False, False, False]
    assert found(is_slice_of("operations")) == [False] * 4
    assert found(is_slice_of("negation")) == [False, True, False, False]
    assert found(is_slice_of()) == [False, False, True, False]


def test_a_metric_is_that_of_all_suites_or_of_the_named_ones():
    rows = [("loss", "test"), ("loss", "train"), ("loss", "seen"), ("other", "test")]
    frame = pl.DataFrame(rows, schema=["metric", "suite"], orient="row")
    assert select_metric(frame, "loss").rows() == rows[:3]
    assert select_metric(frame, "loss", "test", "seen").rows() == [rows[0], rows[2]]


def test_the_end_is_the_last_step_of_runs_that_are_done():
    rows = [("done", 100, 50), ("done", 100, 100), ("stopped", 100, 100)]
    frame = pl.DataFrame(rows, schema=["state", "steps", "step"], orient="row")
    assert at_end(frame).rows() == [("done", 100, 100)]


def test_runs_that_lack_what_names_their_cell_are_dropped():
    whole = {"config": "{}", "parameters": 9, "scale": "1M", "arm": "n1"}
    whole |= {"seed": 0, "data_seed": 0, "steps": 10, "metric": "loss", "count": 5}
    lacking = [whole | {name: None} for name in whole if name != "metric"]
    empty = whole | {"metric": None, "count": None}  # a run that measured nothing yet
    frame = pl.DataFrame([whole, *lacking, empty])
    assert drop_unreadable(frame).to_dicts() == [whole, empty]


def test_scales_are_in_the_order_of_their_sizes():
    frame = pl.DataFrame({"scale": ["1M", "300k", None, "30k", "1M"]})
    assert by_scale(frame) == ["30k", "300k", "1M"]


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

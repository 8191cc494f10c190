"""The metric of a sweep: by name, or the first that a task declares."""

import dataclasses
import re

import pytest

from sweeps.selected_runs import SweepSelection
from sweeps.survey import read_metrics
from sweeps.sweep_metric import (
    default_metric,
    measured_metric,
    scores_by_name,
    validation_metric,
    value_of,
    values_by_name,
    why_unmeasured,
)
from synth.families import family
from synth.run.store import RunFolder
from synth.tasks.blocksworld import BlocksworldConfig
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.task import TaskConfig
from synth.training import train
from tests.conftest import tiny_run


def of_task(task, **training):
    return dataclasses.replace(tiny_run(**training), task=task)


@pytest.mark.parametrize(
    ("task", "name", "better"),
    [
        (tiny_run().task, "exact_match", "higher"),
        (ChoicePointsConfig(), "excess_loss/horizon=1,role=choice", "lower"),
        (BlocksworldConfig(), "valid_path", "higher"),
    ],
)
def test_the_default_is_what_the_task_declares_first(task, name, better):
    assert default_metric(task) == name
    assert validation_metric("", of_task(task, context=64)) == (name, better)


def test_the_mean_over_training_is_a_metric():
    rows = [
        {"suite": suite, "metric": "excess_loss", "slice": part, "value": value}
        for suite, part, value in (
            ("validation", "horizon=1,role=choice", 1.0),
            ("train", "horizon=1,role=choice", 9.0),
            ("validation", "horizon=1,role=choice", 0.5),
            ("validation", "broken", None),
            ("validation", "broken", 1.0),
        )
    ]
    config = of_task(ChoicePointsConfig(), context=64)
    name, better = validation_metric("mean:excess_loss/horizon=1,role=choice", config)
    assert (name, better) == ("mean:excess_loss/horizon=1,role=choice", "lower")
    assert value_of(scores_by_name(rows), name) == 0.75
    assert value_of(scores_by_name(rows), name.removeprefix("mean:")) == 0.5
    assert value_of(scores_by_name(rows), "mean:excess_loss/broken") is None
    test_set = "mean:test/excess_loss/horizon=1,role=choice"
    assert validation_metric(test_set, config)[0].startswith("mean:validation/")
    assert validation_metric("mean:", config) == (name, better)
    assert measured_metric("mean:", config) == name
    with pytest.raises(ValueError, match="declares no metric 'lost'"):
        validation_metric("mean:lost", config)


def test_a_metric_that_was_not_measured_is_answered_briefly():
    rows = [
        {"suite": "validation", "metric": "accuracy", "slice": part, "value": 1.0}
        for part in ("horizon=1", *(f"horizon=1,position={i}" for i in range(1, 17)))
    ]
    values = scores_by_name(rows)
    why = why_unmeasured(values, "zzz")
    assert why.endswith("do not measure it. Known: validation/accuracy/horizon=1.")
    why = why_unmeasured(values, "mean:validation/acuracy/horizon=1")
    assert why.endswith("Did you mean 'validation/accuracy/horizon=1'?")


@pytest.fixture
def undeclared():
    """A task without metrics, which no other test sees."""

    class Undeclared(TaskConfig):
        kind = "undeclared"
        build = None

    yield Undeclared()
    family._MEMBERS["task"].pop("undeclared")


def test_a_task_that_declares_none_says_what_to_write(undeclared):
    config = tiny_run()
    object.__setattr__(config, "task", undeclared)
    assert default_metric(config.task) == ""
    with pytest.raises(
        ValueError, match=r"declares no metric .*--metric test/loss/hor"
    ):
        validation_metric("", config)
    assert (
        validation_metric("test/loss/horizon=1", config)[0]
        == "validation/loss/horizon=1"
    )


def test_a_name_alone_means_the_first_test_set_and_all_of_it():
    values = {
        "train/loss/horizon=1": 3.0,
        "test/accuracy/role=name": 0.1,
        "test/accuracy": 0.5,
        "other/accuracy": 0.9,
        "test/loss/horizon=2": 2.0,
        "test/loss/horizon=1": 1.0,
    }
    assert value_of(values, "accuracy") == 0.5
    assert value_of(values, "loss") == 1.0
    assert value_of(values, "other/accuracy") == 0.9
    assert value_of(values, "exact_match") is None


@pytest.mark.parametrize(
    ("task", "measured"),
    [
        (RepeatsConfig(symbols=16, min_period=3, max_period=6), "accuracy"),
        (ChoicePointsConfig(), "excess_loss/horizon=1,role=choice"),
    ],
)
def test_runs_of_another_task_are_measured_by_their_own_metric(
    task, measured, tmp_path
):
    run = dataclasses.replace(of_task(task, context=64), split="validation")
    scores = {}
    train([run], tmp_path, progress=lambda event: scores.update(event.values))
    name, _ = validation_metric("", run)
    values = values_by_name(read_metrics(RunFolder(tmp_path, run.run_id)))
    assert value_of(values, name) == values[f"validation/{measured}"]
    assert value_of(scores[run.run_id], name) == values[f"validation/{measured}"]
    assert scores[run.run_id] == values  # of any slice: a sweep may name it


@pytest.mark.parametrize(
    ("metric", "split", "name"),
    [
        ("test/accuracy/round=1", "test", "test/accuracy/round=1"),
        ("test/accuracy/round=1", "validation", "validation/accuracy/round=1"),
        ("validation/accuracy", "validation", "validation/accuracy"),
        ("accuracy/round=1", "validation", "accuracy/round=1"),
        ("", "validation", "accuracy"),
    ],
)
def test_a_trial_is_shown_by_the_metric_that_it_measures(metric, split, name):
    config = dataclasses.replace(of_task(RepeatsConfig(), context=64), split=split)
    assert measured_metric(metric, config) == name


def test_a_typo_in_the_metric_of_a_sweep_names_the_sweep(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from sweeps.sweep import sweep\nfrom tests.conftest import tiny_run\n"
        "@sweep(scales=('quick',), metric='exact_mach')\n"
        "def mine(scale):\n    yield tiny_run()\n"
    )
    words = re.escape("@sweep(metric=...) of 'mine': 'exact_mach': the task ")
    with pytest.raises(ValueError, match=f"^{words}"):
        SweepSelection(sweep=str(path)).resolve()

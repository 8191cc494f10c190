"""The dashboard: a study in memory that says what the run folders say."""

import pytest
from optuna.distributions import IntDistribution

from sweeps.dashboard import build_study, direction
from sweeps.survey import last_metrics, survey
from synth.run.standing import Standing, Survey
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run
from tests.sweeps.conftest import call_process

METRIC = "in_domain/exact_match"


def grid():
    return [tiny_run(horizon, seed) for horizon in (1, 2) for seed in (0, 1)]


def test_trials_say_what_the_folders_say(tmp_path):
    configs = grid()
    first, second, third, _ = configs
    train([first], tmp_path)
    RunFolder(tmp_path, second.run_id).open(second)
    RunFolder(tmp_path, second.run_id).write_json("failure.json", {"message": "broke"})
    RunFolder(tmp_path, third.run_id).open(third)
    before = sorted(tmp_path.rglob("*"))
    with RunFolder(tmp_path, third.run_id).claim():
        seen = survey(tmp_path, configs)
    study = build_study("mine", configs, seen, METRIC)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "FAIL", "RUNNING", "WAITING"]
    assert study.trials[0].params == {"objective.horizon": 1, "seed": 0}
    assert study.trials[1].user_attrs["error"] == "broke"
    assert study.best_trial.user_attrs["run_id"] == first.run_id
    assert study.best_value == last_metrics(RunFolder(tmp_path, first.run_id))[METRIC]
    assert set(tmp_path.rglob("*")) - set(before) <= {
        tmp_path / third.run_id / "claim"
    }  # looking writes nothing


def test_a_metric_that_is_missing_or_a_loss(tmp_path):
    configs = grid()[:1]
    train(configs, tmp_path)
    seen = survey(tmp_path, configs)
    study = build_study("mine", configs, seen, "in_domain/beauty")
    assert [trial.state.name for trial in study.trials] == ["FAIL"]
    assert build_study("mine", configs, seen, "train/loss").direction.name == "MINIMIZE"
    assert direction(METRIC, configs) == "maximize"


def test_seeds_are_a_range_of_which_every_trial_keeps_a_copy(tmp_path):
    """Not a list of them all, which would grow with the square of their number."""
    configs = [tiny_run(1, seed) for seed in range(1500)]
    seen = Survey(tmp_path, [Standing(c.run_id, "new") for c in configs])
    trials = build_study("mine", configs, seen, METRIC).get_trials(deepcopy=False)
    assert [trial.params["seed"] for trial in trials] == list(range(1500))
    assert trials[-1].distributions == {"seed": IntDistribution(0, 1499)}


def test_without_the_extra_one_message_says_what_to_install(sweep_file, tmp_path):
    pytest.importorskip("optuna")
    blocked = tmp_path / "optuna_dashboard.py"
    blocked.write_text("raise ImportError('not here')")
    path = sweep_file(seeds=1, layers=(3,))
    err = call_process("dashboard", path, cwd=tmp_path, status=2)
    assert "pip install 'synth[dashboard]'" in err
    assert not (tmp_path / "runs").exists()

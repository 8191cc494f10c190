"""The ledger: an index of folders in an Optuna journal, rebuilt at will."""

import multiprocessing

import optuna
import pytest

from sweeps import ledger
from sweeps.display import Silent
from sweeps.inline import InThisProcess
from sweeps.launch import Wishes, launch
from sweeps.ledger import ledger_path, open_journal, rebuild, sync
from sweeps.survey import headline, survey
from synth.execution import Execution
from synth.store import RunFolder
from synth.training import train
from tests.conftest import PATIENCE_S, tiny_run

METRIC = "in_domain/exact_match"


def grid():
    return [tiny_run(horizon, seed) for horizon in (1, 2) for seed in (0, 1)]


def trials(root):
    """As another program would read them."""
    study = optuna.load_study(
        study_name="mine", storage=open_journal(ledger_path(root))
    )
    return {trial.user_attrs["run_id"]: trial for trial in study.trials}


def test_trials_follow_the_folders(tmp_path):
    configs = grid()
    sync("mine", configs, survey(tmp_path, configs), METRIC)
    found = trials(tmp_path)
    assert [trial.state.name for trial in found.values()] == ["WAITING"] * 4
    first, second, third, _ = configs
    assert found[first.run_id].params == {"objective.horizon": 1, "seed": 0}
    train([first], tmp_path)
    RunFolder(tmp_path, second.run_id).open(second)
    RunFolder(tmp_path, second.run_id).write_json("failure.json", {"message": "broke"})
    RunFolder(tmp_path, third.run_id).open(third)
    with RunFolder(tmp_path, third.run_id).claim():
        seen = survey(tmp_path, configs)
    sync("mine", configs, seen, METRIC)
    states = [trial.state.name for trial in trials(tmp_path).values()]
    assert states == ["COMPLETE", "FAIL", "RUNNING", "WAITING"]
    value = trials(tmp_path)[first.run_id].value
    assert value == headline(RunFolder(tmp_path, first.run_id))[METRIC]


def test_the_ledger_is_rebuilt_from_the_folders(tmp_path):
    configs = grid()
    train(configs[:2], tmp_path)
    seen = survey(tmp_path, configs)

    def summary():
        return [(t.params, t.state, t.values) for t in trials(tmp_path).values()]

    sync("mine", configs, seen, METRIC)
    before = summary()
    ledger_path(tmp_path).unlink()
    rebuild("mine", configs, seen, METRIC)
    assert summary() == before
    size = ledger_path(tmp_path).stat().st_size
    sync("mine", configs, seen, METRIC)
    assert ledger_path(tmp_path).stat().st_size == size  # nothing new, nothing written


@pytest.mark.parametrize(
    "damage", ['{"op_code": 0, "worker', '{"x": 1}\n', "no journal\n", "\x00\x00\n"]
)
def test_a_damaged_ledger_is_made_anew_by_the_next_launch(tmp_path, damage):
    ledger_path(tmp_path).write_text(damage)
    said = []

    class Heard(Silent):
        def say(self, text):
            said.append(text)

    wishes = Wishes(execution=Execution())
    configs = grid()[:2]
    launch("mine", configs, tmp_path, InThisProcess(), wishes, Heard(), METRIC)
    assert [t.state.name for t in trials(tmp_path).values()] == ["COMPLETE"] * 2
    assert not any("could not be written" in text for text in said)


def test_a_retried_run_gets_a_new_trial(tmp_path):
    configs = grid()[:1]
    folder = RunFolder(tmp_path, configs[0].run_id)
    folder.open(configs[0])
    folder.write_json("failure.json", {"message": "broke"})
    sync("mine", configs, survey(tmp_path, configs), METRIC)
    train(configs, tmp_path)
    study = sync("mine", configs, survey(tmp_path, configs), METRIC)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert study.trials[0].user_attrs["error"] == "broke"
    assert study.best_trial.user_attrs["run_id"] == configs[0].run_id


def test_a_sweep_that_has_grown_starts_its_ledger_afresh(tmp_path):
    configs = grid()
    sync("mine", configs[:2], survey(tmp_path, configs[:2]), METRIC)
    study = sync("mine", configs, survey(tmp_path, configs), METRIC)
    assert len(study.trials) == 4
    assert set(study.trials[0].params) == {"objective.horizon", "seed"}


def test_a_metric_that_is_missing_or_a_loss(tmp_path):
    configs = grid()[:1]
    train(configs, tmp_path)
    seen = survey(tmp_path, configs)
    study = rebuild("mine", configs, seen, "in_domain/beauty")
    assert [trial.state.name for trial in study.trials] == ["FAIL"]
    study = rebuild("mine", configs, seen, "train/loss")
    assert study.direction.name == "MINIMIZE"
    assert ledger.direction(METRIC) == "maximize"


def _sync_often(root):
    configs = grid()
    for _ in range(5):
        sync("mine", configs, survey(root, configs), METRIC)


def test_two_launches_write_one_trial_a_run(tmp_path):
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_sync_often, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in both] == [0, 0]
    study = optuna.load_study(
        study_name="mine", storage=open_journal(ledger_path(tmp_path))
    )
    assert len(study.trials) == 4

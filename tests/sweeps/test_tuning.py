"""Search of training values: equal for all arms, resumable, and taken up by sweeps."""

import json
import signal

import optuna
import pytest

from sweeps.arms import Range, arms_of, round_value, with_tuned
from sweeps.display import Silent
from sweeps.ledger import open_journal
from sweeps.loading import find
from sweeps.pool import LocalPool
from sweeps.tuning import JOURNAL, TABLE, study_name, tune, value_of
from synth.config import TrainingConfig
from synth.execution import Execution
from synth.store import RunFolder
from tests.conftest import PATIENCE_S, tiny_run, wait_until, with_training
from tests.sweeps.conftest import call, start


def grid(**training):
    return [tiny_run(n, s, **training) for n in (1, 2) for s in (0, 1)]


def studies(root):
    """All trials of all studies, as another program would read them."""
    storage = open_journal(root / JOURNAL)
    names = optuna.get_all_study_names(storage)
    return {n: optuna.load_study(study_name=n, storage=storage).trials for n in names}


def test_arms_are_cells_without_seeds_and_without_what_is_searched():
    configs = grid()
    configs[0] = with_training(configs[0], learning_rate=1e-4)
    arms = arms_of(configs, ["learning_rate"], seed=1000)
    assert [arm.example.objective.horizon for arm in arms] == [1, 2]
    assert len({arm.key for arm in arms}) == 2
    tried = arms[1].run({"learning_rate": 0.0123456})
    assert tried.training.learning_rate == 0.0123
    assert (tried.seed, tried.objective.horizon) == (1000, 2)
    with pytest.raises(ValueError, match="--seed 1 is a seed of the sweep itself"):
        arms_of(configs, ["learning_rate"], seed=1)


def test_ranges():
    default = TrainingConfig(learning_rate=1e-3)
    assert Range.parse("learning_rate", default) == Range(
        "learning_rate", pytest.approx(1e-4), pytest.approx(1e-2), True
    )
    linear = Range.parse("weight_decay=0:0.3:linear", default)
    assert linear == Range("weight_decay", 0.0, 0.3, False)
    for text, message in (
        ("learning_rte", "Did you mean 'learning_rate'"),
        ("steps", "Known:|Did you mean"),
        ("learning_rate=1", "must look like learning_rate=LOW:HIGH"),
        ("learning_rate=2:1", "low end must be below"),
        ("weight_decay=0:1", "above 0 unless the range is linear"),
    ):
        with pytest.raises(ValueError, match=message):
            Range.parse(text, default)
    assert round_value(0.00123456) == 0.00123
    assert [linear.at_edge(v) for v in (0.0, 0.1, 0.29)] == [True, False, True]
    log = Range("learning_rate", 1e-4, 1e-2, True)
    assert [log.at_edge(v) for v in (1.1e-4, 1e-3, 9.9e-3)] == [True, False, True]


def test_a_search_is_equal_for_all_arms_and_goes_on(tmp_path):
    configs = grid(steps=10, evaluate_every_steps=2)
    search = ["learning_rate=1e-4:1e-1"]
    arms = arms_of(configs, search, seed=1000)

    def go(trials):
        return tune(
            arms,
            tmp_path,
            "in_domain/loss/horizon=1",
            trials,
            LocalPool(2),
            Execution(),
            Silent(),
        )

    rows, _ = go(3)
    first = studies(tmp_path)
    assert [len(found) for found in first.values()] == [3, 3]
    rows, _ = go(6)  # three more each, in the same studies
    found = studies(tmp_path)
    assert [len(trials) for trials in found.values()] == [6, 6]
    for row, trials in zip(rows, found.values(), strict=True):
        assert all(trial.state.is_finished() for trial in trials)
        assert trials[0].params == {"learning_rate": 3e-3}  # the default comes first
        assert len({trial.params["learning_rate"] for trial in trials}) == 6
        whole = [trial for trial in trials if trial.state.name == "COMPLETE"]
        best = min(whole, key=lambda trial: trial.value)  # a loss is minimised
        assert row["value"] == best.value
        assert row["run_id"] == best.user_attrs["run_id"]
        folder = RunFolder(tmp_path, row["run_id"])
        assert value_of(folder, "in_domain/loss/horizon=1") == best.value
        pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
        assert all(trial.intermediate_values for trial in pruned)
    starts = [[t.params for t in trials[1:3]] for trials in first.values()]
    assert starts[0] == starts[1]  # the same points to begin with

    table = tmp_path / TABLE
    tuned = with_tuned(configs, table)
    rates = {row["name"]: row["training"]["learning_rate"] for row in rows}
    assert [c.training.learning_rate for c in tuned[::2]] == list(rates.values())
    assert [c.seed for c in tuned] == [c.seed for c in configs]
    with pytest.raises(ValueError, match="has no values for"):
        with_tuned([tiny_run(3)], table)
    table.write_text("{")
    with pytest.raises(ValueError, match="is no table of tuned values"):
        with_tuned(configs, table)


@pytest.mark.slow
def test_bad_trials_are_pruned(tmp_path, brake, monkeypatch):
    """Rates that cannot learn lose to the median at an evaluation, and stop there."""
    for name, value in brake.variables().items():  # slow: the word must come in time
        monkeypatch.setenv(name, value)
    configs = grid(steps=120, evaluate_every_steps=10, batch_rows=8)[:1]
    arms = arms_of(configs, ["learning_rate=1e-9:1e-8"], seed=1000)
    (arm,) = arms
    root, metric = tmp_path, "in_domain/loss/horizon=1"
    storage = open_journal(root / JOURNAL)
    study = optuna.create_study(
        study_name=study_name(arm, metric), storage=storage, direction="minimize"
    )
    good = optuna.trial.create_trial(
        value=0.1,
        params={"learning_rate": 5e-9},
        distributions={
            "learning_rate": optuna.distributions.FloatDistribution(
                1e-9, 1e-8, log=True
            )
        },
        user_attrs={"run_id": "polynomial-of-an-earlier-search"},
        intermediate_values=dict.fromkeys(range(10, 120, 10), 0.1),
    )
    study.add_trials([good] * 4)
    _, outcomes = tune(arms, root, metric, 5, LocalPool(1), Execution(), Silent())
    assert [outcome.message for outcome in outcomes] == ["pruned"]
    (trials,) = studies(root).values()
    assert trials[-1].state.name == "PRUNED"
    folder = RunFolder(root, trials[-1].user_attrs["run_id"])
    assert folder.state() == "stopped"
    assert list(folder.checkpoints.glob("step-*"))


@pytest.mark.slow
def test_an_interrupted_search_finishes_its_trials(sweep_file, tmp_path, brake):
    path = sweep_file(seeds=1, steps=150, layers=(3,))
    root = tmp_path / "runs/depths-quick-tuning"
    arguments = ("tune", path, "--trials", 2, "--workers", 2)
    process = start(*arguments, cwd=tmp_path, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75, (out, err)
    begun = {p.name for p in root.glob("polynomial-*")}
    call(*arguments, cwd=tmp_path)
    found = studies(root)
    assert [len(trials) for trials in found.values()] == [2, 2]
    ids = {t.user_attrs["run_id"] for trials in found.values() for t in trials}
    assert begun <= ids
    rows = json.loads((root / TABLE).read_bytes())
    assert len(rows) == 2
    assert find(str(path)).name == "depths"
    out = call("plan", path, "--tuned", root / TABLE, cwd=tmp_path)
    assert "runs/depths-quick-tuned" in out

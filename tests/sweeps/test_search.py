"""Search of training values: equal for all cells, resumable, taken up by sweeps."""

import json
import shlex
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.__main__ import main
from sweeps.journal import open_journal
from sweeps.launch_display import Display
from sweeps.optuna_search import JOURNAL, _open_study, search, study_name
from sweeps.pool import LocalPool
from sweeps.search_space import Range, search_cells
from sweeps.searching import _format_row
from sweeps.survey import read_metrics
from sweeps.sweep_lookup import find_sweep
from sweeps.sweep_metric import value_of, values_by_name
from sweeps.tuned_values import (
    TABLE,
    apply_tuned,
    read_table,
    round_value,
    update_table,
)
from synth.config import TrainingConfig
from synth.run.execution import Execution
from synth.run.store import RunFolder
from tests.conftest import PATIENCE_S, tiny_run, wait_until, with_training
from tests.sweeps.conftest import REPOSITORY, call, start


def grid(**training):
    return [tiny_run(n, s, **training) for n in (1, 2) for s in (0, 1)]


def studies(root):
    """All trials of all studies, as another program would read them."""
    storage = open_journal(root / JOURNAL)
    names = optuna.get_all_study_names(storage)
    return {n: optuna.load_study(study_name=n, storage=storage).trials for n in names}


def test_cells_are_without_seeds_and_without_what_is_searched():
    configs = grid()
    configs[0] = with_training(configs[0], weight_decay=1e-4)
    cells = search_cells(configs, ["weight_decay"], seed=1000)
    assert [cell.example.objective.horizon for cell in cells] == [1, 2]
    assert len({cell.key for cell in cells}) == 2
    tried = cells[1].run({"weight_decay": 0.0123456})
    assert tried.training.weight_decay == 0.0123
    assert (tried.seed, tried.objective.horizon) == (1000, 2)
    with pytest.raises(ValueError, match="--seed 1 is a seed of the sweep itself"):
        search_cells(configs, ["weight_decay"], seed=1)


def test_ranges():
    default = TrainingConfig(weight_decay=1e-3)
    assert Range.parse("weight_decay", default) == Range(
        "weight_decay", pytest.approx(1e-4), pytest.approx(1e-2), True
    )
    linear = Range.parse("weight_decay=0:0.3:linear", default)
    assert linear == Range("weight_decay", 0.0, 0.3, False)
    for text, message in (
        ("weight_dcay", "Did you mean 'weight_decay'"),
        ("steps", "Known:|Did you mean"),
        ("weight_decay=1", "must look like weight_decay=LOW:HIGH"),
        ("weight_decay=2:1", "low end must be below"),
        ("weight_decay=0:1", "above 0 unless the range is linear"),
        ("weight_decay=1e-4:1e-2:lin", "must look like weight_decay=LOW:HIGH"),
        ("weight_decay=nan:1", "low end must be below"),
        ("weight_decay=1e-3:inf", "weight_decay must be finite; got inf. Give a"),
        ("beta1", r"goes from 0.09 to 9, but .*beta1 must be in \[0, 1\)"),
        ("beta1=0.5:1:linear", r"beta1 must be in \[0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            Range.parse(text, default)
    with pytest.raises(ValueError, match="learning rates are tried on a grid, by `pyt"):
        Range.parse("learning_rate", default)
    assert round_value(0.00123456) == 0.00123
    assert [linear.at_edge(v) for v in (0.0, 0.1, 0.29)] == [True, False, True]
    log = Range("weight_decay", 1e-4, 1e-2, True)
    assert [log.at_edge(v) for v in (1.1e-4, 1e-3, 9.9e-3)] == [True, False, True]


@pytest.mark.parametrize(
    "text", ["beta2=0.999:0.9999:linear", "beta2=0.9999:0.99999", "beta2=0.9:0.9996"]
)
def test_values_are_rounded_within_their_range_and_stay_distinct(text):
    (cell,) = search_cells(grid()[:1], [text], seed=1000)
    (span,) = cell.ranges
    share = [number / 200 for number in range(201)]
    tried = [span.low + s * (span.high - span.low) for s in share]
    values = [cell.run({"beta2": value}).training.beta2 for value in tried]
    assert len(set(values)) == len(values)
    assert all(span.low <= value <= span.high for value in values)
    assert max(len(str(value)) for value in values) <= len("0.") + 7
    assert (values[0], values[-1]) == (span.low, span.high)


def test_a_field_is_searched_once():
    """A trial of both would never have a value for each."""
    fields = ["weight_decay", "beta2=0.9:0.99", "weight_decay=1e-3:1"]
    message = "--fields must be different fields; got .*weight_decay.*weight_decay"
    with pytest.raises(ValueError, match=message):
        search_cells(grid(), fields, seed=1000)


def test_a_search_is_equal_for_all_cells_and_goes_on(tmp_path):
    configs = grid(steps=10, evaluate_every_steps=2)
    fields = ["weight_decay=1e-4:1e-1"]
    cells = search_cells(configs, fields, seed=1000)

    def go(trials, workers):
        return search(
            cells,
            tmp_path,
            "in_domain/loss/horizon=1",  # by its name in the test split
            trials,
            LocalPool(workers),
            Execution(),
            Display(quiet=True),
        )

    rows, _ = go(3, workers=2)
    first = studies(tmp_path)
    assert [len(found) for found in first.values()] == [3, 3]
    found_before = {"cell": "other", "training": {"weight_decay": 0.5}}
    update_table(tmp_path / TABLE, [found_before])
    rows, _ = go(6, workers=1)  # three more each, in the same studies
    assert read_table(tmp_path / TABLE) == [found_before, *rows]
    found = studies(tmp_path)
    assert [len(trials) for trials in found.values()] == [6, 6]
    for row, trials in zip(rows, found.values(), strict=True):
        assert all(trial.state.is_finished() for trial in trials)
        assert trials[0].params == {"weight_decay": 0.1}  # the default comes first
        assert len({trial.params["weight_decay"] for trial in trials}) == 6
        whole = [trial for trial in trials if trial.state.name == "COMPLETE"]
        best = min(whole, key=lambda trial: trial.value)  # a loss is minimised
        assert row["value"] == best.value
        assert row["run_id"] == best.user_attrs["run_id"]
        folder = RunFolder(tmp_path, row["run_id"])
        chosen = row["metric"]
        assert chosen == "validation_in_domain/loss/horizon=1"
        measured = values_by_name(read_metrics(folder))
        assert value_of(measured, chosen) == best.value
        assert folder.config().split == "validation"
        assert value_of(measured, "in_domain/loss/horizon=1") is None  # no test is seen
        pruned = [trial for trial in trials if trial.state.name == "PRUNED"]
        assert all(trial.intermediate_values for trial in pruned)
    starts = [[t.params for t in trials[1:3]] for trials in first.values()]
    assert starts[0] == starts[1]  # the same points to begin with

    table = tmp_path / TABLE
    tuned = apply_tuned(configs, table)
    rates = {row["name"]: row["training"]["weight_decay"] for row in rows}
    assert [c.training.weight_decay for c in tuned[::2]] == list(rates.values())
    assert [c.seed for c in tuned] == [c.seed for c in configs]
    with pytest.raises(ValueError, match="has no values for"):
        apply_tuned([tiny_run(3)], table)
    table.write_text("{")
    with pytest.raises(ValueError, match="it is not JSON"):
        apply_tuned(configs, table)
    table.write_text('[{"name": "a"}]')
    with pytest.raises(ValueError, match="rows with `cell` and `training`"):
        apply_tuned(configs, table)
    with pytest.raises(ValueError, match="Is a directory"):
        apply_tuned(configs, tmp_path)


def test_near_one_the_table_has_the_value_that_was_trained(tmp_path):
    (cell,) = search_cells(grid()[:1], ["beta2=0.999:0.9999:linear"], seed=1000)
    journal = open_journal(tmp_path / JOURNAL)
    study = _open_study(cell, journal, tmp_path, "in_domain/loss/horizon=1", 1)
    study.study.enqueue_trial({"beta2": 0.99945678})
    config = study.next_run()
    study.end(config.run_id, TrialState.COMPLETE, 0.5)
    row = study.best()
    assert row["training"] == {"beta2": 0.999457} == {"beta2": config.training.beta2}
    assert row["run_id"] == config.run_id
    assert _format_row(row) == "beta2 0.999457  0.5000"


def test_trials_in_another_range_do_not_count(tmp_path):
    """A best value at the edge asks for a wider range, which is then searched."""

    def best_of(text, value):
        (cell,) = search_cells(grid()[:1], [text], seed=1000)
        journal = open_journal(tmp_path / JOURNAL)
        study = _open_study(cell, journal, tmp_path, "in_domain/loss/horizon=1", 1)
        (config,) = iter(study.next_run, None)
        study.end(config.run_id, TrialState.COMPLETE, value)
        return study.best()

    assert best_of("weight_decay=0.05:0.1", 0.4)["at_edge"] == ["weight_decay"]
    assert best_of("weight_decay=0.001:10", 0.5)["value"] == 0.5
    assert best_of("weight_decay=0.001:10:linear", 0.6)["value"] == 0.6


def test_values_are_not_used_on_the_seed_that_chose_them(tmp_path):
    (cell,) = search_cells(grid()[:1], ["weight_decay"], seed=3)
    journal = open_journal(tmp_path / JOURNAL)
    study = _open_study(cell, journal, tmp_path, "in_domain/loss/horizon=1", 1)
    study.end(study.next_run().run_id, TrialState.COMPLETE, 0.5)
    update_table(tmp_path / TABLE, [study.best()])
    assert len(apply_tuned([tiny_run(1, seed) for seed in range(3)], tmp_path / TABLE))
    with pytest.raises(ValueError, match="was tuned on seed 3, so "):
        apply_tuned([tiny_run(1, seed) for seed in range(5)], tmp_path / TABLE)


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.FAIL])
def test_a_trial_that_another_search_has_ended_is_left_as_it_is(tmp_path, state):
    """Two searches at once: the second took it for one that nobody trains."""
    (cell,) = search_cells(grid()[:1], ["weight_decay"], seed=1000)
    metric = "in_domain/loss/horizon=1"
    one = _open_study(cell, open_journal(tmp_path / JOURNAL), tmp_path, metric, 1)
    config = one.next_run()
    two = _open_study(cell, open_journal(tmp_path / JOURNAL), tmp_path, metric, 1)
    assert two.next_run() == config
    assert not one.should_prune(config.run_id, 0.5, step=5)
    one.end(config.run_id, TrialState.COMPLETE, 0.5)
    assert two.should_prune(config.run_id, 0.6, step=10)  # it need not be trained on
    two.end(config.run_id, state, 0.6 if state == TrialState.COMPLETE else None, "lost")
    assert two.running == {}
    assert two.best()["value"] == 0.5


def test_two_searches_at_once_have_the_trials_of_one(tmp_path):
    """As many, and no point twice; they open the study and ask at the same times."""
    (cell,) = search_cells(grid()[:1], ["weight_decay=1e-3:1e-2"], seed=1000)
    count, metric = 6, "in_domain/loss/horizon=1"
    barrier = threading.Barrier(2)

    def go():
        """Ask until there are enough; the runs."""
        barrier.wait()
        journal = open_journal(tmp_path / JOURNAL)
        study = _open_study(cell, journal, tmp_path, metric, count)
        study.resumable.clear()  # what the other one has
        barrier.wait()
        return list(iter(study.next_run, None))

    with ThreadPoolExecutor(2) as two:
        both = [two.submit(go) for _ in range(2)]
        runs = [config for one in both for config in one.result()]
    assert len(runs) == len({config.run_id for config in runs}) == count


def test_a_search_that_died_while_it_asked_costs_no_trial(tmp_path):
    (cell,) = search_cells(grid()[:1], ["weight_decay=1e-4:1e-1"], seed=1000)
    metric = "in_domain/loss/horizon=1"

    def open_study():
        journal = open_journal(tmp_path / JOURNAL)
        return _open_study(cell, journal, tmp_path, metric, 2)

    open_study().study.ask()  # without values
    dead = open_study()
    dead.study.ask().suggest_float("weight_decay", 1e-4, 1e-1, log=True)  # unnamed
    study = open_study()
    resumed, new = iter(study.next_run, None)
    study.end(resumed.run_id, TrialState.COMPLETE, 0.5)
    assert study.best()["run_id"] == resumed.run_id
    study.end(new.run_id, TrialState.COMPLETE, 0.4)
    assert study.best()["run_id"] == new.run_id


def test_a_trial_that_another_search_ended_is_not_begun_again(tmp_path):
    (cell,) = search_cells(grid()[:1], ["weight_decay"], seed=1000)
    metric = "in_domain/loss/horizon=1"
    one = _open_study(cell, open_journal(tmp_path / JOURNAL), tmp_path, metric, 1)
    config = one.next_run()
    two = _open_study(cell, open_journal(tmp_path / JOURNAL), tmp_path, metric, 1)
    one.end(config.run_id, TrialState.PRUNED)
    assert two.next_run() is None


def test_a_metric_that_nothing_measures_ends_the_search_at_once(tmp_path):
    cells = search_cells(grid()[:1], ["weight_decay"], seed=1000)
    rest = (5, LocalPool(1), Execution(), Display(quiet=True))
    with pytest.raises(
        ValueError, match=r"polynomial declares .* Did you mean 'exact_m"
    ):
        search(cells, tmp_path, "in_domain/exact_mach", *rest)
    with pytest.raises(ValueError, match="guess_floor is only a reference"):
        search(cells, tmp_path, "in_domain/guess_floor", *rest)
    assert not (tmp_path / JOURNAL).exists()
    with pytest.raises(ValueError, match="Did you mean 'validation_in_domain/exact_m"):
        search(cells, tmp_path, "indomain/exact_match", *rest)
    ((trial,),) = studies(tmp_path).values()
    assert trial.state.name == "FAIL"
    # Another metric is another study: the mistake costs no trial.
    rows, _ = search(cells, tmp_path, "in_domain/exact_match", 1, *rest[1:])
    assert [row["complete"] for row in rows] == [1]


def test_a_table_is_taken_by_the_sweep_that_it_was_tuned_for(sweep_file, tmp_path):
    """The whole way, as typed: tune, run with the table, and its status."""
    path = sweep_file(seeds=1, layers=(3,))
    words = (
        "search",
        path,
        "--workers",
        1,
        "--trials",
        1,
        "--fields",
        "weight_decay=1e-4:1e-2",
    )
    out = call(*words, cwd=tmp_path)
    (last,) = [line for line in out.splitlines() if line.startswith("to use it: ")]
    typed = shlex.split(last.removeprefix("to use it: python -m sweeps "))
    assert "2 done" in call(*typed, cwd=tmp_path)
    assert "2 done" in call("status", *typed[1:], cwd=tmp_path)
    table = json.loads((tmp_path / typed[-1]).read_bytes())
    rates = {row["name"]: row["training"]["weight_decay"] for row in table}
    found = [
        json.loads(file.read_bytes())["config"]["training"]["weight_decay"]
        for file in (tmp_path / "runs/depths-quick-tuned").glob("*/config.json")
    ]
    assert sorted(found) == sorted(rates.values())


@pytest.mark.slow
def test_bad_trials_are_pruned(tmp_path, brake, monkeypatch):
    """Rates that cannot learn lose to the median at an evaluation, and stop there."""
    for name, value in brake.variables().items():  # slow: the word must come in time
        monkeypatch.setenv(name, value)
    configs = grid(steps=120, evaluate_every_steps=10, batch_rows=8)[:1]
    cells = search_cells(configs, ["weight_decay=1e-9:1e-8"], seed=1000)
    (cell,) = cells
    root, metric = tmp_path, "validation_in_domain/loss/horizon=1"
    storage = open_journal(root / JOURNAL)
    study = optuna.create_study(
        study_name=study_name(cell, metric), storage=storage, direction="minimize"
    )
    good = optuna.trial.create_trial(
        value=0.1,
        params={"weight_decay": 5e-9},
        distributions={
            "weight_decay": optuna.distributions.FloatDistribution(1e-9, 1e-8, log=True)
        },
        user_attrs={"run_id": "polynomial-of-an-earlier-search"},
        intermediate_values=dict.fromkeys(range(10, 120, 10), 0.1),
    )
    study.add_trials([good] * 4)
    _, outcomes = search(
        cells, root, metric, 5, LocalPool(1), Execution(), Display(quiet=True)
    )
    assert [outcome.message for outcome in outcomes] == ["pruned"]
    (trials,) = studies(root).values()
    assert trials[-1].state.name == "PRUNED"
    folder = RunFolder(root, trials[-1].user_attrs["run_id"])
    assert folder.state() == "stopped"
    assert list(folder.checkpoints.glob("step-*"))


@pytest.mark.slow
def test_an_interrupted_search_finishes_its_trials(sweep_file, tmp_path, brake):
    path = sweep_file(seeds=1, steps=80, layers=(3,))
    root = tmp_path / "runs/depths-quick-search"
    arguments = ("search", path, "--trials", 2, "--workers")
    process = start(*arguments, 2, cwd=tmp_path, brake=brake)
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 75, (out, err)
    begun = {p.name for p in root.glob("polynomial-*")}
    call(*arguments, 1, cwd=tmp_path)
    found = studies(root)
    assert [len(trials) for trials in found.values()] == [2, 2]
    ids = {t.user_attrs["run_id"] for trials in found.values() for t in trials}
    assert begun <= ids
    rows = json.loads((root / TABLE).read_bytes())
    assert len(rows) == 2
    assert find_sweep(str(path)).name == "depths"
    out = call("plan", path, "--tuned", root / TABLE, cwd=tmp_path)
    assert "runs/depths-quick-tuned" in out


HOLDER = """
import sys, time
from pathlib import Path
from sweeps.journal import _KernelLock, open_journal
path = Path(sys.argv[1])
storage = open_journal(path)
lock = _KernelLock(path.with_name(f".{path.name}.lock"))
lock.acquire()
print("held", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of the journal."""
    words = [sys.executable, "-c", HOLDER, tmp_path / JOURNAL]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_the_lock_of_a_killed_search_is_free(tmp_path, holder):
    holder.kill()
    holder.wait()
    optuna.create_study(storage=open_journal(tmp_path / JOURNAL))


def test_a_stopped_search_that_holds_the_lock_is_named(tmp_path, holder, monkeypatch):
    holder.send_signal(signal.SIGSTOP)
    monkeypatch.setattr("sweeps.journal.PATIENCE_SECONDS", 0.2)
    with pytest.raises(ValueError, match=r"held .*\.search\.log\.lock for 0 s, .*call"):
        optuna.create_study(storage=open_journal(tmp_path / JOURNAL))


def test_a_lock_that_an_earlier_version_left_stops_nobody(tmp_path, monkeypatch):
    """Optuna's own lock: a link that dangles where the path was relative."""
    (tmp_path / f"{JOURNAL}.lock").symlink_to("runs/mine/tuning.log")
    monkeypatch.chdir(tmp_path)
    optuna.create_study(storage=open_journal(Path(JOURNAL)))


@pytest.mark.parametrize(
    "damage", ['{"x": 1}\n{}\n', "no journal\n{}\n", "[]\n", "\x00\x00\n\n", "\xff\n"]
)
def test_a_damaged_journal_is_named(tmp_path, damage):
    (tmp_path / JOURNAL).write_bytes(damage.encode("latin-1"))
    with pytest.raises(ValueError, match=r"search\.log cannot be read .* Move it away"):
        open_journal(tmp_path / JOURNAL)


def test_a_cell_without_a_winner_is_told_by_the_exit_status(
    tmp_path, monkeypatch, capsys
):
    """Every trial is given up: no winner, no table to go on with, exit status 1."""
    monkeypatch.setattr("sweeps.optuna_search.search", lambda *given: ([], []))
    words = ["--runs", str(tmp_path), "--fields", "weight_decay"]
    assert main(["search", "choices", *words]) == 1
    assert "no trial has completed" in capsys.readouterr().out

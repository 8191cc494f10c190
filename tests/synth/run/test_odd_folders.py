"""Run folders that were damaged, removed or shared: named, and nobody else's trouble."""

import errno
import fcntl
import json
import os
import re
import shutil

import pytest

from synth.run import checkpoint as checkpoints
from synth.run.execution import Execution
from synth.run.metrics_file import RunGone
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.run.test_power_cuts import OFTEN, RUNS, TinyPack, content

KEPT = Execution(checkpoint_every_seconds=0.0, keep_checkpoints_every_steps=1)


def half_trained(root, monkeypatch, step=3, runs=RUNS):
    with monkeypatch.context() as patch:
        patch.setattr(TinyPack, "stop_at", step)
        outcomes = train(runs, root, OFTEN, build=TinyPack)
    assert {o.state for o in outcomes} == {"stopped"}


def test_checkpoints_of_an_undone_future_are_passed_over(tmp_path, monkeypatch):
    """One run of a pack was a step ahead when all were killed; the pack goes back."""
    train(RUNS, tmp_path / "calm", OFTEN, build=TinyPack)
    half_trained(tmp_path, monkeypatch, step=4)
    ahead = tmp_path / RUNS[0].run_id / "checkpoint/step-000000004"
    aside = tmp_path / "aside"
    shutil.copytree(ahead, aside)
    for config in RUNS[1:]:
        shutil.rmtree(tmp_path / config.run_id / "checkpoint/step-000000004")

    class Dies(TinyPack):
        def train_step(self, clock):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RUNS, tmp_path, OFTEN, build=Dies)
    assert not ahead.exists()
    shutil.copytree(aside, ahead)  # had it been killed before the removal
    for config in RUNS:
        (outcome,) = train([config], tmp_path, OFTEN, build=TinyPack)
        assert outcome.state == "done"
        assert content(tmp_path, config) == content(tmp_path / "calm", config)


@pytest.mark.parametrize("without", [(3,), (2, 3)])
def test_checkpoints_without_moments_are_passed_over(tmp_path, monkeypatch, without):
    """Training goes on from the one before, or starts afresh: the result is the same."""
    train(RUNS[:1], tmp_path / "calm", OFTEN, build=TinyPack)
    half_trained(tmp_path, monkeypatch, runs=RUNS[:1])
    folder = RunFolder(tmp_path, RUNS[0].run_id)
    assert checkpoints.saved_steps(folder) == [2, 3]
    for step in without:
        (checkpoints.path_at(folder, step) / "moments.safetensors").unlink()
    assert checkpoints.load(folder, 3).moments == {}
    (outcome,) = train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert outcome.state == "done"
    assert content(tmp_path, RUNS[0]) == content(tmp_path / "calm", RUNS[0])


def test_a_checkpoint_under_the_name_of_another_step_is_passed_over(
    tmp_path, monkeypatch
):
    train(RUNS[:1], tmp_path / "calm", OFTEN, build=TinyPack)
    half_trained(tmp_path, monkeypatch, runs=RUNS[:1])
    folder = RunFolder(tmp_path, RUNS[0].run_id)
    paths = (checkpoints.path_at(folder, step) for step in (3, 4))
    shutil.copytree(*paths)
    with pytest.raises(checkpoints.CorruptCheckpoint, match="of this step"):
        checkpoints.load(folder, 4)
    (outcome,) = train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert outcome.state == "done"
    assert content(tmp_path, RUNS[0]) == content(tmp_path / "calm", RUNS[0])


@pytest.mark.parametrize("change", ['"step": 3', '"cursor": [0, 3'])
def test_a_changed_place_is_never_trained_on(tmp_path, monkeypatch, change):
    train(RUNS[:1], tmp_path / "calm", OFTEN, build=TinyPack)
    half_trained(tmp_path, monkeypatch, runs=RUNS[:1])
    path = tmp_path / RUNS[0].run_id / "checkpoint/step-000000003/place.json"
    text = path.read_text()
    assert change in text
    path.write_text(text.replace(change, change[:-1] + "4"))
    (outcome,) = train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert outcome.state == "done"
    assert content(tmp_path, RUNS[0]) == content(tmp_path / "calm", RUNS[0])


def test_changed_metrics_fail_the_run_by_name(tmp_path, monkeypatch):
    half_trained(tmp_path, monkeypatch)
    path = tmp_path / RUNS[1].run_id / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.0", "0.1", 1))
    outcomes = train(RUNS, tmp_path, OFTEN, build=TinyPack)
    assert [o.state for o in outcomes] == ["done", "failed", "done"]
    assert str(path) in outcomes[1].message
    assert "Remove" in outcomes[1].message


@pytest.mark.parametrize("how", ["removed", "replaced", "metrics"])
def test_a_folder_that_goes_while_training_fails_its_run_alone(tmp_path, how):
    victim = tmp_path / RUNS[1].run_id

    class Watched(TinyPack):
        def train_step(self, clock):
            super().train_step(clock)
            if self.step == 2:
                if how == "metrics":
                    (victim / "metrics.jsonl").write_text("")
                    return
                shutil.rmtree(victim)
                if how == "replaced":
                    shutil.copytree(tmp_path / RUNS[0].run_id, victim)

    outcomes = train(RUNS, tmp_path, OFTEN, build=Watched)
    assert [o.state for o in outcomes] == ["done", "failed", "done"]
    assert str(victim) in outcomes[1].message
    if how == "removed":
        assert not victim.exists()


def test_a_torn_environment_is_kept_aside(tmp_path, monkeypatch):
    half_trained(tmp_path, monkeypatch)
    path = tmp_path / RUNS[0].run_id / "environment.json"
    path.write_text('{"sessions": [')
    assert [o.state for o in train(RUNS, tmp_path, OFTEN, build=TinyPack)] == [
        "done"
    ] * 3
    first, second = json.loads(path.read_text())["sessions"]
    assert "not valid JSON" in first["problem"]
    assert second == {"host": "here"}


@pytest.mark.parametrize(
    "name", ["claim", "metrics.jsonl", "result.json", "config.json"]
)
def test_a_fifo_in_place_of_a_file_blocks_nobody(tmp_path, name):
    folder = RunFolder(tmp_path, RUNS[0].run_id)
    folder.open(RUNS[0])
    (folder.path / name).unlink(missing_ok=True)
    os.mkfifo(folder.path / name)
    outcomes = train(RUNS, tmp_path, OFTEN, build=TinyPack)
    assert [o.state for o in outcomes] == ["failed", "done", "done"]
    assert str(folder.path / name) in outcomes[0].message
    folder.state()


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    (outcome,) = train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert outcome.state == "failed"
    assert "has no file locks" in outcome.message


def test_files_of_a_shared_folder_have_the_modes_of_the_umask(tmp_path):
    before = os.umask(0o002)
    try:
        train([tiny_run()], tmp_path, KEPT)
    finally:
        os.umask(before)
    for path in tmp_path.rglob("*"):
        wanted = 0o775 if path.is_dir() else 0o664
        assert path.stat().st_mode & 0o777 == wanted, path


def test_leftovers_of_killed_trainers_go(tmp_path, monkeypatch):
    half_trained(tmp_path, monkeypatch, runs=RUNS[:1])
    litter = tmp_path / RUNS[0].run_id / ".progress.json.7-abc.tmp"
    litter.write_text("{")
    train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert not litter.exists()


def test_the_progress_of_an_earlier_session_goes_before_training(tmp_path, monkeypatch):
    half_trained(tmp_path, monkeypatch, runs=RUNS[:1])
    path = tmp_path / RUNS[0].run_id / "progress.json"
    path.write_text('{"step": 3}')
    (tmp_path / RUNS[1].run_id / "progress.json").mkdir(parents=True)  # stops nothing
    there = []

    def watch(event):
        there.append((event.kind, path.exists()))

    first, second = train(RUNS[:2], tmp_path, OFTEN, watch, build=TinyPack)
    assert there[0] == ("begin", False)
    assert (first.state, second.state) == ("done", "done")


def test_moments_go_when_a_kill_left_them_behind(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("synth.run.checkpoint.drop_moments", lambda *_: None)
        train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert list(tmp_path.rglob("moments.safetensors"))
    (outcome,) = train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert outcome.message == "was done before"
    assert not list(tmp_path.rglob("moments.safetensors"))


def test_a_damaged_result_is_reported_not_trained_over(tmp_path):
    train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    path = tmp_path / RUNS[0].run_id / "result.json"
    path.write_text(re.sub(r'"steps": \d+', '"steps": 9', path.read_text()))
    (outcome,) = train(RUNS[:1], tmp_path, OFTEN, build=TinyPack)
    assert outcome.state == "failed"
    assert "result.json was changed after it was written. Restore" in outcome.message


def test_metrics_are_never_appended_to_a_removed_folder(tmp_path):
    folder = RunFolder(tmp_path, "run")
    with folder.claim():
        shutil.rmtree(folder.path)
        with pytest.raises(RunGone, match="was removed"):
            folder.append_metrics([])

"""Curves in other tools: what they get, when runs go on, and when they are broken."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from synth.__main__ import main
from synth.run import tracking
from synth.run.execution import Execution
from synth.run.finding import find_runs
from synth.run.store import RunFolder
from synth.tasks.running_text import TextConfig
from synth.training import train
from tests.conftest import tiny_run, two_steps

EVERY_STEP = Execution(checkpoint_every_seconds=0.0, track="trackio", compile="off")


class FakeTrackio:
    """Stands in for the package: keeps what each run logged, as a service would."""

    def __init__(self):
        self.points, self.began, self.open = [], [], set()
        self.configs = []
        self.fails_at = None

    def init(self, *, project, name, resume, config, **_):
        assert resume == "allow"
        self.began.append((project, name))
        self.configs.append(config)
        self.open.add(name)
        print("a tracker that talks")

        def log(values, step):
            if step == self.fails_at:
                raise OSError(28, "No space left on device")
            self.points.append((name, step, values))

        return SimpleNamespace(log=log, finish=lambda: self.open.discard(name))

    def steps(self, run_id):
        return [step for name, step, _ in self.points if name == run_id]


@pytest.fixture
def trackio(monkeypatch):
    fake = FakeTrackio()
    module = SimpleNamespace(init=fake.init, __spec__=SimpleNamespace())
    monkeypatch.setitem(sys.modules, "trackio", module)
    monkeypatch.setattr(tracking, "_warned", set())
    return fake


def rows(root, config):
    lines = RunFolder(root, config.run_id).metrics_path.read_text().splitlines()
    return [json.loads(line) for line in lines]


def points(measured):
    """Rows of a metrics file as a tracker should have them."""
    found = {}
    for row in measured:
        if row["value"] is not None and "position=" not in row["slice"]:
            tag = "/".join(filter(None, (row["suite"], row["metric"], row["slice"])))
            found.setdefault(row["step"], {"tokens": row["tokens"]})[tag] = row["value"]
    return found


def test_a_tracker_gets_each_number_of_each_run_once(tmp_path, trackio, capsys):
    configs = [tiny_run(2, seed=seed) for seed in (0, 1)]
    news = []
    train(configs, tmp_path, EVERY_STEP, news.append)
    for config in configs:
        got = {s: v for name, s, v in trackio.points if name == config.run_id}
        measured = rows(tmp_path, config)
        assert got == points(measured)
        assert any("position=" in row["slice"] for row in measured)
        assert trackio.steps(config.run_id) == [0, 5, 10, 12]
    assert trackio.began == [(tmp_path.name, config.run_id) for config in configs]
    assert not trackio.open
    assert [event.kind for event in news].count("evaluation") == 4
    captured = capsys.readouterr()
    assert "talks" in captured.err  # standard output may be read by a program
    assert "talks" not in captured.out


class Stop(BaseException):
    """Ends a process as a kill would: nothing is written after it."""


def test_a_tracker_gets_names_of_files_and_no_places(tmp_path, trackio):
    corpus = tmp_path / "tale.txt"
    corpus.write_text("Some words and more.\n" * 100)
    train([two_steps(TextConfig(corpus=str(corpus)))], tmp_path, EVERY_STEP)
    assert trackio.configs[0]["task"]["corpus"] == "tale.txt"
    assert str(tmp_path) not in json.dumps(trackio.configs)


def stopping_at(step):
    def progress(event):
        if event.kind == "evaluation" and event.step == step:
            raise Stop

    return progress


@pytest.mark.parametrize("seconds", [0.0, 1e6], ids=["checkpoints", "afresh"])
def test_a_run_that_goes_on_adds_no_step_twice(seconds, tmp_path, trackio):
    config = tiny_run()
    often = replace(EVERY_STEP, checkpoint_every_seconds=seconds)
    with pytest.raises(Stop):
        train([config], tmp_path, often, stopping_at(10))
    assert trackio.steps(config.run_id) == [0, 5, 10]  # 10 is in no checkpoint
    (outcome,) = train([config], tmp_path, often)
    assert outcome.state == "done"
    assert trackio.steps(config.run_id) == [0, 5, 10, 12]
    assert len(trackio.began) == 2


@pytest.mark.parametrize("fails_at", [0, 10])
def test_a_broken_tracker_is_one_warning_and_made_up_for(
    fails_at, tmp_path, trackio, capsys
):
    configs = [tiny_run(seed=seed) for seed in (0, 1)]
    trackio.fails_at = fails_at
    outcomes = train(configs, tmp_path, EVERY_STEP)
    assert [outcome.state for outcome in outcomes] == ["done", "done"]
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "No space left" in said
    trackio.fails_at = None
    assert main(["track", str(tmp_path), "--to", "trackio"]) == 0
    for config in configs:
        assert trackio.steps(config.run_id) == [0, 5, 10, 12]


def test_a_missing_package_stops_no_run(tmp_path, trackio, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "trackio")
    monkeypatch.setattr(tracking, "missing_package", lambda name: f"needs {name}")
    config = tiny_run()
    (outcome,) = train([config], tmp_path, EVERY_STEP)
    assert outcome.state == "done"
    assert capsys.readouterr().err.count("warning") == 1
    assert not RunFolder(tmp_path, config.run_id).read_json(tracking.RECORD)


def test_the_numbers_of_a_run_do_not_depend_on_a_tracker(tmp_path, trackio):
    config = tiny_run()
    for name, how in (
        ("with", EVERY_STEP),
        ("without", replace(EVERY_STEP, track="none")),
    ):
        train([config], tmp_path / name, how)
    assert rows(tmp_path / "with", config) == rows(tmp_path / "without", config)
    written = {p.name for p in (tmp_path / "without" / config.run_id).iterdir()}
    assert tracking.RECORD not in written


def test_track_leaves_out_what_is_in_training(tmp_path, trackio, capsys):
    config = tiny_run()
    folder = RunFolder(tmp_path, config.run_id)
    train([config], tmp_path, replace(EVERY_STEP, track="none"))
    with folder.claim():
        assert main(["track", str(folder.path), "--to", "trackio"]) == 1
    assert not trackio.points
    assert "is being trained" in capsys.readouterr().out
    for _ in range(2):  # the second call has nothing to add
        assert (
            main(["track", config.run_id, "--runs", str(tmp_path), "--to", "trackio"])
            == 0
        )
    assert trackio.steps(config.run_id) == [0, 5, 10, 12]


@pytest.mark.parametrize("line", ["garbage", "5", "{}"])
def test_track_names_the_file_of_a_damaged_line(line, tmp_path, trackio, capsys):
    config = tiny_run()
    train([config], tmp_path, replace(EVERY_STEP, track="none"))
    path = RunFolder(tmp_path, config.run_id).metrics_path
    (path.parent / "result.json").unlink()
    path.write_text(f"{path.read_text()}{line}\n")
    assert main(["track", str(path.parent), "--to", "trackio"]) == 1
    assert f"{path} holds a line that training did not write" in capsys.readouterr().err


def test_track_leaves_out_changed_metrics(tmp_path, trackio, capsys):
    config = tiny_run()
    train([config], tmp_path, replace(EVERY_STEP, track="none"))
    path = RunFolder(tmp_path, config.run_id).metrics_path
    path.write_text(path.read_text().replace('"value": 0', '"value": 1'))
    assert main(["track", str(path.parent), "--to", "trackio"]) == 1
    assert f"{path} was changed or cut" in capsys.readouterr().err
    assert not trackio.points


def test_track_says_where_nothing_is_measured_yet(tmp_path, trackio, capsys):
    config = tiny_run()
    RunFolder(tmp_path, config.run_id).open(config)
    assert main(["track", str(tmp_path / config.run_id), "--to", "trackio"]) == 0
    assert f"{config.run_id}: nothing is measured yet" in capsys.readouterr().out


def test_steps_that_a_kill_may_lose_are_sent_again(tmp_path, trackio, monkeypatch):
    """W&B writes in large pieces: only a session that ended is known to be there."""
    monkeypatch.setattr(tracking.TRACKERS["trackio"], "buffers", True)
    config = tiny_run()
    with pytest.raises(Stop):
        train([config], tmp_path, EVERY_STEP, stopping_at(10))
    (outcome,) = train([config], tmp_path, EVERY_STEP)
    assert outcome.state == "done"
    assert trackio.steps(config.run_id) == [0, 5, 10, 0, 5, 10, 12]
    assert main(["track", str(tmp_path), "--to", "trackio"]) == 0
    assert len(trackio.points) == 7


def wandb_steps(root, run_id):
    """Step to values in the offline files of W&B, which are records in LevelDB's form."""
    from wandb.proto import wandb_internal_pb2

    steps = []
    for path in sorted(root.glob(f".wandb/offline-run-*-{run_id}/*.wandb")):
        content, at, whole = path.read_bytes(), 7, b""
        while at + 7 <= len(content):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            size, kind = (
                int.from_bytes(content[at + 4 : at + 6], "little"),
                content[at + 6],
            )
            whole, at = whole + content[at + 7 : at + 7 + size], at + 7 + size
            if kind in (1, 4):  # the only, or the last piece of a record
                record = wandb_internal_pb2.Record()
                record.ParseFromString(whole)
                whole = b""
                if record.WhichOneof("record_type") == "history":
                    values = {
                        item.key or "/".join(item.nested_key): json.loads(
                            item.value_json
                        )
                        for item in record.history.item
                        if not (item.key or item.nested_key[0]).startswith("_")
                    }
                    steps.append((record.history.step.num, values))
    return steps


TRAINER = """
import os
import signal
import sys
import time
from pathlib import Path

from synth.run.execution import Execution
from synth.training import train
from tests.conftest import tiny_run


def progress(event):
    if event.kind == "evaluation" and event.step == int(sys.argv[3]):
        time.sleep(2)  # trackio writes twice a second
        os.kill(os.getpid(), signal.SIGKILL)


how = Execution(checkpoint_every_seconds=0.0, track=sys.argv[1], compile="off")
train([tiny_run(2, seed=seed) for seed in (0, 1)], Path(sys.argv[2]), how, progress)
"""


def tracked_by(name, root):
    """Two runs of a pack, killed at step 10 and resumed, and one tracked afterwards."""
    train([tiny_run(2, seed=2)], root, replace(EVERY_STEP, track="none"))
    where = {"TRACKIO_DIR": str(root.parent / "trackio"), "WANDB_MODE": "offline"}
    for words, status in (
        (["-c", TRAINER, name, str(root), "10"], -signal.SIGKILL),
        (["-c", TRAINER, name, str(root), "-1"], 0),
        (["-m", "synth", "track", str(root), "--to", name], 0),
    ):
        done = subprocess.run([sys.executable, *words], env=os.environ | where)
        assert done.returncode == status
    return [tiny_run(2, seed=seed) for seed in (0, 1, 2)]


def test_wandb_itself_gets_each_number(tmp_path):
    pytest.importorskip("wandb")
    root = tmp_path / "curves"
    for config in tracked_by("wandb", root):
        got = dict(wandb_steps(root, config.run_id))
        assert got == points(rows(root, config))


def test_trackio_itself_gets_each_number_once(tmp_path):
    pytest.importorskip("trackio")
    root = tmp_path / "curves"
    configs = tracked_by("trackio", root)
    with sqlite3.connect(tmp_path / "trackio" / "curves.db") as database:
        for config in configs:
            query = "select step, metrics from metrics where run_name = ?"
            found = database.execute(query, (config.run_id,)).fetchall()
            assert len(found) == 4
            got = {step: json.loads(values) for step, values in found}
            assert got == points(rows(root, config))


def scalars(folder):
    """What TensorBoard shows of a folder: tag to step to value."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), {"scalars": 0})
    accumulator.Reload()
    return {
        tag: [(point.step, point.value) for point in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tensorboard_shows_the_rows_of_a_run_that_was_stopped(tmp_path):
    pytest.importorskip("tensorboard")
    config = tiny_run(2)
    how = replace(EVERY_STEP, track="tensorboard")
    with pytest.raises(Stop):
        train([config], tmp_path, how, stopping_at(10))
    # As after a kill between the curve and its record: step 10 is sent again.
    RunFolder(tmp_path, config.run_id).write_json(tracking.RECORD, {"tensorboard": 5})
    train([config], tmp_path, how)
    expected = {}
    for step, values in points(rows(tmp_path, config)).items():
        for tag, value in values.items():
            expected.setdefault(tag, []).append((step, pytest.approx(value, rel=1e-6)))
    assert scalars(tmp_path / config.run_id) == expected


def test_runs_are_named_by_folder_pattern_path_or_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ids = ["star-n1-s0-aaaa0000", "star-n2-s0-bbbb0000"]
    for run_id in ids:
        (tmp_path / "runs" / "quick" / run_id).mkdir(parents=True)
        (tmp_path / "runs" / "quick" / run_id / "config.json").write_text("{}")
    for names, expected in (
        (["runs/quick"], ids),
        (["star-*"], ids),
        (["runs/*/star-n2-*", "star-n2"], ids[1:]),
        ([f"runs/quick/{ids[0]}", ids[0]], ids[:1]),
    ):
        assert [path.name for path in find_runs(names)] == expected
    for wrong in ("star", "nothing", "runs/quick/nothing", "nothing*"):
        with pytest.raises(ValueError, match=r"fits|does not exist"):
            find_runs([wrong])

"""Run folders, metrics lines and atomic writes."""

import errno
import fcntl
import json
import math
import os
import subprocess
import sys

import pytest

from synth.disk.files import write_atomically
from synth.metrics import SCHEMA, Measurement, Score, from_line, to_lines
from synth.run.claim import RunBusy, hold, is_locked
from synth.run.result_file import verify
from synth.run.store import RunFolder
from tests.conftest import tiny_run


def row(value=0.5):
    return Measurement.of(Score("s", "m", "x=1", value, 3), "run", 7, 70)


def test_lines_survive_a_round_trip_in_schema_order():
    (line,) = to_lines([row()]).splitlines()
    assert list(json.loads(line)) == list(SCHEMA)
    assert from_line(line) == row()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_become_null(value):
    (line,) = to_lines([row(value)]).splitlines()
    assert json.loads(line)["value"] is None


def test_the_mean_of_nothing_is_nan_without_a_warning(recwarn):
    score = Score.mean("s", "m", "", [])
    assert math.isnan(score.value)
    assert score.count == 0
    assert not recwarn.list


def test_a_foreign_line_is_refused():
    with pytest.raises(ValueError, match="columns"):
        from_line('{"run_id": "x"}')


def test_states(tmp_path):
    config = tiny_run()
    folder = RunFolder(tmp_path, config.run_id)
    assert folder.state() == "new"
    with folder.claim():
        folder.open(config)
        assert folder.state() == "running"
    assert folder.state() == "stopped"
    folder.write_json("failure.json", {})
    assert folder.state() == "failed"
    folder.write_json("result.json", {})
    assert folder.state() == "done"


def test_a_claim_dies_with_its_process(tmp_path):
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from synth.run.store import RunFolder\n"
        "with RunFolder(Path(sys.argv[1]), 'r').claim():\n"
        "    print('held', flush=True); signal.pause()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    folder = RunFolder(tmp_path, "r")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            busy = pytest.raises(RunBusy, match=f"process {process.pid} on ")
            with busy, folder.claim():
                pass
        finally:
            process.kill()
    with folder.claim():
        pass


def test_the_lock_file_names_its_holder_alone(tmp_path, monkeypatch):
    path = tmp_path / "claim"
    path.write_text("process 1234567 on a-host-of-a-long-name since long ago\n" * 3)
    with hold(path, "r"):
        (line,) = path.read_text().splitlines()
        assert line.startswith(f"process {os.getpid()} on ")
        with pytest.raises(RunBusy, match=f"^Run r is being trained by {line}.$"):
            hold(path, "r").__enter__()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with hold(path, "r"):  # whose name is only for messages
        assert is_locked(path)


def test_a_look_at_a_lock_or_none_is_no_lock(tmp_path, monkeypatch):
    path = tmp_path / "claim"
    assert not is_locked(path)
    with path.open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        assert not is_locked(path)

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    assert not is_locked(path)


def test_metrics_are_cut_back_and_loss_is_noticed(tmp_path):
    folder = RunFolder(tmp_path, "run")
    folder.path.mkdir()
    length = folder.append_metrics([row(), row()])
    folder.append_metrics([row()])
    with folder.metrics_path.open("a") as file:
        file.write('{"torn')
    folder.metrics.cut(length)
    lines = folder.metrics_path.read_text().splitlines()
    assert [from_line(line) for line in lines] == [row(), row()]
    with pytest.raises(ValueError, match="lines were lost"):
        folder.metrics.cut(length + 1)


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space .*/file\.json'"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.json"]


def test_unreadable_json_names_the_file(tmp_path):
    folder = RunFolder(tmp_path, "run")
    folder.path.mkdir()
    (folder.path / "config.json").write_text('{"run_id": ')
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        folder.config()


def test_looking_at_a_run_never_makes_it_busy(tmp_path):
    """Another process asks for the state without pause while the run is claimed."""
    folder = RunFolder(tmp_path, tiny_run().run_id)
    folder.open(tiny_run())
    with folder.claim():
        pass
    code = (
        "import fcntl, os, sys\n"
        "while True:\n"
        "    handle = os.open(sys.argv[1], os.O_RDONLY)\n"
        "    try: fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)\n"
        "    except BlockingIOError: pass\n"
        "    os.close(handle)\n"
        "    if len(sys.argv) > 2: print(sys.argv.pop(), flush=True)\n"
    )
    words = [sys.executable, "-c", code, str(folder.path / "claim"), "looking"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as looking:
        try:
            assert looking.stdout.readline() == "looking\n"
            for _ in range(3000):
                with folder.claim():
                    pass
        finally:
            looking.kill()


def finished(tmp_path):
    """A folder that is done, with metrics and items."""
    folder = RunFolder(tmp_path, tiny_run().run_id)
    folder.open(tiny_run())
    folder.append_metrics([row(), row(0.25)])
    (folder.path / "items.jsonl").write_text('{"step": 7}\n')
    folder.write_result({"run_id": folder.run_id, "headline": {"s/m": 0.25}})
    return folder


def test_a_done_run_is_verified_against_its_digests(tmp_path):
    folder = finished(tmp_path)
    assert folder.state() == "done"
    assert verify(folder.path) == []
    assert verify(tmp_path / "no-such-run") == []


@pytest.mark.parametrize("name", ["metrics.jsonl", "items.jsonl", "result.json"])
@pytest.mark.parametrize("how", ["digit", "cut", "gone"])
def test_a_changed_file_of_a_done_run_is_named(tmp_path, name, how):
    folder = finished(tmp_path)
    path = folder.path / name
    text = path.read_text()
    if how == "gone":
        path.unlink()
    else:
        path.write_text(text.replace("5", "6") if how == "digit" else text[:-9])
    if (name, how) == ("result.json", "gone"):
        assert folder.state() == "stopped"
        return
    if name == "items.jsonl" and how == "digit":
        path.write_text('{"step": 8}\n')
    (problem,) = verify(folder.path)
    assert str(path) in problem


@pytest.mark.parametrize("content", ["", '{"run_id": "polyn'])
def test_an_empty_or_torn_result_makes_no_run_done(tmp_path, content):
    folder = finished(tmp_path)
    (folder.path / "result.json").write_text(content)
    assert folder.state() == "unreadable"
    (problem,) = folder.damage()
    path = str(folder.path / "result.json")
    assert problem.startswith(f"{path} is not valid JSON (")
    assert problem.endswith("). Restore it, or remove it to train the run again.")
    assert problem.count(path) == 1


def test_results_without_digests_of_their_own_still_count(tmp_path):
    folder = finished(tmp_path)
    stored = folder.read_json("result.json")
    folder.write_json("result.json", {"metrics_sha256": stored["metrics_sha256"]})
    assert folder.state() == "done"
    assert verify(folder.path) == []

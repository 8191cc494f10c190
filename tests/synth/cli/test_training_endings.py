"""How `synth train` ends: a terminal that hangs up, a reader that goes, no room."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synth.__main__ import main
from synth.run.result_file import verify
from synth.run.store import RunFolder
from tests.conftest import PATIENCE_S, wait_until

ROOT = Path(__file__).resolve().parents[3]
TINY = (
    "train repeats --scale d16-L2-h1 --steps 12 --warmup-steps 2 --batch-rows 2 "
    "--context 64 --final-examples 2 --evaluation-examples 2 --evaluate-every-steps 4 "
    "--learning-rate 1e-3 --log-every-seconds 0 --checkpoint-every-seconds 0 --runs"
).split()


def started(words, brake, **more):
    return subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | brake.variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def begun(root):
    return lambda: list(root.glob("*/checkpoint/step-*"))


def run_of(root):
    (path,) = root.iterdir()
    return RunFolder(root, path.name)


def test_a_terminal_that_hangs_up_leaves_a_checkpoint(tmp_path, brake):
    root = tmp_path / "runs"
    process = started([sys.executable, "-m", "synth", *TINY, str(root)], brake)
    wait_until(begun(root), process=process)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (75, ""), out
    assert "stopped by SIGHUP" in out
    assert run_of(root).state() == "stopped"
    assert main([*TINY, str(root)]) == 0
    assert len(run_of(root).read_json("environment.json")["sessions"]) == 2


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_a_reader_that_goes_fails_no_run(tmp_path, brake, number):
    """And the exit status says whether anything is left to train."""
    root, told = tmp_path / "runs", tmp_path / "told"
    words = shlex.join([sys.executable, "-m", "synth", *TINY, str(root)])
    line = f"({words} & echo $! > {told}.pid; wait $!; wait $!; echo $? > {told}) | head -1"
    with started(["bash", "-c", line], brake) as process:
        wait_until(begun(root), process=process)
        if number is not None:
            os.kill(int(Path(f"{told}.pid").read_text()), number)
        brake.release()
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (out.count("\n"), err) == (1, "")
    assert told.read_text() == ("0\n" if number is None else "75\n")
    run = run_of(root)
    assert run.state() == ("done" if number is None else "stopped")
    assert verify(run.path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into any folder")
def test_a_folder_that_may_not_be_written_is_a_mistake(tmp_path, capsys):
    (tmp_path / "shut").mkdir(mode=0o500)
    assert main([*TINY, str(tmp_path / "shut")]) == 2
    assert str(tmp_path / "shut") in (said := capsys.readouterr().err)
    assert "Choose a place that you may" in said


def test_a_folder_where_none_can_be_is_a_mistake(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main([*TINY, str(tmp_path / "file" / "runs")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err
    assert main([*TINY, "/proc/runs"]) == 2
    assert "/proc/runs" in capsys.readouterr().err

"""A task and an objective of one's own, as synth/README.md has them, from end to end."""

import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from synth.run.defining_code import ROOT
from tests.conftest import PATIENCE_S, Brake, wait_until
from tests.sweeps.conftest import call_process as call
from tests.sweeps.conftest import kill, start

FOLDER = "runs/backwards"


def blocks(language):
    """The code blocks of the two pages, in order."""
    text = (ROOT / "synth" / "README.md").read_text()
    pages = text[text.index("## Add a task") : text.index("## Models")]
    return re.findall(rf"```{language}\n(.*?)```", pages, re.DOTALL)


def write_files(folder):
    """What a reader saves: the task, the objective and the sweep."""
    for text, name in zip(blocks("python"), FILES, strict=True):
        (folder / name).write_text(text)


FILES = ("reversal.py", "leap.py", "backwards.py")


def python(*words, cwd, status=0):
    """Call `python WORDS` in another folder and return all that it printed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


def leap_run(folder):
    """A run of the objective."""
    return next((folder / FOLDER).glob("reversal-leap3-*"))


@pytest.mark.slow
def test_the_commands_of_both_pages_work(tmp_path):
    write_files(tmp_path)
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(commands) == 10
    printed = {}
    for line in commands:
        program, *words = shlex.split(line)
        assert program == "python"
        printed[" ".join(words[:3])] = python(*words, cwd=tmp_path)
    assert len(list((tmp_path / FOLDER).glob("*/result.json"))) == 4
    curves, *_ = (tmp_path / "figures").glob("*.csv")
    assert curves.name == "reversal-accuracy_by-tokens_d16-L4-h2_ctx64.csv"
    evaluations, arms = 4, ("leap3", "n1")
    assert len(curves.read_text().splitlines()) == 1 + evaluations * len(arms)
    told = printed["-m analysis compare"]
    assert "test/accuracy/horizon=1 at equal tokens, minus arm n1" in told
    assert re.search(r"leap3 .* 2 .* paired t", told)
    page = (tmp_path / "figures" / "report.html").read_text()
    assert "Accuracy (share) of the task reversal" in page
    assert "data:image/png;base64" in page


@pytest.mark.slow
def test_a_sweep_of_ones_own_task_is_killed_resumed_and_read_elsewhere(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    write_files(home)
    sweep = home / "backwards.py"
    assert "4 runs" in call("plan", sweep, cwd=home)
    brake = Brake(tmp_path / "brake", step_seconds=0.2)
    process = start("run", sweep, cwd=home, brake=brake)
    root = home / FOLDER
    wait_until(lambda: list(root.glob("*/metrics.jsonl")), process=process)
    kill(process)
    brake.release()
    call("run", sweep, "--workers", 0, cwd=home)
    assert "4 done" in call("status", sweep, cwd=home)
    run = leap_run(home)
    config = json.loads((run / "config.json").read_bytes())["config"]
    recorded = {one["path"]: one["sha256"] for one in config["plugins"]}
    assert set(recorded) == {str(home / name) for name in ("reversal.py", "leap.py")}
    assert str(home / "leap.py") in call("show", run, cwd=tmp_path)

    words = ("-m", "synth", "evaluate", run, "--examples", 16)
    scores = python(*words, cwd=tmp_path)
    assert "horizon=3" in scores
    # One file is elsewhere, the other has changed: the run's own copies serve.
    (home / "reversal.py").rename(tmp_path / "kept.py")
    (home / "leap.py").write_text("raise SystemExit('another one')\n")
    assert python(*words, cwd=tmp_path) == scores
    python("-m", "analysis", "collect", "--runs", home / "runs", cwd=tmp_path)
    table = next((tmp_path / "analysis" / "results").glob("*.parquet"))
    code = (
        f"import polars; f = polars.read_parquet({str(table)!r}).unique('run_id');"
        "print(f['arm'].sort().to_list(), f['problem'].to_list())"
    )
    found = python("-c", code, cwd=tmp_path)
    assert "['leap3', 'leap3', 'n1', 'n1'] [None, None, None, None]" in found

    copy = next((run / "plugins").glob("*-reversal.py"))
    copy.chmod(0o666)
    told = python(*words, cwd=tmp_path, status=2)
    assert "others can write it: mode 666" in told
    assert "--plugin FILE" in told
    copy.chmod(0o644)
    copy.write_text(copy.read_text() + "\n")
    assert "was changed" in python(*words, cwd=tmp_path, status=2)
    named = ("--plugin", tmp_path / "kept.py")
    assert python(*words, *named, cwd=tmp_path) == scores


@pytest.mark.slow
def test_an_unfinished_run_does_not_go_on_with_a_changed_task(tmp_path):
    write_files(tmp_path)
    brake = Brake(tmp_path / "brake", step_seconds=0.2)
    words = ("run", "backwards.py", "--checkpoint-every-seconds", 0.1)
    process = start(*words, cwd=tmp_path, brake=brake)
    root = tmp_path / FOLDER
    wait_until(lambda: list(root.glob("*/checkpoint/step-*")), process=process)
    kill(process)
    brake.release()
    task = tmp_path / "reversal.py"
    task.write_text(task.read_text().replace("words[:, ::-1]", "words"))
    told = call("run", "backwards.py", cwd=tmp_path, status=2)
    assert "with another version of" in told
    assert "reversal.py" in told
    words = ("run", "backwards.py", "--workers", 0, "--accept-code-change")
    call(*words, cwd=tmp_path)
    copies = {p.name.partition("-")[2] for p in leap_run(tmp_path).glob("plugins/*")}
    assert copies == {"reversal.py", "leap.py"}


@pytest.mark.slow
def test_finished_runs_of_a_changed_task_are_named(tmp_path):
    """`plan`, `status` and `run` count them as done and say so, as training does."""
    write_files(tmp_path)
    call("run", "backwards.py", "--workers", 0, cwd=tmp_path)
    assert "other files" not in call("status", "backwards.py", cwd=tmp_path)
    task = tmp_path / "reversal.py"
    task.write_text(task.read_text() + "\n# the same words\n")
    for command in ("plan", "status", "run"):
        told = call(command, "backwards.py", cwd=tmp_path)
        assert "finished runs were trained with other files of your own" in told
        assert "raise `version` in its class" in told

"""What a person sees: plain lines in a pipe, a table on a terminal."""

import io
import os
import pty
import subprocess
from dataclasses import replace

import pytest

from sweeps import launch_display
from sweeps.inline import InThisProcess
from sweeps.launch import LaunchOptions, launch
from sweeps.launch_display import Display, progress_table, summarize
from sweeps.launch_progress import ActivePack, LaunchProgress
from synth.run.execution import Execution
from synth.run.progress import Event, Outcome
from synth.run.store import RunFolder
from tests.conftest import PATIENCE_S, tiny_run
from tests.sweeps.conftest import call, command


def board():
    configs = [tiny_run(seed=seed) for seed in range(5)]
    found = LaunchProgress(
        6, 1, "in_domain/exact_match", {c.run_id: 1.0 for c in configs}
    )
    active = ActivePack((configs[0], configs[1]))
    event = Event(
        kind="training",
        run_ids=["a", "b"],
        step=6,
        steps=12,
        losses=[0.5, 0.7],
        tokens_per_second=12_345.0,
        seconds_left=3.0,
    )
    active.update(event, "in_domain/exact_match")
    values = {"a": {"in_domain/exact_match": 0.25}, "b": {"in_domain/exact_match": 0.5}}
    event = replace(event, kind="evaluation", values=values)
    active.update(event, "in_domain/exact_match")
    found.active = [active]
    run_id = configs[2].run_id
    found.outcomes[run_id] = Outcome(run_id, "failed", "it broke")
    return found


def test_counts_and_time_left(monkeypatch):
    found = board()
    found.began -= 1.0
    text = "6 runs: 1 done, 2 training, 2 waiting, 1 failed; about "
    assert summarize(found).startswith(text)
    # One run of five has ended and two stand at a half: 2 of 5 parts are over.
    monkeypatch.setattr(
        "sweeps.launch_progress.time.monotonic", lambda: found.began + 20.0
    )
    assert found.seconds_left == pytest.approx(30.0)


def test_failed_runs_that_are_left_alone_do_not_wait(tmp_path, monkeypatch):
    failed, other, new = configs = [tiny_run(seed=seed) for seed in range(3)]
    for config in (failed, other):
        folder = RunFolder(tmp_path, config.run_id)
        folder.open(config)
        folder.write_json("failure.json", {"message": "it broke"})
    shown = []
    display = Display(quiet=True)
    monkeypatch.setattr(display, "refresh", lambda p: shown.append(summarize(p)))
    options = LaunchOptions(execution=Execution())
    launch("mine", configs, tmp_path, InThisProcess(), options, display, "")
    assert shown[0].startswith("3 runs: 0 done, 1 training, 2 left alone")
    assert RunFolder(tmp_path, new.run_id).state() == "done"


def test_what_an_earlier_launch_trained_takes_no_time_in_this_one(monkeypatch):
    """Two runs of equal cost: one went on from step 9 of 12 and has ended."""
    ended, active = (ActivePack((tiny_run(seed=seed),)) for seed in range(2))
    ids = [pack.pack[0].run_id for pack in (ended, active)]
    found = LaunchProgress(2, 0, "in_domain/exact_match", dict.fromkeys(ids, 4.0))

    def at(step):
        return Event(kind="training", run_ids=[], step=step, steps=12)

    for pack, steps in ((ended, (9, 12)), (active, (6, 9))):
        for step in steps:
            found.update(pack, at(step))
    found.outcomes[ids[0]] = Outcome(ids[0], "done", "done")
    found.active = [active]
    # Of 1 + 2 parts of work, 1 + 1 have been done in twenty seconds.
    monkeypatch.setattr(
        "sweeps.launch_progress.time.monotonic", lambda: found.began + 20.0
    )
    assert found.seconds_left == pytest.approx(10.0)


def test_the_table_shows_what_is_asked_for():
    from rich.console import Console

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(progress_table(board()))
    text = console.export_text()
    run = tiny_run().run_id
    for word in (f"{run} +1", "6/12", "0.500", "0.375", "12.3k", "0:03", "tokens/s"):
        assert word in text


def test_lines(capsys):
    lines, found = Display(), board()
    lines.report_end(found.outcomes[tiny_run(seed=2).run_id], found)
    assert "(2/6): it broke" in capsys.readouterr().out
    lines.refresh(found)
    assert capsys.readouterr().out == ""
    lines._last -= launch_display.LINE_EVERY_SECONDS
    lines.refresh(found)
    text = capsys.readouterr().out
    assert "step 6/12 loss 0.500 score 0.375 12.3k/s 0:03 left" in text
    found.active, found.elsewhere = [], 4
    lines._last -= launch_display.LINE_EVERY_SECONDS
    lines.refresh(found)
    assert capsys.readouterr().out.endswith("1 done, 4 elsewhere, 1 failed\n")


def test_no_escape_codes_in_a_pipe_and_a_table_on_a_terminal(sweep_file, tmp_path):
    path = sweep_file(seeds=1, layers=(3,))
    out = call("run", path, "--workers", 0, cwd=tmp_path)
    assert "\x1b" not in out
    assert "2 done" in out
    words, environment = command("run", path, "--runs", "other", "--workers", 0)
    ours, theirs = pty.openpty()
    environment |= {"TERM": "xterm", "COLUMNS": "120"}
    done = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            piece = os.read(ours, 1 << 16)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    assert done.wait(PATIENCE_S) == 0, seen
    os.close(ours)
    assert b"\x1b[" in seen
    assert b"2 runs: 2 done" in seen
    assert b"tokens/s" in seen

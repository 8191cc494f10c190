"""What a person sees of one run: a bar on a terminal, plain lines elsewhere."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from synth.run.progress import Event, Screen, clock, describe, in_notebook, shown_on
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run

EVENT = Event(
    kind="training",
    run_ids=[tiny_run(2).run_id, tiny_run(2, seed=1).run_id],
    step=6,
    steps=12,
    losses=[0.5, 1.25],
    tokens_per_second=12_345.0,
    seconds_left=83.0,
)
BEGIN, END = replace(EVENT, kind="begin", step=3), replace(EVENT, kind="end")


@pytest.mark.parametrize("redraws", [True, False])
def test_steps_losses_speed_and_time_left_are_shown(redraws, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    show = shown_on(Screen(redraws=redraws))
    for event in (BEGIN, EVENT, replace(EVENT, kind="evaluation")):
        show(event)
    show(replace(END, message="done"))
    out = capsys.readouterr().out
    for word in (tiny_run(2).run_id, "6/12", "loss 0.500 1.250", "12.3k tokens/s"):
        assert word in out
    assert "1:23 left" in out
    assert out.splitlines()[-1].endswith("done")


def test_a_notebook_gets_one_picture_that_is_redrawn(capsys, monkeypatch):
    """As rich renders it below a cell, without widgets."""
    pictures = []

    class Shown:
        def update(self, picture):
            pictures.append(("again", picture))

    def display(picture, display_id):
        pictures.append(("first", picture))
        return Shown()

    kernel = SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    below = SimpleNamespace(display=display)
    monkeypatch.setitem(sys.modules, "IPython.display", below)
    assert in_notebook()
    show = shown_on(Screen())
    for event in (BEGIN, EVENT, replace(END, message="done"), BEGIN):
        show(event)
    assert [how for how, _ in pictures] == ["first", "again", "first"]
    assert "text/html" in pictures[1][1]._repr_mimebundle_([], [])
    assert capsys.readouterr().out.splitlines()[1:2] == ["done"]
    assert Screen(quiet=True).redraws is False


def test_outside_of_a_notebook(monkeypatch):
    kernel = SimpleNamespace(get_ipython=lambda: None)
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_quiet_screen_shows_nothing(capsys):
    show = shown_on(Screen(quiet=True))
    for event in (BEGIN, EVENT, END):
        show(event)
    assert capsys.readouterr().out == ""


def test_the_words_hold_every_horizon():
    assert describe(EVENT) == "loss 0.500 1.250  12.3k tokens/s  1:23 left"


def test_hours_minutes_and_seconds():
    words = [clock(seconds) for seconds in (None, 5.2, 125, 4000)]
    assert words == ["-", "0:05", "2:05", "1:06:40"]


@pytest.mark.parametrize("redraws", [True, False])
def test_a_pack_that_cannot_begin_is_a_failure_on_a_terminal_too(
    redraws, tmp_path, monkeypatch, capsys
):
    def broken(*_):
        raise RuntimeError("no room for it")

    monkeypatch.setattr("synth.pack.Pack._new_model", broken)
    config = tiny_run()
    show = shown_on(Screen(redraws=redraws))
    (outcome,) = train([config], tmp_path, None, show)
    assert outcome.state == "failed"
    assert "no room for it" in capsys.readouterr().out
    assert RunFolder(tmp_path, config.run_id).state() == "failed"


def test_a_bar_serves_several_groups_of_a_pack(capsys):
    """Runs that stand at different steps train one group after another."""
    show = shown_on(Screen(redraws=True))
    for step in (0, 4):
        show(replace(BEGIN, step=step))
        show(EVENT)
        show(replace(END, message=f"from {step}"))
    out = capsys.readouterr().out
    assert out.index("from 0") < out.index("from 4")

"""What a person sees of one run: a bar on a terminal, plain lines elsewhere."""

import pytest

from synth.run.progress import BarProgress, LineProgress, Moment, describe
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run

MOMENT = Moment(6, 12, [0.5, 1.25], 12_345.0, 83.0)


@pytest.mark.parametrize("progress", [BarProgress, LineProgress])
def test_steps_losses_speed_and_time_left_are_shown(progress, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = progress()
    shown.begin([tiny_run(2), tiny_run(2, seed=1)], 3)
    shown.update(MOMENT)
    shown.measured(6, {})
    shown.end("done")
    out = capsys.readouterr().out
    for word in (tiny_run(2).run_id, "6/12", "loss 0.500 1.250", "12.3k tokens/s"):
        assert word in out
    assert "1:23 left" in out
    assert out.splitlines()[-1].endswith("done")


def test_the_words_hold_every_horizon():
    assert describe(MOMENT) == "loss 0.500 1.250  12.3k tokens/s  1:23 left"


@pytest.mark.parametrize("progress", [BarProgress, LineProgress])
def test_a_pack_that_cannot_begin_is_a_failure_on_a_terminal_too(
    progress, tmp_path, monkeypatch, capsys
):
    def broken(*_):
        raise RuntimeError("no room for it")

    monkeypatch.setattr("synth.pack.Pack._new_model", broken)
    config = tiny_run()
    (outcome,) = train([config], tmp_path, None, progress())
    assert outcome.state == "failed"
    assert "no room for it" in capsys.readouterr().out
    assert RunFolder(tmp_path, config.run_id).state() == "failed"


def test_a_bar_serves_several_groups_of_a_pack(capsys):
    """Runs that stand at different steps train one group after another."""
    bar = BarProgress()
    for step in (0, 4):
        bar.begin([tiny_run()], step)
        bar.update(MOMENT)
        bar.end(f"from {step}")
    out = capsys.readouterr().out
    assert out.index("from 0") < out.index("from 4")

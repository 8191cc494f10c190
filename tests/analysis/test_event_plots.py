"""Kaplan-Meier curves as drawn."""

import pytest

from analysis.collect import collect
from analysis.plots.events import event_figure
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run


def test_a_curve_an_arm_and_a_mark_a_run_without_it(tmp_path):
    steps = (0, 40, 60, 80, 100)
    for horizon, tops in ((1, (0.9, 0.1, 0.1)), (2, (0.9, 0.9, 0.9))):
        for seed, top in enumerate(tops):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, s, top=top: top * s / 100, steps)
            write_run(tmp_path, config, rows)
    frame = collect(tmp_path).frame
    figure, table = event_figure(frame, "exact_match", "in_domain")
    ends = {arm: table.filter(arm=arm)["share"][-1] for arm in ("n1", "n2")}
    assert ends == pytest.approx({"n1": 1 / 3, "n2": 1.0})
    (axes,) = figure.axes
    steps_of = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert [line.get_xdata()[-1] for line in steps_of] == [100 * 128] * 2
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in marks] == [2, 0]
    assert (
        figure.legends[0].get_title().get_text().startswith("exact match at least 0.5")
    )
    with pytest.raises(ValueError, match="no finished run"):
        event_figure(frame, "exact_match", "nowhere")
    with pytest.raises(ValueError, match="Name a level"):
        event_figure(frame, "loss", "train", "horizon=1")
    falling, _ = event_figure(frame, "loss", "train", "horizon=1", level=1.5)
    assert "at most 1.5" in falling.legends[0].get_title().get_text()

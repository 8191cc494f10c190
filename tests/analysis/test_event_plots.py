"""Kaplan-Meier curves as drawn."""

import pytest
from matplotlib.figure import Figure

from analysis.collect import collect
from analysis.plots.events import draw_events
from analysis.trajectories import curve_rows, timed_runs
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run


def test_a_curve_an_arm_and_a_mark_a_run_without_it(tmp_path):
    steps = (0, 40, 60, 80, 100)
    for horizon, tops in ((1, (0.9, 0.1, 0.1)), (2, (0.9, 0.9, 0.9))):
        for seed, top in enumerate(tops):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, s, top=top: top * s / 100, steps)
            write_run(tmp_path, config, rows)
    frame = collect(tmp_path).frame
    times = timed_runs(curve_rows(frame, "exact_match", "in_domain"), 0.5, "higher")
    axes = Figure().subplots()
    table = draw_events(axes, times)
    ends = {arm: table.filter(arm=arm)["share"][-1] for arm in ("n1", "n2")}
    assert ends == pytest.approx({"n1": 1 / 3, "n2": 1.0})
    steps_of = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert [line.get_xdata()[-1] for line in steps_of] == [100 * 128] * 2
    marks = [line for line in axes.lines if line.get_linestyle() == "None"]
    assert [len(line.get_xdata()) for line in marks] == [2, 0]

"""Kaplan-Meier curves as drawn."""

import polars as pl
import pytest
from matplotlib.figure import Figure

from analysis.collect import collect
from analysis.events import Times, kaplan_meier
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


def test_bands_and_marks_lie_where_the_estimate_is():
    """Who is censored when another has the event is marked above that event."""
    runs = {
        "n1": ((10.0, True), (20.0, True), (20.0, False), (30.0, False)),
        "n2": ((5.0, True), (8.0, True)),
    }
    rows = [(arm, *run) for arm, side in runs.items() for run in side]
    times = pl.DataFrame(rows, schema=["arm", "tokens", "happened"], orient="row")
    axes = Figure().subplots()
    table = draw_events(axes, times)
    assert table.filter(arm="n2")["tokens"].to_list() == [0, 5, 8]
    curves = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert curves[1].get_xydata().tolist() == [[0, 0], [5, 0.5], [8, 1], [30, 1]]
    marks = axes.lines[1].get_xydata().tolist()
    assert marks == [[20, pytest.approx(0.5)], [30, pytest.approx(0.5)]]
    band = kaplan_meier(Times.of(times.filter(arm="n1")))
    (corners,) = (path.vertices.tolist() for path in axes.collections[0].get_paths())
    for bound in ("low", "high"):  # that of ten tokens lasts until twenty
        assert [20, band.filter(tokens=10)[bound][0]] in corners
    plain = Figure().subplots()
    draw_events(plain, times, band=False)
    assert not any(len(one.get_paths()) for one in plain.collections)

"""Figures: the right numbers, the same bytes."""

import errno
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import matplotlib
import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.parquet import read, read_all, results_folder, write
from analysis.plots import families, style
from analysis.plots.curves import CurveStyle, cost_figure, curve_keys, draw_curves
from analysis.plots.gallery import annotate, draw_settings
from analysis.plots.polynomial import polynomial_figure, polynomial_table
from analysis.settings import Setting
from analysis.tables import render_polynomial
from synth.metrics import Measurement, to_lines
from tests.analysis.conftest import (
    polynomial_rows,
    polynomial_run,
    write_polynomial_sweep,
    write_run,
)
from tests.conftest import PATIENCE_S

ROOT = Path(__file__).parents[2]


def test_polynomial_table_golden(tmp_path):
    for horizon, top in ((1, 0.2), (2, 0.6)):
        for seed, shift in ((0, -0.1), (1, 0.1)):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, step, v=top + shift: v)
            write_run(tmp_path, config, rows)
    table = polynomial_table(collect(tmp_path).frame)
    assert table.select("arm", "operations").rows() == [
        (arm, m) for arm in ("n1", "n2") for m in (1, 2, 3, 4)
    ]
    assert table["mean"].to_list() == pytest.approx([0.2] * 4 + [0.6] * 4)
    assert table["high"].to_list()[0] == pytest.approx(
        1 / (1 + 4 * math.exp(-12.7062 * 0.1 / 0.16)), abs=1e-5
    ), "t of 0.1 and 0.3 on the logit scale"
    assert table["seeds"].unique().to_list() == [2]
    assert table["guess_floor"].to_list() == pytest.approx([0.02] * 8)


def test_polynomials_have_no_mean_of_two_groups_of_seeds(tmp_path):
    for horizon, ends in ((1, (0.4, 0.5, 0.45, 0.5)), (2, (0.05, 0.6, 0.65, 0.7))):
        for seed, end in enumerate(ends):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, step, v=end: v if m < 3 else 0.02)
            write_run(tmp_path, config, rows)
    frame = collect(tmp_path).frame
    figure, table = polynomial_figure(frame)
    stuck = table.filter(pl.col("arm") == "n2", pl.col("operations") < 3)
    assert stuck["groups"].to_list() == ["1 low, 3 high"] * 2
    assert (
        stuck.select("mean", "low", "high", "at_floor").null_count().row(0) == (2,) * 4
    )
    others = table.filter(pl.col("groups").is_null())
    assert others.height == 6
    assert others["mean"].null_count() == 0
    assert others.filter("at_floor").height == 4
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "seeds in two groups: no mean" in labels
    cells = [list(column.cells) for column in render_polynomial(frame).columns]
    assert cells[3][1] == "1 low, 3 high"
    assert cells[3][0].startswith("46.2 [")


def test_unfinished_runs_are_not_plotted(sweep):
    config = polynomial_run(seed=50)
    rows = polynomial_rows(config, lambda m, step: 1.0)
    before = polynomial_table(collect(sweep).frame)
    write_run(sweep, config, rows, state="stopped")
    assert polynomial_table(collect(sweep).frame).equals(before)


def test_files_are_the_same_bytes_twice(sweep, tmp_path):
    written = []
    for name in ("a", "b"):
        figure, table = polynomial_figure(collect(sweep).frame)
        written.append(style.save(figure, table, tmp_path / name / "figure"))
    for first, second in zip(*written, strict=True):
        assert first.read_bytes() == second.read_bytes(), first.suffix
    pdf = written[0][1].read_bytes()
    assert b"/CIDFontType2" in pdf, "fonts are TrueType"
    assert b"/Type3" not in pdf
    assert pl.read_csv(written[0][2]).height == 8


def test_a_point_in_a_name_does_not_cut_it_short(sweep, tmp_path):
    figure, table = polynomial_figure(collect(sweep).frame)
    written = style.save(figure, table, tmp_path / "rate-0.003_mamba2")
    ends = (".png", ".pdf", ".csv")
    assert [path.name for path in written] == [f"rate-0.003_mamba2{e}" for e in ends]
    assert all(path.exists() for path in written)


def test_nothing_finished_is_a_message(tmp_path):
    config = polynomial_run()
    write_run(tmp_path, config, [], state="stopped")
    with pytest.raises(ValueError, match="No finished polynomial run"):
        polynomial_figure(collect(tmp_path).frame)


@pytest.fixture(scope="module")
def everything(results):
    return read_all(results)


OF_THEIR_OWN = {"precision-curves", "precision-effects", "acceptance"}
"""Figures that have a file of tests each, since the fixture holds no such runs."""


@pytest.mark.parametrize("name", [n for n in families.FIGURES if n not in OF_THEIR_OWN])
def test_every_figure_draws_what_is_there(everything, name):
    pictures, _ = families.FIGURES[name].pictures(everything)
    assert pictures
    for one in pictures:
        assert one.table.height > 0
        lines = [line for axes in one.figure.axes for line in axes.lines]
        assert [line for line in lines if len(line.get_xdata())]
        assert "tokens" in one.training
        assert "5 seeds" in one.training


def test_induction_figure_plots_the_means_of_its_runs(everything):
    _, table = families.figure_7(everything)
    rows = everything.filter(
        (pl.col("task") == "stories") & (pl.col("books_parts") == 0),
        pl.col("suite") == "test_seen",
        pl.col("slice") == "",
        pl.col("step") == 100,
        pl.col("arm") == "n2",
        pl.col("scale") == "3M",
    )
    found = table.filter(pl.col("arm") == "n2").sort("parameters")["mean"].to_list()
    assert found[-1] == pytest.approx(rows["value"].mean())
    assert rows.height == 5


@pytest.mark.parametrize(("factor", "rows"), [(1.0, 1), (1.05, 1), (1.5, 2)])
def test_curves_against_flop_are_drawn_where_arms_differ_in_flop(
    everything, factor, rows
):
    frame = everything.filter(
        pl.col("task") == "polynomial", pl.col("pause_tokens") == 0
    )
    flops = pl.when(pl.col("arm") == "n2").then(factor).otherwise(1.0)
    frame = frame.with_columns(flops_per_token=1e6 * flops)
    figure, table = cost_figure(frame, "exact_match", "in_domain")
    assert table.height == 3 * 5 * 2 * 2
    scales = frame["scale"].n_unique()
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels.count("training tokens") == scales
    assert labels.count("executed training FLOP") == (rows - 1) * scales
    assert min(table["tokens"].max(), table["flops"].max()) > 0


def test_curves_refuse_what_they_cannot_draw(everything):
    with pytest.raises(ValueError, match="No finished run has"):
        cost_figure(everything, "beauty", "in_domain")


def test_command_draws_all_and_names_what_it_leaves_out(sweep, tmp_path, capsys):
    write(collect(sweep).frame, tmp_path / "r" / "s.parquet")
    arguments = ["figures", "--results", str(tmp_path / "r"), "--figures"]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    printed = capsys.readouterr().out
    assert (
        "no finished run is for board, figure-7-induction, figure-S14-books" in printed
    )
    assert "figure-S16-sizes is left out: its finished runs have one size" in printed
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    drawn = [name for name in names if name.endswith(".png")]
    assert drawn == ["curves-polynomial.png", "figure-8-polynomial.png"]
    assert main([*arguments, str(tmp_path / "b")]) == 0
    for name in names:
        first, second = tmp_path / "a" / name, tmp_path / "b" / name
        assert first.read_bytes() == second.read_bytes(), name
    assert main(["figures", "figure-9"]) == 2
    assert "No figure 'figure-9'" in capsys.readouterr().err


def test_a_reason_for_leaving_out_is_given_once():
    def refuse(setting):
        if setting.label == "b":
            raise ValueError("no level.")
        raise ValueError("no pauses")

    settings = [Setting("", label, "", pl.DataFrame()) for label in "abc"]
    assert draw_settings(settings, refuse) == (
        [],
        ["in 2 settings: no pauses", "b: no level"],
    )
    assert draw_settings(settings[::2], refuse) == ([], ["no pauses"])


def test_settings_are_never_averaged_as_if_they_were_seeds(tmp_path):
    write_polynomial_sweep(tmp_path, pauses=(0, 5))
    frame = collect(tmp_path).frame
    with pytest.raises(ValueError, match="5 pause tokens"):
        polynomial_table(frame)
    one = polynomial_table(frame.filter(pl.col("pause_tokens") == 0))
    assert one["seeds"].unique().to_list() == [5]


HOSTILE = """text.usetex: True
font.family: cursive
axes.facecolor: red
axes.grid: False
axes.prop_cycle: cycler('color', ['r'])
lines.linewidth: 9
savefig.dpi: 30
savefig.format: svg
savefig.bbox: standard
savefig.transparent: True
figure.constrained_layout.use: False
figure.autolayout: True
figure.facecolor: black
legend.loc: lower left
path.simplify: False
axes.xmargin: 0.4
axes.formatter.use_locale: True
image.cmap: gray
xtick.labelsize: 20
backend: TkAgg
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"SOURCE_DATE_EPOCH": "1"},
        {"MPLBACKEND": "QtAgg"},
        {
            "MPLBACKEND": "module://nowhere",
            "MPLCONFIGDIR": "/proc/nowhere",
            "HOME": "/nowhere",
            "XDG_CACHE_HOME": "",
        },
    ],
)
def test_no_setting_of_the_user_changes_a_byte(sweep, tmp_path, variables):
    """A matplotlibrc in the working directory counts before any other."""
    pictures, _ = families.FIGURES["figure-8-polynomial"].pictures(collect(sweep).frame)
    style.save(pictures[0].figure, pictures[0].table, tmp_path / "expected" / "f")
    write(collect(sweep).frame, tmp_path / "r" / "s.parquet")
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    command = ["-m", "analysis", "figures", "figure-8-polynomial", "--results", "r"]
    done = subprocess.run(
        [sys.executable, *command, "--figures", "drawn"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    for suffix in (".png", ".pdf", ".csv"):
        drawn = (tmp_path / "drawn" / "figure-8-polynomial").with_suffix(suffix)
        expected = (tmp_path / "expected" / "f").with_suffix(suffix)
        assert drawn.read_bytes() == expected.read_bytes(), suffix


def test_what_a_notebook_has_set_stays_as_it_is(sweep):
    with matplotlib.rc_context({"lines.linewidth": 7, "text.usetex": True}):
        figure, _ = polynomial_figure(collect(sweep).frame)
        first = style.as_png(figure)
        assert matplotlib.rcParams["lines.linewidth"] == 7
        assert matplotlib.rcParams["text.usetex"]
    figure, _ = polynomial_figure(collect(sweep).frame)
    assert style.as_png(figure) == first


def test_tables_of_the_suite_are_found_from_any_directory(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["claims", "C3", "C12", "--json"]) == 0
    printed = capsys.readouterr().out
    assert '"verdict": "supported"' in printed
    assert (
        "seen minus unseen at 30k (100% open names), 100k (100% open names)" in printed
    )
    assert not re.search(r"\b[0-9a-f]{8}\b", printed), "settings have words"


@pytest.mark.parametrize("command", ["figures", "report", "notebooks"])
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_drawn(
    sweep, tmp_path, capsys, monkeypatch, command
):
    def refused(*given, **how):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    write(collect(sweep).frame, tmp_path / "r" / "s.parquet")
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    monkeypatch.setattr("analysis.plots.gallery.Entry.pictures", None)
    where = {
        "figures": ["--figures", str(tmp_path / "f")],
        "report": ["--output", str(tmp_path / "f" / "page.html")],
        "notebooks": [],
    }[command]
    given = ["--results", str(tmp_path / "r")] if where else []
    assert main([command, *given, *where]) == 2
    err = capsys.readouterr().err
    assert "Read-only file system" in err
    assert (str(tmp_path / "f") if where else "notebooks") in err


def test_choice_points_overlay_mixers(everything):
    here = everything.filter(task="choice-points")
    other = here.with_columns(
        pl.col("config").str.replace_all('"attention"', '"mamba2"', literal=True),
        pl.col("run_id") + "-other",
    )
    pictures, _ = families.FIGURES["choice-points"].pictures(pl.concat([here, other]))
    (one,) = pictures
    assert one.table["mixer"].unique().sort().to_list() == ["attention", "mamba2"]
    assert "5 seeds a cell" in one.training
    names = [text.get_text() for text in one.figure.legends[0].get_texts()]
    assert {"attention", "mamba2"} <= set(names)
    bands = "share of runs: 95 % interval"
    assert bands not in names
    (alone,), _ = families.FIGURES["choice-points"].pictures(here)
    texts = alone.figure.legends[0].get_texts()
    assert bands in [text.get_text() for text in texts]


def test_names_in_stories_have_a_line_of_one_in_k(everything):
    (one,), _ = families.FIGURES["induction-by-names"].pictures(
        everything.filter(pl.col("books_parts") == 0)
    )
    assert one.table["names"].unique().sort().to_list() == [2, 4]
    chance = [list(line.get_ydata()) for line in one.figure.axes[0].lines]
    assert [1 / 2, 1 / 4] in chance
    (whole,), _ = families.FIGURES["figure-7-induction"].pictures(everything)
    # As many mentions with two names as with four.
    heights = [list(line.get_ydata()) for line in whole.figure.axes[0].lines]
    assert [3 / 8] * 2 in heights
    names = [text.get_text() for text in whole.figure.legends[0].get_texts()]
    assert "guess one of the story's k names, 1/k" in names


def test_the_layer_law_has_its_line_and_lines_without_the_law(tmp_path):
    slope = {"t+1": -0.2, "t+1 permuted": -0.05}
    for seed in (0, 1, 2):
        config, rows = polynomial_run(seed=seed), []
        for target, fall in slope.items():
            fall += 0.01 * (seed - 1)
            numbers = [
                ("residual", f"path=head 1,layer={n},target={target}", 10 ** (fall * n))
                for n in range(4)
            ]
            line = f"path=head 1,of=residual,target={target}"
            numbers += [("fit_slope", line, fall), ("fit_intercept", line, 0.0)]
            where = (config.run_id, 100, 12800, "prediction-law")
            rows += [Measurement(*where, m, s, v, 100) for m, s, v in numbers]
        folder = write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0))
        (folder / "probe-law.jsonl").write_text(to_lines(rows))
    (one,), _ = families.FIGURES["layer-law"].pictures(collect(tmp_path).frame)
    ids, renumbered = one.figure.axes
    fitted = [line for line in ids.lines if line.get_linewidth() == 1.0]
    assert [list(line.get_ydata()) for line in fitted] == [
        pytest.approx([-0.2, -0.4, -0.6])
    ]
    (band,) = [c for c in ids.collections if c.get_alpha() == 0.18]
    ends = [y for x, y in band.get_paths()[0].vertices if x == 3]
    half = 4.302653 * 0.01 / 3**0.5  # t over three seeds
    assert min(ends) == pytest.approx(-0.2 - 2 * (0.05 + half), abs=1e-6)
    assert max(ends) == pytest.approx(-0.2 - 2 * (0.05 - half), abs=1e-6)
    assert not [c for c in renumbered.collections if c.get_alpha() == 0.18]
    mean = one.table.filter(target="token ids", layer=3)
    assert mean["mean"].to_list() == pytest.approx([-0.6])
    assert mean["slope"].to_list() == pytest.approx([-0.2])


def test_panels_and_curves_at_guessing_are_left_out_with_a_word():
    """In the committed table closed names score nothing, open ones something."""
    frame = read(results_folder() / "induction-quick.parquet")
    for name, left_out in (
        ("figure-7-induction", "0% of stories with open names"),
        ("induction-by-names", "30k, 0% with open names; 100k, 0% with open names"),
    ):
        (picture,), reasons = families.FIGURES[name].pictures(frame)
        assert not reasons
        titles = [axes.get_title() for axes in picture.figure.axes]
        assert all("100%" in title for title in titles), titles
        (legend,) = picture.figure.legends
        told = " ".join(legend.get_title().get_text().split())
        assert told == f"left out, at guessing or below: {left_out}"
    pictures, (reason,) = families.FIGURES["curves-induction"].pictures(frame)
    assert [one.label for one in pictures] == ["100% open names"]
    assert reason.startswith(
        "0% open names: the second token accuracy of no arm exceeds"
    )
    closed = frame.filter(pl.col("open_names") == 0)
    _, (reason,) = families.FIGURES["figure-7-induction"].pictures(closed)
    assert reason == "no arm does better than guessing anywhere"


def test_curves_have_medians_for_two_groups_and_bands_for_many_runs():
    rows = pl.DataFrame(
        [
            ("n1", f"r{seed}", "10k", step, float(seed >= 2) * step / 2)
            for seed in range(5)
            for step in (0, 1, 2)
        ],
        schema=["arm", "run_id", "scale", "step", "value"],
        orient="row",
    )
    look = CurveStyle.of(rows, ["scale"])
    assert look == CurveStyle(median=True)
    assert not CurveStyle.of(rows.filter(pl.col("run_id") > "r1"), ["scale"]).median
    axes = matplotlib.figure.Figure().subplots()
    rows = rows.with_columns(tokens=pl.col("step") * 10)
    draw_curves(axes, rows, "tokens", look=look)
    *_, middle, _ticks = axes.lines
    assert list(middle.get_ydata()) == [0.0, 0.5, 1.0], "of 0, 0, 1, 1, 1 at the end"
    many = pl.concat(rows.with_columns(run_id=pl.col("run_id") + x) for x in "abcdef")
    look = CurveStyle.of(many, ["scale"])
    assert look.bands
    axes = matplotlib.figure.Figure().subplots()
    draw_curves(axes, many, "tokens", look=look)
    assert len(axes.lines) == 2, "the median, and no ticks of events"
    (band,) = axes.collections
    assert band.get_paths()[0].vertices[:, 1].max() == 1.0
    labels = [key.get_label() for key in curve_keys(["n1"], look=look)]
    assert labels == ["n = 1 (next token)", "middle half of runs", "median"]


def test_the_line_above_a_figure_says_nothing_twice():
    figure = matplotlib.figure.Figure(figsize=(8, 2))
    annotate(
        figure, "maze; 2k tokens; learning rate 0.01", "learning rate 0.01, width 5"
    )
    assert figure.get_suptitle() == "maze; 2k tokens; learning rate 0.01, width 5"

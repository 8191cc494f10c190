"""Figures: the right numbers, the same bytes."""

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.plots import style
from analysis.plots.polynomial import polynomial_figure, polynomial_table
from tests.analysis.conftest import (
    polynomial_rows,
    polynomial_run,
    write_polynomial_sweep,
    write_run,
)


def test_polynomial_table_golden(tmp_path):
    for horizon, top in ((1, 0.2), (2, 0.6)):
        for seed, shift in ((0, -0.1), (1, 0.1)):
            config = polynomial_run(horizon, seed)
            rows = polynomial_rows(config, lambda m, step, v=top + shift: v)
            write_run(tmp_path, config, rows)
    table = polynomial_table(collect(tmp_path).frame)
    assert table.select("horizon", "operations").rows() == [
        (n, m) for n in (1, 2) for m in (1, 2, 3, 4)
    ]
    assert table["mean"].to_list() == pytest.approx([0.2] * 4 + [0.6] * 4)
    assert table["high"].to_list()[0] == pytest.approx(0.2 + 12.7062 * 0.1, abs=1e-4)
    assert table["seeds"].unique().to_list() == [2]
    assert table["guess_floor"].to_list() == pytest.approx([0.02] * 8)


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


def test_nothing_finished_is_a_message(tmp_path):
    config = polynomial_run()
    write_run(tmp_path, config, [], state="stopped")
    with pytest.raises(ValueError, match="No finished polynomial run"):
        polynomial_figure(collect(tmp_path).frame)


def test_quick_prints_and_draws(sweep, tmp_path, capsys):
    arguments = ["quick", "--runs", str(sweep), "--figures", str(tmp_path / "f")]
    assert main(arguments) == 0
    assert "guess floor" in capsys.readouterr().out
    assert sorted(p.suffix for p in (tmp_path / "f").iterdir()) == [
        ".csv",
        ".pdf",
        ".png",
    ]


def test_settings_are_never_averaged_as_if_they_were_seeds(tmp_path):
    write_polynomial_sweep(tmp_path, pauses=(0, 5))
    frame = collect(tmp_path).frame
    with pytest.raises(ValueError, match="differ in pause_tokens"):
        polynomial_table(frame)
    one = polynomial_table(frame.filter(pl.col("pause_tokens") == 0))
    assert one["seeds"].unique().to_list() == [5]

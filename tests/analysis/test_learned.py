"""The matrix of arms and tasks: counts worked by hand, intervals, and the command."""

import json
from dataclasses import replace

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.parquet import write
from analysis.plots.heat import matrix_figure
from analysis.trajectories import learned_level, learned_matrix
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run


def test_two_of_three_and_none_of_three(tmp_path, capsys):
    for horizon, tops in ((1, (0.8, 0.8, 0.02)), (2, (0.1, 0.1, 0.1))):
        for seed, top in enumerate(tops):
            config = polynomial_run(horizon, seed=seed)
            rows = polynomial_rows(
                config,
                lambda m, step, top=top: top * step / 100,
                (0, 40, 60, 80, 100),
            )
            write_run(tmp_path / "both", config, rows)
    table = learned_matrix(collect(tmp_path / "both").frame)
    one, two = table.iter_rows(named=True)
    assert [(r["arm"], r["place"]) for r in (one, two)] == [
        ("n1", "polynomial"),
        ("n2", "polynomial"),
    ]
    assert (one["learned"], two["learned"], one["runs"], two["runs"]) == (2, 0, 3, 3)
    # Wilson for 0 of n: from 0 to z^2 / (n + z^2), z = 1.96.
    assert (two["low"], two["high"]) == pytest.approx((0, 3.8415 / 6.8415), abs=1e-4)
    figure, drawn = matrix_figure(table)
    axes = figure.axes[0]
    assert drawn.equals(table)
    assert [t.get_text().split("\n")[0] for t in axes.texts] == ["2 of 3", "0 of 3"]
    assert axes.images[0].get_array().ravel().tolist() == pytest.approx([2 / 3, 0])
    words = ["learned", str(tmp_path / "both"), "--figures", str(tmp_path / "figures")]
    assert main([*words, "--plot"]) == 0
    out = capsys.readouterr().out
    assert "2/3 (0.21-0.94)" in out
    assert "polynomial: in_domain/exact_match 0.5, 2 evaluations in a row" in out
    assert (tmp_path / "figures/both-learned.png").is_file()
    assert main([*words, "--json"]) == 0
    cells = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [cell["learned"] for cell in cells] == [2, 0]


def test_events_of_choice_points_are_read_at_choices(capsys):
    """Over all positions, most of which are easy, every run is below the level."""
    assert main(["events", "choices-tuned", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["arm"], row["learned"]) for row in rows] == [("n1", 0), ("n4", 10)]
    everywhere = ["events", "choices-tuned", "--metric", "test/excess_loss", "--json"]
    assert main([*everywhere, "--level", "0.3"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["arm"], row["learned"]) for row in rows] == [("n1", 10), ("n4", 10)]
    assert main(everywhere) == 2
    told = (
        "0.3, is that of its slice horizon=1,role=choice alone. Write excess_loss/hor"
    )
    assert told in capsys.readouterr().err
    compared = ["compare", "choices-tuned", "--metric", "learned:excess_loss"]
    assert main([*compared, "--json"]) == 2
    assert told in capsys.readouterr().err


def test_a_level_is_that_of_one_task_and_of_its_metric(capsys):
    rows = pl.DataFrame({"task": ["countdown", "maze"], "slice": ["", ""]})
    assert learned_level(rows[:1], "verified") == 0.5
    assert learned_level(rows[1:], "verified") == 0.75
    with pytest.raises(ValueError, match="--where task=TASK"):
        learned_level(rows, "verified")
    assert main(["events", "characters-night-tuned"]) == 2
    told = (
        "from which level loss counts as learned (Metric.learned). `python -m analysis"
    )
    printed = capsys.readouterr().err
    assert told in printed
    assert "0.9" not in printed


def test_settings_of_a_task_have_words(tmp_path):
    for pause in (0, 5):
        config = polynomial_run(pause=pause)
        write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.9))
    table = learned_matrix(collect(tmp_path).frame)
    assert sorted(table["place"]) == [
        "polynomial 0 pause tokens",
        "polynomial 5 pause tokens",
    ]


def test_runs_at_other_rates_than_the_tuned_one_are_left_out(tmp_path, capsys):
    for sweep, rate in (("one", 1e-3), ("one-tuned", 3e-3)):
        config = polynomial_run()
        training = replace(config.training, learning_rate=rate)
        config = replace(config, training=training)
        write_run(
            tmp_path / sweep, config, polynomial_rows(config, lambda m, step: 0.9)
        )
        write(collect(tmp_path / sweep).frame, tmp_path / f"tables/{sweep}.parquet")
    assert main(["learned", str(tmp_path / "tables"), "--json"]) == 0
    printed = capsys.readouterr()
    (cell,) = map(json.loads, printed.out.splitlines())
    assert (cell["place"], cell["learned"], cell["runs"]) == ("polynomial", 1, 1)
    assert "other rates than the tuned ones are left out: 1." in printed.err


def test_every_place_has_a_name_of_its_own(tmp_path, capsys):
    """Rates part the runs without pauses; those with pauses have a tuned rate each."""
    for horizon, pause, rate in (
        (1, 0, 1e-3),
        (1, 0, 3e-3),
        (1, 5, 1e-3),
        (2, 5, 3e-3),
    ):
        config = polynomial_run(horizon, pause=pause)
        training = replace(config.training, learning_rate=rate)
        config = replace(config, training=training)
        write_run(tmp_path / "rates", config, polynomial_rows(config, lambda m, s: 0.9))
    assert main(["learned", str(tmp_path / "rates")]) == 0
    assert "learning rate by cell: in_domain/exact_match 0.5" in capsys.readouterr().out


def test_names_of_places_do_not_depend_on_runs_that_have_no_row(tmp_path):
    """A run that failed at another rate; it would part the cell."""
    for pause, rate, state in (
        (0, 1e-3, "done"),
        (5, 1e-3, "done"),
        (0, 3e-3, "failed"),
    ):
        config = polynomial_run(pause=pause)
        training = replace(config.training, learning_rate=rate)
        config = replace(config, training=training)
        rows = polynomial_rows(config, lambda m, step: 0.9)
        write_run(tmp_path, config, rows, state)
    table = learned_matrix(collect(tmp_path).frame)
    assert sorted(table["place"]) == [
        "polynomial 0 pause tokens",
        "polynomial 5 pause tokens",
    ]

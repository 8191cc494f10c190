"""Readings without a value: cells that never learned, and what is said of them."""

import polars as pl
import pytest

from analysis.__main__ import main
from analysis.collect import collect
from analysis.contrasts import compute_contrasts
from analysis.load_sweep import load_sweep
from analysis.parquet import results_folder
from analysis.standings import compute_standings, tasks_of
from analysis.views import Query, view
from tests.analysis.conftest import polynomial_rows, polynomial_run, write_run
from tests.analysis.test_views import write_repeats

LEARNED = Query(metric="learned:")


def test_where_no_cell_learned_the_cells_are_named(tmp_path, capsys):
    frame = write_repeats(tmp_path, {(1, 0): 20, (1, 1): 99, (2, 0): 99, (2, 1): 99})
    told = (
        r"No cell is left for learned:test/accuracy\. Left out, .* n1 at 10k \(1 of 2\), "
        r"n2 at 10k \(2 of 2\)\. `python -m analysis events` takes"
    )
    with pytest.raises(ValueError, match=told):
        compute_contrasts(frame, LEARNED)
    with pytest.raises(ValueError, match=told):
        view(frame, LEARNED)
    assert main(["noise", str(tmp_path), "--metric", "learned:"]) == 2
    assert "n2 at 10k (2 of 2)" in capsys.readouterr().err


def test_a_task_without_a_cell_is_left_out_of_the_standings():
    frame = load_sweep("cross-quick", results_folder())
    found = compute_standings(
        tasks_of(frame, LEARNED), LEARNED, lambda query: compute_contrasts(frame, query)
    )
    assert list(found.by_task) == ["repeats"]
    assert found.title == "1 task, minus arm n1"
    assert any(
        note.startswith("polynomial is left out: No cell is left")
        for note in found.notes
    )


def test_an_arm_that_never_learned_is_not_said_to_be_absent(tmp_path, capsys):
    frame = write_repeats(tmp_path, {(1, 0): 99, (1, 1): 99, (2, 0): 10, (2, 1): 20})
    for baseline in (None, "n1"):
        with pytest.raises(
            ValueError,
            match=r"^Only runs with arm=n2 have a value.*n1 at 10k \(2 of 2\)",
        ):
            compute_contrasts(frame, LEARNED, baseline=baseline)
    assert main(["noise", str(tmp_path), "--metric", "learned:"]) == 2
    assert "got 'n1'. Left out, as runs never learned it: n1" in capsys.readouterr().err


def test_runs_without_any_mean_are_refused_in_words(tmp_path):
    frame = write_repeats(tmp_path, {(1, 0): 20, (2, 0): 10})
    lost = pl.when(pl.col("step") != 20).then("value").alias("value")
    with pytest.raises(ValueError, match=r"for mean:test/accuracy\. Every run lacks"):
        view(frame.with_columns(lost), Query(metric="mean:"))


def test_cells_of_several_settings_and_slices_are_told_apart(tmp_path):
    for pause, top in ((0, 0.9), (5, 0.6)):
        config = polynomial_run(pause=pause)
        rows = polynomial_rows(config, lambda m, step, top=top: top / m)
        write_run(tmp_path, config, rows)
    query = Query(metric="learned:in_domain/exact_match")
    found = view(collect(tmp_path).frame, query, "operations", panel="pause_tokens")
    (note,) = [note for note in found.notes if "never learned" in note]
    assert "n1 at 10k, 0 pause tokens, operations=2 (1 of 1)" in note
    assert "n1 at 10k, 5 pause tokens, operations=2 (1 of 1)" in note
    assert "operations=1" not in note


def test_a_pair_whose_baseline_never_learned_is_not_put_down_to_its_rate():
    """Of n1 at d12-L8-h2 one run of five never learned; n2_anticausal has another rate."""
    frame = load_sweep("repeats-ladder-tuned", results_folder())
    where = ["arm=n1,n2_anticausal", "scale=d12-L8-h2,d20-L8-h2"]
    notes = compute_contrasts(frame, Query(metric="learned:", where=where)).notes
    assert notes[-1] == (
        "Left out, as the runs of n1 to pair them with have no value: n2_anticausal at "
        "learning rate 0.048 (5)."
    )


def test_a_task_without_the_metric_of_a_figure_is_named(tmp_path):
    """What varies is told of the runs that are drawn."""
    write_repeats(tmp_path, {(1, 0): 20, (2, 0): 20})
    config = polynomial_run()
    write_run(tmp_path, config, polynomial_rows(config, lambda m, step: 0.5))
    found = view(collect(tmp_path).frame, Query(metric="accuracy"), panel="task")
    assert found.notes == ["Left out, as they have no test/accuracy: polynomial."]

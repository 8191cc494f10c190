"""The command tune: grids are trained, extended, resumed, and taken up by a sweep."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.__main__ import main
from sweeps.cells import cell_key
from sweeps.rate_grid import RateGrid
from sweeps.tuned_values import (
    TABLE,
    apply_tuned,
    read_table,
    update_table,
    why_unsettled,
)
from sweeps.tuning import GridResult, Tune, tell_extensions
from synth.config import RunConfig
from synth.run.progress import Outcome
from synth.tasks.choice_points import ChoicePointsConfig
from synth.tasks.star import StarConfig
from tests.conftest import tiny_run, with_training
from tests.sweeps.conftest import write_sweep

LOSS = "in_domain/loss/horizon=1"
GRID = ("--rates", "1e-4", "1e-3", "1e-2", "--metric", LOSS)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A sweep of one model, two arms, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return str(write_sweep(tmp_path, seeds=1, layers=(3,)))


def tune(path, *words):
    return main(["tune", path, *GRID, "--workers", "0", *words])


def test_from_a_grid_to_tuned_runs_as_typed(path, tmp_path, capsys):
    assert tune(path, "--seeds", "2") == 0
    out = capsys.readouterr().out
    rows = read_table(tmp_path / "runs/depths-quick-tuning" / TABLE)
    assert [row["name"].split()[1] for row in rows] == ["n1", "n2"]
    for row in rows:
        # At 12 steps a faster rate is better, until it is far too fast.
        rates = [point["learning_rate"] for point in row["grid"]]
        assert rates[:4] == [1e-4, 1e-3, 1e-2, 0.1]
        means = {p["learning_rate"]: sum(p["values"]) / 2 for p in row["grid"]}
        best = row["training"]["learning_rate"]
        assert row["value"] == means[best] == min(means.values())
        assert row["seeds"] == [1000, 1001]
        assert row["metric"] == f"validation_{LOSS}"
        assert (row["edge"] is None) == (best < max(rates))
        assert row["edge"] or row["sensitivity"] > 0
    assert f"chosen by validation_{LOSS}, 2 seeds a rate; table:" in out
    (typed,) = [line for line in out.splitlines() if line.startswith("to use it")]
    words = shlex.split(typed.partition(": python -m sweeps ")[2])
    unsettled = any(row["edge"] for row in rows)
    assert ("--unsettled" in words) == unsettled
    assert main([*words, "--workers", "0"]) == 0
    used = {
        json.loads(file.read_text())["config"]["training"]["learning_rate"]
        for file in (tmp_path / "runs/depths-quick-tuned").glob("*/config.json")
    }
    assert used == {row["training"]["learning_rate"] for row in rows}


def test_tuning_goes_on_where_it_stopped_and_keeps_other_cells(path, tmp_path, capsys):
    root = tmp_path / "runs/depths-quick-tuning"
    assert tune(path, "--seeds", "1", "--arms", "n2") == 0
    assert "one trial a rate" in capsys.readouterr().out
    (first,) = read_table(root / TABLE)
    written = {p: p.stat().st_mtime_ns for p in root.glob("*/result.json")}
    assert tune(path, "--seeds", "1", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[1] == first
    assert all(p.stat().st_mtime_ns == time for p, time in written.items())
    assert tune(path, "--seeds", "1", "--arms", "n1") == 0
    assert {row["cell"] for row in read_table(root / TABLE)} == {
        row["cell"] for row in rows
    }


def test_a_best_rate_at_the_edge_is_said_plainly(path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.rate_grid.MOST_EXTENSIONS", 0)
    slow = ("--rates", "1e-6", "2e-6", "4e-6", "--seeds", "1", "--arms", "n1")
    assert tune(path, *slow) == 0
    out = capsys.readouterr().out
    assert "a trial failed or the grid ends within a factor of 2" in out
    assert "NOT SETTLED: the best is the highest of 1e-06 to 4e-06" in out
    (row,) = read_table(tmp_path / "runs/depths-quick-tuning" / TABLE)
    assert row["edge"] == "high"
    (typed,) = [s for s in out.splitlines() if s.startswith("to use it as it is: ")]
    words = shlex.split(typed.partition(": python -m sweeps ")[2])
    allowed = words.index("--unsettled")
    assert main(["plan", *words[1:allowed], *words[allowed + 1 :]]) == 2
    assert "NOT SETTLED: the best is the highest" in capsys.readouterr().err
    assert main(["plan", *words[1:]]) == 0
    assert "NOT SETTLED: the best is the highest" in capsys.readouterr().err


def test_a_grid_that_grows_says_so_on_the_screen_and_in_the_table(
    path, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sweeps.rate_grid.MOST_EXTENSIONS", 1)
    slow = ("--rates", "1e-6", "2e-6", "4e-6", "--seeds", "1", "--arms", "n1")
    assert tune(path, *slow) == 0
    out = capsys.readouterr().out
    assert (
        "4e-06 is best and at the edge of the grid, which is extended by 8e-06" in out
    )
    assert "grid extended by 8e-06. NOT SETTLED: the best is the highest" in out
    (row,) = read_table(tmp_path / "runs/depths-quick-tuning" / TABLE)
    assert row["added"] == [8e-6]
    assert [point["learning_rate"] for point in row["grid"]] == [1e-6, 2e-6, 4e-6, 8e-6]


@pytest.mark.parametrize(("state", "status"), [("stopped", 75), ("failed", 1)])
def test_a_launch_that_is_stopped_ends_the_command(
    path, tmp_path, capsys, monkeypatch, state, status
):
    """Though the best rate of another cell lies at the edge of its grid."""
    slow = ("--rates", "1e-6", "2e-6", "4e-6", "--seeds", "1", "--lanes", "1")
    monkeypatch.setattr("sweeps.rate_grid.MOST_EXTENSIONS", 0)
    assert tune(path, *slow, "--arms", "n1") == 0
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    asked = []

    def train(pack, *_):
        asked.extend(config.run_id for config in pack)
        return [Outcome(config.run_id, state, "so told") for config in pack]

    monkeypatch.setattr("synth.training.train", train)
    capsys.readouterr()
    assert tune(path, *slow, "--fail-fast") == status
    assert len(asked) == 1
    assert "to go on: python -m sweeps tune" in capsys.readouterr().out


def test_a_metric_that_chooses_nothing_is_said_plainly(path, capsys):
    few = ("--rates", "1e-6", "2e-6", "4e-6", "--seeds", "1", "--arms", "n1")
    assert tune(path, *few, "--metric", "in_domain/exact_match") == 0
    assert "NOTHING CHOSEN: all rates score the same" in capsys.readouterr().out


def test_a_dry_run_prints_the_plan_of_the_grid(path, tmp_path, capsys):
    assert tune(path, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"new": 2 * 3 * 3}
    assert not (tmp_path / "runs").exists()


def test_options_go_before_the_rates_and_the_metric_of_the_sweep(path, capsys):
    text = Path(path).read_text()
    own = 'metric="out_of_domain/exact_match", rates=(1e-4, 2e-4, 4e-4, 8e-4)'
    Path(path).write_text(text.replace('claims=("C7",)', own))
    for words, rates in (((), 4), (GRID, 3)):
        assert main(["tune", path, *words, "--dry-run", "--json"]) == 0
        counts = json.loads(capsys.readouterr().out)["counts"]
        assert counts == {"new": 2 * rates * 3}
    assert main(["tune", path, "--metric", "in_domain/exact_mach"]) == 2
    assert "Did you mean 'exact_match'" in capsys.readouterr().err


def test_mistakes_end_in_one_message(path, capsys):
    for words, said in (
        (("--rates", "1e-3", "2e-3"), "--rates must be three or more rising"),
        (("--seeds", "0"), "--seeds must be at least 1"),
        (("--seeds", "99999999"), "--seeds must be at most 1000"),
        (("--metric", "in_domain/exact_mach"), "Did you mean 'exact_match'"),
        (("--arms", "n7"), "--arms must be of what the sweep has: n1, n2"),
    ):
        assert tune(path, *words) == 2
        assert said in capsys.readouterr().err
    assert not Path("runs").exists(), "before anything is trained"
    one = ("--arms", "n1", "--seeds", "1")
    assert tune(path, *one, "--metric", "indomain/loss/horizon=1") == 2
    assert "Did you mean 'validation_in_domain/loss" in capsys.readouterr().err


def test_a_table_is_refused_where_it_does_not_fit(tmp_path):
    table = tmp_path / TABLE
    run = tiny_run(1, 0)
    row = {"cell": cell_key(run, ["learning_rate"]), "seeds": [1000]}
    update_table(table, [row | {"training": {"learning_rate": 0.5}}])
    assert apply_tuned([run], table)[0].training.learning_rate == 0.5
    rates = [with_training(run, learning_rate=rate) for rate in (1e-3, 2e-3)]
    assert len(apply_tuned(rates, table)) == 1  # a sweep of rates has one best
    with pytest.raises(ValueError, match="was tuned on seed 1000"):
        apply_tuned([tiny_run(1, 1000)], table)
    with pytest.raises(ValueError, match="was tuned on seed 1000, so polynomial-n1-"):
        apply_tuned([replace(run, data_seed=1000)], table)  # the run's own seed is 0
    with pytest.raises(ValueError, match="has no values for"):
        apply_tuned([tiny_run(2)], table)
    searched = {"cell": "other", "training": {"beta1": 0.9, "beta2": 0.99}}
    update_table(table, [])  # nothing was found: nothing is lost
    update_table(table, [row | {"cell": "another", "training": {"learning_rate": 1.0}}])
    assert apply_tuned([run], table)[0].training.learning_rate == 0.5
    update_table(table, [searched])  # values of other fields
    assert read_table(table) == [searched]
    with pytest.raises(ValueError, match="`python -m sweeps search` for this"):
        apply_tuned([run], table)
    for text, message in (
        ("{", "it is not JSON"),
        ('[{"name": "a"}]', "rows with `cell` and `training`"),
        ("3", "rows with `cell` and `training`"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=message):
            apply_tuned([run], table)


def test_failed_trials_are_named_and_end_with_status_1(path, tmp_path, capsys):
    """At such rates the loss is no number within a few steps."""
    one = ("--seeds", "2", "--arms", "n1")
    assert tune(path, *one, "--rates", "1e-3", "2e-3", "1e30") == 1
    said = capsys.readouterr()
    assert said.err.strip().startswith(
        "some trials failed: polynomial n1 d16-L3-h2 at "
    )
    assert "1e+30 (2 of 2)" in said.err
    assert "to use it: " in said.out  # the rate is found all the same
    other = ("--seeds", "1", "--arms", "n2")
    assert tune(path, *other, "--rates", "1e30", "2e30", "4e30", "--json") == 1
    said = capsys.readouterr()
    assert json.loads(said.out) == []
    assert "all trials failed: polynomial n2 d16-L3-h2 at 1e+30 (1 of 1), 2" in said.err


def test_rates_that_are_not_settled_are_refused_unless_allowed(path, tmp_path, capsys):
    run = tiny_run(1)
    point = {"learning_rate": 4e-3, "mean": 0.5, "values": [0.5]}
    settled = {
        "cell": cell_key(run, ["learning_rate"]),
        "name": "polynomial n1",
        "training": {"learning_rate": 4e-3},
        "edge": None,
        "all_alike": False,
        "grid": [point | {"learning_rate": rate} for rate in (1e-3, 2e-3, 4e-3)],
    }
    table = tmp_path / TABLE
    for changed, why in (
        ({"edge": "high"}, "NOT SETTLED: the best is the highest of 0.001 to 0.004"),
        ({"all_alike": True}, "NOTHING CHOSEN: all rates score the same"),
    ):
        update_table(table, [settled | changed])
        with pytest.raises(ValueError, match="add --unsettled to use") as refused:
            apply_tuned([run], table)
        assert f"polynomial n1 at 0.004: {why}" in str(refused.value)
        said = []
        (tuned,) = apply_tuned([run, run], table, said.append)
        assert tuned.training.learning_rate == 4e-3
        assert said == [f"{table}: polynomial n1 at 0.004: {why}"]  # once a cell
        assert apply_tuned([], table) == []  # of other cells nothing is said
    update_table(table, [settled])
    assert apply_tuned([run], table)[0].training.learning_rate == 4e-3
    assert main(["plan", path, "--unsettled"]) == 2
    assert "--unsettled must be given with --tuned" in capsys.readouterr().err


STAR = RunConfig(task=StarConfig(degree=3, length=3, labels=10))
STAR_GRID = RateGrid("star n1", STAR, (1e-3, 2e-3, 4e-3), (1000, 1001))


def star_cell(*means):
    """A cell with these mean accuracies; None where a trial failed."""
    values = {r: [m, m] for r, m in zip(STAR_GRID.rates, means, strict=True)}
    return GridResult(STAR_GRID, values, "path", "higher")


INSIDE, AT_EDGE, FAILED = (0.1, 0.9, 0.2), (0.1, 0.2, 0.9), (None, None, None)


@pytest.mark.parametrize(
    ("cells", "status", "begins", "words"),
    [
        ((INSIDE, INSIDE), 0, "to use it: ", "--tuned"),
        ((INSIDE, AT_EDGE), 0, "to use it as it is: ", "--unsettled"),
        ((INSIDE, FAILED), 1, "", ""),
        ((INSIDE, None), 75, "to go on: ", "--rates 0.001 0.002 0.004 --metric path"),
    ],
)
def test_the_next_command_fits_what_was_found(
    tmp_path, capsys, cells, status, begins, words
):
    results = [
        GridResult(STAR_GRID, None, "path", "higher")
        if one is None
        else star_cell(*one)
        for one in cells
    ]
    tune = Tune(
        sweep="star", rates=STAR_GRID.rates, metric="path", tuned=(Path("before.json"),)
    )
    assert tune._write_and_report(tmp_path / TABLE, results, 0) == status
    printed = capsys.readouterr()
    lines = [one for one in printed.out.splitlines() if one.startswith("to ")]
    assert len(lines) == bool(begins)
    for line in lines:
        assert line.startswith(f"{begins}python -m sweeps ")
        assert words in line
        assert ("--unsettled" in line) == (cells[1] == AT_EDGE)
        assert ("--seeds 3" in line) == line.startswith("to go on"), "those of trials"
        table = "" if cells[1] is None else f" {tmp_path / TABLE}"
        assert f"--tuned before.json{table}" in line
    assert ("some trials failed: star n1 at" in printed.err) == (FAILED in cells)


def test_a_launch_that_gave_up_is_to_go_on(tmp_path, capsys):
    tune = Tune(sweep="star")
    assert tune._write_and_report(tmp_path / TABLE, [star_cell(*INSIDE)], 1) == 1
    out = capsys.readouterr().out
    assert "to go on: python -m sweeps tune star" in out
    assert "to use it" not in out


def test_an_extension_is_told_by_its_last_rate(capsys):
    wider = replace(STAR_GRID, added=(8e-3, 1.6e-2))
    tell_extensions([star_cell(*AT_EDGE), star_cell(*INSIDE)], [wider, STAR_GRID])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("star n1: 0.004 is best")
    assert line.endswith("is extended by 0.016")


@pytest.mark.parametrize(
    ("accuracy", "alike"), [(1.0, False), (0.9, False), (0.89, True), (0.5, True)]
)
def test_rates_that_all_learn_the_task_are_settled(accuracy, alike):
    """A task that every rate learns needs no wider grid; one that none learns does."""
    measured = {one.run_id: {"validation/path": accuracy} for one in STAR_GRID.trials}
    found = GridResult.of(STAR_GRID, measured, "path")
    assert "loses up to 0 within a factor of 2" in found.describe()
    row = found.row()
    assert row["training"] == {"learning_rate": 2e-3}
    assert row["all_alike"] is alike
    assert (why_unsettled(row) is not None) is alike


@pytest.mark.parametrize(
    ("metric", "value", "alike"),
    [
        ("excess_loss/horizon=1,role=choice", 0.2, False),
        ("excess_loss/horizon=1,role=choice", 0.4, True),
        ("loss/horizon=1", 0.2, True),  # nobody says from which loss on it is learned
    ],
)
def test_losses_that_are_alike_are_learned_below_a_level(metric, value, alike):
    config = RunConfig(task=ChoicePointsConfig())
    grid = replace(STAR_GRID, example=config)
    values = {rate: [value, value] for rate in grid.rates}
    assert GridResult(grid, values, metric, "lower").none_is_best is alike

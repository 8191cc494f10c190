"""Runs of committed tables are done: a new machine trains what is missing alone."""

import json
import shutil

import polars as pl
import pytest

from analysis.__main__ import main as analysis
from sweeps.__main__ import main
from sweeps.collected_runs import TABLES, mark_collected, rows_of_runs
from sweeps.survey import survey
from sweeps.tuned_values import TABLE, read_table
from tests.conftest import tiny_run
from tests.sweeps.conftest import write_sweep


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A sweep of two runs, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return str(write_sweep(tmp_path, seeds=1, layers=(3,)))


def write_table(path, states):
    """A table of runs in these states, with one measurement a step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"run_id": run_id, "state": state, "step": step, "suite": "test"}
        | {"metric": "loss", "slice": "", "value": float(step)}
        for run_id, state in states.items()
        for step in (5, 12)
    ]
    pl.DataFrame(rows).write_parquet(path)


def test_a_new_machine_trains_what_no_table_has(path, tmp_path, capsys):
    assert main(["run", path, "--workers", "0", "--arms", "n1"]) == 0
    assert analysis(["collect"]) == 0
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert main(["plan", path]) == 0
    assert "(1 new, 1 done)" in capsys.readouterr().out
    assert main(["run", path, "--workers", "0"]) == 0
    out = capsys.readouterr().out
    assert f"1 done (collected) in {TABLES}/depths-quick.parquet; run --again" in out
    assert "1 to train in 1 packs" in out
    (folder,) = (tmp_path / "runs/depths-quick").glob("polynomial-*")
    assert folder.name.startswith("polynomial-n2")
    assert main(["status", path]) == 0
    assert "2 runs: 2 done" in (said := capsys.readouterr().out)
    assert "1 done (collected)" in said
    assert "next:" not in said
    assert main(["plan", path, "--again"]) == 0
    assert "(1 new, 1 done)" in capsys.readouterr().out
    assert main(["run", path, "--workers", "0", "--again"]) == 0
    assert len(list((tmp_path / "runs/depths-quick").glob("*/result.json"))) == 2


def test_a_folder_speaks_for_itself_and_only_done_runs_count(tmp_path):
    ids = [tiny_run(1, seed).run_id for seed in range(4)]
    write_table(
        tmp_path / "a.parquet", {ids[0]: "done", ids[1]: "failed", ids[2]: "done"}
    )
    write_table(tmp_path / "b.parquet", {ids[0]: "done", ids[1]: "done"})
    (tmp_path / "c.parquet").write_text("no table")
    failed = tmp_path / "runs" / ids[2]
    failed.mkdir(parents=True)
    stored = {"config": tiny_run(1, 2).to_dict()}
    (failed / "config.json").write_text(json.dumps(stored))
    (failed / "failure.json").write_text(json.dumps({"message": "it broke"}))
    configs = [tiny_run(1, seed) for seed in range(4)]
    found = survey(tmp_path / "runs", configs, tables=tmp_path)
    assert [run.state for run in found.runs] == ["done", "done", "failed", "new"]
    assert [sentence.partition(";")[0] for sentence in found.news[:2]] == [
        f"1 done (collected) in {tmp_path / name}.parquet" for name in "ab"
    ]
    assert f"Left out: {tmp_path / 'c.parquet'} is not a table: " in found.news[2]
    assert (
        mark_collected(survey(tmp_path / "runs", configs), tmp_path / "none").news == []
    )


def test_the_measurements_of_a_run_are_read(tmp_path):
    write_table(
        tmp_path / "a.parquet", {"one": "done", "two": "failed", "three": "done"}
    )
    row = rows_of_runs({"one", "two"}, tmp_path)["one"][-1]
    assert (row["step"], row["suite"], row["metric"], row["value"]) == (
        12,
        "test",
        "loss",
        12.0,
    )
    assert rows_of_runs({"two"}, tmp_path) == {}


def test_tuning_takes_trials_from_a_table(path, tmp_path, capsys):
    words = ["tune", path, "--workers", "0", "--seeds", "1", "--arms", "n1"]
    words += ["--rates", "1e-3", "1e-2", "1e-1", "--metric", "in_domain/loss/horizon=1"]
    assert main(words) == 0
    table = tmp_path / "runs/depths-quick-tuning" / TABLE
    rows = read_table(table)
    assert analysis(["collect"]) == 0
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert main(words) == 0
    assert "done (collected)" in capsys.readouterr().out
    assert read_table(table) == rows
    assert [entry.name for entry in table.parent.iterdir()] == [TABLE]


@pytest.mark.parametrize("content", [b"", b"no table", None])
def test_a_table_that_is_none_is_named_by_reproduce(tmp_path, capsys, content):
    path = tmp_path / "a.parquet"
    if content is not None:
        path.write_bytes(content)
    assert main(["reproduce", "polynomial-n1", "--table", str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {path} is not a table: ")
    assert len(err.splitlines()) == 1
    assert rows_of_runs(["polynomial-n1"], tmp_path) == {}

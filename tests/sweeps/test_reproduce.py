"""A run of a table, trained once more from its row alone."""

import json
import shutil

import polars as pl
import pytest

from analysis.__main__ import main as analysis
from sweeps.__main__ import main
from sweeps.collected_runs import TABLES, rows_of_runs
from tests.sweeps.conftest import write_sweep


@pytest.fixture
def run_id(tmp_path, monkeypatch):
    """A run that only the table `depths-quick` still has."""
    monkeypatch.chdir(tmp_path)
    path = str(write_sweep(tmp_path, seeds=1, layers=(3,)))
    assert main(["run", path, "--workers", "0", "--arms", "n2"]) == 0
    assert analysis(["collect"]) == 0
    shutil.rmtree("runs")
    return pl.read_parquet(TABLES / "depths-quick.parquet")["run_id"][0]


def test_every_number_of_a_run_comes_out_equal(run_id, capsys):
    rows = pl.read_parquet(TABLES / "depths-quick.parquet").height
    assert main(["reproduce", run_id, "--json"]) == 0
    compared = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert compared["numbers"] == compared["equal"] == rows > 0
    assert main(["reproduce", run_id]) == 0  # trained already: compared alone
    assert f"{rows} of {rows} numbers are equal" in capsys.readouterr().out


def test_a_copy_is_no_result(run_id, capsys):
    """A table that sorts after `reproduced` was hidden by one of copies."""
    path = TABLES / "depths-quick.parquet"
    path = path.rename(path.with_name("star-quick.parquet"))
    assert main(["reproduce", run_id]) == 0
    assert analysis(["collect"]) == 2
    assert "holds no sweep" in capsys.readouterr().err
    assert list(TABLES.glob("*.parquet")) == [path]
    assert main(["reproduce", run_id]) == 0
    assert f"{path}: " in capsys.readouterr().out


def test_probes_are_not_compared(run_id, capsys):
    path = TABLES / "depths-quick.parquet"
    table = pl.read_parquet(path)
    probe = table.head(1).with_columns(suite=pl.lit("probe/test"))
    pl.concat([table, probe]).write_parquet(path)
    assert main(["reproduce", run_id]) == 0
    assert f"{table.height} of {table.height} numbers" in capsys.readouterr().out


def test_a_damaged_table_hides_no_other(run_id, capsys):
    (TABLES / "a.parquet").write_bytes(b"junk")
    assert main(["reproduce", run_id]) == 0
    assert f"Left out: {TABLES / 'a.parquet'} is not a table" in capsys.readouterr().err


def test_a_table_and_a_run_may_lie_in_a_folder_with_brackets(run_id, capsys):
    folder = TABLES.with_name("kept[1]")
    TABLES.rename(folder)
    words = ["--table", str(folder / "depths-quick.parquet"), "--runs", "again[1]"]
    assert main(["reproduce", run_id, *words]) == 0
    assert "numbers are equal" in capsys.readouterr().out
    assert run_id in rows_of_runs([run_id], folder)


def test_a_number_that_differs_is_named(run_id, capsys):
    path = TABLES / "depths-quick.parquet"
    table = pl.read_parquet(path).with_row_index()
    other = pl.when(index=0).then(pl.lit(-1.0)).otherwise("value")
    table.with_columns(value=other).drop("index").write_parquet(path)
    assert main(["reproduce", run_id]) == 1
    out = capsys.readouterr().out
    assert f"{table.height - 1} of {table.height} numbers are equal" in out
    first = table.row(0, named=True)
    assert f"{first['suite']}/{first['metric']}/{first['slice']} at step" in out
    assert f"{first['value']} now, -1.0 before" in out


def test_numbers_that_are_missing_are_counted_and_named(run_id, capsys):
    """The new run lacks some, as when a task measures less than it did; then all."""
    path = TABLES / "depths-quick.parquet"
    table = pl.read_parquet(path)
    other = pl.concat([table, table.head(1).with_columns(metric=pl.lit("gone"))])
    other.write_parquet(path)
    assert main(["reproduce", run_id]) == 1
    out = capsys.readouterr().out
    assert f"{table.height} of {other.height} numbers are equal\n" in out
    first = table.row(0, named=True)
    assert f"1 are missing, first {first['suite']}/gone/" in out
    assert f"None now, {first['value']} before" in out
    table.with_columns(metric=pl.lit("gone")).unique("step").write_parquet(path)
    assert main(["reproduce", run_id, "--json"]) == 1
    compared = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert compared["equal"] == 0
    assert compared["missing"] == compared["numbers"] > 0


def test_an_unknown_run_is_a_mistake_in_words(run_id, capsys):
    assert main(["reproduce", "polynomial-n9"]) == 2
    assert "polynomial-n9 is not among the done runs" in capsys.readouterr().err

"""A table is added to: no run is lost, and no result replaced, without being asked."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import polars as pl
import pytest

import analysis.parquet
from analysis.__main__ import main
from analysis.collect import collect
from analysis.merging import _keep_unmeasured, merge_tables
from analysis.parquet import lock_folder, read, write
from analysis.schema import ORDER
from tests.analysis.conftest import (
    other_seed,
    polynomial_rows,
    polynomial_run,
    write_run,
    write_stories_sweep,
)
from tests.conftest import PATIENCE_S


def half(m, step):
    return 0.5


def all_right(m, step):
    return 1.0


def test_a_run_without_a_folder_stays_until_it_is_dropped(sweep):
    first = collect(sweep)
    gone = sorted(sweep.iterdir())[0]
    shutil.rmtree(gone)
    again = collect(sweep, previous=first.frame)
    assert again.frame.equals(first.frame)
    assert again.states == {"done": 10}
    assert (again.from_table, again.changed) == (1, False)
    fewer = collect(sweep, previous=first.frame, drop_missing=True)
    assert gone.name not in fewer.frame["run_id"].to_list()
    assert (fewer.states, fewer.from_table) == ({"done": 9}, 0)
    assert fewer.frame.equals(collect(sweep).frame)


def test_another_folder_of_that_name_adds_its_runs(sweep, tmp_path):
    """A large committed table, and a small folder of equal name."""
    first = collect(sweep)
    other = tmp_path / "elsewhere" / sweep.name
    config = polynomial_run(seed=99)
    write_run(other, config, polynomial_rows(config, half))
    both = collect(other, previous=first.frame)
    assert both.frame["run_id"].n_unique() == 11
    assert both.from_table == 10
    old = both.frame.filter(pl.col("run_id") != config.run_id)
    assert old.equals(first.frame)
    assert both.frame.equals(both.frame.sort("run_id", maintain_order=True))


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_finished_run_is_not_replaced_by_one_that_is_not(tmp_path, state):
    config = polynomial_run()
    write_run(tmp_path / "a", config, polynomial_rows(config, half))
    first = collect(tmp_path / "a", "s")
    rows = polynomial_rows(config, half, steps=(0,))
    write_run(tmp_path / "b", config, rows, state=state)
    again = collect(tmp_path / "b", "s", first.frame)
    assert again.frame.equals(first.frame)
    assert again.states == {"done": 1}
    assert f"its folder is {state}" in again.problems[config.run_id]
    back = collect(tmp_path / "a", "s", collect(tmp_path / "b", "s").frame)
    assert back.frame.equals(first.frame), "the other way round it is"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (lambda c: polynomial_rows(c, all_right), "0.5 against 1.0"),
        (lambda c: polynomial_rows(c, half)[:-60], "against nothing"),
        (lambda c: [], "against nothing"),
    ],
)
def test_two_results_of_one_run_are_an_error_that_names_both(
    tmp_path, capsys, rows, words
):
    config, other = polynomial_run(), polynomial_run(seed=1)
    runs, results = tmp_path / "runs", tmp_path / "results"
    write_run(
        runs / "s", config, polynomial_rows(config, half, steps=range(0, 101, 10))
    )
    command = ["collect", "--runs", str(runs), "--results", str(results)]
    assert main(command) == 0
    before = read(results / "s.parquet")
    shutil.rmtree(runs / "s")
    found = rows(config)
    write_run(runs / "s", config, found)
    write_run(runs / "s", other, polynomial_rows(other, half))
    capsys.readouterr()
    assert main(command) == 2
    err = capsys.readouterr().err
    assert str(results / "s.parquet") in err
    assert config.run_id in err
    assert "different results of one run" in err
    assert words in err
    after = read(results / "s.parquet")
    assert after.filter(pl.col("run_id") == config.run_id).equals(before)
    assert other.run_id in after["run_id"].to_list(), "neighbours are collected"
    assert main([*command, "--replace"]) == 0
    values = read(results / "s.parquet").filter(pl.col("run_id") == config.run_id)
    assert values["step"].drop_nulls().len() == len(found)


def test_a_copy_that_is_done_counts_before_an_original_that_is_not(tmp_path):
    config = polynomial_run()
    write_run(tmp_path / "s", config, [], state="stopped")
    (tmp_path / "s" / config.run_id).rename(tmp_path / "s" / "a-copy")
    write_run(tmp_path / "s", config, polynomial_rows(config, half))
    found = collect(tmp_path / "s")
    assert found.states == {"done": 1}
    assert "second folder" in found.problems["a-copy"]


def test_probes_that_only_the_table_has_are_kept(tmp_path):
    config = polynomial_run()
    rows = polynomial_rows(config, half)
    folder = write_run(tmp_path / "s", config, rows)
    lines = (folder / "metrics.jsonl").read_text()
    (folder / "probe-law.jsonl").write_text(lines)
    first = collect(tmp_path / "s")
    (folder / "probe-law.jsonl").unlink()
    again = collect(tmp_path / "s", previous=first.frame)
    assert again.frame.drop("stamp").equals(first.frame.drop("stamp"))
    (folder / "probe-law.jsonl").write_text(lines.replace("0.5", "0.7"))
    newer = collect(tmp_path / "s", previous=first.frame)
    assert not newer.errors
    probed = newer.frame.filter(pl.col("suite").str.starts_with("probe/"))
    assert probed.filter(pl.col("value") == 0.7).height > 0
    assert probed.filter(pl.col("value") == 0.5).height == 0


def test_metrics_that_only_the_table_has_keep_their_counts(tmp_path):
    write_stories_sweep(tmp_path / "s", sizes=("1M",), seeds=1)
    first = collect(tmp_path / "s")
    folder = sorted((tmp_path / "s").iterdir())[0]
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    whole = [line for line in lines if '"slice": ""' in line]
    assert 0 < len(whole) < len(lines)
    kept = [line for line in lines if line not in whole]
    (folder / "metrics.jsonl").write_text("".join(kept))
    (folder / "items.jsonl").unlink()
    again = collect(tmp_path / "s", previous=first.frame)
    assert again.reread == 1
    assert again.frame.drop("stamp").equals(first.frame.drop("stamp"))


def test_a_full_disk_is_one_message_and_the_old_table_stays(
    sweep, tmp_path, monkeypatch, capsys
):
    results = tmp_path / "results"
    command = ["collect", "--runs", str(sweep.parent), "--results", str(results)]
    assert main(command) == 0
    path = results / f"{sweep.name}.parquet"
    before = path.read_bytes()
    config = polynomial_run(seed=50)
    write_run(sweep, config, polynomial_rows(config, half))

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("os.fsync", full)
    capsys.readouterr()
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert err.count("\n") == 1
    assert path.read_bytes() == before
    assert [p.name for p in results.iterdir()] == [path.name], "no litter"


def test_a_full_disk_under_one_table_does_not_stop_the_others(
    sweep, tmp_path, monkeypatch, capsys
):
    """Each table that cannot be written is named."""
    config = polynomial_run(seed=50)
    for name in ("one", "two", "three"):
        write_run(tmp_path / "runs" / name, config, polynomial_rows(config, half))
    results = tmp_path / "results"
    whole = analysis.parquet.write_atomically

    def full(path, content):
        if path.stem != "three":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        whole(path, content)

    monkeypatch.setattr("analysis.parquet.write_atomically", full)
    command = ["collect", "--runs", str(tmp_path / "runs"), "--results", str(results)]
    assert main(command) == 2
    assert [path.name for path in results.iterdir()] == ["three.parquet"]
    said = "No space left on device. Make room, then call again."
    assert capsys.readouterr().err.splitlines() == [
        f"error: {name}: {results / name}.parquet: {said}" for name in ("one", "two")
    ]


@pytest.mark.parametrize("command", ["collect", "merge"])
def test_a_table_outlives_the_kill_of_a_process_that_writes_it(
    sweep, tmp_path, command
):
    results = tmp_path / "results"
    collecting = ["collect", "--runs", str(sweep.parent), "--results", str(results)]
    assert main(collecting) == 0
    (path,) = results.iterdir()
    before = path.read_bytes()
    config = polynomial_run(seed=50)
    other = write_run(tmp_path / "here" / sweep.name, config, []).parent
    merging = ["merge", str(path), str(other), "--to", str(path)]
    if command == "collect":
        write_run(sweep, config, [])
    code = (
        "import os, signal, sys; from analysis.__main__ import main\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "main(sys.argv[1:])"
    )
    words = collecting if command == "collect" else merging
    killed = subprocess.run([sys.executable, "-c", code, *words], timeout=PATIENCE_S)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    assert len(list(results.iterdir())) == 2
    assert main(words) == 0
    assert list(results.iterdir()) == [path]
    assert config.run_id in read(path)["run_id"]


def test_nothing_new_writes_nothing(sweep, tmp_path, monkeypatch):
    results = tmp_path / "results"
    command = ["collect", "--runs", str(sweep.parent), "--results", str(results)]
    assert main(command) == 0
    monkeypatch.setattr("analysis.commands.write", None)
    monkeypatch.setattr("analysis.parquet.read", None)
    assert main(command) == 0


def test_collections_at_once_take_turns_and_lose_nothing(tmp_path):
    """Each from its own folder of runs into one table."""
    base, results = polynomial_run(), tmp_path / "results"
    commands = []
    for seed in range(3):
        config = other_seed(base, seed)
        root = tmp_path / f"runs-{seed}"
        write_run(root / "s", config, polynomial_rows(config, half))
        commands.append(
            [sys.executable, "-m", "analysis", "collect", "--runs", str(root)]
        )
    started = [
        subprocess.Popen([*command, "--results", str(results)], stderr=subprocess.PIPE)
        for command in commands
    ]
    for process in started:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, err) == (0, b"")
    assert read(results / "s.parquet")["run_id"].n_unique() == 3
    assert [path.name for path in results.iterdir()] == ["s.parquet"]


def test_a_collection_that_hangs_is_not_waited_for_for_ever(
    sweep, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("analysis.parquet.LOCK_TIMEOUT_S", 0.1)
    held, done = threading.Event(), threading.Event()

    def hold():
        with lock_folder(tmp_path / "results"):
            held.set()
            done.wait(PATIENCE_S)

    holder = threading.Thread(target=hold)
    holder.start()
    command = ["collect", "--runs", str(sweep.parent)]
    try:
        assert held.wait(PATIENCE_S)
        assert main([*command, "--results", str(tmp_path / "results")]) == 2
    finally:
        done.set()
        holder.join()
    assert "Another collection has been writing" in capsys.readouterr().err
    assert main([*command, "--results", str(tmp_path / "results")]) == 0


def test_one_sweep_that_cannot_be_collected_does_not_stop_the_others(
    sweep, tmp_path, capsys
):
    results = tmp_path / "results"
    results.mkdir()
    config = polynomial_run()
    write_run(sweep.parent / "a", config, polynomial_rows(config, half))
    (results / "a.parquet").write_bytes(b"torn")
    command = ["collect", "--runs", str(sweep.parent), "--results", str(results)]
    assert main(command) == 2
    assert "a.parquet is no table of a sweep" in capsys.readouterr().err
    assert (results / "a.parquet").read_bytes() == b"torn"
    assert read(results / f"{sweep.name}.parquet")["run_id"].n_unique() == 10


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "/tmp", ".hidden"])
def test_names_of_sweeps_are_no_paths(sweep, tmp_path, capsys, name):
    command = ["collect", "--runs", str(sweep.parent), "--results", str(tmp_path / "r")]
    assert main([*command, name]) == 2
    assert "SWEEP must be a folder of runs" in capsys.readouterr().err
    assert list((tmp_path / "r").iterdir()) == []


def test_json_says_what_was_kept(sweep, tmp_path, capsys):
    command = ["collect", "--runs", str(sweep.parent), "--results", str(tmp_path / "r")]
    assert main(command) == 0
    shutil.rmtree(sorted(sweep.iterdir())[0])
    capsys.readouterr()
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["from_table"], printed["reread"]) == (1, 0)
    assert main([*command, "--drop-missing"]) == 0
    assert "9 runs" in capsys.readouterr().out


def write_machine(root, seeds, states=("done",), score=half):
    """The runs of one machine, as a table."""
    for seed in seeds:
        config = polynomial_run(seed=seed)
        for state in states:
            steps = (0, 50, 100) if state == "done" else (0,)
            rows = polynomial_rows(config, score, steps)
            write_run(root, config, rows, state=state)
    return collect(root).frame


def test_tables_of_machines_become_one(tmp_path, capsys):
    """A run in both counts once, as it is where it is done."""
    here = write_machine(tmp_path / "here", (0, 1))
    there = write_machine(tmp_path / "there", (2,))
    unfinished = write_machine(tmp_path / "late", (1, 3), states=("stopped",))
    for name, frame in (("here", here), ("there", there), ("late", unfinished)):
        write(frame, tmp_path / f"{name}.parquet")
    words = [
        "merge",
        *(str(tmp_path / f"{n}.parquet") for n in ("late", "here", "there")),
    ]
    assert main([*words, "--to", "all", "--results", str(tmp_path / "results")]) == 0
    assert "4 runs, 3 of them done" in capsys.readouterr().out
    joined = read(tmp_path / "results" / "all.parquet")
    for frame in (here, there):
        same = joined.filter(pl.col("run_id").is_in(frame["run_id"].implode()))
        columns = [name for name in same.columns if name != "sweep"]
        assert same.select(columns).equals(frame.select(columns))
    assert main([*words, "--to", "all", "--results", str(tmp_path / "results")]) == 2
    assert "all.parquet exists. Name it among the tables" in capsys.readouterr().err


def test_two_results_of_one_run_name_both_tables(tmp_path):
    here = write_machine(tmp_path / "here", (0,))
    there = write_machine(tmp_path / "there", (0,), score=all_right)
    with pytest.raises(
        ValueError, match=r"here and there hold different results.*0\.5"
    ):
        merge_tables({"here": here, "there": there})
    with pytest.raises(ValueError, match="here and there hold different results"):
        merge_tables({"here": here, "again": here, "there": there})
    assert merge_tables({"here": here, "there": here}).equals(here)


@pytest.mark.parametrize("part", ["of=new", None])
def test_a_metric_that_a_later_version_added_is_no_other_result(tmp_path, part):
    """Whichever copies are the newer ones, their additional numbers are kept, once."""
    old = write_machine(tmp_path / "runs" / "s", (0,))
    kind = pl.lit(part, pl.String())
    added = old.head(1).with_columns(metric=pl.lit("accuracy"), slice=kind)
    new = pl.concat([old, added]).sort(*ORDER)
    for copies in ((old, new), (new, old), (old, new, new), (new, old, new)):
        tables = {str(place): copy for place, copy in enumerate(copies)}
        assert merge_tables(tables).equals(new)
    again = collect(tmp_path / "runs" / "s", previous=new, full=True)
    assert not again.errors
    assert again.frame.drop("stamp").equals(new.drop("stamp"))


def test_probes_of_another_machine_are_kept(tmp_path):
    here = write_machine(tmp_path / "here", (0,))
    probed = here.head(1).with_columns(suite=pl.lit("probe/test"), metric=pl.lit("gap"))
    there = pl.concat([here, probed]).sort("run_id", "step", "suite")
    joined = merge_tables({"here": here, "there": there})
    assert joined.height == here.height + 1
    assert joined.filter(pl.col("suite") == "probe/test").height == 1


def test_a_probe_is_kept_whole_or_not_at_all():
    def rows(*measured):
        names = ["run_id", "suite", "metric", "slice"]
        return pl.DataFrame(
            [("r", *one, "") for one in measured], schema=names, orient="row"
        )

    probe = [("probe/test", "a"), ("probe/test", "b"), ("probe/other", "b")]
    earlier = rows(("test", "a"), ("test", "b"), *probe)
    kept = _keep_unmeasured(earlier, rows(("test", "a"), ("probe/test", "a")))
    assert sorted(kept["suite"] + " " + kept["metric"]) == ["probe/other b", "test b"]

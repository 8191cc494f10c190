"""One broken entry is named and costs itself alone: folders, files of runs, tables."""

import hashlib
import json
import os
import shutil

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.__main__ import main
from analysis.collect import collect
from analysis.parquet import encode_table, read, read_all, write
from analysis.schema import CONFIGURED, REQUIRED, SWEEP_SCHEMA
from analysis.statements import judge_all
from sweeps.survey import survey
from synth.config import RunConfig
from synth.disk.files import seal
from synth.tasks.running_text import TextConfig
from synth.training import train
from tests.analysis.conftest import (
    other_seed,
    polynomial_rows,
    polynomial_run,
    write_polynomial_sweep,
    write_probed_sweep,
    write_run,
    write_stories_sweep,
)
from tests.conftest import tiny_run

FILES = ("config", "result", "failure", "environment")


@pytest.fixture
def pair(tmp_path):
    """A sound run, and the folder of another one, to be broken."""
    good = polynomial_run()
    write_run(tmp_path / "s", good, polynomial_rows(good, half))
    bad = other_seed(good, 1)
    return (
        tmp_path / "s",
        good.run_id,
        write_run(tmp_path / "s", bad, polynomial_rows(bad, half)),
    )


def half(m, step):
    return 0.5


def neighbours_are_whole(found, good):
    return found.frame.filter(pl.col("run_id") == good)["value"].len() == 30


def break_folder(folder, how):
    moved = folder.rename(folder.parent.parent / "moved")
    if how == "dangling link":
        folder.symlink_to(folder.parent / "gone")
    elif how == "link to itself":
        folder.symlink_to(folder)
    elif how == "link that works":
        folder.symlink_to(moved)
    elif how == "file":
        folder.write_text("no folder")
    else:
        folder.mkdir()
        if how == "no config":
            (folder / "metrics.jsonl").write_text("")
        elif how == "config is a folder":
            (folder / "config.json").mkdir()
        elif how == "config is a pipe":
            os.mkfifo(folder / "config.json")
        else:
            (folder / "config.json").write_text("{}")
            os.mkfifo(folder / how)


@pytest.mark.parametrize(
    "how",
    [
        *("dangling link", "link to itself", "no config", "config is a folder"),
        *("config is a pipe", "metrics.jsonl", "items.jsonl", "probe-law.jsonl"),
        *("result.json", "failure.json"),
    ],
)
def test_a_folder_that_cannot_be_read_is_named_and_left_out(pair, how):
    root, good, folder = pair
    before = collect(root)
    break_folder(folder, how)
    found = collect(root)
    assert found.states == {"done": 1}
    assert neighbours_are_whole(found, good)
    assert found.problems[folder.name].startswith("left out: ")
    again = collect(root, previous=before.frame)
    assert again.frame.equals(before.frame), "what was collected before stays"
    assert folder.name in again.problems


@pytest.mark.parametrize(("how", "runs"), [("file", 1), ("link that works", 2)])
def test_what_is_no_run_is_passed_over_and_links_are_followed(pair, how, runs):
    root, _, folder = pair
    break_folder(folder, how)
    found = collect(root)
    assert found.states == {"done": runs}
    assert not found.problems


def test_a_folder_that_may_not_be_read_is_named(pair, monkeypatch):
    root, good, folder = pair
    plain = os.scandir

    def scandir(path):
        if str(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr("os.scandir", scandir)
    found = collect(root)
    assert neighbours_are_whole(found, good)
    assert "Permission denied" in found.problems[folder.name]


def test_metrics_that_training_did_not_write_are_named_and_left_out(pair):
    root, _, folder = pair
    metrics = folder / "metrics.jsonl"
    digest = hashlib.sha256(metrics.read_bytes()).hexdigest()
    result = {"run_id": folder.name, "metrics_sha256": digest}
    (folder / "result.json").write_text(json.dumps(seal(result)))
    whole = collect(root)
    assert whole.states == {"done": 2}
    metrics.write_text(metrics.read_text().replace("0.5", "0.4", 1))
    found = collect(root)
    assert found.states == {"done": 1}
    assert "metrics.jsonl was changed or cut" in found.problems[folder.name]
    kept = collect(root, previous=whole.frame)
    assert kept.frame.equals(whole.frame)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a finished run."""
    root = tmp_path_factory.mktemp("trained")
    train([tiny_run()], root)
    return root


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "result.json"])
@pytest.mark.parametrize("how", ["empty", "cut", "zeros", "other", "gone"])
def test_everyone_agrees_about_what_is_done(trained, tmp_path, name, how):
    """Training, `status` and `collect`; none of them changes a damaged file."""
    run = tiny_run()
    root = tmp_path / "s"
    shutil.copytree(trained, root)
    path = root / run.run_id / name
    whole = path.read_bytes()
    broken = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "zeros": bytes(len(whole)),
        "other": whole.replace(b'"', b"'", 2),
        "gone": None,
    }[how]
    path.unlink()
    if broken is not None:
        path.write_bytes(broken)
    (standing,) = survey(root, [run]).runs
    found = collect(root)
    if (name, how) == ("result.json", "gone"):
        assert (standing.state, found.states) == ("stopped", {"stopped": 1})
        return
    assert (standing.state, found.states) == ("unreadable", {})
    left_out = f"left out: {standing.error}"
    if (name, how) == ("config.json", "gone"):
        left_out = "left out: it has no config.json"
        path = path.parent
    assert found.problems == {run.run_id: left_out}
    assert standing.error.count(str(path)) == 1
    before = content_of(root)
    (outcome,) = train([run], root)
    assert (outcome.state, outcome.message) == ("failed", standing.error)
    assert content_of(root) == before


def content_of(folder):
    """The files below a folder, by path."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.just("\ud800") | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["config", "sessions", "seconds", "code",
        "commit", "device", "task", "kind", "model", "scale", "message"]), inner,
        max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.sampled_from(FILES), value=VALUES)
def test_any_json_in_a_file_of_a_run_costs_that_run_alone(pair, name, value):
    root, good, folder = pair
    kept = {one: (folder / one).read_bytes() for one in os.listdir(folder)}
    (folder / f"{name}.json").write_text(json.dumps(value))
    try:
        assert neighbours_are_whole(collect(root), good)
    finally:
        for path in folder.iterdir():
            path.unlink()
        for one, content in kept.items():
            (folder / one).write_bytes(content)


@pytest.mark.parametrize("column", CONFIGURED)
@pytest.mark.parametrize("value", ["odd", [1], 10**400])
def test_a_setting_of_a_wrong_type_is_named(pair, column, value):
    root, good, folder = pair
    stored = json.loads((folder / "config.json").read_text())
    *parents, name = CONFIGURED[column][0].split(".")
    owner = stored["config"]
    for parent in parents:
        owner = owner.setdefault(parent, {})
    owner[name] = value
    (folder / "config.json").write_text(json.dumps(stored))
    found = collect(root)
    assert neighbours_are_whole(found, good)
    got = found.frame.filter(pl.col("run_id") == folder.name)[column].unique().to_list()
    if got == [None]:
        problem = found.problems[folder.name]
        assert "config.json" in problem
        assert CONFIGURED[column][0] in problem
    else:
        assert got == [value]


@pytest.mark.parametrize("horizon", [2**31, 2**62])
def test_a_horizon_that_no_model_has_takes_no_time(pair, horizon):
    root, good, folder = pair
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["objective"]["horizon"] = horizon
    (folder / "config.json").write_text(json.dumps(stored))
    found = collect(root)
    assert neighbours_are_whole(found, good)
    row = found.frame.filter(pl.col("run_id") == folder.name).row(0, named=True)
    assert (row["arm"], row["flops_per_token"]) == (None, None)
    assert "objective is" in found.problems[folder.name]


@pytest.mark.parametrize("key", ["step", "tokens", "suite", "metric", "slice", "count"])
@pytest.mark.parametrize("value", [None, "odd", 1.5, [1], 10**30])
def test_odd_values_in_a_line_cost_that_line(pair, key, value):
    root, good, folder = pair
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    row = json.loads(lines[3]) | {key: value}
    if value is not None and isinstance(json.loads(lines[3])[key], str):
        return  # a name, as good as any
    lines[3] = json.dumps(row)
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "probe-law.jsonl").write_text(lines[3] + "\n")
    found = collect(root)
    assert neighbours_are_whole(found, good)
    problem = found.problems[folder.name]
    assert "metrics.jsonl: 1 unreadable lines" in problem
    assert "probe-law.jsonl: 1 unreadable lines" in problem
    assert found.frame.filter(pl.col("run_id") == folder.name).height == 29


def test_lines_of_another_run_are_no_lines_of_this_one(pair):
    root, good, folder = pair
    with (folder / "metrics.jsonl").open("a") as file:
        file.write((root / good / "metrics.jsonl").read_text().replace("0.5", "0.9"))
    found = collect(root)
    assert neighbours_are_whole(found, good)
    assert 0.9 not in found.frame["value"].to_list()
    problem = found.problems[folder.name]
    assert problem == "metrics.jsonl: 30 lines of another run"


@pytest.mark.parametrize(
    "counts", [[1.5], ["a"], [[1]], [-1], [2**32], [True], {"a": 1}, 3, None, [10**30]]
)
def test_odd_counts_by_item_cost_their_line(pair, counts):
    root, good, folder = pair
    names = {"step": 1, "suite": "s", "metric": "m", "slice": ""}
    line = json.dumps(names | {"right": counts, "number": counts})
    (folder / "items.jsonl").write_text(line + "\n")
    found = collect(root)
    assert neighbours_are_whole(found, good)
    assert found.problems[folder.name] == "items.jsonl: 1 unreadable lines"


# Tables


@pytest.fixture
def tables(sweep, tmp_path):
    """A folder with one sound table."""
    folder = tmp_path / "results"
    write(collect(sweep).frame, folder / "sound.parquet")
    return folder


def spoil(path, how, sound):
    content = encode_table(sound)
    if how == "torn":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "foreign":
        pl.DataFrame({"a": [1, 2]}).write_parquet(path)
    elif how == "wrong type":
        sound.with_columns(step=pl.lit("x")).write_parquet(path)
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "link":
        path.symlink_to(path.parent / "gone")
    elif how == "no ids":
        nothing = pl.lit(None, pl.String())
        sound.with_columns(run_id=nothing, state=nothing).write_parquet(path)
    else:
        middle = len(content) // 3
        path.write_bytes(content[:middle] + b"\xff" * 200 + content[middle + 200 :])


@pytest.mark.parametrize(
    "how",
    [
        *("torn", "empty", "foreign", "wrong type", "folder", "pipe", "link"),
        *("no ids", "overwritten"),
    ],
)
def test_one_spoilt_table_does_not_block_the_others(tables, capsys, how):
    sound = read(tables / "sound.parquet")
    spoil(tables / "spoilt.parquet", how, sound)
    given = ["--results", str(tables)]
    assert main(["claims", "C7", *given]) == 0
    err = capsys.readouterr().err
    assert err.count("spoilt.parquet") == 1
    assert "left out: " in err
    assert read_all(tables).equals(sound)


def test_only_spoilt_tables_are_a_message(tmp_path, capsys):
    (tmp_path / "a.parquet").write_bytes(b"nothing")
    assert main(["claims", "--results", str(tmp_path)]) == 2
    assert "a.parquet" in capsys.readouterr().err


UNREAD = [
    *("scored", "precision", "degree", "tree", "fixed_stories"),
    *("stories_parts", "problem", "flops_per_token", "training_seconds", "lanes"),
    *("device", "step_form", "commit", "stamp"),
]
"""Columns without which every claim is judged: they may hold anything."""
READ = [name for name in SWEEP_SCHEMA if name not in UNREAD]


@pytest.fixture(scope="module")
def few_runs(tmp_path_factory):
    """Runs of all families at one size, two seeds a cell."""
    root = tmp_path_factory.mktemp("few")
    write_polynomial_sweep(root / "p", seeds=2, pauses=(0, 5))
    write_stories_sweep(root / "s", sizes=("1M",), seeds=2)
    write_probed_sweep(root / "c", seeds=2)
    return pl.concat(collect(root / name).frame for name in ("p", "s", "c"))


@pytest.mark.parametrize("column", READ)
def test_a_column_of_nothing_breaks_no_verdict(few_runs, column):
    nothing = pl.lit(None, SWEEP_SCHEMA[column]).alias(column)
    assert judge_all(few_runs.with_columns(nothing))


def test_no_verdict_reads_the_other_columns(few_runs):
    assert judge_all(few_runs.drop(UNREAD)) == judge_all(few_runs)


@pytest.mark.parametrize("name", REQUIRED)
def test_a_table_without_a_column_of_old_is_no_table(tables, name):
    sound = read(tables / "sound.parquet")
    sound.drop(name).write_parquet(tables / "less.parquet")
    with pytest.raises(ValueError, match=f"has no column '{name}'"):
        read(tables / "less.parquet")


def test_different_results_in_two_tables_are_named(tables, capsys):
    sound = read(tables / "sound.parquet")
    other = sound.with_columns(pl.col("value") + 0.1)
    write(other, tables / "twin.parquet")
    assert read_all(tables).equals(sound)
    err = capsys.readouterr().err
    assert "sound.parquet" in err
    assert "twin.parquet" in err
    write(sound, tables / "twin.parquet")
    assert read_all(tables).equals(sound)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("corpus", ["present", "moved"])
def test_a_run_that_is_stored_without_a_digest_is_named(pair, tmp_path, corpus):
    root = pair[0]
    file = tmp_path / "corpus.txt"
    file.write_text("one two three " * 99)
    run = RunConfig(task=TextConfig(corpus=str(file)))
    folder = write_run(root, run, [])
    path = folder / "config.json"
    assert collect(root).problems == {}
    stored = json.loads(path.read_text())
    stored["config"]["task"]["corpus_digest"] = ""
    path.write_text(json.dumps(stored))
    if corpus == "moved":
        file.rename(tmp_path / "elsewhere.txt")
    found = collect(root)
    assert found.states == {"done": 3}
    (problem,) = found.problems.values()
    said = {
        "present": f"it lacks task.corpus_digest ({run.task.corpus_digest}). Restore it",
        "moved": "describes no run of this version: The corpus 'corpus.txt' does not exist",
    }
    assert said[corpus] in problem


def test_a_configuration_of_another_run_is_named(pair):
    root, good, folder = pair
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["training"]["steps"] += 1
    (folder / "config.json").write_text(json.dumps(stored))
    changed = RunConfig.from_dict(stored["config"]).run_id
    found = collect(root)
    assert f"it describes {changed}" in found.problems[folder.name]
    assert neighbours_are_whole(found, good)

"""A table names files, and never says where they lie on somebody's disk."""

import dataclasses
import json
import socket

import polars as pl
import pytest

import synth
from analysis.__main__ import main as analysis
from analysis.collect import collect
from sweeps.__main__ import main as sweeps
from synth.config import RunConfig
from synth.families.family import members
from synth.families.plugins import FOLDER
from synth.identity import Part, is_location
from synth.tasks.running_text import TextConfig
from tests.analysis.conftest import write_run
from tests.conftest import two_steps

SECRET = "/home/My Name/data"
DEFAULTS = {"text": TextConfig(corpus=f"{SECRET}/t.txt", corpus_digest="0" * 64)}
"""Tasks that need a file."""


def fill_places(part):
    """The stored values of a part, with a place for each of its files; their names."""
    stored, names = part.to_dict(), []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if is_location(field):
            names.append(f"my {field.name}.txt")
            stored[field.name] = f"{SECRET}/{names[-1]}"
        elif field.name.endswith("digest"):
            stored[field.name] = value or "0" * 64
        elif isinstance(value, Part):
            inner, more = fill_places(value)
            stored[field.name] |= inner
            names += more
    return stored, names


def written(tmp_path, kind):
    """A failed run of a task with places wherever its folder may hold them."""
    task = DEFAULTS.get(kind) or members("task")[kind]()
    config = RunConfig(task=task)
    folder = write_run(tmp_path / "runs", config, [], state="failed")
    values, names = fill_places(task)
    stored = json.loads((folder / "config.json").read_bytes())
    stored["config"]["task"] |= values
    plugin = {"path": f"{SECRET}/mine.py", "sha256": "0" * 64}
    stored["config"][FOLDER] = [plugin]
    (folder / "config.json").write_text(json.dumps(stored))
    places = [f"{SECRET}/{name}" for name in names]
    said = (
        f"OSError: {places}; {SECRET}/mine.py, '{SECRET}/x.json' and {folder}/a: torn"
    )
    (folder / "failure.json").write_text(json.dumps({"message": said}))
    session = {
        "host": socket.gethostname(),
        "command": [f"{SECRET}/python"],
        "device": "x86_64",
    }
    (folder / "environment.json").write_text(json.dumps({"sessions": [session]}))
    return names


def texts(frame):
    """All values of the table's columns of text."""
    columns = frame.select(pl.col(pl.String))
    return {str(value) for column in columns for value in column.drop_nulls()}


@pytest.mark.parametrize("kind", members("task"))
def test_no_column_holds_a_place(kind, tmp_path):
    names = written(tmp_path, kind)
    frame = collect(tmp_path / "runs").frame
    for text in texts(frame):
        for place in ("My Name", "/home", str(tmp_path), socket.gethostname()):
            assert place not in text
    row = frame.row(0, named=True)
    for name in (*names, "mine.py", "x.json"):
        assert name in row["problem"]
    for name in names:
        assert f'"{name}"' in row["config"]
    assert FOLDER not in json.loads(row["config"])


def test_a_task_that_is_unknown_here_keeps_no_place_either(tmp_path):
    written(tmp_path, "maze")
    (path,) = (tmp_path / "runs").glob("*/config.json")
    stored = json.loads(path.read_bytes())
    other = {"kind": "mine", "corpus": f"{SECRET}/a.txt", "parts": [f"{SECRET}/b"]}
    stored["config"]["task"] = other | {"rule": "hub:me/a@1", "share": "1/2"}
    path.write_text(json.dumps(stored))
    task = json.loads(collect(tmp_path / "runs").frame["config"][0])["task"]
    assert (task["corpus"], task["parts"]) == ("a.txt", ["b"])
    assert (task["rule"], task["share"]) == ("hub:me/a@1", "1/2")


def test_a_run_on_a_text_is_reproduced_where_its_corpus_lies(
    tmp_path, monkeypatch, capsys
):
    corpus, elsewhere = tmp_path / "data" / "tale.txt", tmp_path / "elsewhere"
    for folder in (corpus.parent, elsewhere):
        folder.mkdir()
    corpus.write_text("Some words and more.\n" * 100)
    config = two_steps(TextConfig(corpus=str(corpus)))
    synth.train(config, runs=tmp_path / "runs" / "texts", progress=False)
    monkeypatch.chdir(tmp_path)
    assert analysis(["collect"]) == 0
    monkeypatch.chdir(elsewhere)
    words = ["reproduce", config.run_id, "--table"]
    words.append(str(tmp_path / "analysis" / "results" / "texts.parquet"))
    capsys.readouterr()
    for content, what in ((None, "does not exist here"), ("No.\n", "was changed")):
        if content:
            (elsewhere / "tale.txt").write_text(content)
        assert sweeps(words) == 2
        said = capsys.readouterr().err
        assert what in said
        assert "lies now: --corpus PATH" in said
        assert said.count("\n") == 1
    assert not (elsewhere / "runs").exists()
    assert sweeps([*words, "--corpus", str(corpus)]) == 0
    assert "numbers are equal" in capsys.readouterr().out

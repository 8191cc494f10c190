"""A corpus that cannot be trained on is one line and status 2, before any folder."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

import synth
from synth.__main__ import main
from synth.tasks.running_text import TextConfig
from tests.conftest import TWO_STEPS, two_steps

ROOT = Path(__file__).resolve().parents[3]
CONTENTS = {
    "empty.txt": b"",
    "blank.txt": b" \n\n",
    "short.txt": b"abc def\n",
    "latin.txt": "café crème ".encode("latin1") * 200,
    "binary.txt": bytes(range(256)) * 20,
    "utf16.txt": ("a word " * 200).encode("utf-16"),
    "cut.txt.gz": b"\x1f\x8b\x08\x00\x00",
    "other.jsonl": b'{"body": "some words"}\n',
    "torn.jsonl": b'{"text": "some words"\n',
    "number.jsonl": b'{"text": 3}\n',
    "torn.parquet": b"PAR1",
}


def refused(capsys, *words):
    """The one line on standard error."""
    assert main([str(word) for word in words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1, captured.err
    return captured.err


@pytest.mark.parametrize("kind", ["text", "stories"])
@pytest.mark.parametrize("name", [*CONTENTS, "absent.txt", "folder", "notes.md"])
def test_training_names_the_file_and_writes_nothing(kind, name, tmp_path, capsys):
    path, runs = tmp_path / name, tmp_path / "runs"
    if name == "folder":
        path.mkdir()
    elif name != "absent.txt":
        path.write_bytes(CONTENTS.get(name, b"some words\n" * 400))
    assert name in refused(
        capsys, "train", kind, "--corpus", path, *TWO_STEPS, "--runs", runs
    )
    assert not runs.exists()


def test_a_wrong_field_is_refused_with_those_there_are(tmp_path, capsys):
    path, runs = tmp_path / "rows.jsonl", tmp_path / "runs"
    path.write_text('{"text": "some words", "title": "T"}\n' * 400)
    more = ("--field", "body", *TWO_STEPS, "--runs", runs)
    said = refused(capsys, "train", "text", "--corpus", path, *more)
    assert "expected a field 'body'; found text, title" in said
    assert not runs.exists()


@pytest.mark.parametrize("option", ["--context", "--evaluation-length"])
def test_rows_that_the_text_cannot_fill(option, tmp_path, capsys):
    path, runs = tmp_path / "tale.txt", tmp_path / "runs"
    path.write_text("Some words and more.\n" * 40)
    words = (
        "train",
        "text",
        "--corpus",
        path,
        *TWO_STEPS,
        option,
        "400",
        "--runs",
        runs,
    )
    assert "tale.txt" in (said := refused(capsys, *words))
    assert "Use a longer text" in said
    assert not runs.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="root may read everything")
def test_a_corpus_that_may_not_be_read(tmp_path):
    path, runs = tmp_path / "shut.txt", tmp_path / "runs"
    path.write_text("some words\n" * 400)
    path.chmod(0)
    line = [sys.executable, "-m", "synth", "train", "text", "--corpus", str(path)]
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        line = ["setpriv", "--bounding-set", rights, "--inh-caps", rights, *line]
    done = subprocess.run(
        [*line, *TWO_STEPS, "--runs", str(runs)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr == (
        f"error: {path}: Permission denied. Choose a place that you may read and write, "
        "or ask for the right to.\n"
    )
    assert not runs.exists()


def text_run(corpus):
    return two_steps(TextConfig(corpus=str(corpus)))


def test_in_python_it_is_a_value_error(tmp_path):
    path, runs = tmp_path / "short.txt", tmp_path / "runs"
    path.write_text("abc def\n")
    with pytest.raises(ValueError, match=r"short\.txt"):
        synth.train(text_run(path), runs=runs, progress=False)
    assert not runs.exists()


def test_a_run_that_is_done_needs_no_corpus(tmp_path, capsys):
    path, runs = tmp_path / "tale.txt", tmp_path / "runs"
    path.write_text("Some words and more.\n" * 100)
    config = text_run(path)
    run = synth.train(config, runs=runs, progress=False)
    before = run.folder.metrics_path.read_bytes()
    path.unlink()
    stored = run.folder.config()
    assert synth.train(stored, runs=runs, progress=False).path == run.path
    assert run.folder.metrics_path.read_bytes() == before
    later = dataclasses.replace(stored, seed=1)
    with pytest.raises(ValueError, match=r"tale\.txt' does not exist here"):
        synth.train(later, runs=runs, progress=False)
    assert [path.name for path in runs.iterdir()] == [run.run_id]


def test_a_failure_is_told_once(tmp_path, capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("no room for it")

    monkeypatch.setattr("synth.pack.Pack._new_model", broken)
    words = ["train", "repeats", *TWO_STEPS, "--runs", str(tmp_path)]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert (captured.out + captured.err).count("no room for it") == 1

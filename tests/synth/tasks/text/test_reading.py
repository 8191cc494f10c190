"""How a user's files are read is part of a run's identity."""

import dataclasses
import json
import os

import pytest

from synth.config import RunConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.reading import absolute, reading_rule
from synth.tasks.text.vocabularies import TokenizerConfig


def run_id(task):
    return RunConfig(task=task).run_id


@pytest.fixture
def tales(tmp_path):
    rows = [{"text": f"Tale {i} is told.", "body": f"Body {i}."} for i in range(200)]
    path = tmp_path / "tales.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def renamed(path, name):
    new = path.with_name(name)
    new.write_bytes(path.read_bytes())
    return new


def test_rules():
    def rule(*paths, cleaned=False, own_tokenizer=False):
        return reading_rule(*paths, cleaned=cleaned, own_tokenizer=own_tokenizer)

    assert rule("a.txt") == rule("A.TXT") == rule("folder") == rule("hub:pg19") == ""
    assert rule("a.jsonl") == "jsonl"
    assert rule("a.TXT.GZ", "", "b.parquet") == "txt.gz parquet"
    assert rule("a.txt", cleaned=True).startswith("cleaning ")
    assert "tokenizer file" in rule("a.txt", own_tokenizer=True)


def test_the_same_bytes_under_another_ending_are_another_run(tales):
    text = renamed(tales, "tales.txt")
    for hold_out in ("tail", "documents"):
        one = TextConfig(corpus=str(tales), hold_out=hold_out)
        two = TextConfig(corpus=str(text), hold_out=hold_out)
        assert one.corpus_digest == two.corpus_digest
        assert run_id(one) != run_id(two)
        assert one.build().vocabulary != two.build().vocabulary
    stories = [StoriesConfig(corpus=str(path)) for path in (tales, text)]
    assert len({run_id(task) for task in stories}) == 2


def test_ids_of_plain_text_and_of_generated_stories_need_no_rule(tales):
    plain = TextConfig(corpus=str(renamed(tales, "tales.txt")))
    for task in (plain, StoriesConfig(), StoriesConfig(books_parts=9)):
        assert task.reading == ""
        assert not {"reading", "field", "books_field"} & task.canonical().keys()


def test_the_field_is_part_of_the_identity(tales):
    usual = TextConfig(corpus=str(tales))
    other = TextConfig(corpus=str(tales), field="body")
    assert run_id(usual) != run_id(other)
    assert "B" in other.build().vocabulary
    assert "B" not in usual.build().vocabulary
    one = StoriesConfig(corpus=str(tales), field="body")
    assert run_id(one) != run_id(StoriesConfig(corpus=str(tales)))


def test_a_stored_configuration_is_read_and_built_as_it_was(tales):
    config = TextConfig(corpus=str(tales))
    stored = json.loads(json.dumps(RunConfig(task=config).to_dict()))
    read = RunConfig.from_dict(stored)
    assert read.run_id == run_id(config)
    assert read.task.build().vocabulary == config.build().vocabulary
    moved = dataclasses.replace(config, corpus=str(renamed(tales, "moved.jsonl")))
    assert run_id(moved) == run_id(config)
    moved.build()


def test_files_of_another_ending_are_refused_for_a_stored_configuration(tales):
    config = TextConfig(corpus=str(tales))
    other = dataclasses.replace(config, corpus=str(renamed(tales, "tales.txt")))
    message = (
        "TextConfig.reading is 'jsonl', but the files given are read as 'plain text'"
    )
    with pytest.raises(ValueError, match=message):
        other.build()


def test_a_run_of_older_code_keeps_its_id_and_is_not_read_otherwise(tales):
    new = RunConfig(task=TextConfig(corpus=str(tales))).to_dict()
    for name in ("reading", "field"):
        del new["task"][name]
    old = RunConfig.from_dict(new)
    assert old.task.reading == ""
    assert old.run_id != run_id(TextConfig(corpus=str(tales)))
    with pytest.raises(ValueError, match="made by an older version, train it again"):
        old.task.build()


def test_paths_hold_from_any_folder(tales, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DATA", str(tmp_path))
    for path in ("tales.jsonl", "~/tales.jsonl", "$DATA/tales.jsonl"):
        assert TextConfig(corpus=path).corpus == str(tales)
        assert StoriesConfig(corpus=path).corpus == str(tales)
    assert absolute("") == ""
    assert absolute("hub:pg19") == "hub:pg19"
    (tmp_path / "$DATA").mkdir()
    assert absolute("$DATA") == os.path.join(os.getcwd(), "$DATA")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", r"TokenizerConfig\.tokenizer_file is empty"),
        ("nowhere.json", "does not exist"),
        (".", "is a folder: give the tokenizer.json in it"),
    ],
)
def test_a_tokenizer_file_that_is_none(tmp_path, name, message):
    path = str(tmp_path / name) if name else ""
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(tokens="file", tokenizer_file=path)


def test_a_tokenizer_file_is_not_taken_for_a_corpus(tmp_path):
    path = tmp_path / "merges.txt"
    path.write_text("#version: 0.2\nt h\n")
    chosen = TokenizerConfig(tokens="file", tokenizer_file=str(path))
    text = tmp_path / "a.txt"
    text.write_text("The fox ran.")
    with pytest.raises(ValueError, match=r"merges\.txt: This is not JSON"):
        TextConfig(corpus=str(text), tokenizer=chosen).build()

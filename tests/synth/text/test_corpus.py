import gzip
import json
import lzma
import os

import pytest

from synth.text.corpus import Document, corpus_digest, corpus_files, read_documents
from synth.text.hub import HubPlace, hub_documents, text_documents

ROWS = [{"title": "One", "text": "A first tale."}, {"text": "A second tale."}]
EXPECTED = [Document("One", "A first tale."), Document("", "A second tale.")]


@pytest.mark.parametrize(
    ("name", "opened"),
    [("a.jsonl", open), ("a.jsonl.xz", lzma.open), ("a.jsonl.gz", gzip.open)],
)
def test_json_lines(tmp_path, name, opened):
    with opened(tmp_path / name, "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in ROWS))
    assert list(read_documents(tmp_path / name)) == EXPECTED


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet as parquet

    parquet.write_table(
        pyarrow.table({"story": ["A tale.", "Another."], "topic": ["x", "y"]}),
        tmp_path / "a.parquet",
    )
    found = list(read_documents(tmp_path / "a.parquet"))
    assert found == [Document("", "A tale."), Document("", "Another.")]


def test_text_is_cut_at_separators(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("One\n\ntale.\n<|endoftext|>\nTwo.\n<|endoftext|>\n\nThree, no end")
    texts = [document.text.strip() for document in read_documents(path)]
    assert texts == ["One\n\ntale.", "Two.", "Three, no end"]
    path.write_text("Only one.\n")
    assert len(list(read_documents(path))) == 1


def test_folders_are_read_in_order_of_names(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("B")
    (tmp_path / "sub" / "a.txt").write_text("A")
    (tmp_path / "notes.pdf").write_text("not read")
    assert [f.name for f in corpus_files(tmp_path)] == ["b.txt", "a.txt"]
    assert [d.text for d in read_documents(tmp_path)] == ["B", "A"]


def test_the_digest_is_of_the_content_alone(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("same")
    two.write_text("same")
    assert corpus_digest(one) == corpus_digest(two)
    before = corpus_digest(one)
    one.write_text("else")
    os.utime(one, ns=(1, 1))
    assert corpus_digest(one) != before
    assert corpus_digest(tmp_path) not in (corpus_digest(one), corpus_digest(two))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "x", "unknown ending"),
        ("a.jsonl", '{"body": "x"}\n', "line 1: expected a field text"),
        ("a.jsonl", '{"text": "x"}\n{', "line 2: no JSON"),
        ("a.jsonl", '["x"]', "found list"),
    ],
)
def test_refuses_with_the_place(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        list(read_documents(tmp_path / name))


def test_refuses_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        list(read_documents(tmp_path / "nothing.txt"))
    with pytest.raises(ValueError, match=r"holds no \.txt"):
        list(read_documents(tmp_path))


def test_another_encoding_is_refused_with_the_file(tmp_path):
    path = tmp_path / "old.txt"
    path.write_bytes("Caf\u00e9".encode("latin1"))
    with pytest.raises(ValueError, match=r"old\.txt is not UTF-8 .* iconv"):
        list(read_documents(path))


COMMIT = "c" * 40


def test_hub_places():
    found = HubPlace.parse(f"hub:me/tales@{COMMIT}/train.txt#20")
    assert found == HubPlace("me/tales", COMMIT, "train.txt", 20)
    assert HubPlace.parse("hub:tinystories").file == "TinyStoriesV2-GPT4-train.txt"
    assert HubPlace.parse("hub:pg19#5").most == 5
    for wrong in ("hub:me/tales", "hub:me/tales@main", "hub:nothing", "hub:pg19#0"):
        with pytest.raises(ValueError, match="a branch is not a version"):
            HubPlace.parse(wrong)


def test_hub_rows_and_lines():
    rows = [{"story": "A."}, {"story": "B."}, {"story": "C."}]
    place = f"hub:me/tales@{COMMIT}#2"
    found = [d.text for d in hub_documents(place, lambda _: rows)]
    assert found == ["A.", "B."]
    lines = [{"text": line} for line in ("One", "", "tale.", "<|endoftext|>", "Two.")]
    found = [d.text for d in hub_documents(f"hub:me/t@{COMMIT}/a.txt", lambda _: lines)]
    assert found == ["One\n\ntale.", "Two."]


def test_hub_files_through_the_library(tmp_path, monkeypatch):
    """The library itself on small local files of the same shape, without a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    text = tmp_path / "train.txt"
    text.write_text("Once.\n\nThen.\n<|endoftext|>\nTwice.\n<|endoftext|>\n")
    rows = datasets.load_dataset(
        "text", data_files=str(text), split="train", streaming=True
    )
    found = [d.text for d in text_documents(row["text"] for row in rows)]
    assert found == ["Once.\n\nThen.", "Twice."]


@pytest.fixture
def offline_hub(tmp_path, monkeypatch):
    """The library reads local files of the sets' shapes in place of the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets")
    real, asked = datasets.load_dataset, []
    rows = [
        {"short_book_title": f"Book {i}", "text": f"Text {i}.", "url": "u"}
        for i in range(5)
    ]
    shapes = {
        "SimpleStories/SimpleStories": [
            {"story": f"Story {i}.", "topic": "x"} for i in range(5)
        ],
        "emozilla/pg19": rows,
        "common-pile/project_gutenberg_filtered": [
            {"text": f"Text {i}.", "id": str(i)} for i in range(5)
        ],
    }
    lines = tmp_path / "lines.txt"
    lines.write_text("Once.\n\nThen.\n<|endoftext|>\nTwice.\n<|endoftext|>\n")

    def load(name, *, revision=None, data_files=None, split, streaming):
        asked.append((name, revision, data_files))
        assert (split, streaming) == ("train", True)
        if name == "text":
            assert data_files.startswith("hf://datasets/roneneldan/TinyStories@f54c")
            files = str(lines)
            return real("text", data_files=files, split=split, streaming=True)
        file = tmp_path / f"{name.replace('/', '-')}.parquet"
        datasets.Dataset.from_list(shapes[name]).to_parquet(str(file))
        return real("parquet", data_files=str(file), split=split, streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("hub:tinystories#1", [Document("", "Once.\n\nThen.")]),
        ("hub:simplestories#2", [Document("", f"Story {i}.") for i in range(2)]),
        ("hub:pg19#2", [Document(f"Book {i}", f"Text {i}.") for i in range(2)]),
        ("hub:gutenberg#1", [Document("", "Text 0.")]),
    ],
)
def test_every_known_set_by_the_library_offline(offline_hub, place, expected):
    assert [*hub_documents(place)] == expected
    (asked,) = offline_hub
    assert "main" not in asked
    assert len(asked[1] or asked[2].partition("@")[2].partition("/")[0]) == 40


def test_an_unreachable_hub_names_the_alternative(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def offline(*_args, **_options):
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(ValueError, match="Give the path of a downloaded"):
        list(hub_documents("hub:pg19#1"))

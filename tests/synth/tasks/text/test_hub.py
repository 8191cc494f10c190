"""Places on the hub, and what is said when it cannot be reached."""

import pytest

from synth.tasks.text.corpus import Document
from synth.tasks.text.hub import HubPlace, hub_documents, line_documents

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
    found = [d.text for d in hub_documents(place, load=lambda _: rows)]
    assert found == ["A.", "B."]
    lines = [{"text": line} for line in ("One", "", "tale.", "<|endoftext|>", "Two.")]
    found = [
        d.text for d in hub_documents(f"hub:me/t@{COMMIT}/a.txt", load=lambda _: lines)
    ]
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
    found = [d.text for d in line_documents(row["text"] for row in rows)]
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


def test_an_error_of_any_kind_at_any_row_names_the_set():
    class ConnectError(Exception):
        """As httpx has it: no `OSError`."""

    def rows(_):
        yield {"text": "One."}
        raise ConnectError("[Errno -2] Name or service not known")

    place = f"hub:me/tales@{COMMIT}"
    with pytest.raises(ValueError, match=r"'me/tales' .*ConnectError: .* downloaded"):
        list(hub_documents(place, load=rows))
    assert len(list(hub_documents(f"{place}#1", load=rows))) == 1


def test_rows_without_text_are_passed_over_and_the_field_can_be_chosen():
    rows = [{"body": "A.", "n": 1}, {"body": None}, {"body": "B."}]
    place = f"hub:me/tales@{COMMIT}#2"
    found = hub_documents(place, "body", lambda _: rows)
    assert [d.text for d in found] == ["A.", "B."]
    with pytest.raises(ValueError, match=r"row 1: expected a field .* found body, n"):
        list(hub_documents(place, load=lambda _: rows))
    with pytest.raises(ValueError, match="is plain text"):
        list(hub_documents(f"hub:me/t@{COMMIT}/a.txt", "body", lambda _: rows))

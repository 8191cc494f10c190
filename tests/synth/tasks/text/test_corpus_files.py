"""Which files of a folder are read, what is said of the others, and digests."""

import os

import pytest

from synth.tasks.text.corpus import read_documents
from synth.tasks.text.corpus_files import corpus_digest, file_digest, find_corpus_files


def test_hidden_files_are_no_corpus(tmp_path):
    (tmp_path / "a.txt").write_text("A")
    before = corpus_digest(tmp_path)
    for name in (".ipynb_checkpoints/a-checkpoint.txt", "__MACOSX/._a.txt", ".b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("copy")
    found = find_corpus_files(tmp_path)
    assert [f.name for f in found.read] == ["a.txt"]
    assert found.passed_over == (
        ".b.txt (hidden)",
        ".ipynb_checkpoints (hidden)",
        "__MACOSX/._a.txt (hidden)",
    )
    assert corpus_digest(tmp_path) == before


def test_a_corpus_may_lie_in_a_hidden_folder(tmp_path):
    folder = tmp_path / ".data"
    folder.mkdir()
    (folder / ".tales.txt").write_text("hidden, but asked for")
    assert len(find_corpus_files(folder / ".tales.txt").read) == 1
    (folder / "tales.txt").write_text("A")
    assert [f.name for f in find_corpus_files(folder).read] == ["tales.txt"]


def test_what_is_passed_over_is_told_once(tmp_path, capsys):
    for name in ("a.txt", "b.md", "c.csv", "d.JSONL.GZ"):
        (tmp_path / name).write_text("x")
    (tmp_path / "d.JSONL.GZ").unlink()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    (tmp_path / "linked").symlink_to(tmp_path)
    list(read_documents(tmp_path))
    said = capsys.readouterr().err
    assert (
        "passed over 5 files: b.md (unknown ending), c.csv (unknown ending), " in said
    )
    for word in ("gone.txt (no file)", "linked (linked folder)", "pipe.txt (no file)"):
        assert word in said
    list(read_documents(tmp_path))
    assert capsys.readouterr().err == ""


def test_a_folder_without_texts_says_what_it_holds(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(ValueError, match=r"holds no .*; it holds notes.md \(unknown"):
        find_corpus_files(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="is no file"):
        find_corpus_files(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["A.TXT", "a.Txt"])
def test_capitals_in_an_ending_are_no_other_ending(tmp_path, name):
    (tmp_path / name).write_text("A tale.")
    assert [d.text for d in read_documents(tmp_path)] == ["A tale."]
    assert [d.text for d in read_documents(tmp_path / name)] == ["A tale."]


def test_a_folder_that_may_not_be_listed_is_not_empty(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError, match="closed"):
        find_corpus_files(tmp_path)


def test_names_need_not_be_utf8(tmp_path):
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "w") as file:
        file.write("A")
    assert len(corpus_digest(tmp_path)) == 64


def test_a_byte_order_mark_is_not_content(tmp_path):
    plain, marked = tmp_path / "plain.txt", tmp_path / "marked.txt"
    plain.write_bytes(b"A tale.")
    marked.write_bytes(b"\xef\xbb\xbfA tale.")
    assert file_digest(plain) == file_digest(marked)
    assert [*read_documents(plain)] == [*read_documents(marked)]

import gzip
import json
import lzma
import os

import pytest

from synth.tasks.text.corpus import Document, read_documents
from synth.tasks.text.corpus_files import corpus_digest, find_corpus_files

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
    assert [f.name for f in find_corpus_files(tmp_path).read] == ["b.txt", "a.txt"]
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
        ("a.jsonl", "[" * 100_000, "line 1: no JSON"),
        (
            "a.jsonl",
            '{"body": "x", "id": 1}',
            "found body, id. .* `field` .--field NAME",
        ),
        ("a.jsonl", '{"text": "x"}\n{"text": 5}', "line 2: the field 'text' holds int"),
        (
            "a.jsonl",
            '{"text": "ab\\ud83d"}',
            r"line 1: character 3 .* \\ud83d, half of",
        ),
        ("a.md", "x", "unknown ending.* Copy plain text to a file that ends in .txt"),
        ("a.json", "[]", "unknown ending.* one JSON object a line"),
        ("a.txt", "", "holds no text"),
        ("a.jsonl", '{"text": ""}\n{"text": null}\n', "holds no text"),
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
    path.write_bytes("Tea\nCaf\u00e9".encode("latin1"))
    with pytest.raises(ValueError, match=r"old\.txt is not UTF-8: line 2 .* iconv"):
        list(read_documents(path))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("empty", ["", None, " \n"])
def test_rows_without_text_are_passed_over_and_counted(tmp_path, capsys, empty):
    rows = [ROWS[0], {"text": empty}, ROWS[1]]
    path = write_rows(tmp_path / "a.jsonl", rows)
    assert list(read_documents(path)) == EXPECTED
    assert f"{path}: passed over 1 rows without text" in capsys.readouterr().err
    list(read_documents(path))
    assert capsys.readouterr().err == ""  # once is enough


def test_the_first_usual_field_that_is_not_empty_counts(tmp_path):
    rows = [{"story": "A.", "text": ""}, {"story": "B.", "text": "C."}]
    path = write_rows(tmp_path / "a.jsonl", rows)
    assert [d.text for d in read_documents(path)] == ["A.", "C."]


def test_the_field_can_be_chosen(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"text": "A.", "body": "B."}])
    assert [d.text for d in read_documents(path, "body")] == ["B."]
    with pytest.raises(ValueError, match="expected a field 'bodi'; found body, text"):
        list(read_documents(path, "bodi"))
    plain = tmp_path / "a.txt"
    plain.write_text("A.")
    with pytest.raises(ValueError, match="is plain text: it has no field 'body'"):
        list(read_documents(plain, "body"))


def write_table(path, **columns):
    import pyarrow
    import pyarrow.parquet as parquet

    parquet.write_table(pyarrow.table(columns), path)
    return path


def test_parquet_with_other_columns(tmp_path):
    path = write_table(tmp_path / "a.parquet", body=["A."], n=[1])
    with pytest.raises(ValueError, match=r"found body, n\. Choose the field"):
        list(read_documents(path))
    assert [d.text for d in read_documents(path, "body")] == ["A."]
    with pytest.raises(ValueError, match="row 1: the field 'n' holds int"):
        list(read_documents(path, "n"))


def test_parquet_rows_have_titles_of_either_name_and_may_be_empty(tmp_path):
    path = write_table(
        tmp_path / "a.parquet",
        text=["A.", None, ""],
        short_book_title=["One", "Two", "Three"],
    )
    assert list(read_documents(path)) == [Document("One", "A.")]


def test_a_broken_parquet_file_is_named(tmp_path):
    path = write_table(tmp_path / "a.parquet", text=["A tale."] * 1000)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet is not a whole parquet file"):
        list(read_documents(path))


def test_line_ends_of_rows_stay_as_they_are(tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"text": "one\r\ntwo\rthree"}])
    assert [d.text for d in read_documents(path)] == ["one\r\ntwo\rthree"]

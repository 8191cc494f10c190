"""Bytes to lines: marks, encodings, packings that are broken."""

import gzip
import lzma

import pytest

from synth.tasks.text.corpus import read_documents
from synth.tasks.text.text_lines import text_lines


@pytest.mark.parametrize(
    ("name", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_lines(tmp_path, name, pack):
    path = tmp_path / f"a.txt{name}"
    path.write_bytes(pack(b"\xef\xbb\xbfone\r\ntwo\rthree\n\nlast"))
    assert list(text_lines(path)) == ["one\n", "two\n", "three\n", "\n", "last"]


def test_json_lines_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "A tale."}\n')
    assert [d.text for d in read_documents(path)] == ["A tale."]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
def test_utf16_is_refused_with_the_file(tmp_path, encoding, name):
    path = tmp_path / name
    content = '{"text": "A tale of two words."}\n'.encode(encoding)
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(ValueError, match=rf"{name} is UTF-16 .* iconv -f utf-16"):
        list(text_lines(path))


@pytest.mark.parametrize(
    ("packing", "pack"), [(".gz", gzip.compress), (".xz", lzma.compress)]
)
@pytest.mark.parametrize("harm", ["truncated", "changed", "plain", "nothing"])
def test_broken_packings_are_refused_with_the_file(tmp_path, packing, pack, harm):
    path = tmp_path / f"a.txt{packing}"
    whole = bytearray(pack("".join(f"line {i}\n" for i in range(5000)).encode()))
    if harm == "truncated":
        whole = whole[: len(whole) // 2]
    elif harm == "changed":
        whole[len(whole) // 2] ^= 0xFF
    elif harm == "plain":
        whole = b"plain text"
    else:
        whole = b"" if packing == ".xz" else whole[:5]
    path.write_bytes(whole)
    with pytest.raises(
        ValueError, match=rf"a\.txt\{packing} is not a whole \{packing}"
    ):
        list(text_lines(path))


def test_the_line_that_is_no_utf8_is_counted(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"fine\n" * 5000 + b"caf\xe9\n" + b"fine\n" * 5000)
    with pytest.raises(ValueError, match=r"line 5001 \(invalid continuation byte\)"):
        list(text_lines(path))

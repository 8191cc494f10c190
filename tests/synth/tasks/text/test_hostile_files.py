"""Any bytes in any file that a user gives: read, or refused with the file's name."""

import gzip
import json
import lzma
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synth.tasks.running_text import TextConfig
from synth.tasks.text.tokenizer import train_byte_pairs
from synth.tasks.text.vocabularies import TokenizerConfig

BOUNDED = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SECONDS = 5.0
"""Of processor time: far more than any of these small files may take."""

plain = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.text(max_size=100).map(lambda t: t.encode("utf-16", "surrogatepass")),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "title", "story", "x"]), inner)
    ),
    max_leaves=8,
)
json_lines = st.lists(values, max_size=5).map(
    lambda rows: "\n".join(map(json.dumps, rows)).encode()
)


@st.composite
def harmed(draw, contents):
    """Some content, perhaps cut off, or with a byte changed."""
    content = bytearray(draw(contents))
    harm = draw(st.sampled_from(["none", "cut", "flip"]))
    if content and harm == "cut":
        del content[draw(st.integers(0, len(content) - 1)) :]
    elif content and harm == "flip":
        content[draw(st.integers(0, len(content) - 1))] ^= draw(st.integers(1, 255))
    return bytes(content)


def parquet_file(folder):
    import pyarrow
    import pyarrow.parquet as parquet

    path = folder / "whole.parquet"
    table = {"text": [f"Tale {i}." for i in range(50)], "title": list(range(50))}
    parquet.write_table(pyarrow.table(table), path)
    return path.read_bytes()


def reads_or_names(path, config):
    """Build the task and read everything; a refusal is a `ValueError` with the file."""
    began = time.process_time()
    try:
        task = config().build()
        task.evaluation_sets(2)
        task.train_rows(0, 0, 4)
    except ValueError as error:
        told = str(error)
        sizes = ("Use a longer text", "alphabet of", "too few documents")
        assert path.name in told or any(word in told for word in sizes), told
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("a.txt", plain),
        ("a.jsonl", plain | json_lines),
        ("a.txt.gz", plain.map(gzip.compress)),
        ("a.jsonl.xz", (plain | json_lines).map(lzma.compress)),
        ("a.parquet", None),
    ],
)
@pytest.mark.parametrize("hold_out", ["tail", "documents"])
def test_any_corpus(tmp_path, name, contents, hold_out):
    if contents is None:
        contents = plain | st.just(parquet_file(tmp_path))

    @BOUNDED
    @given(harmed(contents))
    def check(content):
        path = tmp_path / name
        path.write_bytes(content)
        reads_or_names(path, lambda: TextConfig(corpus=str(path), hold_out=hold_out))

    check()


@pytest.fixture(scope="module")
def small_tokenizer(texts):
    return train_byte_pairs(texts[:20], 300).stored


def altered(stored, draw):
    """The stored tokeniser with one of its values replaced by another JSON value."""
    place = json.loads(stored)
    whole = place
    for _ in range(draw(st.integers(0, 4))):
        inner = place[key] if (key := draw(st.sampled_from(sorted(place)))) else None
        if not isinstance(inner, dict) or not inner:
            break
        place = inner
    place[draw(st.sampled_from(sorted(place)))] = draw(values)
    return json.dumps(whole).encode()


def test_any_tokenizer_file(tmp_path, small_tokenizer):
    text = tmp_path / "text.txt"
    text.write_text("abc ab abcab " * 50)
    path: Path = tmp_path / "tokenizer.json"

    @BOUNDED
    @given(st.data(), st.sampled_from(["altered", "bytes", "json"]))
    def check(data, kind):
        content = {
            "altered": lambda: altered(small_tokenizer, data.draw),
            "bytes": lambda: data.draw(plain),
            "json": lambda: json.dumps(data.draw(values)).encode(),
        }[kind]()
        path.write_bytes(data.draw(harmed(st.just(content))))

        def config():
            chosen = TokenizerConfig(tokens="file", tokenizer_file=str(path))
            return TextConfig(corpus=str(text), tokenizer=chosen, evaluation_length=4)

        began = time.process_time()
        try:
            task = config().build()
            task.evaluation_sets(2)
        except ValueError as error:
            told = str(error)
            known = (path.name, text.name, "held-out text has")
            assert any(word in told for word in known), told
        assert time.process_time() - began < SECONDS

    check()

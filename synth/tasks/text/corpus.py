"""Documents from files: text, JSON lines, parquet, or a folder of them."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from synth.tasks.text.corpus_files import (
    describe_passed_over,
    find_corpus_files,
    format_of,
)
from synth.tasks.text.text_lines import text_lines

SEPARATOR = "<|endoftext|>"
TEXT_FIELDS = ("text", "story", "content")
TITLE_FIELDS = ("title", "short_book_title")


@dataclass(frozen=True)
class Document:
    """A text with its title, which may be empty."""

    title: str
    text: str


def read_documents(path: Path, field: str = "") -> Iterator[Document]:
    """The documents of a file, or of all files of a folder in order of their names.

    `.txt` is split at lines that hold only `<|endoftext|>`, and is one document without
    them. `.jsonl` and `.parquet` hold a document a row, its text in `field`, or in the
    first of `text`, `story` and `content` that is not empty. Rows without text are
    passed over. `.txt` and `.jsonl` may be packed: `.xz`, `.gz`.

    Raises `ValueError` for a path that does not exist, an unknown ending, a file that
    is damaged or no UTF-8, a row without the field, or a corpus without any text.
    """
    files = find_corpus_files(path)
    if line := describe_passed_over(files.passed_over):
        _tell(f"{path}: {line}")
    empty = 0
    any_text = False
    for file in files.read:
        kind, _ = format_of(file)
        for document in _READERS[kind](file, field):
            if document is None:
                empty += 1
            else:
                any_text = True
                yield document
    if not any_text:
        raise ValueError(f"{str(path)!r} holds no text.")
    if empty:
        _tell(f"{path}: passed over {empty} rows without text")


@lru_cache(maxsize=64)
def _tell(line: str) -> None:
    """Print a line once, although a corpus is read several times."""
    print(line, file=sys.stderr)


def _text(path: Path, field: str) -> Iterator[Document | None]:
    if field:
        raise ValueError(f"{path} is plain text: it has no field {field!r}.")
    return text_documents(text_lines(path))


def text_documents(lines: Iterable[str]) -> Iterator[Document]:
    """The documents of a text whose lines keep their line ends."""
    pending: list[str] = []
    for line in lines:
        if line.strip() == SEPARATOR:
            yield from _whole("".join(pending))
            pending = []
        else:
            pending.append(line)
    yield from _whole("".join(pending))


def _whole(text: str) -> Iterator[Document]:
    if text.strip():
        yield Document("", text)


def _json_lines(path: Path, field: str) -> Iterator[Document | None]:
    for number, line in enumerate(text_lines(path), 1):
        if line.strip():
            place = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{place}: no JSON ({error}).") from None
            yield document_of(row, place, field)


def _parquet(path: Path, field: str) -> Iterator[Document | None]:
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = file.schema_arrow.names
            fields = [name for name in _fields(field) if name in columns]
            if not fields:
                raise ValueError(_no_field(str(path), field, columns))
            titles = [name for name in TITLE_FIELDS if name in columns]
            batches = file.iter_batches(columns=fields + titles, batch_size=1024)
            rows = (row for batch in batches for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield document_of(row, f"{path}, row {number}", field)
    except (pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise  # of the system, for instance no permission
        reason = str(error).strip().rstrip(".")
        raise ValueError(
            f"{path} is not a whole parquet file ({reason}). Copy or download it again."
        ) from None


_READERS = {".txt": _text, ".jsonl": _json_lines, ".parquet": _parquet}


def document_of(row: Any, place: str, field: str = "") -> Document | None:
    """A document from a row of named fields; `None` if its text is empty or null.

    Raises `ValueError`, saying which fields the row has, or what stands in place of
    text.
    """
    fields = [name for name in _fields(field) if isinstance(row, dict) and name in row]
    if not fields:
        has = list(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(_no_field(place, field, has))
    for name in fields:
        text = row[name]
        if not isinstance(text, str | None):
            raise ValueError(
                f"{place}: the field {name!r} holds {type(text).__name__}, not text."
            )
        if text and text.strip():
            _refuse_surrogates(text, place)
            titles = [row[name] for name in TITLE_FIELDS if row.get(name)]
            return Document(str(titles[0]) if titles else "", text)
    return None


def _fields(field: str) -> Sequence[str]:
    return (field,) if field else TEXT_FIELDS


def _no_field(place: str, field: str, has: Sequence[str] | str) -> str:
    if isinstance(has, str):
        return f"{place}: expected a JSON object with a text in it; found {has}."
    names = ", ".join(map(str, sorted(has))) or "none"
    wanted = repr(field) if field else f"{', '.join(TEXT_FIELDS)}"
    return (
        f"{place}: expected a field {wanted}; found {names}. Choose the field that "
        "holds the text with `field` (--field NAME)."
    )


def _refuse_surrogates(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise ValueError(
            f"{place}: character {error.start + 1} of the text is \\u{code:04x}, half of "
            "a surrogate pair (an emoji that was cut, say). Remove it from the text."
        ) from None

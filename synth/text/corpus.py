"""Documents from files: text, JSON lines, parquet, or a folder of them.

Letters in names: D documents, S tokens in a row.
"""

import gzip
import hashlib
import json
import lzma
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

SEPARATOR = "<|endoftext|>"
TEXT_FIELDS = ("text", "story", "content")
SUFFIXES = (".txt", ".jsonl", ".parquet")
_OPEN: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open, "": open}


@dataclass(frozen=True)
class Document:
    """A text with its title, which may be empty."""

    title: str
    text: str


def read_documents(path: Path) -> Iterator[Document]:
    """The documents of a file, or of all files of a folder in order of their names.

    `.txt` is split at lines that hold only `<|endoftext|>`, and is one document without
    them. `.jsonl` and `.parquet` hold a document a row, its text in a field `text`,
    `story` or `content`. `.txt` and `.jsonl` may be packed: `.xz`, `.gz`.

    Raises
    ------
    ValueError
        For a path that does not exist, an unknown ending, a row without text.
    """
    for file in corpus_files(path):
        kind, packed = _kind(file)
        if kind == ".parquet":
            yield from _parquet(file)
            continue
        with _OPEN[packed](file, "rt", encoding="utf-8", errors="strict") as lines:
            try:
                yield from _text(lines) if kind == ".txt" else _json_lines(lines, file)
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"{file} is not UTF-8 ({error.reason} at byte {error.start} of a "
                    "block). Convert it first, for instance: iconv -f latin1 -t utf-8."
                ) from None


def corpus_files(path: Path) -> list[Path]:
    """The files behind a path, sorted."""
    if path.is_file():
        _kind(path)
        return [path]
    if not path.is_dir():
        raise ValueError(
            f"The corpus {str(path)!r} does not exist. Give a .txt, .jsonl (also .xz, "
            ".gz) or .parquet file, or a folder of them."
        )
    found = [f for f in sorted(path.rglob("*")) if f.is_file() and _known(f)]
    if not found:
        raise ValueError(
            f"The folder {str(path)!r} holds no {', '.join(SUFFIXES)} file."
        )
    return found


def corpus_digest(path: Path) -> str:
    """Hex sha256 of the content; of a folder, of its files' names and contents."""
    files = corpus_files(path)
    if files == [path]:
        return _file_digest(path)
    parts = [f"{f.relative_to(path).as_posix()} {_file_digest(f)}\n" for f in files]
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    found = os.stat(path)
    return _digest_of(str(path.resolve()), found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=1024)
def _digest_of(path: str, size: int, changed_ns: int) -> str:
    """Read once in a process: a sweep builds many configurations of one corpus."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known(path: Path) -> bool:
    packed = path.suffix if path.suffix in _OPEN else ""
    return (path.with_suffix("") if packed else path).suffix in SUFFIXES


def _kind(path: Path) -> tuple[str, str]:
    packed = path.suffix if path.suffix in _OPEN else ""
    kind = (path.with_suffix("") if packed else path).suffix
    if kind not in SUFFIXES or (kind == ".parquet" and packed):
        raise ValueError(
            f"{str(path)!r} has an unknown ending; a corpus is one of "
            f"{', '.join(SUFFIXES)}, the first two also with .xz or .gz."
        )
    return kind, packed


def _text(lines: IO[str]) -> Iterator[Document]:
    gathered: list[str] = []
    for line in lines:
        if line.strip() == SEPARATOR:
            yield from _whole("".join(gathered))
            gathered = []
        else:
            gathered.append(line)
    yield from _whole("".join(gathered))


def _whole(text: str) -> Iterator[Document]:
    if text.strip():
        yield Document("", text)


def _json_lines(lines: IO[str], path: Path) -> Iterator[Document]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: no JSON ({error}).") from None
            yield document_of(row, f"{path}, line {number}")


def _parquet(path: Path) -> Iterator[Document]:
    import pyarrow.parquet as parquet

    file = parquet.ParquetFile(path)
    names = [n for n in (*TEXT_FIELDS, "title") if n in file.schema_arrow.names]
    for batch in file.iter_batches(columns=names, batch_size=1024):
        for row in batch.to_pylist():
            yield document_of(row, str(path))


def document_of(row: Any, place: str) -> Document:
    """A document from a row of named fields."""
    fields = [f for f in TEXT_FIELDS if isinstance(row, dict) and row.get(f)]
    if not fields or not isinstance(row[fields[0]], str):
        has = sorted(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(
            f"{place}: expected a field {', '.join(TEXT_FIELDS)}; found {has}."
        )
    title = row.get("title") or row.get("short_book_title") or ""
    return Document(str(title), row[fields[0]])

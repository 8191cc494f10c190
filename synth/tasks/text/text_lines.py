"""Reads the lines of a text file, plain or packed; every error names the file.

UTF-8 is required. A byte order mark at the beginning is skipped.
"""

import gzip
import lzma
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import Any

PACKINGS = (".xz", ".gz")
"""Endings of packed text files, after the ending of the text."""
_OPEN: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
_BROKEN = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a file, each with a newline character at its end.

    Raises `ValueError`, naming a file that is damaged, truncated or no UTF-8, and what
    to do about it.
    """
    try:
        yield from _decoded(path)
    except _BROKEN as error:
        packing = path.suffix.lower()
        tool = {".xz": "xz", ".gz": "gzip"}.get(packing, "unpack")
        raise ValueError(
            f"{path} is not a whole {packing} file ({error}). Copy or download it "
            f"again; `{tool} --test {path}` checks it."
        ) from None


def _decoded(path: Path) -> Iterator[str]:
    with _unpacked(path) as binary:
        _refuse_utf16(binary.peek(1024)[:1024], path)
        try:
            with TextIOWrapper(binary, encoding="utf-8-sig") as lines:
                yield from lines
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8: line {_first_bad_line(path)} ({error.reason}). "
                "Convert it first, for instance: "
                f"iconv -f latin1 -t utf-8 {path.name} > converted.txt"
            ) from None


def byte_order_mark(head: bytes) -> int:
    """The number of bytes of `head` that are UTF-8's byte order mark."""
    return len(BOM_UTF8) if head.startswith(BOM_UTF8) else 0


def _unpacked(path: Path) -> Any:
    return _OPEN.get(path.suffix.lower(), open)(path, "rb")


def _refuse_utf16(head: bytes, path: Path) -> None:
    marked = head.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    # UTF-16 of Latin letters without its mark is valid UTF-8: every second byte is zero.
    if marked or head.count(0) > len(head) // 4:
        raise ValueError(
            f"{path} is UTF-16 or binary, not UTF-8. If it is text, convert it first: "
            f"iconv -f utf-16 -t utf-8 {path.name} > converted.txt"
        )


def _first_bad_line(path: Path) -> int:
    """The number of the first line that is not UTF-8."""
    with _unpacked(path) as binary:
        for number, line in enumerate(binary, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 0

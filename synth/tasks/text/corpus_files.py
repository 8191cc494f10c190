"""The files of a corpus, their order, and the digest of their content."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from synth.disk.files import content_digest
from synth.identity import first_few
from synth.tasks.text.text_lines import PACKINGS, byte_order_mark

SUFFIXES = (".txt", ".jsonl", ".parquet")
_ADVICE = {
    ".md": "Copy plain text to a file that ends in .txt.",
    ".json": "Write one JSON object a line to a file that ends in .jsonl.",
    ".csv": 'Write each row as a JSON line, such as {"text": "..."}, to a .jsonl file.',
    ".zst": "Unpack it, or pack it with xz or gzip.",
}


@dataclass(frozen=True)
class CorpusFiles:
    """The files of a corpus, sorted, and those of its folder that are not read."""

    read: tuple[Path, ...]
    passed_over: tuple[str, ...]
    """Names relative to the folder, each with the reason in brackets."""


def find_corpus_files(path: Path) -> CorpusFiles:
    """The files behind a path: itself, or those of a folder with a known ending.

    Hidden files and folders (`.ipynb_checkpoints`, `._a.txt`) are copies made by programs
    and are passed over.

    Raises `ValueError` for a path that does not exist, an unknown ending, a folder
    without texts.
    """
    if path.is_file():
        format_of(path)
        return CorpusFiles((path,), ())
    if not path.is_dir():
        what = "is no file" if path.exists() else "does not exist"
        raise ValueError(
            f"The corpus {str(path)!r} {what}. Give a .txt, .jsonl (also .xz, .gz) or "
            ".parquet file, or a folder of them."
        )
    files, passed_over = _walk(path)
    if not files:
        rest = f"; it holds {first_few(sorted(passed_over))}" if passed_over else ""
        raise ValueError(
            f"The folder {str(path)!r} holds no {', '.join(SUFFIXES)} file{rest}."
        )
    return CorpusFiles(tuple(sorted(files)), tuple(sorted(passed_over)))


def _walk(folder: Path) -> tuple[list[Path], list[str]]:
    """Files to read, and names with reasons of the others."""

    def refuse(error: OSError) -> None:
        raise error  # an unreadable folder must not look empty

    files: list[Path] = []
    passed_over: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        for name in [*folders, *names]:
            path = Path(parent, name)
            reason = ""
            if name.startswith("."):
                reason = "hidden"
            elif name in folders:
                reason = "linked folder" if path.is_symlink() else ""
            elif not path.is_file():
                reason = "no file"
            elif not is_corpus_file(path):
                reason = "unknown ending"
            if reason:
                passed_over.append(f"{path.relative_to(folder).as_posix()} ({reason})")
            elif name not in folders:
                files.append(path)
        folders[:] = [name for name in folders if not name.startswith(".")]
    return files, passed_over


def describe_passed_over(names: tuple[str, ...]) -> str:
    """A line about files that are not read; empty if there are none."""
    if not names:
        return ""
    count = "1 file" if len(names) == 1 else f"{len(names)} files"
    return f"passed over {count}: {first_few(sorted(names))}"


def corpus_digest(path: Path) -> str:
    """Hex sha256 of the content; of a folder, of its files' names and contents.

    A leading byte order mark does not count, since it is not read.
    """
    files = find_corpus_files(path).read
    if files == (path,):
        return file_digest(path)
    parts = [f"{f.relative_to(path).as_posix()} {file_digest(f)}\n" for f in files]
    # Names need not be UTF-8.
    return hashlib.sha256("".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def file_digest(path: Path) -> str:
    """Hex sha256 of a file as it is read: without a leading byte order mark."""
    with path.open("rb") as file:
        marked = byte_order_mark(file.read(3))
    return content_digest(path, after=marked)


def is_corpus_file(path: Path) -> bool:
    """Whether the ending is known, in small letters or capitals."""
    return _format(path) is not None


def format_of(path: Path) -> tuple[str, str]:
    """The ending that decides how a file is read, and that of its packing or "".

    Raises `ValueError` for an unknown ending, with what to do.
    """
    endings = _format(path)
    if endings is None:
        advice = _ADVICE.get(path.suffix.lower(), "")
        raise ValueError(
            f"{str(path)!r} has an unknown ending; a corpus is one of "
            f"{', '.join(SUFFIXES)}, the first two also with .xz or .gz. {advice}".strip()
        )
    return endings


def _format(path: Path) -> tuple[str, str] | None:
    ending = path.suffix.lower()
    packing = ending if ending in PACKINGS else ""
    kind = path.with_suffix("").suffix.lower() if packing else ending
    if kind not in SUFFIXES or (kind == ".parquet" and packing):
        return None
    return kind, packing

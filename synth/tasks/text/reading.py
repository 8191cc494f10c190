"""The identity of a user's files: digests of their content, and how they are read."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from synth.disk.places import expand
from synth.identity import digest
from synth.tasks.text.cleaning import CLEANING_VERSION
from synth.tasks.text.corpus_files import (
    corpus_digest,
    file_digest,
    format_of,
    is_corpus_file,
)
from synth.tasks.text.hub import PREFIX, HubPlace
from synth.tasks.text.tokenizer import FILE_VERSION


def reading_rule(*paths: str, cleaned: bool, own_tokenizer: bool) -> str:
    """How the files of a configuration are read, as a part of its identity.

    Under another ending the same bytes are other documents, and cleaning changes between
    versions. Plain .txt files need no rule; the endings of a folder's files are part of
    its digest.

    >>> reading_rule("tales.txt", cleaned=False, own_tokenizer=False)
    ''
    >>> reading_rule("tales.jsonl.xz", "b.txt", cleaned=True, own_tokenizer=False)
    'jsonl.xz txt, cleaning 2'
    """
    endings = [_ending(path) for path in paths if path]
    parts = [" ".join(endings)] if set(endings) - {"txt", "folder", "hub"} else []
    if cleaned:
        parts.append(f"cleaning {CLEANING_VERSION}")
    if own_tokenizer:
        parts.append(f"tokenizer file {FILE_VERSION}")
    return ", ".join(parts)


def _ending(path: str) -> str:
    if path.startswith(PREFIX):
        return "hub"
    if os.path.isdir(path) or not is_corpus_file(Path(path)):
        return "folder"
    return "".join(format_of(Path(path)))[1:]


def check_reading(stored: str, rule: str, field: str) -> None:
    """Check that this code reads the files as the configuration says.

    Raises `ValueError`, naming the field, both rules and what to do.
    """
    if stored != rule:
        raise ValueError(
            f"{field} is {stored or 'plain text'!r}, but the files given are read as "
            f"{rule or 'plain text'!r}. Give files with the endings that they had; if the "
            "run was made by an older version, train it again (without `reading` and "
            "digests)."
        )


def absolute(path: str) -> str:
    """An absolute path with `~` and `$VAR` replaced; "" and `hub:` stay as they are."""
    if not path or path.startswith(PREFIX):
        return path
    with contextlib.suppress(ValueError):  # stored by a run on another machine
        path = expand(path)
    return os.path.abspath(path)


def filled_digest(
    path: str,
    given: str,
    field: str,
    measure: Callable[[Path], str] = corpus_digest,
) -> str:
    """The given digest, or that of the content of `path`.

    So a stored configuration can be read where its corpus is missing or has changed,
    which `verified` refuses, and a new one has all its fields once it is built.

    Raises `ValueError` if no digest is given and nothing lies at `path`, or if the
    revision of a place on the hub has another one than that given.
    """
    if path.startswith(PREFIX):
        # The revision is a hash of the content already; nothing is downloaded here.
        actual = digest(HubPlace.parse(path).identity)
        if given and actual != given:
            raise ValueError(
                f"{field} {path!r} is not what the digest given stands for."
            )
        return actual
    if given:
        return given
    if not path:
        raise ValueError(f"{field} is empty. Give the path of a file.")
    return measure(Path(path))


def verified(
    path: str,
    expected: str,
    field: str,
    measure: Callable[[Path], str] = corpus_digest,
) -> str:
    """The path, once its content is known to have the digest of the configuration.

    Raises `ValueError` if nothing lies at `path`, or other content; says how to give the
    right one.
    """
    if path.startswith(PREFIX):
        return path
    there = bool(path) and Path(path).exists()
    if there and measure(Path(path)) == expected:
        return path
    what = "was changed: it has another sha256" if there else "does not exist here"
    raise ValueError(
        f"{field} {path!r} {what}. Say where the content with sha256 {expected} lies "
        f"now: --{field.split('.')[-1].replace('_', '-')} PATH."
    )


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Begin the message of a `ValueError` with a path that it does not name."""
    try:
        yield
    except ValueError as error:
        if path in str(error):
            raise
        raise ValueError(f"{path!r}: {error}") from None


def one_file_digest(path: Path) -> str:
    """Hex sha256 of a file that is not a corpus: a tokenizer.json, a file of tests."""
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise ValueError(f"The file {str(path)!r} {what}.")
    return file_digest(path)


def tokenizer_file_digest(path: Path) -> str:
    """Hex sha256 of a tokenizer.json."""
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder: give the tokenizer.json in it.")
    return one_file_digest(path)

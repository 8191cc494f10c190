"""Hub data sets as documents, through the optional `datasets` library.

A place is written `hub:<owner>/<name>@<revision>`, with `/<file>` for one plain text
file of the repository and `#<number>` for its first documents alone. The revision is a
full commit hash: a branch is not a version. `KNOWN` holds short names.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from synth.tasks.text.corpus import Document, document_of, text_documents

PREFIX = "hub:"
KNOWN = {
    "tinystories": "roneneldan/TinyStories@f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"
    "/TinyStoriesV2-GPT4-train.txt",
    "simplestories": "SimpleStories/SimpleStories"
    "@e63b8adc3b1a1bdc7cac5b500d150b71346b0628",
    "pg19": "emozilla/pg19@c021754c8e01c5b1cc83a1f549c1f97fbbb756b8",
    "gutenberg": "common-pile/project_gutenberg_filtered"
    "@3cdf6879c807f4e4e063f2ceb23bc268d8c29ab7",
}
"""Pinned sets by short name: `hub:pg19#500`."""
_SPEC = re.compile(
    r"(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[0-9a-f]{40})(?:/(?P<file>[^#]+))?"
    r"(?:#(?P<most>[1-9]\d*))?"
)


@dataclass(frozen=True)
class HubPlace:
    """One data set of the hub at one revision."""

    name: str
    revision: str
    file: str | None
    most: int | None

    @classmethod
    def parse(cls, place: str) -> "HubPlace":
        """From `hub:...`; a short name of `KNOWN` is replaced by what it stands for."""
        text = place.removeprefix(PREFIX)
        short, mark, most = text.partition("#")
        match = _SPEC.fullmatch(KNOWN.get(short, short) + mark + most)
        if match is None:
            raise ValueError(
                f"{place!r} is no place on the hub. Write hub:<owner>/<name>@<commit>, "
                "the commit as 40 hex digits (a branch is not a version), or one of "
                f"{', '.join(PREFIX + name for name in KNOWN)}."
            )
        number = int(match["most"]) if match["most"] else None
        return cls(match["name"], match["revision"], match["file"], number)

    @property
    def identity(self) -> list[str | int | None]:
        """What determines the documents."""
        return ["hub", self.name, self.revision, self.file, self.most]


def hub_documents(
    place: str,
    field: str = "",
    load: Callable[..., Iterable[dict[str, Any]]] | None = None,
) -> Iterator[Document]:
    """The training split of a data set, streamed; `load` stands in for the library.

    Raises `ValueError` if `datasets` is not installed, the hub cannot be reached, it
    holds no such set, or a row has no text field.
    """
    data_set = HubPlace.parse(place)
    if data_set.file is not None and field:
        raise ValueError(f"{place!r} is plain text: it has no field {field!r}.")
    rows = _rows(data_set, load or _load)
    documents: Iterator[Document | None]
    if data_set.file is not None:
        documents = line_documents(row["text"] for row in rows)
    else:
        documents = (
            document_of(row, f"{place}, row {number}", field)
            for number, row in enumerate(rows, 1)
        )
    yield from islice((d for d in documents if d is not None), data_set.most)


def line_documents(lines: Iterable[str]) -> Iterator[Document]:
    """Documents of a text that the library hands out line by line."""
    for document in text_documents(line.rstrip("\n") + "\n" for line in lines):
        yield Document("", document.text.strip())


def _rows(
    place: HubPlace, load: Callable[..., Iterable[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    try:
        # A stream is opened lazily: the hub may fail at any row.
        yield from load(place)
    except ImportError:
        raise ValueError(
            "Hub data sets need the library 'datasets': install the extra 'hub', or "
            "give the path of a downloaded file."
        ) from None
    except Exception as error:
        # The libraries underneath raise their own errors, those of httpx for instance.
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(". :")
        raise ValueError(
            f"The hub cannot give {place.name!r} at {place.revision} ({reason}). Is "
            "there a network? Give the path of a downloaded .txt, .jsonl or .parquet "
            "file instead."
        ) from error


def _load(place: HubPlace) -> Iterable[dict[str, Any]]:
    from datasets import load_dataset

    if place.file is None:
        return load_dataset(
            place.name, revision=place.revision, split="train", streaming=True
        )
    file = f"hf://datasets/{place.name}@{place.revision}/{place.file}"
    return load_dataset("text", data_files=file, split="train", streaming=True)

"""Corpora as token arrays on disk: cleaned, split, encoded once, memory-mapped.

Letters in names: D documents, S tokens in a row.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from synth.disk.cache import entry
from synth.identity import digest
from synth.tasks.text.cleaning import (
    CLEANING_VERSION,
    SPLITS,
    TextSplit,
    chunks,
    clean,
    exact_digest,
    is_mostly_notices,
    leakage,
    split_of,
    words_of,
)
from synth.tasks.text.corpus import Document, read_documents
from synth.tasks.text.corpus_files import find_corpus_files
from synth.tasks.text.detection import NAME_RULE, NameWords
from synth.tasks.text.hub import PREFIX, hub_documents
from synth.tasks.text.tokenizer import Tokenizer

ENCODING_VERSION = 2
CHECKED_DOCUMENTS = 20_000
"""The leakage check and the search for names read at most so many of each split."""
HELD_TEXTS = 4000
"""Documents of each split that are kept as text."""


@dataclass(frozen=True)
class Encoded:
    """One split of a corpus: token ids of all documents, and where each begins."""

    tokens_S: np.ndarray
    starts_D: np.ndarray

    def __len__(self) -> int:
        return len(self.starts_D) - 1

    def document(self, number: int) -> np.ndarray:
        """The tokens of one document."""
        return self.tokens_S[self.starts_D[number] : self.starts_D[number + 1]]

    def counts(self, size: int) -> np.ndarray:
        """How often each of `size` token ids occurs."""
        parts = range(0, len(self.tokens_S), 1 << 24)
        return sum(
            (
                np.bincount(self.tokens_S[i : i + (1 << 24)], minlength=size)
                for i in parts
            ),
            start=np.zeros(size, np.int64),
        )


@dataclass(frozen=True)
class Corpus:
    """A corpus under one tokeniser: its splits, names and a report."""

    splits: dict[TextSplit, Encoded]
    report: dict[str, Any]
    texts: dict[TextSplit, list[str]]
    """The first documents of each split as text."""
    names: NameWords
    """The words that count as names."""
    tokenizer: Tokenizer

    def text_of(self, split: TextSplit, number: int) -> str:
        """One document as text, without the end-of-text token."""
        return self.tokenizer.decode(self.splits[split].document(number)[:-1].tolist())


@dataclass(frozen=True)
class CorpusText:
    """The files of a user, and how they are read."""

    place: str
    """A path, or a `hub:` place."""
    content: str
    """The digest of what lies there."""
    field: str = ""
    """The field of rows that holds the text; "" for the usual ones."""
    rule: str = ""
    """How the files are read: see `synth.tasks.text.reading.reading_rule`."""

    @property
    def key(self) -> list[str]:
        """The part of cache keys that determines the documents."""
        return [self.content, self.field, self.rule]

    def documents(self) -> Iterator[Document]:
        """The documents, not cleaned."""
        if self.place.startswith(PREFIX):
            return hub_documents(self.place, self.field)
        return read_documents(Path(self.place), self.field)

    def size(self) -> int:
        """Bytes on disk; 0 for a place on the hub."""
        if self.place.startswith(PREFIX):
            return 0
        files = find_corpus_files(Path(self.place)).read
        return sum(file.stat().st_size for file in files)

    def encode(self, tokenizer: Tokenizer, text: str, number: int) -> list[int]:
        """The tokens of a text that is its document `number`, counted from 1.

        Raises `ValueError`, naming the file and the document, if it cannot be encoded.
        """
        try:
            return tokenizer.encode(text)
        except ValueError as error:
            raise ValueError(f"{self.place}, document {number}: {error}") from None


def cleaned_documents(
    source: CorpusText, chunked: bool, left_out: Counter[str] | None = None
) -> Iterator[tuple[TextSplit, str]]:
    """Documents ready to be encoded, with their split; exact duplicates left out.

    With `chunked`, documents of more than 400 words are cut into pieces at paragraphs;
    all pieces of a document have its split, unless it is the only document. What is
    left out is counted by its reason in `left_out`.
    """
    left_out = Counter() if left_out is None else left_out
    seen: set[bytes] = set()
    documents = source.documents()
    first = list(islice(documents, 2))
    for document in chain(first, documents):
        if is_mostly_notices(document.text):
            left_out["notices"] += 1
            continue
        text = clean(document.text)
        split = split_of(Document(document.title, text))
        for piece in chunks(text) if chunked else [text]:
            if len(first) == 1:
                split = split_of(Document("", piece))
            mark = exact_digest(piece)
            if not piece or mark in seen:
                left_out["duplicates" if piece else "empty"] += 1
                continue
            seen.add(mark)
            yield split, piece


def encoded_corpus(source: CorpusText, tokenizer: Tokenizer, chunked: bool) -> Corpus:
    """The corpus under a tokeniser, from the cache or encoded now."""
    versions = [CLEANING_VERSION, ENCODING_VERSION, NAME_RULE]
    key = digest([*source.key, *versions, tokenizer.digest, chunked])
    folder = entry("corpora", key, lambda to: _encode(source, tokenizer, chunked, to))
    report = _read_json(folder, "report")
    texts = _read_json(folder, "texts")
    names = NameWords.restored(_read_json(folder, "names"))
    splits = {split: _mapped(folder, split, report) for split in SPLITS}
    return Corpus(splits, report, texts, names, tokenizer)


def _read_json(folder: Path, name: str) -> Any:
    return json.loads((folder / f"{name}.json").read_bytes())


def _mapped(folder: Path, split: TextSplit, report: dict[str, Any]) -> Encoded:
    starts_D = np.load(folder / f"{split}-starts.npy")
    path = folder / f"{split}.bin"
    if starts_D[-1] == 0:
        return Encoded(np.zeros(0, report["dtype"]), starts_D)
    return Encoded(np.memmap(path, dtype=report["dtype"], mode="r"), starts_D)


def _encode(
    source: CorpusText, tokenizer: Tokenizer, chunked: bool, folder: Path
) -> None:
    """Encode and write document by document: memory does not grow with the corpus."""
    dtype = "uint16" if len(tokenizer) <= 1 << 16 else "uint32"
    lengths: dict[TextSplit, list[int]] = {split: [] for split in SPLITS}
    texts: dict[TextSplit, list[str]] = {split: [] for split in SPLITS}
    left_out = Counter(duplicates=0, empty=0, notices=0)
    progress = _Progress(f"encoding {source.place}")
    files = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
    try:
        documents = cleaned_documents(source, chunked, left_out)
        for number, (split, text) in enumerate(documents, 1):
            tokens = source.encode(tokenizer, text, number)
            files[split].write(np.array([*tokens, tokenizer.end], dtype).tobytes())
            lengths[split].append(len(tokens) + 1)
            if len(texts[split]) < CHECKED_DOCUMENTS:
                texts[split].append(text)
            progress.add(len(text))
    finally:
        for file in files.values():
            file.close()
    if not any(lengths.values()):
        raise ValueError(
            f"{source.place!r} holds no text once it is cleaned: left out were "
            f"{dict(left_out)}."
        )
    for split, counts in lengths.items():
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        np.save(folder / f"{split}-starts.npy", starts.astype(np.int64))
    _describe(folder, texts, lengths, dtype, left_out)
    progress.close()


def _describe(
    folder: Path,
    texts: dict[TextSplit, list[str]],
    lengths: dict[TextSplit, list[int]],
    dtype: str,
    left_out: Counter[str],
) -> None:
    """Write names, words, leakage and sizes, from the documents kept as text."""
    every = [text for split in SPLITS for text in texts[split]]
    names = NameWords.of(every)
    named = [names.in_text(text) for text in texts["train"]]
    words = Counter(word for text in every for word in words_of(text))
    report = {
        "dtype": dtype,
        "documents": {split: len(counts) for split, counts in lengths.items()},
        "left_out": dict(left_out),
        "tokens": {split: sum(counts) for split, counts in lengths.items()},
        "leakage": asdict(leakage(texts["train"], texts["test"])),
        "name_words": len(set().union(*named)),
        "names": names.report(named),
        "documents_with_names": sum(map(bool, named)) / len(named) if named else None,
        "words": sorted(word for word, times in words.items() if times >= 2),
    }
    held = {split: texts[split][:HELD_TEXTS] for split in SPLITS}
    for name, content in (
        ("report", report),
        ("texts", held),
        ("names", names.stored),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")


def sampled_texts(
    sources: Iterable[CorpusText], most: int = 50_000_000
) -> Iterator[str]:
    """Whole training documents for a tokeniser: at most `most` characters a source.

    Of a larger corpus, the hash of each document decides whether it is taken.
    """
    for source in sources:
        # Packed text is about four times as long; a guess too large takes fewer documents.
        share = min(1.0, most / max(1, 4 * source.size()))
        left = most
        for split, text in cleaned_documents(source, chunked=False):
            chance = int.from_bytes(exact_digest(text)[:8], "big") / 2**64
            if split != "train" or chance > share:
                continue
            if len(text) > left:
                continue
            left -= len(text)
            yield text


class _Progress:
    """Prints a line on standard error every few seconds, none for short work."""

    def __init__(self, what: str) -> None:
        self._what, self._characters = what, 0
        self._began = self._last = time.monotonic()

    def add(self, characters: int) -> None:
        self._characters += characters
        now = time.monotonic()
        if now - self._last > 5:
            self._last = now
            self._print()

    def close(self) -> None:
        if time.monotonic() - self._began > 5:
            self._print()

    def _print(self) -> None:
        seconds = time.monotonic() - self._began
        done = self._characters / 1e6
        print(f"{self._what}: {done:.0f} MB in {seconds:.0f} s", file=sys.stderr)

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

from synth.identity import digest
from synth.text.cache import entry
from synth.text.cleaning import (
    CLEANING_VERSION,
    SPLITS,
    Split,
    chunks,
    clean,
    fingerprint,
    is_mostly_notices,
    leakage,
    split_of,
    words_of,
)
from synth.text.corpus import Document, corpus_files, read_documents
from synth.text.detection import NameWords
from synth.text.hub import PREFIX, hub_documents
from synth.text.tokenizer import Tokenizer

ENCODING_VERSION = 1
CHECKED_DOCUMENTS = 20_000
"""The leakage check and the list of names read at most so many documents of a split."""
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
    """A corpus under one tokeniser: its splits, and what was found on the way."""

    splits: dict[Split, Encoded]
    report: dict[str, Any]
    texts: dict[Split, list[str]]
    """The first documents of each split as text."""
    names: NameWords
    """The words taken to be names."""
    tokenizer: Tokenizer

    def text_of(self, split: Split, number: int) -> str:
        """One document as text, without the end-of-text token."""
        return self.tokenizer.decode(self.splits[split].document(number)[:-1].tolist())


def documents_at(place: str) -> Iterator[Document]:
    """The documents of a path, or of a `hub:` place."""
    if place.startswith(PREFIX):
        return hub_documents(place)
    return read_documents(Path(place))


def cleaned_documents(path: str, chunked: bool) -> Iterator[tuple[Split, str]]:
    """Documents ready to be encoded, with their split; exact duplicates left out.

    With `chunked`, documents of more than 400 words are cut into pieces at paragraphs;
    all pieces of a document have its split, unless it is the only document.
    """
    seen: set[int] = set()
    documents = documents_at(path)
    first = list(islice(documents, 2))
    for document in chain(first, documents):
        if is_mostly_notices(document.text):
            continue
        text = clean(document.text)
        split = split_of(Document(document.title, text))
        for piece in chunks(text) if chunked else [text]:
            if len(first) == 1:
                split = split_of(Document("", piece))
            mark = fingerprint(piece)
            if piece and mark not in seen:
                seen.add(mark)
                yield split, piece


def encoded_corpus(
    path: str, content: str, tokenizer: Tokenizer, chunked: bool
) -> Corpus:
    """The corpus at `path` of digest `content`, from the cache or encoded now."""
    key = digest(
        [content, CLEANING_VERSION, ENCODING_VERSION, tokenizer.digest, chunked]
    )
    folder = entry("corpora", key, lambda to: _encode(path, tokenizer, chunked, to))
    report = json.loads((folder / "report.json").read_text())
    texts = json.loads((folder / "texts.json").read_text("utf-8"))
    names = NameWords(frozenset(json.loads((folder / "names.json").read_text("utf-8"))))
    splits = {split: _mapped(folder, split, report) for split in SPLITS}
    return Corpus(splits, report, texts, names, tokenizer)


def _mapped(folder: Path, split: Split, report: dict[str, Any]) -> Encoded:
    starts_D = np.load(folder / f"{split}-starts.npy")
    path = folder / f"{split}.bin"
    if starts_D[-1] == 0:
        return Encoded(np.zeros(0, report["dtype"]), starts_D)
    return Encoded(np.memmap(path, dtype=report["dtype"], mode="r"), starts_D)


def _encode(path: str, tokenizer: Tokenizer, chunked: bool, folder: Path) -> None:
    """Write tokens as they come, so that memory does not grow with the corpus."""
    dtype = "uint16" if len(tokenizer) <= 1 << 16 else "uint32"
    lengths: dict[Split, list[int]] = {split: [] for split in SPLITS}
    texts: dict[Split, list[str]] = {split: [] for split in SPLITS}
    progress = _Progress(f"encoding {path}")
    files = {split: (folder / f"{split}.bin").open("wb") for split in SPLITS}
    try:
        for split, text in cleaned_documents(path, chunked):
            tokens = [*tokenizer.encode(text), tokenizer.end]
            files[split].write(np.array(tokens, dtype).tobytes())
            lengths[split].append(len(tokens))
            if len(texts[split]) < CHECKED_DOCUMENTS:
                texts[split].append(text)
            progress.add(len(text))
    finally:
        for file in files.values():
            file.close()
    if not any(lengths.values()):
        raise ValueError(f"{path!r} holds no text.")
    for split, counts in lengths.items():
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        np.save(folder / f"{split}-starts.npy", starts.astype(np.int64))
    _describe(folder, texts, lengths, dtype)
    progress.close()


def _describe(
    folder: Path,
    texts: dict[Split, list[str]],
    lengths: dict[Split, list[int]],
    dtype: str,
) -> None:
    """Names, words, leakage and sizes, from the documents kept as text."""
    every = [text for split in SPLITS for text in texts[split]]
    names = NameWords.of(every)
    named = [frozenset(names.in_text(text)) for text in texts["train"]]
    words = Counter(word for text in every for word in words_of(text))
    report = {
        "dtype": dtype,
        "documents": {split: len(counts) for split, counts in lengths.items()},
        "tokens": {split: sum(counts) for split, counts in lengths.items()},
        "leakage": asdict(leakage(texts["train"], texts["test"])),
        "name_words": len(frozenset().union(*named)),
        "documents_with_names": sum(map(bool, named)) / max(1, len(named)),
        "words": sorted(word for word, times in words.items() if times >= 2),
    }
    held = {split: texts[split][:HELD_TEXTS] for split in SPLITS}
    for name, content in (
        ("report", report),
        ("texts", held),
        ("names", sorted(names.words)),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), "utf-8")


def sampled_texts(paths: Iterable[str], most: int = 50_000_000) -> Iterator[str]:
    """Training documents to train a tokeniser on, whole: at most `most` characters each.

    Which of a larger corpus are taken depends on each document's hash alone.
    """
    for path in paths:
        share = 1.0
        if not path.startswith(PREFIX):
            size = sum(file.stat().st_size for file in corpus_files(Path(path)))
            # Packed text is about four times as long; a larger guess only takes fewer.
            share = min(1.0, most / (4 * size))
        left = most
        for split, text in cleaned_documents(path, chunked=False):
            if split != "train" or fingerprint(text[:1000]) / 2**64 > share:
                continue
            if len(text) > left:
                continue
            left -= len(text)
            yield text


class _Progress:
    """A line on the error stream every few seconds, none for short work."""

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

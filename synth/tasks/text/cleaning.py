"""Cleaning, chunking, splitting of documents, and the check that splits do not leak."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from synth.tasks.text.corpus import SEPARATOR, Document

CLEANING_VERSION = 2
"""Raised when cleaning changes; part of identities and cache keys."""

TextSplit = Literal["train", "validation", "test"]
"""Of documents and of names."""
SPLITS: tuple[TextSplit, ...] = ("train", "validation", "test")
_PLAIN = str.maketrans(
    {
        "‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"',
        "»": '"', "–": "-", "—": "--", "―": "--", "…": "...", "\u00a0": " ",
        "\u2028": "\n", "\u2029": "\n", "\ufeff": "", "\u200b": "", "\u00ad": "",
    }
)  # fmt: skip
_MOJIBAKE = re.compile("[ÂÃâ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]{1,2}")
_NOTICE = re.compile(
    r"(?i)\bgutenberg\b|\be-?text\b|\betext\d|^produced by |^transcribed from|pgdp\.net"
    r"|pglaf"
)
_WORDS = re.compile(r"[^\W_]+(?:'[^\W_]+)?")
MOST_NOTICES = 20
NGRAM = 13
"""Words of an n-gram that counts as copied."""


def clean(text: str) -> str:
    """Plain quotes and dashes, repaired encoding, no notices, no special tokens.

    >>> clean("\\u201cIt\\u00e2\\u20ac\\u2122s me\\u2026\\u201d")
    '"It\\'s me..."'
    """
    text = _MOJIBAKE.sub(_repaired, text)
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace(SEPARATOR, "")
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ?\n ?", "\n", text)
    paragraphs = re.split(r"\n{2,}", text.strip())
    return "\n\n".join(p for p in paragraphs if p and not _NOTICE.search(p))


def _repaired(match: re.Match[str]) -> str:
    """Decode UTF-8 that was read as Windows-1252; other text stays as it is."""
    raw = bytearray()
    for character in match[0]:
        try:
            raw += character.encode("cp1252")
        except UnicodeEncodeError:
            if ord(character) > 255:
                return match[0]
            raw.append(ord(character))
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return match[0]


def is_mostly_notices(text: str) -> bool:
    """Whether a record is a licence rather than a text."""
    return len(_NOTICE.findall(text)) > MOST_NOTICES


def chunks(text: str) -> Iterator[str]:
    """Cut a text of more than 400 words into pieces of 200 to 400 words.

    Pieces are whole paragraphs; a paragraph of more than 400 words is cut at ends of
    sentences. A remainder below 200 words is dropped.
    """
    least, most = 200, 400
    if len(text.split()) <= most:
        yield text
        return
    paragraphs: list[str] = []
    words = 0
    for paragraph in text.split("\n\n"):
        for piece in _short(paragraph, most):
            count = len(piece.split())
            if words + count > most:
                if words >= least:
                    yield "\n\n".join(paragraphs)
                paragraphs, words = [], 0
            paragraphs.append(piece)
            words += count
            if words >= least:
                yield "\n\n".join(paragraphs)
                paragraphs, words = [], 0


def _short(paragraph: str, most: int) -> Iterator[str]:
    if len(paragraph.split()) <= most:
        yield paragraph
        return
    sentences = re.split(r"(?<=[.!?])(?<!Mr\.)(?<!Mrs\.) +", paragraph)
    part: list[str] = []
    words = 0
    for sentence in sentences:
        count = len(sentence.split())
        if part and words + count > most:
            yield " ".join(part)
            part, words = [], 0
        part.append(sentence)
        words += count
    yield " ".join(part)


def words_of(text: str) -> list[str]:
    """The words and numbers in lower case, without punctuation."""
    return _WORDS.findall(text.lower())


def exact_digest(text: str) -> bytes:
    """16 bytes of sha256; compares texts exactly, unlike `fingerprint`."""
    return hashlib.sha256(text.encode()).digest()[:16]


def fingerprint(text: str) -> int:
    """A 64-bit number of the words: equal for texts that differ in punctuation only.

    Where words make up less than half of a text, other characters count too. To test
    equality use `exact_digest`.
    """
    joined = " ".join(words_of(text))
    if 2 * len(joined) < len(text):
        joined = text
    raw = joined.encode("utf-8", "surrogatepass")  # titles are any string
    return int.from_bytes(hashlib.sha256(raw).digest()[:8], "big")


def split_of(document: Document) -> TextSplit:
    """The split of a document, by a hash of its title, or of its text without one.

    One in twenty is in each held-out split. Versions of a tale under one title are in
    the same split.
    """
    place = fingerprint(document.title.strip() or document.text) % 20
    return "test" if place == 0 else "validation" if place == 1 else "train"


@dataclass(frozen=True)
class Leakage:
    """Overlap of held-out documents with the training text."""

    documents: int
    too_short: int
    """Held-out documents without an n-gram, which are not compared."""
    duplicates: int
    """Held-out documents of which at least half the n-grams occur in training."""
    shared: float | None
    """Share of the held-out n-grams that occur in training; `None` if there are none."""


def leakage(train: Iterable[str], held_out: Iterable[str]) -> Leakage:
    """Count the n-grams of `NGRAM` words that held-out and training texts share."""
    grams: list[set[int]] = [_grams(text) for text in held_out]
    wanted = set().union(*grams) if grams else set()
    seen: set[int] = set()
    for text in train:
        seen |= wanted & _grams(text)
    total = sum(len(g) for g in grams)
    return Leakage(
        len(grams),
        sum(not g for g in grams),
        sum(len(g & seen) >= 0.5 * len(g) for g in grams if g),
        sum(len(g & seen) for g in grams) / total if total else None,
    )


def _grams(text: str) -> set[int]:
    words = words_of(text)
    starts = range(len(words) - NGRAM + 1)
    return {hash(tuple(words[start : start + NGRAM])) for start in starts}

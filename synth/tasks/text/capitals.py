"""Counts of each word in lower case and with a capital, by what precedes it.

Within a sentence only names have a capital, so the share of capitals there separates
names from words. Where a sentence may begin, any word has one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import regex

from synth.tasks.text.never_names import (
    BEFORE_DATES,
    BEFORE_PLACES,
    DETERMINERS,
    MONTHS_AND_NAMES,
    STOPPED,
    reason_never,
)

WordPlace = Literal["start", "within", "joined", "inside", "date", "determined"]
"""Where a capitalised word stands, by what is before it:

start       a sentence may begin here, or the word before is in capitals throughout
within      after a word of the same sentence, a comma, or a title
joined      after another capitalised word
inside      after "in" or "into", as the names of places
date        after what else comes before months: "of", "last", a number
determined  after an article or a possessive: the Lion, his Majesty
"""
_BODY = (
    r"\p{Lu}(?! )[\p{L}\p{M}]*+"
    # O'Neil, Ann-Marie; but LILY'S, WE'LL and Tin-soldier end at the mark.
    r"(?:['’](?!(?:LL|VE|RE)\b)\p{Lu}\p{L}[\p{L}\p{M}]*+|[-‐‑]\p{Lu}[\p{L}\p{M}]*+)*+"
    r"(?!\d)"
)
CAPITALISED = regex.compile(rf"(?<= ){_BODY}")
"""A capitalised word after a space, without its possessive ending."""
_WITH_BEFORE = regex.compile(rf"(?=\p{{Lu}})(?<=(\S*+) )({_BODY})")
"""The same, with the word before it."""
_WORDS = r"[\p{L}\p{M}]+(?:['’][\p{L}\p{M}]+)*"
_POSSESSIVE = ("'s", "’s")
_LAST_WORD = regex.compile(r"[\p{L}\p{M}]+(?=\.?$)")
_INITIAL = regex.compile(r"(?<!\p{L})(?!I)\p{Lu}\.$")
_HYPHEN = regex.compile("[-‐‑]")


@dataclass
class WordCounts:
    """How often one word stands in each `WordPlace`, and how often in lower case."""

    lower: int = 0
    start: int = 0
    within: int = 0
    joined: int = 0
    inside: int = 0
    date: int = 0
    determined: int = 0

    @property
    def capitals(self) -> int:
        """Capitalised occurrences after a space."""
        return self.start + self.in_sentences - self.lower

    @property
    def in_sentences(self) -> int:
        """Occurrences within sentences."""
        named = self.within + self.joined + self.inside + self.date
        return named + self.determined + self.lower


def named_share(word: str, seen: WordCounts) -> float:
    """The share of its occurrences in sentences that look like a name."""
    named = seen.within + seen.joined
    if word.lower() not in MONTHS_AND_NAMES:
        named += seen.inside + seen.date
    return named / seen.in_sentences if seen.in_sentences else 0.0


def count_words(texts: Iterable[str]) -> dict[str, WordCounts]:
    """The counts of every capitalised word, over all texts."""
    pairs: Counter[tuple[str, str]] = Counter()
    lower: Counter[str] = Counter()
    for text in texts:
        pairs.update(_WITH_BEFORE.findall(text))
        lower.update(lower_in(text))
    places = {before: place_after(before) for before, _ in pairs}
    by_word: dict[str, WordCounts] = {}
    for (before, word), times in pairs.items():
        if word not in by_word:
            parts = _HYPHEN.split(word.lower())
            by_word[word] = WordCounts(lower=min(lower[part] for part in parts))
        seen, place = by_word[word], places[before]
        setattr(seen, place, getattr(seen, place) + times)
    return by_word


def lower_in(text: str) -> Counter[str]:
    """How often each word is in lower case in a text, possessive endings left out."""
    return Counter(
        word[:-2] if word.endswith(_POSSESSIVE) else word
        for word in regex.findall(_WORDS, text)
        if word.islower()
    )


def capitalised_words(text: str) -> Iterator[tuple[WordPlace, str, int]]:
    """Every capitalised word after a space: its place, the word, its first index."""
    for match in _WITH_BEFORE.finditer(text):
        yield place_after(match[1]), match[2], match.start(2)


def place_after(before: str) -> WordPlace:
    """The place of a word, from what stands between it and the space before.

    >>> [place_after(before) for before in ("said", "Mrs.", "home.", "the", "of")]
    ['within', 'within', 'start', 'determined', 'date']
    """
    last = before[-1:]
    if last in {'"', "'", "”", "’"}:
        # Speech that ends in a comma goes on in the same sentence: "Yes," Heidi said.
        return "within" if before[-2:-1] == "," else "start"
    if last in {",", ";"}:
        return "within"
    if last.isdigit():
        return "date"
    match = _LAST_WORD.search(before)
    if match is None:
        return "start"
    word, folded = match[0], match[0].lower()
    if last == ".":
        stopped = folded in STOPPED or _INITIAL.search(before)
        return "within" if stopped else "start"
    if folded in DETERMINERS:
        return "determined"
    if folded in BEFORE_PLACES:
        return "inside"
    if folded in BEFORE_DATES:
        return "date"
    if len(word) > 1 and word.isupper():
        return "start"
    if word[0].isupper() and not reason_never(word):
        return "joined"
    return "within"

"""Finds names in real prose by rule, and replaces them by two-token names.

A word is a name if most of its occurrences within sentences are capitalised and follow
no article (`synth.tasks.text.capitals`), unless `never_names` lists it or it often
follows "in". A word that is ordinary in most texts (Rose, Will, Mark) is a name in a text
that writes it as one at least twice. The rules compare shares, never counts, so a longer
corpus of the same kind has the same names.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from synth.tasks.text.capitals import (
    CAPITALISED,
    WordCounts,
    capitalised_words,
    count_words,
    lower_in,
    named_share,
)
from synth.tasks.text.names import NameSource
from synth.tasks.text.never_names import DETERMINERS, MONTHS_AND_NAMES, reason_never
from synth.tasks.text.tokenizer import Tokenizer

NAME_RULE = 2
"""Raised when other words would be taken for names: part of a run's identity."""
SHARE = 0.5
"""At least this share of a name's occurrences in sentences look like a name."""
SHARE_IF_CAPITALS = 0.95
"""The same for a word that is always in capitals: keeps TIM, drops CHAPTER."""
SHARE_OF_PLACES = 0.25
"""A word with a larger share after "in" or "into" is a place."""
LOWER = "mostly in lower case"
DETERMINED = "mostly after an article or a possessive"
MONTHS = "months"
UNSURE = (LOWER, DETERMINED, MONTHS)
"""Reasons that one text can overrule, as for Rose, Will and Mark."""
LEAST_IN_TEXT = 2
"""Uses as a name that make an ordinary word a name in that text."""
LOOK_BACK = 40
"""Characters that hold the two words before a name."""
MOST_NAMES = 4
"""Names of a text that are replaced, the most frequent ones."""
SHOWN = 12
"""Words of each kind that a report shows."""


@dataclass(frozen=True)
class NameWords:
    """The words of a corpus that are taken to be names."""

    words: frozenset[str]
    """Names wherever they stand."""
    sometimes: frozenset[str] = frozenset()
    """Names in some texts only; `names_here` decides for each text."""
    left: dict[str, Counter[str]] = field(default_factory=dict, compare=False)
    """Occurrences of the capitalised words that are not names, by reason."""

    @classmethod
    def of(cls, texts: Iterable[str]) -> "NameWords":
        """Decide for every capitalised word of the texts whether it is a name."""
        words: set[str] = set()
        sometimes: set[str] = set()
        left: dict[str, Counter[str]] = {}
        for word, seen in count_words(texts).items():
            reason = reason_never(word)
            if not reason:
                reason = _reason_against(word, seen)
                if reason in UNSURE and not word.isupper():
                    sometimes.add(word)
            if reason:
                left.setdefault(reason, Counter())[word] = seen.capitals
            else:
                words.add(word)
        return cls(frozenset(words), frozenset(sometimes), left)

    @property
    def stored(self) -> dict[str, list[str]]:
        """Plain values for JSON, which `restored` reads."""
        return {"words": sorted(self.words), "sometimes": sorted(self.sometimes)}

    @classmethod
    def restored(cls, stored: dict[str, list[str]]) -> "NameWords":
        """The names that were stored; `left` is not stored."""
        return cls(frozenset(stored["words"]), frozenset(stored["sometimes"]))

    @cached_property
    def _name_of(self) -> dict[str, str]:
        """The name that each written form stands for: LILY for Lily."""
        names = sorted(self.words | self.sometimes)
        # Sorted, LILY comes before Lily and is overwritten: both forms mean Lily.
        capitals = {name.upper(): name for name in names}
        same = {c: name for c, name in capitals.items() if len(c) == len(name)}
        return {name: name for name in names} | same

    def in_text(self, text: str) -> dict[str, list[int]]:
        """Names with at least two mentions after a space, and where these begin."""
        starts: dict[str, list[int]] = {}
        name_of = self._name_of.get
        for match in CAPITALISED.finditer(text):
            name = name_of(match[0])
            if name is not None:
                starts.setdefault(name, []).append(match.start())
        starts = {name: at for name, at in starts.items() if len(at) > 1}
        unsure = self.sometimes.intersection(starts)
        if unsure:
            for name in unsure - names_here(text, unsure):
                del starts[name]
        return starts

    def report(self, mentions: Iterable[dict[str, list[int]]]) -> dict[str, Any]:
        """Words taken as names and words left, with counts.

        `mentions` has the result of `in_text` for every text.
        """
        taken: Counter[str] = Counter()
        for starts in mentions:
            taken.update({name: len(at) for name, at in starts.items()})
        here = Counter({w: n for w, n in taken.items() if w in self.sometimes})
        return {
            "taken": _summary(taken - here),
            "taken in some texts": _summary(here),
            "left": {
                reason: _summary(words) for reason, words in sorted(self.left.items())
            },
        }


def names_here(text: str, words: frozenset[str]) -> set[str]:
    """Which of the words, ordinary elsewhere, are names in this text.

    A name stands alone within a sentence at least twice, at least as often as the word
    in lower case, and never after an article.
    """
    alone: Counter[str] = Counter()
    dates: Counter[str] = Counter()
    epithets: set[str] = set()
    for place, word, start in capitalised_words(text):
        if word not in words:
            continue
        if place == "determined":
            epithets.add(word)
        elif place in ("inside", "date") and word.lower() in MONTHS_AND_NAMES:
            dates[word] += 1
        elif place not in ("start", "joined"):
            alone[word] += _stands_alone(text, start, start + len(word))
    chosen = {w for w, times in alone.items() if times >= LEAST_IN_TEXT} - epithets
    if not chosen:
        return chosen
    lower = lower_in(text)
    return {w for w in chosen if alone[w] >= lower[w.lower()] + dates[w]}


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a word is outside of phrases such as "Rose Garden" or "the old Witch"."""
    if text[end : end + 1] == " " and text[end + 1 : end + 2].isupper():
        return False
    before = text[max(0, start - LOOK_BACK) : start].lower().split(" ")[-3:-1]
    return not (len(before) == 2 and before[0] in DETERMINERS and before[1].isalpha())


def _reason_against(word: str, seen: WordCounts) -> str:
    """Why the counts of a word exclude it as a name; empty if they do not."""
    if seen.capitals == seen.start:
        return "only where a sentence may begin"
    if word.lower() in MONTHS_AND_NAMES:
        return MONTHS
    if named_share(word, seen) < (SHARE_IF_CAPITALS if word.isupper() else SHARE):
        return LOWER if seen.lower >= seen.determined else DETERMINED
    if seen.inside > SHARE_OF_PLACES * (seen.in_sentences - seen.lower):
        return "places, often after in"
    return ""


def _summary(words: Counter[str]) -> dict[str, Any]:
    """How many words and occurrences, and the most frequent ones."""
    # By count and then by word, so that equal counts have one order.
    shown = sorted(words, key=lambda word: (-words[word], word))[:SHOWN]
    return {
        "words": len(words),
        "occurrences": words.total(),
        "most frequent": ", ".join(f"{word} {words[word]}" for word in shown),
    }


def rename(
    text: str,
    mentions: dict[str, list[int]],
    pairs_C2: np.ndarray,
    tokenizer: Tokenizer,
) -> tuple[list[int], list[int]]:
    """Tokens and marks of a text whose c-th name is replaced by pair c.

    The text between mentions is encoded up to the space before the name; a name ends
    where a word ends, so the tokens equal those of the whole new text. Mentions without
    a space before them keep the old name and no mark.
    """
    places = sorted(
        (start, len(name), number)
        for number, (name, starts) in enumerate(mentions.items())
        for start in starts
    )
    tokens: list[int] = []
    marks: list[int] = []
    end = 0
    for start, length, number in places:
        between = tokenizer.encode(text[end : start - 1])
        tokens += [*between, *pairs_C2[number].tolist()]
        marks += [0] * len(between) + [2 * number + 1, 2 * number + 2]
        end = start + length
    rest = tokenizer.encode(text[end:])
    return [*tokens, *rest, tokenizer.end], marks + [0] * (len(rest) + 1)


def rename_texts(
    texts: Iterable[str],
    words: NameWords,
    names: NameSource,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
) -> Iterator[tuple[list[int], list[int]]]:
    """The texts that mention names, with the most frequent ones replaced at random."""
    for text in texts:
        mentions = words.in_text(text)
        kept = sorted(mentions, key=lambda name: -len(mentions[name]))[:MOST_NAMES]
        if not kept:
            continue
        drawn = names.draw(rng, np.array([len(kept)]), len(kept))[0]
        chosen = {name: mentions[name] for name in kept}
        yield rename(text, chosen, names.tokens_P2[drawn], tokenizer)

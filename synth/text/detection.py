"""Names in real prose: found by rule, replaced by two-token names at token level."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from synth.text.names import NameSource
from synth.text.tokenizer import Tokenizer

_INSIDE = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_LOWER = re.compile(r"\b[a-z]{3,}\b")
_CAPITAL = re.compile(r"\b[A-Z][a-z]{2,}\b")
RARE = 5
"""A word that occurs so often in lower case is no name."""


@dataclass(frozen=True)
class NameWords:
    """The words of a corpus that are taken to be names."""

    words: frozenset[str]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "NameWords":
        """Words capitalised within sentences and rarely written in lower case."""
        inside: Counter[str] = Counter()
        lower: Counter[str] = Counter()
        for text in texts:
            inside.update(_INSIDE.findall(text))
            lower.update(_LOWER.findall(text))
        return cls(frozenset(w for w in inside if lower[w.lower()] < RARE))

    def in_text(self, text: str) -> dict[str, list[int]]:
        """Names with at least two mentions after a space, and where these begin."""
        found: dict[str, list[int]] = {}
        for match in _CAPITAL.finditer(text):
            if (
                match[0] in self.words
                and text[match.start() - 1 : match.start()] == " "
            ):
                found.setdefault(match[0], []).append(match.start())
        return {name: at for name, at in found.items() if len(at) > 1}


def renamed(
    text: str,
    mentions: dict[str, list[int]],
    pairs_C2: np.ndarray,
    tokenizer: Tokenizer,
) -> tuple[list[int], list[int]]:
    """Tokens and marks of a text in which the c-th name is written as pair c.

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


def renamed_texts(
    texts: Iterable[str],
    words: NameWords,
    names: NameSource,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    most_names: int = 4,
) -> Iterator[tuple[list[int], list[int]]]:
    """Every text that has names, its most frequent ones replaced by random names."""
    for text in texts:
        mentions = words.in_text(text)
        kept = sorted(mentions, key=lambda name: -len(mentions[name]))[:most_names]
        if not kept:
            continue
        drawn = names.draw(rng, np.array([len(kept)]), len(kept))[0]
        chosen = {name: mentions[name] for name in kept}
        yield renamed(text, chosen, names.tokens_P2[drawn], tokenizer)

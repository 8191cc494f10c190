"""The pieces of a story: words, segments, frames, plots."""

import re
from dataclasses import dataclass
from typing import Literal

CHARACTERS = "ABCDXY"
"""A to D are the characters of a story; X and Y are any two of them."""
MOST_CHARACTERS = 4

_VOWEL = re.compile(r"(?i)(?!uni|use|usu|eu|one|once)[aeiou]|hour|honest|heir")
_PLURAL_ES = re.compile(r"(s|x|z|ch|sh)$")


@dataclass(frozen=True)
class Word:
    """An entry of a class: one or more words, and how they end in the plural."""

    text: str
    plural: str

    def form(self, form: str) -> str:
        """The word after its space: "", "a" or "An" before it, "s" plural, "U" capital.

        >>> Word("apple", "apples").form("a"), Word("fox", "foxes").form("s")
        (' an apple', ' foxes')
        """
        if form in ("a", "An"):
            article = "an" if _VOWEL.match(self.text) else "a"
            return f" {article.capitalize() if form == 'An' else article} {self.text}"
        if form == "s":
            return f" {self.plural}"
        if form == "U":
            return f" {self.text[0].upper()}{self.text[1:]}"
        return f" {self.text}"

    @classmethod
    def read(cls, entry: str) -> "Word":
        """From "child|children", or from "box" with a regular plural."""
        text, _, plural = (part.strip() for part in entry.partition("|"))
        if not plural:
            if text.endswith("y") and text[-2:-1] not in "aeiou":
                plural = text[:-1] + "ies"
            else:
                plural = text + ("es" if _PLURAL_ES.search(text) else "s")
        return cls(text, plural)


@dataclass(frozen=True)
class Segment:
    """A piece of a frame: fixed text, or a slot.

    `kind` says what the slot holds: a fresh "word" of class `key`, the "bound" word of
    binding `key`, a "pronoun" `key` of a character, or a "name". `form` is a form of
    `Word.form`, or "?" for a word that may be left out.
    """

    kind: Literal["text", "word", "bound", "pronoun", "name"]
    key: str
    form: str = ""
    character: int = -1


@dataclass(frozen=True)
class Frame:
    """A sentence (or two) with slots; `text` as it stands in the file."""

    text: str
    segments: tuple[Segment, ...]

    @property
    def begins_fixed(self) -> bool:
        """Whether it may open a paragraph."""
        return self.segments[0].kind == "text"

    def names(self, character: int) -> bool:
        """Whether the name of a character stands in it."""
        return any(s.kind == "name" and s.character == character for s in self.segments)

    @property
    def cast(self) -> int:
        """How many characters it needs: 3 if it names C but not D."""
        named = [s.character for s in self.segments if s.kind in ("name", "pronoun")]
        fixed = [place + 1 for place in named if place < MOST_CHARACTERS]
        return max([*fixed, 2 if CHARACTERS.index("Y") in named else 0])


@dataclass(frozen=True)
class StoryPlot:
    """Beats in order; `opens` marks those that begin a paragraph."""

    part: str
    title: str
    beats: tuple[str, ...]
    opens: tuple[bool, ...]
    cast: int

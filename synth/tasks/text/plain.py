"""Stories as text in plain Python, to train a tokeniser on.

Uses the grammar of `synth.tasks.text.story_generator`, which needs a tokeniser already;
tests and a benchmark compare the two.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TypeVar

from synth.tasks.text.frames import MOST_CHARACTERS, Frame, StoryPlot
from synth.tasks.text.grammar import Grammar

_T = TypeVar("_T")
_SYLLABLE = (
    "b,br,c,ch,d,dr,f,fl,g,gr,h,j,k,kl,l,m,n,p,pr,qu,r,s,sh,sl,t,th,tr,v,w,z",
    "a,e,i,o,u,ai,ea,ee,ie,oo,ou",
    ",,l,m,n,r,s,t,nd,rt,x,ck",
)
"""Beginnings, middles and ends, each as often as it stands here."""


def syllable_names(rng: random.Random, count: int) -> list[str]:
    """Made-up names of two syllables, such as Brelto."""

    def syllable() -> str:
        return "".join(_one(rng, parts.split(",")) for parts in _SYLLABLE)

    return [(syllable() + syllable()).capitalize() for _ in range(count)]


def plain_stories(
    rng: random.Random, source: Grammar, names: Sequence[str]
) -> Iterator[str]:
    """Stories without end, of one episode and three characters."""
    while True:
        yield _Story(rng, source, names).text()


def _one(rng: random.Random, options: Sequence[_T]) -> _T:
    # Not rng.choice: its use of random bits may change between Python versions.
    return options[int(rng.random() * len(options))]


class _Story:
    characters = 3

    def __init__(
        self, rng: random.Random, source: Grammar, names: Sequence[str]
    ) -> None:
        self.rng, self.source = rng, source
        self.names: list[str] = []
        while len(self.names) < MOST_CHARACTERS:
            name = _one(rng, names)
            if name not in self.names:
                self.names.append(name)
        self.genders = [int(rng.random() * 2) for _ in range(MOST_CHARACTERS)]
        self.bound = {
            name: _one(rng, source.classes[of])
            for name, (of, _) in source.bindings.items()
        }

    def text(self) -> str:
        parts = ("opening", "body", "ending")
        return "\n\n".join(
            paragraph
            for part in parts
            for paragraph in self._paragraphs(
                _one(self.rng, self.source.parts(part, self.characters))
            )
        )

    def _paragraphs(self, plot: StoryPlot) -> Iterator[str]:
        used: set[str] = set()
        sentences: list[str] = []
        for beat, opens in zip(plot.beats, plot.opens, strict=True):
            fresh = [f for f in self.source.beats[beat] if f.text not in used]
            frame = _one(self.rng, fresh)
            used.add(frame.text)
            if opens and sentences:
                yield "".join(sentences)[1:]
                sentences = []
            sentences.append(self._sentence(frame))
        yield "".join(sentences)[1:]

    def _sentence(self, frame: Frame) -> str:
        first = int(self.rng.random() * self.characters)
        second = (first + 1) % self.characters
        cast = [0, 1, 2, 3, first, second]
        pieces: list[str] = []
        for segment in frame.segments:
            if segment.kind == "text":
                pieces.append(segment.key if pieces else " " + segment.key)
            elif segment.kind == "name":
                pieces.append(" " + self.names[cast[segment.character]])
            elif segment.kind == "pronoun":
                gender = self.genders[cast[segment.character]]
                pieces.append(" " + self.source.pronouns[segment.key][gender])
            elif segment.kind == "bound":
                pieces.append(self.bound[segment.key].form(segment.form))
            elif segment.form != "?" or self.rng.random() < 0.5:
                word = _one(self.rng, self.source.classes[segment.key])
                pieces.append(word.form(segment.form.replace("?", "")))
        return "".join(pieces)

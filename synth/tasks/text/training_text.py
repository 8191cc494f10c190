"""The training text of a run on stories: stories, or stories and books in exact parts.

Letters in names: V vocabulary.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from synth.tasks.text.cleaning import leakage
from synth.tasks.text.encoded import CHECKED_DOCUMENTS, Corpus
from synth.tasks.text.story_generator import StoryGenerator
from synth.tasks.text.windows import (
    EndlessStories,
    FixedDocuments,
    FixedStories,
    Mixture,
    WindowSource,
)

SEEN_OFTEN = 20
"""Occurrences in the training text, or in a sample, from which a token counts as seen."""
SAMPLE_STORIES = 4000
SAMPLE_BOOKS = SAMPLE_STORIES // 8


@dataclass(frozen=True)
class TrainingText:
    """Generated or real, each side; `parts` are windows of stories and of books."""

    stories: StoryGenerator | Corpus
    books: StoryGenerator | Corpus | None
    parts: tuple[int, int]
    fixed_stories: int
    """Number of generated stories that recur in epochs; 0 never repeats one."""

    @cached_property
    def source(self) -> WindowSource:
        """The source of the training windows."""
        stories = self.stories_source
        if self.books is None:
            return stories
        return Mixture([stories, _source_of(self.books)], self.parts)

    @cached_property
    def stories_source(self) -> WindowSource:
        """The stories alone."""
        if isinstance(self.stories, StoryGenerator) and self.fixed_stories:
            return FixedStories(self.stories, self.fixed_stories)
        return _source_of(self.stories)

    def seen_V(self, size: int) -> np.ndarray:
        """Whether the text holds each token often: files whole, else a sample of it."""
        counts = np.zeros(size, np.int64)
        sides = zip(
            (self.stories, self.books),
            self.parts,
            (SAMPLE_STORIES, SAMPLE_BOOKS),
            strict=True,
        )
        for text, part, number in sides:
            if text is None or not part:
                continue
            if isinstance(text, Corpus):
                counts += text.splits["train"].counts(size)
            else:
                drawn = text.draw(0, 0, number, "seen")
                counts += np.bincount(drawn.tokens_S, minlength=size)
        return counts >= SEEN_OFTEN

    def report(self) -> dict[str, Any]:
        """Share and size of each side; how much of the test stories the books hold.

        A side's epochs in a run are its share of the run's tokens over its own tokens.
        """
        total = sum(self.parts)
        sides = {"stories": self.stories, "books": self.books}
        sizes: dict[str, Any] = {}
        for (name, text), part in zip(sides.items(), self.parts, strict=True):
            if text is not None and part:
                sizes[name] = {"share": part / total} | _described(text)
        if self.fixed_stories and "stories" in sizes:
            sizes["stories"]["documents"] = {"train": self.fixed_stories}
        if isinstance(self.stories, Corpus) and isinstance(self.books, Corpus):
            train = self.books.splits["train"]
            number = min(len(train), CHECKED_DOCUMENTS)
            texts = (self.books.text_of("train", d) for d in range(number))
            tests = self.stories.texts["test"]
            sizes["books"]["leakage_of_test_stories"] = asdict(leakage(texts, tests))
        return sizes


def _source_of(text: StoryGenerator | Corpus) -> WindowSource:
    if isinstance(text, Corpus):
        return FixedDocuments.of(text.splits["train"])
    return EndlessStories(text)


def _described(text: StoryGenerator | Corpus) -> dict[str, Any]:
    if isinstance(text, StoryGenerator):
        return {"generated": text.config.profile}
    shown = (
        "documents",
        "left_out",
        "tokens",
        "leakage",
        "name_words",
        "documents_with_names",
        "names",
    )
    return {name: text.report[name] for name in shown}

"""A grammar as arrays, from which `synth.tasks.text.story_generator` gathers.

Every fixed text, and every word in every form that some frame uses, becomes a *piece*:
a run of token ids in one pool. A fixed text that begins a frame has three pieces, for
mid-paragraph (" Then"), for a new paragraph ("\\n\\nThen") and for the story's start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from synth.tasks.text.frames import CHARACTERS, MOST_CHARACTERS, Segment
from synth.tasks.text.grammar import MOST_REPEATS, Grammar, grammar
from synth.tasks.text.tokenizer import Tokenizer

TEXT, WORD, BOUND, PRONOUN, NAME, END = range(6)
_KINDS = {"text": TEXT, "word": WORD, "bound": BOUND, "pronoun": PRONOUN, "name": NAME}
LEADS = (" ", "\n\n", "")
"""What stands before the fixed text of a frame, by its mode 0, 1 or 2."""
EMPTY = 0
"""The number of the piece without tokens."""
PLOT_PARTS = ("opening", "body", "next", "ending")


class SegmentRows(NamedTuple):
    """Columns over the segments of all frames (or one row of them).

    A segment of `kind` TEXT to END is filled by the piece numbered `piece` or one of
    those after it: by the frame's mode if it `leads`, by the gender of character `who`, by
    the word of its `binding`, or by one of `options`, of which `words` are not empty.
    """

    kind: Any
    piece: Any
    leads: Any = False
    who: Any = -1
    options: Any = 1
    words: Any = 1
    binding: Any = 0


@dataclass(frozen=True)
class FrameTable:
    """The frames of all beats, one after another; the last one ends a story.

    A frame has `length` segments from `first` on; in some X or Y stands for a character
    that is drawn for this frame alone.
    """

    length: np.ndarray
    first: np.ndarray
    uses_x: np.ndarray
    uses_y: np.ndarray


@dataclass(frozen=True)
class BeatTable:
    """A beat has `length` frames from `first` on. Asides are as many of the frames from
    `first_aside` on as `asides` says for a number of characters; fillers likewise."""

    length: np.ndarray
    first: np.ndarray
    first_aside: int
    asides: np.ndarray
    first_filler: int
    fillers: int


@dataclass(frozen=True)
class PlotChoice:
    """Plots to choose from: row k of the table for stories of k characters."""

    table: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class PlotTable:
    """A plot has `length` beats from `first` on; the last plot ends a story.

    A beat may open a paragraph (`opens` is 1). It occurred `occurrence` times before in
    its plot: so many beats ago as its row of `earlier` says. `choices` are by PLOT_PARTS.
    """

    length: np.ndarray
    first: np.ndarray
    beat: np.ndarray
    opens: np.ndarray
    occurrence: np.ndarray
    earlier: np.ndarray
    choices: dict[str, PlotChoice]


@dataclass(frozen=True)
class Fragments:
    """The arrays of one profile under one tokeniser.

    Piece p is the `length[p]` token ids of the pool from `start[p]` on; the last piece is
    the end of a story. A binding has `binding_options` words, and is the same in all
    episodes where `binding_lasts`.
    """

    pool: np.ndarray
    start: np.ndarray
    length: np.ndarray
    binding_options: np.ndarray
    binding_lasts: np.ndarray
    segments: SegmentRows
    frames: FrameTable
    beats: BeatTable
    plots: PlotTable


class _Pieces:
    """The texts of the pieces in the order of their numbers."""

    def __init__(self) -> None:
        self.texts = [""]
        self._numbers: dict[tuple[str, ...], int] = {}

    def number(self, key: tuple[str, ...], texts: Sequence[str]) -> int:
        """The number of the first of these pieces, which follow one another."""
        if key not in self._numbers:
            self._numbers[key] = len(self.texts)
            self.texts += texts
        return self._numbers[key]


def compile_grammar(source: Grammar, tokenizer: Tokenizer) -> Fragments:
    """The arrays of a grammar.

    Raises `ValueError` when a part of a story has no plot for some number of
    characters.
    """
    asides = ("aside", "aside two")  # at the end, so that their frames are neighbours
    names = [*(name for name in source.beats if name not in asides), *asides, "<end>"]
    numbers = {name: number for number, name in enumerate(names)}
    frames = [frame for name in names for frame in source.beats.get(name, ())]
    pieces = _Pieces()
    rows = [
        _row(source, pieces, segment, place == 0 and frame.begins_fixed)
        for frame in frames
        for place, segment in enumerate(frame.segments)
    ]
    rows.append(SegmentRows(END, len(pieces.texts)))
    encoded = [tokenizer.encode(text) if text else [] for text in pieces.texts]
    encoded.append([tokenizer.end])
    length = np.array([len(tokens) for tokens in encoded], np.int64)
    segments = np.array([*(len(frame.segments) for frame in frames), 1])
    uses_x, uses_y = (
        [any(s.character == CHARACTERS.index(who) for s in f.segments) for f in frames]
        for who in "XY"
    )
    scopes = list(source.bindings.values())
    return Fragments(
        pool=np.array([t for tokens in encoded for t in tokens], np.int64),
        start=_starts(length),
        length=length,
        binding_options=np.array([len(source.classes[of]) for of, _ in scopes]),
        binding_lasts=np.array([scope == "story" for _, scope in scopes]),
        segments=SegmentRows(*map(np.array, zip(*rows, strict=True))),
        frames=FrameTable(
            segments,
            _starts(segments),
            np.array([*uses_x, False]),
            np.array([*uses_y, False]),
        ),
        beats=_beat_table(source, numbers),
        plots=_plot_table(source, numbers),
    )


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.cumsum(lengths) - lengths


def _row(
    source: Grammar, pieces: _Pieces, segment: Segment, leads: bool
) -> SegmentRows:
    kind, key, form = _KINDS[segment.kind], segment.key, segment.form.replace("?", "")
    if kind == TEXT:
        texts = [lead + key for lead in LEADS] if leads else [key]
        name = "lead" if leads else "text"
        return SegmentRows(kind, pieces.number((name, key), texts), leads=leads)
    if kind == NAME:
        return SegmentRows(kind, EMPTY, who=segment.character)
    if kind == PRONOUN:
        pair = [" " + word for word in source.pronouns[key]]
        first = pieces.number(("pronoun", key), pair)
        return SegmentRows(kind, first, who=segment.character)
    of = source.bindings[key][0] if kind == BOUND else key
    words = [word.form(form) for word in source.classes[of]]
    first = pieces.number(("word", of, form), words)
    if kind == BOUND:
        return SegmentRows(kind, first, binding=list(source.bindings).index(key))
    options = len(words) * (2 if segment.form == "?" else 1)
    return SegmentRows(kind, first, options=options, words=len(words))


def _beat_table(source: Grammar, numbers: dict[str, int]) -> BeatTable:
    counts = [len(source.beats.get(name, ())) for name in numbers]
    length = np.array([*counts[:-1], 1])
    first, aside, filler = _starts(length), numbers["aside"], numbers["scenery"]
    lone, both = length[aside], length[aside : aside + 2].sum()
    asides = np.array([lone, lone] + [both] * (MOST_CHARACTERS - 1))
    return BeatTable(length, first, first[aside], asides, first[filler], length[filler])


def _plot_table(source: Grammar, numbers: dict[str, int]) -> PlotTable:
    rows: list[tuple[int, int, int, list[int]]] = []
    for plot in source.plots:
        for place, name in enumerate(plot.beats):
            back = [place - p for p in range(place) if plot.beats[p] == name]
            padded = back + [0] * (MOST_REPEATS - len(back))
            rows.append((numbers[name], int(plot.opens[place]), len(back), padded))
    rows.append((numbers["<end>"], 0, 0, [0] * MOST_REPEATS))
    length = np.array([*(len(plot.beats) for plot in source.plots), 1])
    beat, opens, occurrence, earlier = map(np.array, zip(*rows, strict=True))
    choices = {part: _plot_choice(source, part) for part in PLOT_PARTS}
    return PlotTable(length, _starts(length), beat, opens, occurrence, earlier, choices)


def _plot_choice(source: Grammar, part: str) -> PlotChoice:
    rows = [
        [source.plots.index(plot) for plot in source.parts(part, cast)]
        for cast in range(MOST_CHARACTERS + 1)
    ]
    count = np.array([len(row) for row in rows])
    if (count[1:] == 0).any():
        raise ValueError(f"Some number of characters has no plot for {part!r}.")
    table = np.zeros((len(rows), count.max()), np.int64)
    for cast, row in enumerate(rows):
        table[cast, : len(row)] = row
    return PlotChoice(table, count)


@cache
def fragments(profile: str, tokenizer: Tokenizer) -> Fragments:
    """The arrays of a profile; computed once in a process."""
    return compile_grammar(grammar(profile), tokenizer)

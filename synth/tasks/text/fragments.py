"""A grammar as arrays: what `synth.tasks.text.stories` gathers from.

Every fixed text, and every word in every form that some frame uses, becomes a *piece*:
a run of token ids in one pool. A fixed text that begins a frame has three pieces, for
mid-paragraph (" Then"), for a new paragraph ("\\n\\nThen") and for the story's start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from synth.tasks.text.frames import CHARACTERS, MOST_CHARACTERS, Frame, Segment
from synth.tasks.text.grammar import MOST_REPEATS, Grammar, grammar
from synth.tasks.text.tokenizer import Tokenizer

TEXT, WORD, BOUND, PRONOUN, NAME, END = range(6)
_KINDS = {"text": TEXT, "word": WORD, "bound": BOUND, "pronoun": PRONOUN, "name": NAME}
LEADS = (" ", "\n\n", "")
"""What stands before the fixed text of a frame, by its mode 0, 1 or 2."""


@dataclass(frozen=True)
class PlotChoice:
    """The plots of one part: row k of the table for stories of k characters."""

    table: np.ndarray
    count: np.ndarray


@dataclass
class _Row:
    """One segment: see the arrays of `Fragments` of the same names."""

    kind: int
    base: int
    leads: bool = False
    who: int = -1
    options: int = 1
    real: int = 1
    which: int = 0


class Fragments:
    """The arrays of one profile under one tokeniser."""

    def __init__(self, source: Grammar, tokenizer: Tokenizer) -> None:
        self._grammar, self._tokenizer = source, tokenizer
        self._texts: list[str] = [""]
        self._known: dict[tuple[str, ...], int] = {}
        self.empty = 0
        """The piece without tokens."""
        self._bindings = list(source.bindings)
        scopes = [source.bindings[name] for name in self._bindings]
        self.bound_options = np.array([len(source.classes[of]) for of, _ in scopes])
        self.bound_story = np.array([scope == "story" for _, scope in scopes])
        self._compile_frames()
        self._compile_plots()
        encoded = [tokenizer.encode(text) if text else [] for text in self._texts]
        encoded.append([tokenizer.end])
        self.length = np.array([len(tokens) for tokens in encoded], np.int64)
        self.start = np.cumsum(self.length) - self.length
        self.pool = np.array([t for tokens in encoded for t in tokens], np.int64)
        self.num_pieces = len(encoded)

    def _pieces(self, key: tuple[str, ...], texts: Sequence[str]) -> int:
        """The number of the first of these pieces, which follow one another."""
        if key not in self._known:
            self._known[key] = len(self._texts)
            self._texts += texts
        return self._known[key]

    def _row(self, segment: Segment, leads: bool) -> _Row:
        kind, classes = _KINDS[segment.kind], self._grammar.classes
        if segment.kind == "text":
            if leads:
                texts = [lead + segment.key for lead in LEADS]
                return _Row(kind, self._pieces(("lead", segment.key), texts), True)
            return _Row(kind, self._pieces(("text", segment.key), [segment.key]))
        if segment.kind == "name":
            return _Row(kind, 0, who=segment.character)
        if segment.kind == "pronoun":
            pair = [" " + word for word in self._grammar.pronouns[segment.key]]
            first = self._pieces(("pronoun", segment.key), pair)
            return _Row(kind, first, who=segment.character)
        bound = segment.kind == "bound"
        of = self._grammar.bindings[segment.key][0] if bound else segment.key
        form = segment.form.replace("?", "")
        words = [word.form(form) for word in classes[of]]
        first = self._pieces(("word", of, form), words)
        if bound:
            return _Row(kind, first, which=self._bindings.index(segment.key))
        options = len(words) * (2 if segment.form == "?" else 1)
        return _Row(kind, first, options=options, real=len(words))

    def _compile_frames(self) -> None:
        beats = self._grammar.beats
        names = [name for name in beats if name not in ("aside", "aside two")]
        names += ["aside", "aside two"]
        frames: list[Frame] = [frame for name in names for frame in beats.get(name, ())]
        self._beats = {name: place for place, name in enumerate([*names, "<end>"])}
        self.beat_frames = np.array([*[len(beats.get(name, ())) for name in names], 1])
        self.beat_first = np.cumsum(self.beat_frames) - self.beat_frames
        rows: list[_Row] = []
        counts: list[int] = []
        for frame in frames:
            for place, segment in enumerate(frame.segments):
                rows.append(self._row(segment, place == 0 and frame.begins_fixed))
            counts.append(len(frame.segments))
        # The end of a story is a frame of its own; its piece comes after all others.
        end = _Row(END, -1)
        rows.append(end)
        end.base = len(self._texts)
        counts.append(1)
        self.end_frame = len(frames)
        self.frame_count = np.array(counts)
        self.frame_first = np.cumsum(self.frame_count) - self.frame_count
        self.kind = np.array([row.kind for row in rows])
        self.base = np.array([row.base for row in rows])
        self.leads = np.array([row.leads for row in rows])
        self.who = np.array([row.who for row in rows])
        self.options = np.array([row.options for row in rows])
        self.real = np.array([row.real for row in rows])
        self.which = np.array([row.which for row in rows])
        for name, letter in (("frame_uses_x", "X"), ("frame_uses_y", "Y")):
            number = CHARACTERS.index(letter)
            uses = [any(s.character == number for s in f.segments) for f in frames]
            setattr(self, name, np.array([*uses, False]))
        aside = self._beats["aside"]
        self.first_aside = self.beat_first[aside]
        lone, both = self.beat_frames[aside], self.beat_frames[aside : aside + 2].sum()
        self.num_asides = np.array([lone, lone] + [both] * (MOST_CHARACTERS - 1))
        self.first_filler = self.beat_first[self._beats["scenery"]]
        self.num_fillers = self.beat_frames[self._beats["scenery"]]

    frame_uses_x: np.ndarray
    frame_uses_y: np.ndarray

    def _compile_plots(self) -> None:
        source = self._grammar
        beat: list[int] = []
        opens: list[int] = []
        again: list[int] = []
        earlier: list[list[int]] = []
        first: list[int] = []
        length: list[int] = []
        for plot in source.plots:
            first.append(len(beat))
            length.append(len(plot.beats))
            for place, name in enumerate(plot.beats):
                before = [p for p in range(place) if plot.beats[p] == name]
                beat.append(self._beats[name])
                opens.append(int(plot.opens[place]))
                again.append(len(before))
                back = [place - p for p in before]
                earlier.append(back + [0] * (MOST_REPEATS - len(back)))
        self.end_plot = len(source.plots)
        self.plot_first = np.array([*first, len(beat)])
        self.plot_length = np.array([*length, 1])
        self.beat = np.array([*beat, self._beats["<end>"]])
        self.opens = np.array([*opens, 0])
        self.occurrence = np.array([*again, 0])
        self.earlier = np.array([*earlier, [0] * MOST_REPEATS])
        self.plots: dict[str, PlotChoice] = {}
        for part in ("opening", "body", "next", "ending"):
            rows = [
                [source.plots.index(plot) for plot in source.parts(part, cast)]
                for cast in range(MOST_CHARACTERS + 1)
            ]
            table = np.zeros((len(rows), max(len(row) for row in rows)), np.int64)
            for cast, row in enumerate(rows):
                table[cast, : len(row)] = row
            count = np.array([len(row) for row in rows])
            if (count[1:] == 0).any():
                raise ValueError(f"Some number of characters has no plot for {part!r}.")
            self.plots[part] = PlotChoice(table, count)


@cache
def fragments(profile: str, tokenizer: Tokenizer) -> Fragments:
    """The arrays of a profile; computed once in a process."""
    return Fragments(grammar(profile), tokenizer)

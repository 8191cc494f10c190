"""Sources of training rows: endless stories, a fixed set in epochs, files, mixtures.

Documents follow one another and are cut into windows of `context` tokens, without
regard to where they begin or end. `windows(seed, block, count, context)` is a function
of its arguments alone; a run keeps `count` and `context` fixed.

Letters in names: R windows (rows), T positions, S tokens in a row, D documents.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from synth.seeding import generator
from synth.tasks.text.encoded import Encoded
from synth.tasks.text.story_generator import StoryBatch, StoryGenerator

STORIES_PER_DRAW = 500
"""Stories that are generated together: arrays of this size stay in the cache."""


@dataclass(frozen=True)
class Windows:
    """Rows of running text: tokens, name marks, and the number of the document."""

    tokens_RT: np.ndarray
    mark_RT: np.ndarray
    example_RT: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens_RT)


class WindowSource(ABC):
    """An endless stream of windows."""

    @abstractmethod
    def windows(self, seed: int, block: int, count: int, context: int) -> Windows:
        """Windows block * count to (block + 1) * count of the stream of `seed`."""


def cut(
    tokens_S: np.ndarray, mark_S: np.ndarray, first_S: np.ndarray, context: int
) -> Windows:
    """Consecutive windows; `first_S` is true on the first token of a document.

    >>> rows = cut(np.arange(6), np.zeros(6), np.array([1, 0, 0, 0, 1, 0], bool), 3)
    >>> rows.example_RT.tolist()
    [[1, 1, 1], [1, 2, 2]]
    """
    whole = len(tokens_S) // context * context
    shape = (-1, context)
    first_RT = first_S[:whole].reshape(shape).copy()
    first_RT[:, 0] = True
    return Windows(
        tokens_S[:whole].reshape(shape),
        mark_S[:whole].reshape(shape),
        np.cumsum(first_RT, axis=1, dtype=np.int32),
    )


class EndlessStories(WindowSource):
    """Stories that never recur.

    A block draws stories until its windows are full and drops the rest, less than one
    draw; so the next block depends on nothing that came before.
    """

    def __init__(self, stories: StoryGenerator) -> None:
        self._stories = stories
        few = stories.draw(0, 0, 64, "length")
        self._mean = len(few.tokens_S) / len(few)

    def windows(self, seed: int, block: int, count: int, context: int) -> Windows:
        """Windows of the stories of one block."""
        missing = count * context
        drawn: list[StoryBatch] = []
        while missing > 0:
            # A little more than the mean, so that one draw is nearly always enough.
            number = int(missing / self._mean * 1.03) + 8
            number = min(STORIES_PER_DRAW, number)
            more = self._stories.draw(seed, len(drawn), number, "train", str(block))
            drawn.append(more)
            missing -= len(more.tokens_S)
        wanted = count * context
        tokens = np.concatenate([part.tokens_S for part in drawn])[:wanted]
        marks = np.concatenate([part.mark_S for part in drawn])[:wanted]
        first = np.concatenate([first_tokens(part.starts_D) for part in drawn])[:wanted]
        return cut(tokens, marks, first, context)


def first_tokens(starts_D: np.ndarray) -> np.ndarray:
    """Whether each token is the first of a document, (S,); the last start ends all."""
    first_S = np.zeros(starts_D[-1], bool)
    first_S[starts_D[:-1]] = True
    return first_S


def unmarked_windows(
    tokens_S: np.ndarray, first_S: np.ndarray, start_R: np.ndarray, context: int
) -> Windows:
    """Windows that begin anywhere in a text without names."""
    index_RT = start_R[:, None] + np.arange(context)
    first_RT = first_S[index_RT]
    first_RT[:, 0] = True
    return Windows(
        np.asarray(tokens_S[index_RT]),
        np.zeros(index_RT.shape, np.uint8),
        np.cumsum(first_RT, axis=1, dtype=np.int32),
    )


class FixedDocuments(WindowSource):
    """A fixed set of documents, in a new order in every epoch.

    Windows of an epoch are numbered; window w of the stream belongs to epoch
    w // (windows of an epoch), so a block may straddle two epochs. The order within an
    epoch depends on (seed, epoch) alone. Up to context - 1 tokens at the end of an
    epoch are dropped.
    """

    def __init__(
        self, tokens_S: np.ndarray, mark_S: np.ndarray | None, starts_D: np.ndarray
    ) -> None:
        self.tokens_S, self.mark_S = tokens_S, mark_S
        self.starts_D = np.asarray(starts_D)
        self.length_D = np.diff(self.starts_D)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    @classmethod
    def of(cls, encoded: Encoded) -> "FixedDocuments":
        """The documents of one split of a corpus."""
        return cls(encoded.tokens_S, None, encoded.starts_D)

    @property
    def num_tokens(self) -> int:
        """Tokens of one epoch."""
        return int(self.starts_D[-1])

    def windows(self, seed: int, block: int, count: int, context: int) -> Windows:
        """Windows of the epoch or epochs that the block falls into."""
        per_epoch = self.num_tokens // context
        if per_epoch == 0:
            raise ValueError(
                f"The training text has {self.num_tokens} tokens, fewer than one row "
                f"of context {context}. Use a longer text or a shorter context."
            )
        at = block * count
        parts: list[Windows] = []
        while count:
            epoch, first = divmod(at, per_epoch)
            number = min(count, per_epoch - first)
            parts.append(self._slice(seed, epoch, first, number, context))
            at, count = at + number, count - number
        return concatenate(parts)

    def _draw_order(self, seed: int, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The order of the documents in an epoch, and where each ends in its row."""
        order = generator(seed, "epoch", epoch).permutation(len(self.length_D))
        return order, np.cumsum(self.length_D[order])

    def _slice(
        self, seed: int, epoch: int, first: int, number: int, context: int
    ) -> Windows:
        order, ends = self._order(seed, epoch)
        low, high = first * context, (first + number) * context
        begin = int(np.searchsorted(ends, low, side="right"))
        stop = int(np.searchsorted(ends, high, side="left")) + 1
        chosen = order[begin:stop]
        length = self.length_D[chosen]
        start = ends[begin] - length[0]
        # Gather the documents that the windows touch, then cut off both ends.
        shift = np.repeat(self.starts_D[chosen] - (np.cumsum(length) - length), length)
        index = (shift + np.arange(len(shift)))[low - start : high - start]
        firsts = np.zeros(len(shift), bool)
        firsts[np.cumsum(length) - length] = True
        tokens = np.asarray(self.tokens_S[index])
        marks = (
            np.zeros(len(index), np.uint8)
            if self.mark_S is None
            else self.mark_S[index]
        )
        return cut(tokens, marks, firsts[low - start : high - start], context)


class FixedStories(WindowSource):
    """A fixed number of generated stories in epochs; the data seed determines them."""

    def __init__(self, stories: StoryGenerator, count: int) -> None:
        self._stories, self._count = stories, count
        self._documents = lru_cache(maxsize=2)(self._generate)

    def windows(self, seed: int, block: int, count: int, context: int) -> Windows:
        """Windows of the epoch or epochs that the block falls into."""
        return self._documents(seed).windows(seed, block, count, context)

    def _generate(self, seed: int) -> FixedDocuments:
        size, whole = STORIES_PER_DRAW, self._count
        drawn = [
            self._stories.draw(seed, block, min(size, whole - block * size), "fixed")
            for block in range(-(-whole // size))
        ]
        lengths = np.concatenate([np.diff(part.starts_D) for part in drawn])
        return FixedDocuments(
            np.concatenate([part.tokens_S for part in drawn]),
            np.concatenate([part.mark_S for part in drawn]),
            np.concatenate([[0], np.cumsum(lengths)]),
        )


class Mixture(WindowSource):
    """Windows of several sources in exact proportion: 9:1 is one in every ten.

    Each group of sum(parts) windows holds `parts[i]` windows of source i, in an order
    drawn for the group; sources never share a window.
    """

    def __init__(self, sources: Sequence[WindowSource], parts: Sequence[int]) -> None:
        self.sources, self.parts = list(sources), list(parts)

    def windows(self, seed: int, block: int, count: int, context: int) -> Windows:
        """Groups of windows; `count` must be a multiple of the sum of the parts."""
        total = sum(self.parts)
        assert count % total == 0, (count, self.parts)
        groups = count // total
        rng = generator(seed, "mixture", block)
        label = np.repeat(np.arange(len(self.parts)), self.parts)
        label_R = rng.permuted(np.tile(label, (groups, 1)), axis=1).ravel()
        taken = concatenate(
            [
                source.windows(seed, block, groups * part, context)
                for source, part in zip(self.sources, self.parts, strict=True)
                if part
            ]
        )
        place = np.empty(count, np.int64)
        place[np.argsort(label_R, kind="stable")] = np.arange(count)
        return Windows(
            taken.tokens_RT[place], taken.mark_RT[place], taken.example_RT[place]
        )


def concatenate(parts: Sequence[Windows]) -> Windows:
    """Windows one after another."""
    if len(parts) == 1:
        return parts[0]
    return Windows(
        np.concatenate([part.tokens_RT for part in parts]),
        np.concatenate([part.mark_RT for part in parts]),
        np.concatenate([part.example_RT for part in parts]),
    )


def block_rows(context: int, group: int) -> int:
    """Windows in a block: about 65 thousand tokens, in whole groups of a mixture."""
    return max(1, (1 << 16) // (context * group)) * group


class ShuffledWindows(WindowSource):
    """One running text: every window once an epoch, at a new offset in a new order.

    For texts too long to be shuffled as documents, such as a single file.
    """

    def __init__(self, tokens_S: np.ndarray, starts_D: np.ndarray) -> None:
        self.tokens_S = tokens_S
        self._first_S = first_tokens(starts_D)
        self._order = lru_cache(maxsize=2)(self._draw_order)

    def windows(self, seed: int, block: int, count: int, context: int) -> Windows:
        """Windows of the epoch or epochs that the block falls into."""
        per_epoch = len(self.tokens_S) // context - 1
        if per_epoch < 1:
            raise ValueError(
                f"The training text has {len(self.tokens_S)} tokens, fewer than two "
                f"rows of context {context}. Use a longer text or a shorter context."
            )
        epoch, window = np.divmod(
            np.arange(block * count, (block + 1) * count), per_epoch
        )
        start = np.empty(count, np.int64)
        for chosen in np.unique(epoch).tolist():
            offset, order = self._order(seed, chosen, per_epoch, context)
            here = epoch == chosen
            start[here] = offset + order[window[here]] * context
        return unmarked_windows(self.tokens_S, self._first_S, start, context)

    @staticmethod
    def _draw_order(
        seed: int, epoch: int, per_epoch: int, context: int
    ) -> tuple[int, np.ndarray]:
        rng = generator(seed, "windows", epoch)
        return int(rng.integers(context)), rng.permutation(per_epoch)

"""The story generator: turns the choices of `story_draws` into tokens, in numpy.

Every fixed text and every word, with the space before it, is encoded once; a block of
stories is then one gather over a ragged pool. Frames are cut only where the tokeniser
cuts too, so the tokens equal those of the joined text.

Letters in names: D stories, C characters; in one row over all stories G segments, S tokens.
"""

from dataclasses import dataclass

import numpy as np

from synth.seeding import generator
from synth.tasks.text.fragments import END, NAME, fragments
from synth.tasks.text.names import NameSource
from synth.tasks.text.story_draws import StoryConfig, draw_stories
from synth.tasks.text.story_nats import nats_by_token
from synth.tasks.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class StoryBatch:
    """Stories one after another as tokens; each ends with the end-of-text token.

    `mark_S`: 0, or 2c+1 and 2c+2 on the first and second token of character c's name.
    `starts_D`: where each story begins, and the end of the last one.
    `nats_S`: -log p of the choices that each token shows, if asked for.
    """

    tokens_S: np.ndarray
    mark_S: np.ndarray
    starts_D: np.ndarray
    names_DC: np.ndarray
    cast_D: np.ndarray
    nats_S: np.ndarray | None

    def __len__(self) -> int:
        return len(self.starts_D) - 1

    def document(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and marks of one story."""
        inside = slice(self.starts_D[number], self.starts_D[number + 1])
        return self.tokens_S[inside], self.mark_S[inside]

    def nats(self, number: int) -> np.ndarray:
        """-log p by token of one story."""
        assert self.nats_S is not None
        return self.nats_S[self.starts_D[number] : self.starts_D[number + 1]]


class StoryGenerator:
    """Draws blocks of stories; block b of a seed depends on nothing else."""

    def __init__(
        self, config: StoryConfig, tokenizer: Tokenizer, names: NameSource
    ) -> None:
        self.config, self.tokenizer, self.names = config, tokenizer, names
        self.fragments = fragments(config.profile, tokenizer)
        kind = np.uint16 if len(tokenizer.vocabulary) <= 1 << 16 else np.uint32
        # The pieces of the grammar, then a piece of two tokens for each name.
        pool, pairs = self.fragments.pool, names.tokens_P2
        self._pool = np.concatenate([pool, pairs.ravel()]).astype(kind)
        starts = len(pool) + 2 * np.arange(len(pairs))
        self._start = np.concatenate([self.fragments.start, starts])
        lengths = np.full(len(pairs), 2, np.int64)
        self._length = np.concatenate([self.fragments.length, lengths])

    def draw(
        self, seed: int, block: int, count: int, *where: str, with_nats: bool = False
    ) -> StoryBatch:
        """`count` stories of a block of the stream named `where`."""

        def stream(step: str) -> np.random.Generator:
            return generator(seed, self.config.profile, *where, block, step)

        parts = self.fragments
        drawn = draw_stories(self.config, parts, self.names, count, stream)
        segments, cast = drawn.segments, drawn.cast
        length_G = self._length[segments.piece_G]
        ends_G = np.cumsum(length_G)
        begin_G = ends_G - length_G
        # Each token's place in the pool: its segment's start, and how far in it is.
        index_S = np.repeat(self._start[segments.piece_G] - begin_G, length_G)
        index_S += np.arange(len(index_S))
        kind_G = parts.segments.kind[segments.row_G]
        mark_S = np.zeros(len(index_S), np.uint8)
        named_G = np.flatnonzero(kind_G == NAME)
        mark_S[begin_G[named_G]] = 2 * segments.who_G[named_G] + 1
        mark_S[begin_G[named_G] + 1] = 2 * segments.who_G[named_G] + 2
        starts_D = np.concatenate([[0], ends_G[kind_G == END]])
        nats_S = None
        if with_nats:
            nats_S = nats_by_token(drawn, parts, self.names, begin_G, len(index_S))
        return StoryBatch(
            self._pool[index_S], mark_S, starts_D, cast.names_DC, cast.size_D, nats_S
        )

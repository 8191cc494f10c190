"""The story generator: plots to beats to frames to segments to tokens, all in numpy.

Every fixed text and every word, with the space before it, is encoded once; a block of
stories is then one gather over a ragged pool. Frames are cut only where the tokeniser
cuts as well, so the tokens equal those of the joined text (`Fragments` checks it).

Letters in names: D stories, E episodes, C characters, F frames in a row, G segments in
a row, S tokens in a row.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from synth.identity import Part, identity
from synth.seeding import generator
from synth.tasks.text.fragments import BOUND, END, NAME, PRONOUN, WORD, fragments
from synth.tasks.text.frames import MOST_CHARACTERS
from synth.tasks.text.names import NameSource
from synth.tasks.text.story_nats import nats_by_token
from synth.tasks.text.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class StoryConfig(Part):
    """What the stories are like."""

    profile: Literal["story", "book"] = identity("story")
    """Children's stories; or books: more words and frames on top."""
    min_characters: int = identity(2)
    """Fewest named characters of a story (the number is uniform)."""
    characters: int = identity(3)
    """Most named characters of a story."""
    episodes: int = identity(1)
    """Plots that follow one another in one story, with the same characters."""
    asides: int = identity(0)
    """Up to so many sentences that name a character after each one: more mentions."""
    fillers: int = identity(0)
    """Up to so many sentences without names after each one: longer distances."""

    def validate(self) -> None:
        """Refuse values outside their range."""
        self.check(
            1 <= self.characters <= MOST_CHARACTERS,
            "characters",
            f"from 1 to {MOST_CHARACTERS}",
        )
        self.check(
            1 <= self.min_characters <= self.characters,
            "min_characters",
            f"from 1 to characters = {self.characters}",
        )
        self.check(1 <= self.episodes <= 64, "episodes", "from 1 to 64")
        self.check(0 <= self.asides <= 8, "asides", "from 0 to 8")
        self.check(0 <= self.fillers <= 8, "fillers", "from 0 to 8")


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
        self.parts = fragments(config.profile, tokenizer)
        kind = np.uint16 if len(tokenizer.vocabulary) <= 1 << 16 else np.uint32
        self._pool = np.concatenate([self.parts.pool, names.tokens_P2.ravel()])
        self._pool = self._pool.astype(kind)
        names_start = len(self.parts.pool) + 2 * np.arange(names.num_names)
        self._start = np.concatenate([self.parts.start, names_start])
        self._length = np.concatenate(
            [self.parts.length, np.full(names.num_names, 2, np.int64)]
        )

    def draw(
        self, seed: int, block: int, count: int, *where: str, with_nats: bool = False
    ) -> StoryBatch:
        """`count` stories of a block of the stream named `where`."""
        return StoryDraw(self, seed, (*where, block), count, with_nats).stories()


class StoryDraw:
    """One block: every step draws one array, from a stream of its own."""

    def __init__(
        self,
        owner: StoryGenerator,
        seed: int,
        where: tuple[str | int, ...],
        count: int,
        with_nats: bool,
    ) -> None:
        self.owner, self.config, self.parts = owner, owner.config, owner.parts
        self.seed, self.where, self.count = seed, where, count
        self.with_nats = with_nats
        rng = self._rng("cast")
        low, high = self.config.min_characters, self.config.characters
        self.cast_D = rng.integers(low, high + 1, count)
        self.gender_DC = rng.integers(0, 2, (count, MOST_CHARACTERS))
        self.names_DC = owner.names.draw(
            self._rng("names"), self.cast_D, MOST_CHARACTERS
        )
        shape = (count, self.config.episodes, len(self.parts.bound_options))
        bound = self._rng("bindings").random(shape)
        self.bound_DEK = (bound * self.parts.bound_options).astype(np.int64)
        self.bound_DEK[:, :, self.parts.bound_story] = self.bound_DEK[
            :, :1, self.parts.bound_story
        ]

    def _rng(self, name: str) -> np.random.Generator:
        return generator(self.seed, self.config.profile, *self.where, name)

    def stories(self) -> StoryBatch:
        """The tokens of the block."""
        self._draw_beats()
        self._draw_frames()
        self._draw_extras()
        self._draw_segments()
        owner = self.owner
        start_G, length_G = owner._start[self.piece_G], owner._length[self.piece_G]
        ends_G = np.cumsum(length_G)
        begin_G = ends_G - length_G
        # Each token's place in the pool: its segment's start, and how far in it is.
        index_S = np.repeat(start_G - begin_G, length_G)
        index_S += np.arange(len(index_S))
        tokens_S = owner._pool[index_S]
        mark_S = np.zeros(len(tokens_S), np.uint8)
        named_G = np.flatnonzero(self.kind_G == NAME)
        mark_S[begin_G[named_G]] = 2 * self.who_G[named_G] + 1
        mark_S[begin_G[named_G] + 1] = 2 * self.who_G[named_G] + 2
        starts_D = np.concatenate([[0], ends_G[self.kind_G == END]])
        nats_S = nats_by_token(self, begin_G, len(tokens_S)) if self.with_nats else None
        return StoryBatch(
            tokens_S, mark_S, starts_D, self.names_DC, self.cast_D, nats_S
        )

    def _draw_beats(self) -> None:
        """Plots of every story, and their beats in one row."""
        parts, episodes = self.parts, self.config.episodes
        roles = ["opening", *["body", "next"] * (episodes - 1), "body", "ending"]
        chosen = []
        uniform = self._rng("plots").random((self.count, len(roles)))
        self.plot_nats_D = np.full(
            self.count,
            np.log(self.config.characters - self.config.min_characters + 1),
        )
        for column, role in enumerate(roles):
            options = parts.plots[role]
            number_D = options.count[self.cast_D]
            pick = (uniform[:, column] * number_D).astype(np.int64)
            chosen.append(options.table[self.cast_D, pick])
            self.plot_nats_D += np.log(number_D)
        chosen.append(np.full(self.count, parts.end_plot))
        plot = np.stack(chosen, 1)
        self.num_parts = plot.shape[1]
        episode = np.minimum(np.arange(self.num_parts) // 2, episodes - 1)
        episode[0] = 0
        # Parts are opening, body 0, next, body 1, ...: a "next" opens its episode.
        for column in range(1, self.num_parts - 2):
            episode[column] = column // 2
        length = parts.plot_length[plot.ravel()]
        self.part_N = np.repeat(np.arange(plot.size), length)
        within = np.arange(len(self.part_N)) - np.repeat(
            np.cumsum(length) - length, length
        )
        self.place_N = parts.plot_first[plot.ravel()][self.part_N] + within
        self.story_N = self.part_N // self.num_parts
        self.episode_N = episode[self.part_N % self.num_parts]
        self.first_N = np.concatenate([[True], np.diff(self.story_N) > 0])

    def _draw_frames(self) -> None:
        """A frame for every beat; a beat that recurs in a plot takes another frame."""
        parts = self.parts
        beat_N = parts.beat[self.place_N]
        again_N = parts.occurrence[self.place_N]
        options_N = parts.beat_frames[beat_N] - again_N
        pick_N = self._rng("frames").random(len(beat_N)) * options_N
        pick_N = pick_N.astype(np.int64)
        for times in range(1, int(again_N.max(initial=0)) + 1):
            here = np.flatnonzero(again_N == times)
            back = parts.earlier[self.place_N[here], :times]
            taken = np.sort(pick_N[here[:, None] - back], axis=1)
            for column in range(times):
                pick_N[here] += pick_N[here] >= taken[:, column]
        self.frame_N = parts.beat_first[beat_N] + pick_N
        self.frame_nats_N = np.log(options_N)
        self.mode_N = parts.opens[self.place_N] + self.first_N

    def _draw_extras(self) -> None:
        """Asides and fillers after the beats, which makes the row of frames."""
        parts, config = self.parts, self.config
        size = len(self.frame_N)
        if config.asides == config.fillers == 0:
            self.frame_F, self.mode_F = self.frame_N, self.mode_N
            self.story_F, self.episode_F = self.story_N, self.episode_N
            self.nats_F = self.frame_nats_N
        else:
            inside = self.frame_N != parts.end_frame
            asides = self._rng("asides").integers(0, config.asides + 1, size) * inside
            fillers = self._rng("fillers").integers(0, config.fillers + 1, size)
            fillers *= inside
            counts = 1 + asides + fillers
            source = np.repeat(np.arange(size), counts)
            within = np.arange(len(source)) - np.repeat(
                np.cumsum(counts) - counts, counts
            )
            self.story_F, self.episode_F = self.story_N[source], self.episode_N[source]
            cast_F = self.cast_D[self.story_F]
            aside = (within > 0) & (within <= asides[source])
            filler = within > asides[source]
            uniform = self._rng("extras").random(len(source))
            number = np.where(aside, parts.num_asides[cast_F], parts.num_fillers)
            first = np.where(aside, parts.first_aside, parts.first_filler)
            extra = first + (uniform * number).astype(np.int64)
            added = aside | filler
            self.frame_F = np.where(added, extra, self.frame_N[source])
            self.mode_F = np.where(added, 0, self.mode_N[source])
            # How many extras follow a sentence shows in whatever comes after it.
            own = np.where(added, np.log(number), self.frame_nats_N[source])
            more = np.log((config.asides + 1) * (config.fillers + 1))
            after = np.where((within == 0) & inside[source], more, 0.0)
            self.nats_F = own + np.concatenate([[0.0], after[:-1]])
        cast_F = self.cast_D[self.story_F]
        uniform = self._rng("any two").random((2, len(self.frame_F)))
        x_F = (uniform[0] * cast_F).astype(np.int64)
        others_F = np.maximum(cast_F - 1, 1)
        y_F = (x_F + 1 + (uniform[1] * others_F).astype(np.int64)) % cast_F
        self.any_F2 = np.stack([x_F, y_F], 1)
        if self.with_nats:
            self.nats_F = (
                self.nats_F
                + parts.frame_uses_x[self.frame_F] * np.log(cast_F)
                + parts.frame_uses_y[self.frame_F] * np.log(others_F)
            )

    def _draw_segments(self) -> None:
        """What fills every segment: the number of a piece of the pool."""
        parts = self.parts
        count_F = parts.frame_count[self.frame_F]
        self.source_G = np.repeat(np.arange(len(self.frame_F)), count_F)
        self.head_F = np.cumsum(count_F) - count_F
        segment_G = np.arange(len(self.source_G)) + np.repeat(
            parts.frame_first[self.frame_F] - self.head_F, count_F
        )
        self.segment_G = segment_G
        self.kind_G = parts.kind[segment_G]
        piece_G = parts.base[segment_G].copy()
        self.who_G = parts.who[segment_G].copy()
        text = np.flatnonzero(parts.leads[segment_G])
        piece_G[text] += self.mode_F[self.source_G[text]]
        word = np.flatnonzero(self.kind_G == WORD)
        uniform = self._rng("words").random(len(word))
        pick = (uniform * parts.options[segment_G[word]]).astype(np.int64)
        piece_G[word] = np.where(
            pick < parts.real[segment_G[word]], piece_G[word] + pick, parts.empty
        )
        bound = np.flatnonzero(self.kind_G == BOUND)
        self.bound_at = bound
        frame = self.source_G[bound]
        self.which_bound = parts.which[segment_G[bound]]
        piece_G[bound] += self.bound_DEK[
            self.story_F[frame], self.episode_F[frame], self.which_bound
        ]
        any_of = np.flatnonzero(self.who_G >= MOST_CHARACTERS)
        self.who_G[any_of] = self.any_F2[
            self.source_G[any_of], self.who_G[any_of] - MOST_CHARACTERS
        ]
        pronoun = np.flatnonzero(self.kind_G == PRONOUN)
        story = self.story_F[self.source_G[pronoun]]
        piece_G[pronoun] += self.gender_DC[story, self.who_G[pronoun]]
        named = np.flatnonzero(self.kind_G == NAME)
        story = self.story_F[self.source_G[named]]
        piece_G[named] = parts.num_pieces + self.names_DC[story, self.who_G[named]]
        self.piece_G = piece_G

"""The choices of the story generator: plots to beats to frames to segments.

Each step draws one array for the whole block, from a random stream of its own.

Letters in names: D stories, E episodes, C characters, K bindings; in one row over all
stories N beats, F frames (those of the beats, and extras), G segments.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from synth.identity import Part, identity
from synth.tasks.text.fragments import BOUND, EMPTY, NAME, PRONOUN, WORD, Fragments
from synth.tasks.text.frames import MOST_CHARACTERS
from synth.tasks.text.names import NameSource


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
        self.check_ranges(
            characters=(1, MOST_CHARACTERS),
            episodes=(1, 64),
            asides=(0, 8),
            fillers=(0, 8),
        )
        self.check(
            1 <= self.min_characters <= self.characters,
            "min_characters",
            f"from 1 to characters = {self.characters}",
        )


BOOK = StoryConfig(profile="book", characters=4, min_characters=2, episodes=6, asides=1)
"""Generated books: six episodes, more words, names always of the open pool."""


@dataclass(frozen=True)
class Cast:
    """The `size_D` characters of each story, and the words bound to its episodes."""

    size_D: np.ndarray
    gender_DC: np.ndarray
    names_DC: np.ndarray
    bound_DEK: np.ndarray


@dataclass(frozen=True)
class Beats:
    """The beats of the plots; `place_N` is where each stands in the table of plots.

    `first_N` marks the first beat of a story, `plot_nats_D` is -log p of its plots and of
    the number of its characters.
    """

    place_N: np.ndarray
    story_N: np.ndarray
    episode_N: np.ndarray
    first_N: np.ndarray
    plot_nats_D: np.ndarray


@dataclass(frozen=True)
class Frames:
    """Frames in a row; `mode_F` is the lead before each (an index of `fragments.LEADS`).

    `nats_F`: -log p of the choice of the frame, and of the number of extras before it.
    """

    frame_F: np.ndarray
    mode_F: np.ndarray
    story_F: np.ndarray
    episode_F: np.ndarray
    nats_F: np.ndarray


@dataclass(frozen=True)
class Segments:
    """The piece that fills each segment; of names and pronouns also the character `who_G`.

    `source_G` is the segment's frame, `row_G` its row in the table of segments.
    """

    source_G: np.ndarray
    row_G: np.ndarray
    piece_G: np.ndarray
    who_G: np.ndarray


@dataclass(frozen=True)
class StoryDraws:
    """All choices of a block of stories."""

    cast: Cast
    beats: Beats
    frames: Frames
    segments: Segments


Stream = Callable[[str], np.random.Generator]
"""The random stream of a step, by its name."""


def draw_stories(
    config: StoryConfig,
    parts: Fragments,
    names: NameSource,
    count: int,
    stream: Stream,
) -> StoryDraws:
    """`count` stories."""
    cast = _draw_cast(config, parts, names, count, stream)
    beats = _draw_beats(config, parts, cast, stream)
    frames = _draw_frames(parts, beats, stream)
    if config.asides or config.fillers:
        frames = _add_extras(config, parts, cast, frames, stream)
    return StoryDraws(cast, beats, frames, _draw_segments(parts, cast, frames, stream))


def _draw_cast(
    config: StoryConfig, parts: Fragments, names: NameSource, count: int, stream: Stream
) -> Cast:
    rng = stream("cast")
    size_D = rng.integers(config.min_characters, config.characters + 1, count)
    gender_DC = rng.integers(0, 2, (count, MOST_CHARACTERS))
    shape = (count, config.episodes, len(parts.binding_options))
    uniform_DEK = stream("bindings").random(shape)
    bound_DEK = (uniform_DEK * parts.binding_options).astype(np.int64)
    lasts = parts.binding_lasts
    bound_DEK[:, :, lasts] = bound_DEK[:, :1, lasts]
    names_DC = names.draw(stream("names"), size_D, MOST_CHARACTERS)
    return Cast(size_D, gender_DC, names_DC, bound_DEK)


def _draw_beats(
    config: StoryConfig, parts: Fragments, cast: Cast, stream: Stream
) -> Beats:
    """Plots of every story, and their beats in one row."""
    plots, episodes = parts.plots, config.episodes
    roles = ["opening", *["body", "next"] * (episodes - 1), "body", "ending"]
    uniform = stream("plots").random((len(cast.size_D), len(roles)))
    sizes = config.characters - config.min_characters + 1
    nats_D = np.full(len(cast.size_D), np.log(sizes))
    chosen = []
    for column, role in enumerate(roles):
        options = plots.choices[role]
        number_D = options.count[cast.size_D]
        pick = (uniform[:, column] * number_D).astype(np.int64)
        chosen.append(options.table[cast.size_D, pick])
        nats_D += np.log(number_D)
    chosen.append(np.full(len(cast.size_D), len(plots.length) - 1))  # the end
    plot = np.stack(chosen, 1)
    # After the opening comes body 0, next, body 1, ...: a "next" opens its episode.
    episode = np.minimum(np.arange(plot.shape[1]) // 2, episodes - 1)
    source_N, within_N = ragged(plots.length[plot.ravel()])
    story_N = source_N // plot.shape[1]
    return Beats(
        place_N=plots.first[plot.ravel()][source_N] + within_N,
        story_N=story_N,
        episode_N=episode[source_N % plot.shape[1]],
        first_N=np.concatenate([[True], np.diff(story_N) > 0]),
        plot_nats_D=nats_D,
    )


def ragged(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For rows of given lengths in one row: the row of each element, its place in it.

    >>> ragged(np.array([2, 0, 3]))
    (array([0, 0, 2, 2, 2]), array([0, 1, 0, 1, 2]))
    """
    source = np.repeat(np.arange(len(lengths)), lengths)
    return source, np.arange(len(source)) - (np.cumsum(lengths) - lengths)[source]


def _draw_frames(parts: Fragments, beats: Beats, stream: Stream) -> Frames:
    """A frame for every beat; a beat that recurs in a plot takes another frame."""
    plots, place_N = parts.plots, beats.place_N
    beat_N, again_N = plots.beat[place_N], plots.occurrence[place_N]
    options_N = parts.beats.length[beat_N] - again_N
    pick_N = (stream("frames").random(len(beat_N)) * options_N).astype(np.int64)
    # The pick is among the frames that are left: step over those taken, in order.
    for times in range(1, int(again_N.max(initial=0)) + 1):
        here = np.flatnonzero(again_N == times)
        back = plots.earlier[place_N[here], :times]
        taken = np.sort(pick_N[here[:, None] - back], axis=1)
        for column in range(times):
            pick_N[here] += pick_N[here] >= taken[:, column]
    return Frames(
        frame_F=parts.beats.first[beat_N] + pick_N,
        mode_F=plots.opens[place_N] + beats.first_N,
        story_F=beats.story_N,
        episode_F=beats.episode_N,
        nats_F=np.log(options_N),
    )


def _add_extras(
    config: StoryConfig, parts: Fragments, cast: Cast, frames: Frames, stream: Stream
) -> Frames:
    """Put asides and fillers after the frames of the beats, but not after the end."""
    size, beats = len(frames.frame_F), parts.beats
    inside = frames.frame_F != len(parts.frames.length) - 1
    asides = stream("asides").integers(0, config.asides + 1, size) * inside
    fillers = stream("fillers").integers(0, config.fillers + 1, size) * inside
    source_F, within_F = ragged(1 + asides + fillers)
    story_F = frames.story_F[source_F]
    added_F = within_F > 0
    aside_F = added_F & (within_F <= asides[source_F])
    uniform_F = stream("extras").random(len(source_F))
    options_F = np.where(aside_F, beats.asides[cast.size_D[story_F]], beats.fillers)
    first_F = np.where(aside_F, beats.first_aside, beats.first_filler)
    extra_F = first_F + (uniform_F * options_F).astype(np.int64)
    # The number of extras after a sentence is known once the next frame is read.
    own_F = np.where(added_F, np.log(options_F), frames.nats_F[source_F])
    more = np.log((config.asides + 1) * (config.fillers + 1))
    after_F = np.where(~added_F & inside[source_F], more, 0.0)
    return Frames(
        frame_F=np.where(added_F, extra_F, frames.frame_F[source_F]),
        mode_F=np.where(added_F, 0, frames.mode_F[source_F]),
        story_F=story_F,
        episode_F=frames.episode_F[source_F],
        nats_F=own_F + np.concatenate([[0.0], after_F[:-1]]),
    )


def _draw_segments(
    parts: Fragments, cast: Cast, frames: Frames, stream: Stream
) -> Segments:
    """Choose the piece of every segment."""
    rows, frame_F = parts.segments, frames.frame_F
    source_G, within_G = ragged(parts.frames.length[frame_F])
    row_G = parts.frames.first[frame_F][source_G] + within_G
    kind_G, piece_G, who_G = rows.kind[row_G], rows.piece[row_G], rows.who[row_G]
    text = np.flatnonzero(rows.leads[row_G])
    piece_G[text] += frames.mode_F[source_G[text]]
    word = np.flatnonzero(kind_G == WORD)
    uniform = stream("words").random(len(word))
    pick = (uniform * rows.options[row_G[word]]).astype(np.int64)
    piece_G[word] = np.where(
        pick < rows.words[row_G[word]], piece_G[word] + pick, EMPTY
    )
    story_G = frames.story_F[source_G]
    bound = np.flatnonzero(kind_G == BOUND)
    episode = frames.episode_F[source_G[bound]]
    piece_G[bound] += cast.bound_DEK[
        story_G[bound], episode, rows.binding[row_G[bound]]
    ]
    # X and Y of a frame are any two different characters; in a cast of one, the one.
    size_F = cast.size_D[frames.story_F]
    uniform_2F = stream("any two").random((2, len(frame_F)))
    x_F = (uniform_2F[0] * size_F).astype(np.int64)
    other_F = (uniform_2F[1] * np.maximum(size_F - 1, 1)).astype(np.int64)
    y_F = (x_F + 1 + other_F) % size_F
    any_of = np.flatnonzero(who_G >= MOST_CHARACTERS)
    is_y = who_G[any_of] > MOST_CHARACTERS
    who_G[any_of] = np.where(is_y, y_F[source_G[any_of]], x_F[source_G[any_of]])
    pronoun = np.flatnonzero(kind_G == PRONOUN)
    piece_G[pronoun] += cast.gender_DC[story_G[pronoun], who_G[pronoun]]
    named = np.flatnonzero(kind_G == NAME)
    piece_G[named] = len(parts.length) + cast.names_DC[story_G[named], who_G[named]]
    return Segments(source_G, row_G, piece_G, who_G)

"""Negative log-probability of the generator's choices, by token.

The sum over a story is -log p of one way to write it. Where no other choices give the same
text, that is -log p of the text, and the mean is the least expected loss of any model.
Where others do, it is more than -log p of the text: the mean is then slightly above the
least loss.

Letters in names: see `synth.tasks.text.story_draws`; S tokens in one row.
"""

import numpy as np

from synth.tasks.text.fragments import BOUND, EMPTY, NAME, PRONOUN, WORD, Fragments
from synth.tasks.text.frames import MOST_CHARACTERS
from synth.tasks.text.names import NameSource
from synth.tasks.text.story_draws import StoryDraws


def nats_by_token(
    draws: StoryDraws,
    parts: Fragments,
    names: NameSource,
    begin_G: np.ndarray,
    num_tokens: int,
) -> np.ndarray:
    """-log p of every choice, (S,), at the first token that shows it.

    `begin_G` is the first token of each segment.
    """
    cast, frames, segments = draws.cast, draws.frames, draws.segments
    at: list[np.ndarray] = []
    cost: list[np.ndarray] = []

    def add(shown_by: np.ndarray, nats: np.ndarray, further: int = 0) -> None:
        at.append(begin_G[shown_by] + further)
        cost.append(nats)

    head_F = np.flatnonzero(np.diff(segments.source_G, prepend=-1))
    size_F = cast.size_D[frames.story_F]
    uses_x, uses_y = parts.frames.uses_x, parts.frames.uses_y
    add(
        head_F,
        frames.nats_F
        + uses_x[frames.frame_F] * np.log(size_F)
        + uses_y[frames.frame_F] * np.log(np.maximum(size_F - 1, 1)),
    )
    starts = head_F[np.flatnonzero(np.diff(frames.story_F, prepend=-1))]
    add(starts, draws.beats.plot_nats_D)
    rows, row_G, who_G = parts.segments, segments.row_G, segments.who_G
    kind_G, story_G = rows.kind[row_G], frames.story_F[segments.source_G]
    word = np.flatnonzero(kind_G == WORD)
    options, words = rows.options[row_G[word]], rows.words[row_G[word]]
    # An optional class holds each word once and nothing as often as all together.
    chances = np.where(
        segments.piece_G[word] == EMPTY, np.maximum(options - words, 1), 1
    )
    add(word, np.log(options / chances))
    # A bound word, a gender and a name are shown by their first use.
    bound = np.flatnonzero(kind_G == BOUND)
    binding = rows.binding[row_G[bound]]
    episode = frames.episode_F[segments.source_G[bound]]
    episode = np.where(parts.binding_lasts[binding], 0, episode)
    _, episodes, bindings = cast.bound_DEK.shape
    key = (story_G[bound] * episodes + episode) * bindings + binding
    first = np.unique(key, return_index=True)[1]
    add(bound[first], np.log(parts.binding_options[binding[first]]))
    pronoun = np.flatnonzero(kind_G == PRONOUN)
    key = story_G[pronoun] * MOST_CHARACTERS + who_G[pronoun]
    first = np.unique(key, return_index=True)[1]
    add(pronoun[first], np.full(len(first), np.log(2.0)))
    named = np.flatnonzero(kind_G == NAME)
    key = story_G[named] * MOST_CHARACTERS + who_G[named]
    key, first = np.unique(key, return_index=True)
    shown, who = key // MOST_CHARACTERS, key % MOST_CHARACTERS
    nats = names.nats(cast.names_DC, cast.size_D)
    add(named[first], nats[shown, who, 0])
    add(named[first], nats[shown, who, 1], 1)
    return np.bincount(np.concatenate(at), np.concatenate(cost), num_tokens)

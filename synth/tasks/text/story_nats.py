"""What a story costs to tell: -log p of every choice of the generator, by token.

Summed over a story this is exactly -log p of the story (where no two choices give the
same text, and an upper bound otherwise), so its mean is a floor for any model's loss.

Letters in names: S tokens in a row, G segments in a row, F frames in a row.
"""

from typing import TYPE_CHECKING

import numpy as np

from synth.tasks.text.fragments import NAME, PRONOUN, WORD
from synth.tasks.text.frames import MOST_CHARACTERS

if TYPE_CHECKING:
    from synth.tasks.text.stories import StoryDraw


def nats_by_token(draw: "StoryDraw", begin_G: np.ndarray, size: int) -> np.ndarray:
    """-log p of every choice, at the first token that shows it."""
    parts = draw.parts
    at: list[np.ndarray] = []
    cost: list[np.ndarray] = []

    def add(segments: np.ndarray, nats: np.ndarray, further: int = 0) -> None:
        at.append(begin_G[segments] + further)
        cost.append(nats)

    add(draw.head_F, draw.nats_F)
    starts = draw.head_F[np.flatnonzero(np.diff(draw.story_F, prepend=-1))]
    add(starts, draw.plot_nats_D)
    word = np.flatnonzero(draw.kind_G == WORD)
    options, real = (
        parts.options[draw.segment_G[word]],
        parts.real[draw.segment_G[word]],
    )
    left_out = draw.piece_G[word] == parts.empty
    # An optional class holds each word once and nothing as often as all together.
    add(
        word,
        np.where(
            left_out,
            np.log(options / np.maximum(options - real, 1)),
            np.log(options),
        ),
    )
    story_G = draw.story_F[draw.source_G]
    bound = draw.bound_at
    episode = draw.episode_F[draw.source_G[bound]].copy()
    episode[parts.bound_story[draw.which_bound]] = 0
    key = (story_G[bound] * draw.config.episodes + episode) * len(
        parts.bound_options
    ) + draw.which_bound
    first = np.unique(key, return_index=True)[1]
    add(bound[first], np.log(parts.bound_options[draw.which_bound[first]]))
    pronoun = np.flatnonzero(draw.kind_G == PRONOUN)
    key = story_G[pronoun] * MOST_CHARACTERS + draw.who_G[pronoun]
    first = np.unique(key, return_index=True)[1]
    add(pronoun[first], np.full(len(first), np.log(2.0)))
    named = np.flatnonzero(draw.kind_G == NAME)
    key = story_G[named] * MOST_CHARACTERS + draw.who_G[named]
    key, first = np.unique(key, return_index=True)
    shown, who = key // MOST_CHARACTERS, key % MOST_CHARACTERS
    nats = draw.owner.names.nats(draw.names_DC, draw.cast_D)
    add(named[first], nats[shown, who, 0])
    add(named[first], nats[shown, who, 1], 1)
    return np.bincount(np.concatenate(at), np.concatenate(cost), size)

"""Whole documents with given names for their characters: generated, or of a corpus.

Each is a pair of arrays: tokens, and marks (0, or 2c+1 and 2c+2 on the first and second
token of the c-th name). The first documents are the same whatever their number.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from synth.seeding import generator
from synth.tasks.text.cleaning import SPLITS, TextSplit
from synth.tasks.text.detection import rename_texts
from synth.tasks.text.encoded import Corpus
from synth.tasks.text.names import NameSource
from synth.tasks.text.story_generator import StoryGenerator

BLOCK = 100
"""Stories that are drawn together."""


def story_documents(
    source: StoryGenerator | Corpus,
    names: NameSource,
    count: int,
    stream: str,
    seed: int,
    nats: list[np.ndarray] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`count` stories of a generator, or documents of a corpus with their names replaced.

    -log p of generated stories by token is appended to `nats`, if given. Documents of a
    corpus name somebody twice and are of the split that `stream` mentions, or of "test".
    """
    if isinstance(source, Corpus):
        split: TextSplit = next((s for s in SPLITS if s in stream), "test")
        rng = generator(seed, "renamed", stream)
        texts = source.texts[split]
        renamed = rename_texts(texts, source.names, names, source.tokenizer, rng)
        for tokens, marks in islice(renamed, count):
            yield np.array(tokens), np.array(marks, np.uint8)
        return
    stories = StoryGenerator(source.config, source.tokenizer, names)
    for block in range(-(-count // BLOCK)):
        drawn = stories.draw(seed, block, BLOCK, stream, with_nats=nats is not None)
        for d in range(min(BLOCK, count - block * BLOCK)):
            if nats is not None:
                nats.append(drawn.nats(d))
            yield drawn.document(d)

"""What several tests of the text side share."""

import random
from itertools import islice

import pytest

from synth.tasks.text.grammar import grammar
from synth.tasks.text.names import NameSource, candidates, of_split
from synth.tasks.text.plain import plain_stories, syllable_names
from synth.tasks.text.tokenizer import train_byte_pairs


@pytest.fixture(scope="session")
def texts():
    rng = random.Random(1)
    names = syllable_names(rng, 20_000)
    return list(islice(plain_stories(rng, grammar("book"), names), 2500))


@pytest.fixture(scope="session")
def tokenizer(texts):
    return train_byte_pairs(texts, 2048)


@pytest.fixture(scope="session")
def pairs(tokenizer):
    return candidates(tokenizer, 64, 256, grammar("book").all_words)


@pytest.fixture(scope="session")
def names(pairs):
    return NameSource([of_split(pairs, "train")], [1.0])

"""Generated stories as text and back, for every size of vocabulary and every suite.

The tokenisers are those that a user gets without a corpus. Equal ids after a round trip
show two things: pieces were joined where the tokeniser cuts, and every name is exactly
two tokens wherever it stands.
"""

import numpy as np
import pytest

from synth.tasks.stories import StoriesConfig
from synth.tasks.text.names import NameConfig, split_of
from synth.tasks.text.roles import REPEAT_1, REPEAT_2
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig

SIZES = (2048, 4096, 8192, 32_768)
STORIES = {
    "open": {},
    "closed, dense": {
        "names": NameConfig(p_open=0.0),
        "story": StoryConfig(min_characters=1, characters=4, asides=2, fillers=2),
    },
    "books": {"story": StoryConfig(profile="book", episodes=3, asides=1)},
}


def built(size, stories):
    chosen = TokenizerConfig(vocab_size=size)
    return StoriesConfig(tokenizer=chosen, **STORIES[stories]).build()


@pytest.mark.parametrize("stories", list(STORIES))
@pytest.mark.parametrize("size", SIZES)
def test_stories_encode_to_their_own_tokens(size, stories):
    task = built(size, stories)
    assert len(task.vocabulary) == size
    for split in ("train", "validation", "test"):
        for sample in task.samples(3, 25, split=split):
            record = sample.record
            *body, end = record["tokens"]
            assert end == task.tokenizer.end
            assert task.tokenizer.encode(record["text"]) == body
            _check_names(task, record)


def _check_names(task, record):
    """Every mention in the re-encoded text is one of the pairs, and marked as such."""
    tokens, roles = record["tokens"], record["roles"]
    pairs = {tuple(task.tokenizer.encode(f" {name}")) for name in record["names"]}
    assert {len(pair) for pair in pairs} == {2}
    assert len({first for first, _ in pairs}) == len(pairs), "distinct first tokens"
    marked = [i for i, role in enumerate(roles) if role in (1, REPEAT_1)]
    assert {(tokens[i], tokens[i + 1]) for i in marked} == pairs
    assert all(roles[i + 1] == roles[i] + 1 for i in marked)
    said = [i for i in range(len(tokens) - 1) if (tokens[i], tokens[i + 1]) in pairs]
    assert said == marked, "every mention is marked, and nothing else is"


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_the_suites_encode_to_their_own_tokens(size):
    task = built(size, "open")
    for chosen in task.evaluation_sets(40):
        rows = chosen.rows
        assert (chosen.labels["role_RT"] == REPEAT_2).sum() > 40
        for tokens, example in zip(rows.tokens_RT, rows.example_RT, strict=True):
            whole = tokens[example > 0].tolist()
            body = whole[:-1] if whole[-1] == task.tokenizer.end else whole
            text = task.tokenizer.decode(body)
            found = task.tokenizer.encode(text)
            # A row that was cut may end in the middle of a word.
            kept = len(body) if body != whole else len(body) - 6
            assert found[:kept] == body[:kept]


@pytest.mark.parametrize("size", SIZES)
def test_name_pools_of_every_size_are_held_apart(size):
    task = built(size, "open")
    train = set(task.names.training.text)
    for split in ("validation", "test"):
        held = task.names.any(split)
        assert {split_of(name) for name in held.text} == {split}
        assert not train & set(held.text)
        assert held.num_names > 200
    assert len(np.unique(task.names.training.tokens_P2[:, 0])) >= 16


def test_a_larger_vocabulary_keeps_the_texts_of_the_smaller_ones():
    from synth.tasks.text.vocabularies import FILLED, generated_texts

    small = list(generated_texts(["story"], FILLED))
    assert small == list(generated_texts(["story"]))
    *first, names = generated_texts(["story"], FILLED + 1)
    assert first == small
    assert len(set(names.split())) > FILLED

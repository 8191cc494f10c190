import numpy as np
import pytest

from synth.tasks.text.grammar import grammar
from synth.tasks.text.names import (
    NameConfig,
    NameSource,
    candidates,
    of_split,
    split_of,
)
from synth.tasks.text.tokenizer import Characters, train_byte_pairs

FOLLOWERS = [
    ".",
    ",",
    "'s",
    "'ll",
    '"',
    "!",
    "-like",
    " ran",
    "\n",
    ":",
    ")",
    "?",
    "...",
]


def test_exactly_two_tokens_whatever_follows(tokenizer, pairs):
    for tokens, name in list(zip(pairs.tokens_P2.tolist(), pairs.text, strict=True))[
        :300
    ]:
        for after in FOLLOWERS:
            assert tokenizer.encode(f" {name}{after}")[:2] == tokens


def test_no_name_is_a_word(pairs):
    known = grammar("book").all_words
    assert not {name.lower() for name in pairs.text} & known


def test_first_pieces_are_no_words(pairs, tokenizer):
    known = grammar("book").all_words
    firsts = {tokenizer.vocabulary[t] for t in pairs.tokens_P2[:, 0].tolist()}
    assert all(
        piece.startswith(" ") and piece[1:].lower() not in known for piece in firsts
    )


def test_more_pieces_add_to_the_smaller_set(tokenizer):
    known = grammar("book").all_words
    small = candidates(tokenizer, 8, 32, known)
    large = candidates(tokenizer, 16, 64, known)
    assert set(small.text) <= set(large.text)


def test_splits_are_disjoint_and_the_same_for_every_tokeniser(tokenizer, texts):
    known = grammar("book").all_words
    other = train_byte_pairs(texts, 4096)
    both = []
    for made in (tokenizer, other):
        pairs = candidates(made, 64, 256, known)
        parts = [set(of_split(pairs, s).text) for s in ("train", "validation", "test")]
        assert sum(map(len, parts)) == len(pairs)
        assert parts[0].isdisjoint(parts[1] | parts[2])
        assert parts[1].isdisjoint(parts[2])
        both.append(parts)
    assert not both[0][0] & both[1][2]
    assert not both[0][2] & both[1][0]


def test_a_tenth_is_held_out():
    found = [split_of(f"Name{i}") for i in range(20_000)]
    assert found.count("test") == pytest.approx(2000, abs=150)
    assert found.count("validation") == pytest.approx(2000, abs=150)


def test_distinct_first_tokens_among_the_cast(pairs):
    source = NameSource([pairs.take(range(60))], [1.0])
    cast = np.random.default_rng(1).integers(1, 5, 3000)
    names = source.draw(np.random.default_rng(0), cast, 4)
    for row, count in zip(names, cast.tolist(), strict=True):
        assert len(set(source.tokens_P2[row[:count], 0].tolist())) == count


def test_zipf_weights_show_in_the_draws(pairs):
    weight = np.arange(1, 65, dtype=float) ** -1.0
    source = NameSource([pairs.take(range(64))], [1.0], [weight])
    names = source.draw(np.random.default_rng(0), np.ones(40_000, int), 4)[:, 0]
    share = np.bincount(names, minlength=64) / 40_000
    assert np.abs(share - weight / weight.sum()).max() < 0.01


def test_characters_have_no_names():
    with pytest.raises(ValueError, match="0 names of exactly two tokens"):
        candidates(Characters("abc"), 8, 8, frozenset())


def test_a_pool_of_one_first_token_is_refused(pairs):
    same = np.flatnonzero(pairs.tokens_P2[:, 0] == pairs.tokens_P2[0, 0])
    with pytest.raises(ValueError, match="has 1 first tokens"):
        NameSource([pairs.take(same.tolist())], [1.0])


def test_weights_that_hardly_ever_give_four_names_are_refused(pairs):
    """Drawing would go on for ever: 1e-15 at zipf 20."""
    for zipf in (5.0, 20.0):
        weight = np.arange(1, 65, dtype=float) ** -zipf
        with pytest.raises(ValueError, match=r"too rarely .* Use a smaller zipf"):
            NameSource([pairs.take(range(64))], [1.0], [weight])


@pytest.mark.parametrize(
    ("field", "value"), [("p_open", 1.5), ("zipf", -1.0), ("first_pieces", 2)]
)
def test_refuses_impossible_pools(field, value):
    with pytest.raises(ValueError, match=f"NameConfig.{field} must be .* got {value}"):
        NameConfig(**{field: value})

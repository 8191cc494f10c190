"""Packing of whole examples, held against a loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.packing import pack_rows, padded_rows


def flat(lengths: list[int], starts: list[int]) -> tuple:
    """Distinct tokens 1, 2, ... so that a misplaced one is seen."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    tokens = np.arange(1, offsets[-1] + 1, dtype=np.int32)
    return tokens, offsets, np.array(starts, np.int64)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    context = draw(st.integers(1, 24))
    lengths = draw(st.lists(st.integers(1, context), max_size=40))
    starts = [draw(st.integers(0, length)) for length in lengths]
    return lengths, starts, context


def packed_by_loop(lengths: list[int], starts: list[int], context: int) -> tuple:
    tokens, example, answer = [], [], []
    token = 0
    for length, start in zip(lengths, starts, strict=True):
        if not tokens or tokens[-1].index(0) + length > context:
            tokens.append([0] * (context + 1))
            example.append([0] * context)
            answer.append([False] * context)
            number = 0
        at, number = tokens[-1].index(0), number + 1
        for inside in range(length):
            token += 1
            tokens[-1][at + inside] = token
            example[-1][at + inside] = number
            answer[-1][at + inside] = inside >= start
    return [row[:-1] for row in tokens], example, answer


@settings(max_examples=200)
@given(streams())
def test_packing_equals_a_loop(drawn):
    lengths, starts, context = drawn
    rows = pack_rows(*flat(lengths, starts), context)
    tokens, example, answer = packed_by_loop(lengths, starts, context)
    assert rows.tokens_RT.shape == (len(tokens), context)
    assert rows.tokens_RT.tolist() == tokens
    assert rows.example_RT.tolist() == example
    assert rows.answer_RT.tolist() == answer


@settings(max_examples=100)
@given(streams(), st.integers(0, 5))
def test_padded_rows_hold_one_example_each(drawn, extra):
    lengths, starts, _ = drawn
    tokens, offsets, answer_start = flat(lengths, starts)
    width = max(lengths, default=0) + extra
    rows = padded_rows(tokens, offsets, answer_start, width)
    assert rows.tokens_RT.shape == (len(lengths), width)
    for i, (length, start) in enumerate(zip(lengths, starts, strict=True)):
        row = rows[i : i + 1]
        expected = tokens[offsets[i] : offsets[i + 1]].tolist()
        assert row.tokens_RT[0].tolist() == expected + [0] * (width - length)
        assert row.example_RT[0].tolist() == [1] * length + [0] * (width - length)
        assert np.flatnonzero(row.answer_RT[0]).tolist() == list(range(start, length))


def test_padded_rows_take_the_longest_by_default():
    assert padded_rows(*flat([2, 5, 3], [1, 1, 1])).tokens_RT.shape == (3, 5)
    with pytest.raises(ValueError, match="at least 5, the longest example; got 4"):
        padded_rows(*flat([2, 5, 3], [1, 1, 1]), 4)


def test_tokens_keep_their_type():
    tokens, offsets, starts = flat([2, 3], [1, 1])
    for dtype in (np.uint8, np.uint16, np.int32):
        assert (
            pack_rows(tokens.astype(dtype), offsets, starts, 4).tokens_RT.dtype == dtype
        )


def test_an_example_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match=r"context 8, and an example of 9 .* least 12"):
        pack_rows(*flat([3, 9], [1, 1]), 8, longest=12)


def test_offsets_are_checked():
    tokens, offsets, starts = flat([2, 3], [1, 1])
    with pytest.raises(ValueError, match="offsets must run from 0"):
        pack_rows(tokens[:-1], offsets, starts, 8)
    with pytest.raises(ValueError, match="at least one token"):
        pack_rows(tokens, np.array([0, 2, 2, 5]), np.array([1, 0, 1]), 8)

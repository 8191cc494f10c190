"""Whole examples into rows of equal length.

Tokens keep the type that they come in: a block of bytes is copied several times faster
than one of the wide integers that a model wants, and is widened batch by batch.
Letters: S tokens in a flat sequence, N examples, R rows, T positions in a row.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from synth.tasks.task import Rows

PADDING = 0


def pack_rows(
    tokens_S: np.ndarray,
    offsets: np.ndarray,
    answer_start_N: np.ndarray,
    context: int,
    longest: int | None = None,
) -> Rows:
    """Fill rows of `context` tokens with whole examples, greedily in stream order.

    An example that does not fit opens the next row; what is left of the row is padding.
    Attention is not cut between the examples of a row: each is read after those before
    it, at later positions.

    examples  a a a | b b | c c c        context 6
    tokens    a a a b b 0 / c c c 0 0 0
    example   1 1 1 2 2 0 / 1 1 1 0 0 0

    Example i is `tokens_S[offsets[i]:offsets[i + 1]]`. Its answer goes from its token
    `answer_start_N[i]` to its end. `longest` is the longest example that the task can
    draw, named when one does not fit.

    Raises `ValueError` if an example is longer than the context.
    """
    offsets = _checked(tokens_S, offsets)
    lengths_N = np.diff(offsets)
    most = int(lengths_N.max(initial=0))
    if most > context:
        raise ValueError(
            f"context must hold a whole example; got context {context}, and an example "
            f"of {most} tokens. Use a context of at least {longest or most}, the "
            "longest possible example, or shorter problems."
        )
    firsts_R = _first_examples(offsets, context)
    bounds = np.append(firsts_R, len(lengths_N))
    starts_R = offsets[firsts_R]
    filled_R = (offsets[bounds[1:]] - starts_R).astype(np.int32)
    inside_RT = np.arange(context, dtype=np.int32) < filled_R[:, None]

    # The number of an example within its row restarts at 1 with every row.
    number_N = np.arange(1, len(lengths_N) + 1) - np.repeat(firsts_R, np.diff(bounds))
    example_S = np.repeat(number_N.astype(_example_type(context)), lengths_N)
    answer_S = _answers(answer_start_N, lengths_N)
    flat = (tokens_S, example_S, answer_S)
    return Rows(*(_windows(values_S, starts_R, inside_RT) for values_S in flat))


def _windows(
    values_S: np.ndarray, starts_R: np.ndarray, inside_RT: np.ndarray
) -> np.ndarray:
    """One window of the flat sequence per row, blanked after its last example."""
    blank = np.zeros(inside_RT.shape[1], values_S.dtype)
    windows = sliding_window_view(np.concatenate([values_S, blank]), len(blank))
    return windows[starts_R] * inside_RT.view(np.uint8).astype(blank.dtype)


def padded_rows(
    tokens_S: np.ndarray,
    offsets: np.ndarray,
    answer_start_N: np.ndarray,
    length: int | None = None,
) -> Rows:
    """One example a row, padded to `length`, or to the longest where none is given.

    For evaluation: position t of a row is position t of its example. The first three
    parameters are those of `pack_rows`.
    """
    offsets = _checked(tokens_S, offsets)
    lengths_N = np.diff(offsets)
    most = int(lengths_N.max(initial=0))
    length = most if length is None else length
    if most > length:
        raise ValueError(
            f"length must be at least {most}, the longest example; got {length}."
        )
    inside_NT = np.arange(length) < lengths_N[:, None]
    tokens_NT = np.full(inside_NT.shape, PADDING, tokens_S.dtype)
    tokens_NT[inside_NT] = tokens_S
    answer_NT = inside_NT & (np.arange(length) >= answer_start_N[:, None])
    return Rows(tokens_NT, inside_NT.astype(_example_type(length)), answer_NT)


def _example_type(length: int) -> type:
    """The narrowest signed integers that count the examples of a row."""
    return np.int16 if length < 1 << 15 else np.int32


def _checked(tokens_S: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    offsets = np.asarray(offsets, np.int64)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(tokens_S):
        raise ValueError(
            f"offsets must run from 0 to the {len(tokens_S)} tokens; got {offsets}."
        )
    if (np.diff(offsets) <= 0).any():
        raise ValueError("offsets must increase: an example has at least one token.")
    return offsets


def _first_examples(offsets: np.ndarray, context: int) -> np.ndarray:
    """The first example of each row: a chain of jumps, one jump a row."""
    jump = np.searchsorted(offsets, offsets + context, side="right") - 1
    firsts, example = [], 0
    while example < len(offsets) - 1:
        firsts.append(example)
        example = jump.item(example)
    return np.array(firsts, np.int64)


def _answers(answer_start_N: np.ndarray, lengths_N: np.ndarray) -> np.ndarray:
    """True from the start of the answer to the end of each example."""
    runs = np.stack([answer_start_N, lengths_N - answer_start_N], axis=1)
    pattern = np.tile(np.array([False, True]), len(lengths_N))
    return np.repeat(pattern, runs.ravel())

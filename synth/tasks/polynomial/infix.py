"""Expressions as tokens: one printed form, which parses back.

A polynomial is its k coefficients in ascending powers between brackets, a negation is
`-E`, and every binary operation stands in parentheses: `(E+E)`, `(E*E)`, `(E@E)`. One
token per symbol and per coefficient.

tokens  ( [ 3 0 1 0 0 ] + - [ 5 0 0 2 0 ] ) = 5 0 1 5 0 .
scored  . . . . . . . . . . . . . . . . . . . x x x x x x
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from synth.tasks.polynomial.expressions import NEG, Expressions
from synth.tasks.polynomial.ring import Ring

SYMBOLS = ("<pad>", "<pause>", "=", ".", "(", ")", "[", "]", "-", "+", "*", "@")
PAD, PAUSE, EQUALS, END, OPEN, CLOSE, BRACKET, UNBRACKET = range(8)
OPERATOR_TOKENS = np.array([SYMBOLS.index(sign) for sign in "-+*@"], np.uint8)
"""The sign of each operator code."""
OPENING_TOKENS = np.array([SYMBOLS.index(sign) for sign in "-((("], np.uint8)
"""What an expression with that operator begins with."""
FIRST_COEFFICIENT = len(SYMBOLS)


class Printed(NamedTuple):
    """Examples one after the other: `tokens_S[offsets[i]:offsets[i + 1]]` is example i.

    `answer_start_N` is the place of the first answer token within its example.
    """

    tokens_S: np.ndarray
    offsets: np.ndarray
    answer_start_N: np.ndarray


def vocabulary(modulus: int) -> tuple[str, ...]:
    """The printed form of each token id: the symbols, then 0..p-1."""
    return SYMBOLS + tuple(str(value) for value in range(modulus))


def longest_example(operations: int, degree: int, pause_tokens: int) -> int:
    """Tokens of an example whose operations are all binary: none is longer."""
    question = (degree + 5) * operations + degree + 2
    return question + pause_tokens + degree + 2


def print_infix(
    expressions: Expressions, answers_N: np.ndarray, ring: Ring, pause_tokens: int
) -> Printed:
    """Questions, pause, `=`, the k coefficients of each answer, `.`, as drawn.

    A question with m operations of which u are negations has m - u + 1 polynomials of
    k+2 tokens, 3 (m - u) tokens of binary operations and u minus signs, and the same
    holds for each operand. That gives the place of every token, from the root down.
    """
    count, most = len(expressions), len(expressions.operator_JN)
    polynomial, binary, negation = ring.degree + 2, ring.degree + 5, ring.degree + 4
    negations_JN = np.zeros((most + 1, count), np.uint8)
    np.cumsum(
        expressions.operator_JN == NEG, axis=0, dtype=np.uint8, out=negations_JN[1:]
    )
    negations_S = negations_JN.ravel()

    operations_N = expressions.operations_N
    negations_N = negations_S.take(operations_N * count + np.arange(count))
    question_N = binary * operations_N + polynomial - negation * negations_N
    length_N = np.empty(count, np.int64)
    length_N[expressions.place_N] = question_N + pause_tokens + polynomial
    offsets = np.concatenate([[0], np.cumsum(length_N)])
    # Every token that nothing below writes is a closing parenthesis.
    tokens_S = np.full(offsets[-1], CLOSE, np.uint8)

    base_N = offsets[expressions.place_N]
    start_S = np.empty((2 * most + 1) * count, np.int16)  # counted from its base
    start_S[:count] = 0
    for j, active in expressions.steps:
        code = expressions.operator_JN[j, :active]
        left = expressions.left_JN[j, :active]
        start = start_S[j * count : j * count + active]
        last = np.multiply(left + np.uint8(j + 1), count, dtype=np.int64)
        negations = negations_S.take(last + np.arange(active))
        negations -= negations_JN[j + 1, :active]
        sign = start + np.multiply(left, binary, dtype=np.int16)
        sign += polynomial + 1
        sign -= np.multiply(negations, negation, dtype=np.int16)
        left_node, right_node = expressions.operands(j, active)
        start_S[left_node], start_S[right_node] = start + 1, sign + 1
        tokens_S[base_N[:active] + start] = OPENING_TOKENS.take(code)
        two = np.flatnonzero(code != NEG)
        tokens_S[(base_N[:active] + sign)[two]] = OPERATOR_TOKENS.take(code[two])

    leaf_S = expressions.leaf_LN.ravel()
    used = np.flatnonzero(leaf_S >= 0)
    leaves = ring.elements(leaf_S[used])
    leaf_start = (start_S[most * count :].reshape(most + 1, count) + base_N).ravel()[
        used
    ]
    _write(tokens_S, leaf_start, leaves, BRACKET, UNBRACKET)
    end_N = base_N + question_N
    for pause in range(pause_tokens):
        tokens_S[end_N + pause] = PAUSE
    _write(tokens_S, end_N + pause_tokens, answers_N, EQUALS, END)
    return Printed(tokens_S, offsets, length_N - ring.degree - 1)


def _write(
    tokens_S: np.ndarray, at_N: np.ndarray, digits_NK: np.ndarray, left: int, right: int
) -> None:
    """Write coefficients between two symbols, each frame as one scattered item."""
    count, degree = digits_NK.shape
    if not count:
        return
    frames = np.empty((count, degree + 2), np.uint8)
    frames[:, 0], frames[:, -1] = left, right
    frames[:, 1:-1] = digits_NK
    frames[:, 1:-1] += np.uint8(FIRST_COEFFICIENT)
    item = np.dtype(f"V{degree + 2}")
    places = len(tokens_S) - degree - 1
    window = np.ndarray((places,), item, buffer=tokens_S, strides=(1,))
    window[at_N] = frames.view(item).ravel()


def text(tokens: Sequence[int] | np.ndarray, names: Sequence[str]) -> str:
    """Tokens as a person reads them: a space between neighbouring coefficients only."""
    pieces: list[str] = []
    for before, token in zip([PAD, *tokens], tokens, strict=False):
        if before >= FIRST_COEFFICIENT <= token:
            pieces.append(" ")
        pieces.append(names[token])
    return "".join(pieces)


def value_of(tokens: Sequence[int], ring: Ring) -> np.ndarray:
    """The value of a printed expression, its k coefficients.

    Raises `ValueError`, saying what an expression has where this one has something
    else.
    """
    rest = list(tokens)[::-1]

    def take(allowed: Sequence[int], what: str) -> int:
        if not rest or rest[-1] not in allowed:
            place = len(tokens) - len(rest) + 1
            raise ValueError(f"This is no expression: token {place} must be {what}.")
        return rest.pop()

    def expression() -> np.ndarray:
        minus = int(OPERATOR_TOKENS[NEG])
        first = take((minus, OPEN, BRACKET), "one of - ( [")
        if first == minus:
            return ring.negate(expression())
        if first == BRACKET:
            digits = range(FIRST_COEFFICIENT, FIRST_COEFFICIENT + ring.modulus)
            what = (
                f"a coefficient below {ring.modulus}; {ring.degree} stand in brackets"
            )
            found = [take(digits, what) for _ in range(ring.degree)]
            take((UNBRACKET,), f"]; {ring.degree} coefficients stand in brackets")
            return np.array([found], np.uint32) - np.uint32(FIRST_COEFFICIENT)
        left = expression()
        binary = {SYMBOLS.index(sign): sign for sign in "+*@"}
        sign = binary[take(tuple(binary), "one of + * @")]
        right = expression()
        take((CLOSE,), "a closing parenthesis")
        apply = {"+": ring.add, "*": ring.multiply, "@": ring.compose}[sign]
        return apply(left, right)

    value_1K = expression()
    if rest:
        raise ValueError(
            f"This is no expression: it ends after token {len(tokens) - len(rest)}, and "
            f"{len(rest)} more follow. Every binary operation stands in parentheses."
        )
    return value_1K[0]

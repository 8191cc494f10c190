"""Random expression trees, many at a time: drawn, evaluated and hashed.

Letters: N expressions (columns), J operations of an expression, L leaves, S tokens.

An expression of m operations has its operations numbered 0..m-1 in preorder. When
operation j has l operations in its left operand, its left child is operation j+1 and
its right child operation j+1+l, so one step per operation serves all expressions at
once, with no stack and no recursion. To make every tree a full binary one, a negation
gets a right operand that is never evaluated or printed: then there are m+1 leaves, and
an operation stands between leaves q and q+1, q being its rank in infix order.

Columns are sorted by falling m, so operation j exists in a prefix of the columns.
Nodes are rows: operation j is row j, leaf i is row J+i.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import numpy as np

from synth.tasks.ring import Ring

OPERATORS = ("neg", "add", "mul", "compose")
NEG, ADD, MUL, COMPOSE = range(4)
MAX_OPERATIONS = 32
Law = Literal["split", "chain", "balanced"]

UNUSED = -1
"""The leaf number of the operand that a negation does not have."""


@dataclass(frozen=True)
class Expressions:
    """N expression trees over the elements of a ring.

    `operations_N`: number of operations m, falling from column to column.
    `place_N`: position of each column in the order in which examples are drawn.
    `operator_JN`: code of operation j, an index of `OPERATORS`; `NEG` where j >= m.
    `left_JN`: number of operations in its left operand.
    `left_row_JN`, `right_row_JN`: the nodes of its operands.
    `leaf_LN`: number of each leaf's ring element, left to right; `UNUSED` for none.
    """

    operations_N: np.ndarray
    place_N: np.ndarray
    operator_JN: np.ndarray
    left_JN: np.ndarray
    left_row_JN: np.ndarray
    right_row_JN: np.ndarray
    leaf_LN: np.ndarray

    def __len__(self) -> int:
        return len(self.operations_N)

    @property
    def steps(self) -> list[tuple[int, int]]:
        """(j, number of columns that have an operation j), j rising."""
        falling = -self.operations_N
        return [
            (j, int(np.searchsorted(falling, -j))) for j in range(len(self.operator_JN))
        ]

    def take(self, keep_N: np.ndarray) -> Self:
        """The columns where `keep_N` is true, in the same order of drawing."""
        kept = np.zeros(len(self), bool)
        kept[self.place_N] = keep_N
        rank = np.cumsum(kept) - 1
        columns = np.flatnonzero(keep_N)
        return replace(
            self,
            operations_N=self.operations_N[columns],
            place_N=rank[self.place_N[columns]],
            operator_JN=self.operator_JN.take(columns, axis=1),
            left_JN=self.left_JN.take(columns, axis=1),
            left_row_JN=self.left_row_JN.take(columns, axis=1),
            right_row_JN=self.right_row_JN.take(columns, axis=1),
            leaf_LN=self.leaf_LN.take(columns, axis=1),
        )

    def take_first(self, count: int) -> Self:
        """The first `count` expressions in the order of drawing."""
        return self.take(self.place_N < count)


def draw(
    rng: np.random.Generator,
    operations_N: np.ndarray,
    ring_size: int,
    operators: tuple[str, ...] = OPERATORS,
    law: Law = "split",
) -> Expressions:
    """One random expression for each number of operations.

    Operators and leaves are uniform. Of the m-1 operations below a binary operator,
    law "split" gives the left operand 0..m-1 with equal chances, "chain" all or none,
    "balanced" half of them, an odd one going to a random side; a negation keeps all.
    A 32-bit word serves each choice, so chances are uniform to within 2^-26.
    """
    place_N = np.argsort(-operations_N.astype(np.int8), kind="stable")
    count, most = len(operations_N), int(operations_N.max(initial=0))
    operations_N = operations_N[place_N].astype(np.int64)
    leaf_LN = rng.integers(0, ring_size, (most + 1, count))
    choice_JN = rng.integers(0, 1 << 32, (most, count))
    codes = np.array([OPERATORS.index(name) for name in operators])

    shape = (most, count)
    operator_JN, left_JN = np.full(shape, NEG, np.uint8), np.zeros(shape, np.int64)
    left_row_JN, right_row_JN = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    # What an operand needs to know: how many operations, and its first leaf.
    size_S = np.zeros((2 * most + 1) * count, np.int64)
    first_S = np.zeros_like(size_S)
    size_S[:count] = operations_N
    drawn = Expressions(
        operations_N, place_N, operator_JN, left_JN, left_row_JN, right_row_JN, leaf_LN
    )
    for j, active in drawn.steps:
        column = np.arange(active)
        node = slice(j * count, j * count + active)
        below, first = size_S[node] - 1, first_S[node]
        scaled = choice_JN[j, :active] * len(codes)
        code = codes[scaled >> 32]
        negated = code == NEG
        left = np.where(negated, below, _left(law, below, scaled & 0xFFFFFFFF))
        right = below - left
        rank = first + left
        left_row = np.where(left > 0, j + 1, most + rank)
        right_row = np.where(right > 0, j + 1 + left, most + 1 + rank)
        left_node, right_node = left_row * count + column, right_row * count + column
        size_S[left_node], size_S[right_node] = left, right
        first_S[left_node], first_S[right_node] = first, rank + 1
        unused = np.flatnonzero(negated)
        leaf_LN[rank[unused] + 1, unused] = UNUSED
        operator_JN[j, :active], left_JN[j, :active] = code, left
        left_row_JN[j, :active], right_row_JN[j, :active] = left_row, right_row
    # Leaves beyond the last operation exist in no expression.
    leaf_LN[np.arange(most + 1)[:, None] > operations_N] = UNUSED
    return drawn


def joined(parts: list[Expressions]) -> Expressions:
    """Expressions of one common number of operations, one part after another."""
    places = np.cumsum([0, *(len(part) for part in parts)])

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts], axis=-1)

    columns = {field.name: join(field.name) for field in fields(Expressions)}
    if len(np.unique(columns["operations_N"])) > 1:
        raise ValueError("Only expressions with equally many operations can be joined.")
    columns["place_N"] += np.repeat(places[:-1], np.diff(places))
    return Expressions(**columns)


def _left(law: Law, below: np.ndarray, choice: np.ndarray) -> np.ndarray:
    """How many of `below` operations a binary operator puts to its left."""
    if law == "split":
        return choice * (below + 1) >> 32
    coin = choice >> 31
    if law == "chain":
        return below * coin
    return (below + coin) >> 1


def values(expressions: Expressions, ring: Ring) -> np.ndarray:
    """The element that each expression stands for, column by column."""
    count, most = len(expressions), len(expressions.operator_JN)
    leaves = ring.elements(expressions.leaf_LN.ravel())
    node_S = np.concatenate([np.zeros_like(leaves[: most * count]), leaves])
    for j, active in reversed(expressions.steps):
        column = np.arange(active)
        left_S = node_S.take(expressions.left_row_JN[j, :active] * count + column, 0)
        right_S = node_S.take(expressions.right_row_JN[j, :active] * count + column, 0)
        code = expressions.operator_JN[j, :active]
        result = node_S[j * count : j * count + active]
        chosen = np.flatnonzero(code == NEG)
        result[chosen] = ring.negate(left_S.take(chosen, 0))
        for wanted, operation in (
            (ADD, ring.add),
            (MUL, ring.multiply),
            (COMPOSE, ring.compose),
        ):
            chosen = np.flatnonzero(code == wanted)
            result[chosen] = operation(left_S.take(chosen, 0), right_S.take(chosen, 0))
    return node_S[:count]


def hashes(expressions: Expressions) -> np.ndarray:
    """A 64-bit hash of each expression, a function of its printed form alone.

    The sum over operations of (code + 4 l + 1) A_j and over leaves of (number + 1) B_i,
    modulo 2^64, then the finaliser of splitmix64. Printing and parsing are inverse to
    each other, so hashing the tree is hashing its tokens.
    """
    sum_N = np.zeros(len(expressions), np.uint64)
    for j, active in expressions.steps:
        left = expressions.left_JN[j, :active]
        key = 4 * left + expressions.operator_JN[j, :active] + 1
        sum_N[:active] += key.view(np.uint64) * _FACTORS[j]
    for i, leaf_N in enumerate(expressions.leaf_LN):
        sum_N += (leaf_N + 1).view(np.uint64) * _FACTORS[MAX_OPERATIONS + i]
    return finalised(sum_N)


def finalised(word_N: np.ndarray) -> np.ndarray:
    """The output function of splitmix64 (Steele, Lea and Flood 2014)."""
    word_N = (word_N ^ word_N >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    word_N = (word_N ^ word_N >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return word_N ^ word_N >> np.uint64(31)


_FACTORS = finalised(
    np.arange(1, 2 * MAX_OPERATIONS + 2, dtype=np.uint64)
    * np.uint64(0x9E3779B97F4A7C15)
) | np.uint64(1)
"""Odd constants: entry j for operation j, entry MAX_OPERATIONS + i for leaf i."""

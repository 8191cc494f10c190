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

from synth.seeding import splitmix64
from synth.tasks.polynomial.ring import Ring

OPERATORS = ("neg", "add", "mul", "compose")
NEG, ADD, MUL, COMPOSE = range(4)
MAX_OPERATIONS = 32
_1 = np.uint8(1)
_FRACTION = np.uint32((1 << 24) - 1)
TreeLaw = Literal["split", "chain", "balanced"]

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

    def operands(self, j: int, active: int) -> tuple[np.ndarray, np.ndarray]:
        """The operands of operation j as places in an array of nodes by columns."""
        count, column = len(self), np.arange(active)
        return (
            np.multiply(self.left_row_JN[j, :active], count, dtype=np.int64) + column,
            np.multiply(self.right_row_JN[j, :active], count, dtype=np.int64) + column,
        )

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


def draw_expressions(
    rng: np.random.Generator,
    operations_N: np.ndarray,
    ring_size: int,
    operators: tuple[str, ...] = OPERATORS,
    law: TreeLaw = "split",
) -> Expressions:
    """One random expression for each number of operations.

    Operators and leaves are uniform. Of the m-1 operations below a binary operator,
    law "split" gives the left operand 0..m-1 with equal chances, "chain" all or none,
    "balanced" half of them, an odd one going to a random side; a negation keeps all.
    One 24-bit number serves both choices of an operation, so that the chances of a
    division differ from uniform by at most 2^-22.
    """
    place_N = np.argsort(-operations_N.astype(np.int8), kind="stable")
    count, most = len(operations_N), int(operations_N.max(initial=0))
    codes = np.array([OPERATORS.index(name) for name in operators], np.uint8)
    shape = (most, count)
    drawn = Expressions(
        operations_N=operations_N[place_N].astype(np.int64),
        place_N=place_N,
        operator_JN=np.full(shape, NEG, np.uint8),
        left_JN=np.zeros(shape, np.uint8),
        left_row_JN=np.zeros(shape, np.uint8),
        right_row_JN=np.zeros(shape, np.uint8),
        leaf_LN=np.full((most + 1, count), UNUSED, np.int64),
    )
    # What a node needs to know, in one word: its first leaf, then its size in 6 bits.
    # Numbers of operations and leaves stay in bytes, where vectors are widest.
    node_S = np.empty((2 * most + 1) * count, np.int16)
    node_S[:count] = drawn.operations_N
    drawn.leaf_LN[0] = rng.integers(0, ring_size, count)
    for j, active in drawn.steps:
        drawn.leaf_LN[j + 1, :active] = rng.integers(0, ring_size, active)
    for j, active in drawn.steps:
        choice = rng.integers(0, 1 << 32, active, np.uint32)
        scaled = (choice >> 8) * np.uint32(len(codes))
        code = codes.take(scaled >> 24)
        node = node_S[j * count : j * count + active]
        first, below = (node >> 6).astype(np.uint8), (node & 63).astype(np.uint8) - _1
        left = np.where(code == NEG, below, _left(law, below, scaled & _FRACTION))
        right, rank = below - left, first + left
        drawn.operator_JN[j, :active], drawn.left_JN[j, :active] = code, left
        drawn.left_row_JN[j, :active] = np.where(
            left > 0, np.uint8(j + 1), rank + np.uint8(most)
        )
        drawn.right_row_JN[j, :active] = np.where(
            right > 0, left + np.uint8(j + 1), rank + np.uint8(most + 1)
        )
        left_node, right_node = drawn.operands(j, active)
        node_S[left_node] = (first.astype(np.int16) << 6) + left
        node_S[right_node] = ((rank + _1).astype(np.int16) << 6) + right
        unary = np.flatnonzero(code == NEG)
        drawn.leaf_LN[rank[unary] + _1, unary] = UNUSED
    return drawn


def concatenate(parts: list[Expressions]) -> Expressions:
    """Expressions of one common number of operations, one part after another."""
    places = np.cumsum([0, *(len(part) for part in parts)])

    def join(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts], axis=-1)

    columns = {field.name: join(field.name) for field in fields(Expressions)}
    if len(np.unique(columns["operations_N"])) > 1:
        raise ValueError("Only expressions with equally many operations can be joined.")
    columns["place_N"] += np.repeat(places[:-1], np.diff(places))
    return Expressions(**columns)


def _left(law: TreeLaw, below: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """How many of `below` operations a binary operator puts to its left."""
    if law == "split":
        return (fraction * (below + _1) >> 24).astype(np.uint8)
    coin = (fraction >> 23).astype(np.uint8)
    if law == "chain":
        return below * coin
    return (below + coin) >> 1


def values(expressions: Expressions, ring: Ring) -> np.ndarray:
    """The element that each expression stands for, column by column."""
    count, most = len(expressions), len(expressions.operator_JN)
    leaves = ring.elements(expressions.leaf_LN.ravel())
    node_S = np.concatenate([np.zeros_like(leaves[: most * count]), leaves])
    for j, active in reversed(expressions.steps):
        left_node, right_node = expressions.operands(j, active)
        left_S, right_S = node_S.take(left_node, 0), node_S.take(right_node, 0)
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
        left = expressions.left_JN[j, :active].astype(np.int64)
        key = 4 * left + expressions.operator_JN[j, :active] + 1
        sum_N[:active] += key.view(np.uint64) * _FACTORS[j]
    for i, leaf_N in enumerate(expressions.leaf_LN):
        sum_N += (leaf_N + 1).view(np.uint64) * _FACTORS[MAX_OPERATIONS + i]
    return splitmix64(sum_N)


def side_of(expressions: Expressions) -> np.ndarray:
    """The side of the split of each expression: the top three bits of its hash."""
    return hashes(expressions) >> np.uint64(61)


_FACTORS = splitmix64(
    np.arange(1, 2 * MAX_OPERATIONS + 2, dtype=np.uint64)
    * np.uint64(0x9E3779B97F4A7C15)
) | np.uint64(1)
"""Odd constants: entry j for operation j, entry MAX_OPERATIONS + i for leaf i."""

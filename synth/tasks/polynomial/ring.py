"""Arithmetic in F_p[X]/(X^k), many elements at a time.

An element is its list of k coefficients in ascending powers, a row of an array. Letters:
N elements, K coefficients.

Composition is not defined on cosets of X^k: f and f + X^k give different f(g(X)) when g
has a constant term. Everything here composes the representatives of degree below k.
"""

import numpy as np

MAX_MODULUS = 97
MAX_DEGREE = 8
"""With `MAX_MODULUS`, a sum of k products is below 2^17: 32 bits hold it."""
TABLE_ENTRIES = 1 << 20
"""Rings with more elements than this are unpacked digit by digit, not by table."""


class Ring:
    """F_p[X]/(X^k) on arrays of elements, uint32 of shape (N, K)."""

    def __init__(self, modulus: int, degree: int) -> None:
        self.modulus = modulus
        self.degree = degree
        self.size = modulus**degree
        self._table: np.ndarray | None = None

    def elements(self, index_N: np.ndarray) -> np.ndarray:
        """The elements numbered c0 + c1 p + c2 p^2 + ..."""
        if self.size > TABLE_ENTRIES:
            return self._digits_of(index_N)
        if self._table is None:
            self._table = self._digits_of(np.arange(self.size))
        return self._table.take(index_N, axis=0)

    def indices(self, elements_NK: np.ndarray) -> np.ndarray:
        """The number of each element: the inverse of `elements`."""
        return elements_NK.astype(np.int64) @ self._weights()

    def _weights(self) -> np.ndarray:
        return self.modulus ** np.arange(self.degree, dtype=np.int64)

    def _digits_of(self, index_N: np.ndarray) -> np.ndarray:
        digits_NK = index_N[:, None] // self._weights() % self.modulus
        return digits_NK.astype(np.uint32)

    def negate(self, a_NK: np.ndarray) -> np.ndarray:
        """-a."""
        return self._reduced(self.modulus - a_NK)

    def add(self, a_NK: np.ndarray, b_NK: np.ndarray) -> np.ndarray:
        """a + b."""
        return self._reduced(a_NK + b_NK)

    def multiply(self, a_NK: np.ndarray, b_NK: np.ndarray) -> np.ndarray:
        """a b mod X^k, one power of a at a time."""
        product_NK = a_NK[:, :1] * b_NK
        for power in range(1, self.degree):
            product_NK[:, power:] += a_NK[:, power, None] * b_NK[:, :-power]
        return self._reduced(product_NK)

    def compose(self, f_NK: np.ndarray, g_NK: np.ndarray) -> np.ndarray:
        """f(g(X)) mod X^k, by Horner's rule."""
        value_NK = np.zeros_like(f_NK)
        for power in range(self.degree - 1, -1, -1):
            value_NK = self.multiply(value_NK, g_NK)
            value_NK[:, 0] += f_NK[:, power]
        return self._reduced(value_NK)

    def _reduced(self, values_NK: np.ndarray) -> np.ndarray:
        """Values mod p, in place; numpy divides by a scalar faster than it takes `%`."""
        values_NK -= values_NK // self.modulus * self.modulus
        return values_NK

"""Arithmetic in F_p[X]/(X^k), many elements at a time.

An element is its list of k coefficients in ascending powers. Two representations, same
results: `PackedRing` keeps the coefficients in the bytes of one 64-bit word, where the
product of two polynomials is one wrapping integer multiplication; `DigitRing` keeps an
array of digits and takes any p and k. Letters: N elements, K coefficients.

Composition is not defined on cosets of X^k: f and f + X^k give different f(g(X)) when g
has a constant term. Everything here composes the representatives of degree below k.
"""

from abc import ABC, abstractmethod

import numpy as np

MAX_MODULUS = 97
MAX_DEGREE = 8
TABLE_ENTRIES = 1 << 20
"""Rings with more elements than this are unpacked digit by digit, not by table."""


class Ring(ABC):
    """F_p[X]/(X^k) on arrays of elements; the first axis counts the elements."""

    def __init__(self, modulus: int, degree: int) -> None:
        self.modulus = modulus
        self.degree = degree
        self.size = modulus**degree
        self._table: np.ndarray | None = None

    def elements(self, index_N: np.ndarray) -> np.ndarray:
        """The elements numbered c0 + c1 p + c2 p^2 + ..., in this representation."""
        if self.size > TABLE_ENTRIES:
            return self.from_digits(self._digits_of(index_N))
        if self._table is None:
            self._table = self.from_digits(self._digits_of(np.arange(self.size)))
        return self._table.take(index_N, axis=0)

    def indices(self, elements_N: np.ndarray) -> np.ndarray:
        """The number of each element: the inverse of `elements`."""
        weights_K = self.modulus ** np.arange(self.degree, dtype=np.int64)
        return self.digits(elements_N).astype(np.int64) @ weights_K

    def _digits_of(self, index_N: np.ndarray) -> np.ndarray:
        weights_K = self.modulus ** np.arange(self.degree, dtype=np.int64)
        return (index_N[:, None] // weights_K % self.modulus).astype(np.uint8)

    @abstractmethod
    def from_digits(self, digits_NK: np.ndarray) -> np.ndarray:
        """Elements from coefficients in 0..p-1, ascending powers."""

    @abstractmethod
    def digits(self, elements_N: np.ndarray) -> np.ndarray:
        """The coefficients as uint8, one row an element."""

    @abstractmethod
    def negate(self, a_N: np.ndarray) -> np.ndarray:
        """-a."""

    @abstractmethod
    def add(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
        """a + b."""

    @abstractmethod
    def multiply(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
        """a b mod X^k."""

    @abstractmethod
    def compose(self, f_N: np.ndarray, g_N: np.ndarray) -> np.ndarray:
        """f(g(X)) mod X^k, by Horner's rule."""


class PackedRing(Ring):
    """Coefficient i in byte i of a uint64; needs `PackedRing.fits(p, k)`.

    Byte i of the integer product a * b is the sum of a_j b_(i-j), at most k (p-1)^2: no
    byte carries into the next, and what lies above byte k-1 is masked away. Bytes are
    reduced mod p all at once, because numpy divides bytes by a scalar in vector
    registers.
    """

    def __init__(self, modulus: int, degree: int) -> None:
        if not self.fits(modulus, degree):
            raise ValueError(
                f"Eight bytes cannot hold products in F_{modulus}[X]/(X^{degree}): "
                "k (p-1)^2 + p-1 must be at most 255 and k at most 8. Use DigitRing."
            )
        super().__init__(modulus, degree)
        self._mask = np.uint64((1 << 8 * degree) - 1)
        self._all_p = np.uint64(sum(modulus << 8 * i for i in range(degree)))

    @staticmethod
    def fits(modulus: int, degree: int) -> bool:
        """Whether a byte holds each coefficient of a b + c before reduction."""
        largest = degree * (modulus - 1) ** 2 + modulus - 1
        return degree <= 8 and max(largest, 2 * modulus) <= 255

    def from_digits(self, digits_NK: np.ndarray) -> np.ndarray:
        """Words with coefficient i in byte i."""
        bytes_N8 = np.zeros((len(digits_NK), 8), np.uint8)
        bytes_N8[:, : self.degree] = digits_NK
        return bytes_N8.view("<u8").ravel().astype(np.uint64)

    def digits(self, elements_N: np.ndarray) -> np.ndarray:
        """The low bytes of each word, a view where the words allow it."""
        little = np.ascontiguousarray(elements_N).astype("<u8", copy=False)
        return little.view(np.uint8).reshape(-1, 8)[:, : self.degree]

    def negate(self, a_N: np.ndarray) -> np.ndarray:
        """p - c in every byte, p becoming 0."""
        return self._reduced(self._all_p - a_N)

    def add(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
        """One integer addition, then bytes mod p."""
        return self._reduced(a_N + b_N)

    def multiply(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
        """One wrapping integer multiplication, masked, then bytes mod p."""
        return self._reduced(a_N * b_N & self._mask)

    def compose(self, f_N: np.ndarray, g_N: np.ndarray) -> np.ndarray:
        """k - 1 multiplications of words."""
        coefficient = np.uint64(255)
        value_N = f_N >> np.uint64(8 * (self.degree - 1)) & coefficient
        for power in range(self.degree - 2, -1, -1):
            value_N = value_N * g_N & self._mask
            value_N += f_N >> np.uint64(8 * power) & coefficient
            self._reduced(value_N)
        return value_N

    def _reduced(self, words_N: np.ndarray) -> np.ndarray:
        """Every byte mod p, in place."""
        bytes_S = words_N.view(np.uint8)
        quotient_S = bytes_S // np.uint8(self.modulus)
        quotient_S *= np.uint8(self.modulus)
        bytes_S -= quotient_S
        return words_N


class DigitRing(Ring):
    """Coefficients in the last axis of an int64 array; takes every p and k."""

    def from_digits(self, digits_NK: np.ndarray) -> np.ndarray:
        """The same digits, in int64."""
        return digits_NK.astype(np.int64)

    def digits(self, elements_N: np.ndarray) -> np.ndarray:
        """The same digits, in uint8."""
        return elements_N.astype(np.uint8)

    def negate(self, a_N: np.ndarray) -> np.ndarray:
        """-c in every digit."""
        return -a_N % self.modulus

    def add(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
        """Digit by digit."""
        return (a_N + b_N) % self.modulus

    def multiply(self, a_N: np.ndarray, b_N: np.ndarray) -> np.ndarray:
        """The product of polynomials, one power of a at a time."""
        product_NK = np.zeros_like(a_N)
        for power in range(self.degree):
            product_NK[:, power:] += a_N[:, power, None] * b_N[:, : self.degree - power]
        return product_NK % self.modulus

    def compose(self, f_N: np.ndarray, g_N: np.ndarray) -> np.ndarray:
        """k multiplications of digit arrays."""
        value_NK = np.zeros_like(f_N)
        for power in range(self.degree - 1, -1, -1):
            value_NK = self.multiply(value_NK, g_N)
            value_NK[:, 0] += f_N[:, power]
        return value_NK % self.modulus


def ring(modulus: int, degree: int) -> Ring:
    """The fastest representation that holds F_p[X]/(X^k)."""
    fits = PackedRing.fits(modulus, degree)
    return (PackedRing if fits else DigitRing)(modulus, degree)

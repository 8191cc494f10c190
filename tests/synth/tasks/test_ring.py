"""The ring, against sympy."""

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.polynomial.ring import MAX_DEGREE, MAX_MODULUS, Ring

X = sympy.Symbol("X")
SHAPES = [(7, 5), (7, 7), (2, 8), (5, 8), (11, 2), (13, 1), (2, 1), (97, 8), (17, 3)]


def by_sympy(name: str, f: list[int], g: list[int], p: int) -> list[int]:
    """The operation on integer polynomials, then coefficients mod X^k and mod p."""
    a, b = (sympy.Poly(c[::-1], X) for c in (f, g))
    result = {
        "negate": lambda: -a,
        "add": lambda: a + b,
        "multiply": lambda: a * b,
        "compose": lambda: a.compose(b),
    }[name]()
    coefficients = [int(c) % p for c in result.all_coeffs()[::-1]]
    return (coefficients + [0] * len(f))[: len(f)]


def apply(r: Ring, name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a_NK, b_NK = a.astype(np.uint32), b.astype(np.uint32)
    return r.negate(a_NK) if name == "negate" else getattr(r, name)(a_NK, b_NK)


@st.composite
def pairs(draw: st.DrawFn) -> tuple:
    p, k = draw(st.sampled_from(SHAPES))
    digits = st.lists(st.integers(0, p - 1), min_size=k, max_size=k)
    return p, k, draw(digits), draw(digits)


@pytest.mark.parametrize("name", ["negate", "add", "multiply", "compose"])
@settings(max_examples=60)
@given(drawn=pairs())
def test_operations_agree_with_sympy(name, drawn):
    p, k, f, g = drawn
    digits = apply(Ring(p, k), name, np.array([f]), np.array([g]))
    assert digits.tolist() == [by_sympy(name, f, g, p)]


@pytest.mark.parametrize("name", ["negate", "add", "multiply", "compose"])
def test_the_largest_coefficients_do_not_overflow(name):
    p, k = MAX_MODULUS, MAX_DEGREE
    largest = [p - 1] * k
    result = apply(Ring(p, k), name, np.array([largest]), np.array([largest]))
    assert result.tolist() == [by_sympy(name, largest, largest, p)]


@pytest.mark.parametrize(("p", "k"), [(7, 5), (2, 2), (97, 8), (11, 4)])
def test_numbers_and_elements_are_inverse(p, k):
    r = Ring(p, k)
    index = np.random.default_rng(0).integers(0, r.size, 1000)
    index[:2] = 0, r.size - 1
    assert np.array_equal(r.indices(r.elements(index)), index)


def test_composition_depends_on_the_representative():
    # X^5 is zero in the ring, yet X^5 composed with 1 + X is not.
    one_plus_x = [1, 1, 0, 0, 0]
    unreduced = sympy.Poly(X**5, X).compose(sympy.Poly(X + 1, X))
    truncated = [int(c) % 7 for c in unreduced.all_coeffs()[::-1]][:5]
    assert truncated == [1, 5, 3, 3, 5]
    zero = apply(Ring(7, 5), "compose", np.zeros((1, 5), int), np.array([one_plus_x]))
    assert zero.tolist() == [[0, 0, 0, 0, 0]]


def test_composition_is_not_associative_after_truncation():
    rng = np.random.default_rng(0)
    r = Ring(7, 5)
    f, g, h = r.elements(rng.integers(0, r.size, (3, 20_000)))
    left, right = r.compose(r.compose(f, g), h), r.compose(f, r.compose(g, h))
    differ = (left != right).any(1)
    assert 0.83 < differ.mean() < 0.87

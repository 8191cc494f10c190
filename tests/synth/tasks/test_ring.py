"""Both representations of the ring, against sympy and against each other."""

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.tasks.polynomial.ring import DigitRing, PackedRing, ring

X = sympy.Symbol("X")
PACKED = [(7, 5), (7, 6), (2, 8), (3, 8), (5, 8), (11, 2), (13, 1), (2, 1)]


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


def apply(r, name: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a_N, b_N = r.from_digits(a), r.from_digits(b)
    result = r.negate(a_N) if name == "negate" else getattr(r, name)(a_N, b_N)
    return r.digits(result)


@st.composite
def pairs(draw: st.DrawFn) -> tuple:
    p, k = draw(st.sampled_from([*PACKED, (97, 8), (11, 4), (17, 3), (7, 7)]))
    digits = st.lists(st.integers(0, p - 1), min_size=k, max_size=k)
    return p, k, draw(digits), draw(digits)


@pytest.mark.parametrize("name", ["negate", "add", "multiply", "compose"])
@settings(max_examples=60)
@given(drawn=pairs())
def test_operations_agree_with_sympy(name, drawn):
    p, k, f, g = drawn
    digits = apply(ring(p, k), name, np.array([f]), np.array([g]))
    assert digits.tolist() == [by_sympy(name, f, g, p)]


@pytest.mark.parametrize(("p", "k"), PACKED)
@pytest.mark.parametrize("name", ["negate", "add", "multiply", "compose"])
def test_packed_equals_digits(p, k, name):
    rng = np.random.default_rng(p * k)
    a, b = rng.integers(0, p, (2, 4096, k))
    # The largest coefficients are where a byte would overflow first.
    a[:64], b[:64] = p - 1, p - 1
    packed = apply(PackedRing(p, k), name, a, b)
    assert np.array_equal(packed, apply(DigitRing(p, k), name, a, b))


def test_equal_elements_are_equal_words():
    r = PackedRing(7, 5)
    a, b = r.elements(np.random.default_rng(0).integers(0, r.size, (2, 1000)))
    for word in (r.negate(a), r.add(a, b), r.multiply(a, b), r.compose(a, b)):
        assert np.array_equal(word, r.from_digits(r.digits(word)))


@pytest.mark.parametrize(("p", "k"), [(7, 5), (2, 2), (97, 8), (11, 4)])
def test_numbers_and_elements_are_inverse(p, k):
    r = ring(p, k)
    index = np.random.default_rng(0).integers(0, r.size, 1000)
    index[:2] = 0, r.size - 1
    assert np.array_equal(r.indices(r.elements(index)), index)


def test_composition_depends_on_the_representative():
    # X^5 is zero in the ring, yet X^5 composed with 1 + X is not.
    one_plus_x = [1, 1, 0, 0, 0]
    unreduced = sympy.Poly(X**5, X).compose(sympy.Poly(X + 1, X))
    truncated = [int(c) % 7 for c in unreduced.all_coeffs()[::-1]][:5]
    assert truncated == [1, 5, 3, 3, 5]
    zero = apply(ring(7, 5), "compose", np.zeros((1, 5), int), np.array([one_plus_x]))
    assert zero.tolist() == [[0, 0, 0, 0, 0]]


def test_composition_is_not_associative_after_truncation():
    rng = np.random.default_rng(0)
    r = ring(7, 5)
    f, g, h = r.elements(rng.integers(0, r.size, (3, 20_000)))
    differ = r.compose(r.compose(f, g), h) != r.compose(f, r.compose(g, h))
    assert 0.83 < differ.mean() < 0.87


def test_the_fastest_representation_that_fits_is_chosen():
    assert isinstance(ring(7, 5), PackedRing)
    assert isinstance(ring(7, 7), DigitRing)
    with pytest.raises(ValueError, match="Use DigitRing"):
        PackedRing(7, 7)

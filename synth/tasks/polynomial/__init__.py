"""Values of random expressions over F_p[X]/(X^k) (arXiv 2404.19737, 4.2, appendix K)."""

from synth.tasks.polynomial.arithmetic import Polynomial, PolynomialConfig

__all__ = ["Polynomial", "PolynomialConfig"]

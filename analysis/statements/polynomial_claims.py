"""Claims about polynomial arithmetic: C7 to C11 (arXiv 2404.19737, 4.2 and K)."""

from functools import partial

from analysis.claims import Claim, Contrast
from analysis.evidence import polynomial
from analysis.statements.settling import settling_command
from analysis.statements.terms import FIGURE_8, MTP, POINTS

POLYNOMIALS = (
    Claim(
        "C7",
        "Multi-token prediction raises polynomial accuracy at every trained m.",
        f"{MTP}, 4.2",
        Contrast(
            "exact match on F_7[X]/(X^5), mean over the m of training, n = 2 minus n = 1",
            "above",
            partial(polynomial.gain, inside=True, pauses=False),
            effect=POINTS,
            sizes=FIGURE_8,
        ),
        polynomial.polynomial_in_domain,
        settling_command("polynomial", "paper"),
        "Tests the mean over m; each m and n = 4 are in the exploratory table.",
    ),
    Claim(
        "C8",
        "It raises accuracy for larger m too, at a low level.",
        f"{MTP}, 4.2",
        Contrast(
            "exact match on F_7[X]/(X^5), mean over larger m, n = 2 minus n = 1",
            "above",
            partial(polynomial.gain, inside=False, pauses=False),
            effect=0.02,
            sizes=FIGURE_8,
        ),
        polynomial.polynomial_out_of_domain,
        settling_command("polynomial", "paper"),
    ),
    Claim(
        "C9",
        "The loss matters more than tripling the size.",
        f"{MTP}, 4.2 and S16",
        Contrast(
            "exact match on F_7[X]/(X^5), mean over the m of training, at one context: "
            "30M with n = 2 minus 100M with n = 1",
            "above",
            polynomial.loss_or_size,
            effect=POINTS,
            sizes=FIGURE_8,
        ),
        polynomial.loss_against_size,
        settling_command("polynomial-sizes", "paper"),
    ),
    Claim(
        "C10",
        "The advantage survives 5 and 10 pause tokens.",
        f"{MTP}, K",
        Contrast(
            "exact match on F_7[X]/(X^5) with pause tokens, mean over the m of training, "
            "n = 2 minus n = 1",
            "above",
            partial(polynomial.gain, inside=True, pauses=True),
            effect=POINTS,
            sizes=FIGURE_8,
        ),
        polynomial.paused_polynomials,
        settling_command("polynomial-pause", "paper"),
    ),
    Claim(
        "C11",
        "Pause tokens neither widen nor shrink the gap clearly.",
        f"{MTP}, K",
        Contrast(
            "gain of n = 2 on F_7[X]/(X^5) with pause tokens minus without",
            "within",
            polynomial.gain_by_pauses,
            effect=0.03,
            sizes=FIGURE_8,
        ),
        polynomial.pause_interaction,
        settling_command("polynomial-pause", "paper"),
        "Supported means: within three points, not merely undetected.",
    ),
)

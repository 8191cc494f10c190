"""The claims C1 to C15 and the layer law (C21), in the papers' order."""

from collections.abc import Collection

import polars as pl

from analysis.claims import Claim, Judgement, judge
from analysis.evidence import explanations, induction, polynomial
from analysis.selection import usable

MTP, LAW = "arXiv 2404.19737", "arXiv 2408.13442"


def _sweep(name: str, then: str = "") -> str:
    return f"make sweep SWEEP={name} SCALE=paper ON=slurm" + (
        f"; {then}" if then else ""
    )


_PROBED = "python -m synth probe {} runs/{}-paper/ID --save"

CLAIMS = (
    Claim(
        "C1",
        "Up to 30M, n = 2 forms induction far better than next-token prediction.",
        f"{MTP}, 4.1",
        induction.induction_small,
        "1M to 30M parameters, stories alone",
        _sweep("induction"),
        "Generated stories; closed and open names are tested apart.",
    ),
    Claim(
        "C2",
        "From 100M on the advantage is gone and n = 2 hurts on this test.",
        f"{MTP}, 4.1",
        induction.induction_large,
        "100M parameters and more, stories alone",
        _sweep("induction"),
    ),
    Claim(
        "C3",
        "Name tokens that training never showed cap the score (untied embeddings).",
        f"{MTP}, 4.1",
        induction.unseen_names,
        "any size, stories",
        _sweep("induction"),
    ),
    Claim(
        "C4",
        "Nine parts books bring induction earlier and higher.",
        f"{MTP}, J",
        induction.books_mix,
        "1M parameters and more, both mixtures",
        _sweep("induction-books"),
        "The amount of story data changes along with quality.",
    ),
    Claim(
        "C5",
        "On the mix, n = 2 helps the two smallest sizes only.",
        f"{MTP}, J and 4.1",
        induction.mix_by_size,
        "1M parameters and more, nine to one",
        _sweep("induction-books"),
    ),
    Claim(
        "C6",
        "Once induction has formed, the task is plain next-token prediction.",
        f"{MTP}, 4.1 and J",
        induction.formed_induction,
        "1M parameters and more, runs of both losses that formed induction",
        _sweep("induction"),
        "Formed: three of four second tokens right. Tested is the mean gap over the later "
        "half of the time after both have formed it.",
    ),
    Claim(
        "C7",
        "Multi-token prediction raises polynomial accuracy at every trained m.",
        f"{MTP}, 4.2",
        polynomial.polynomial_in_domain,
        "30M and 100M parameters on F_7[X]/(X^5)",
        _sweep("polynomial"),
    ),
    Claim(
        "C8",
        "It raises accuracy for larger m too, at a low level.",
        f"{MTP}, 4.2",
        polynomial.polynomial_out_of_domain,
        "30M and 100M parameters on F_7[X]/(X^5)",
        _sweep("polynomial"),
    ),
    Claim(
        "C9",
        "The loss matters more than tripling the size.",
        f"{MTP}, 4.2 and S16",
        polynomial.loss_against_size,
        "30M against 100M parameters on F_7[X]/(X^5)",
        _sweep("polynomial-sizes"),
    ),
    Claim(
        "C10",
        "The advantage survives 5 and 10 pause tokens.",
        f"{MTP}, K",
        polynomial.paused_polynomials,
        "30M and 100M parameters on F_7[X]/(X^5), pause tokens",
        _sweep("polynomial-pause"),
    ),
    Claim(
        "C11",
        "Pause tokens neither widen nor shrink the gap clearly.",
        f"{MTP}, K",
        polynomial.pause_interaction,
        "30M and 100M parameters on F_7[X]/(X^5), pause tokens",
        _sweep("polynomial-pause"),
        "Supported means: within three points, not merely undetected; at the guess "
        "floor there is no gap to widen.",
    ),
    Claim(
        "C12",
        "A choice point gets n(n+1)/2 loss terms against n.",
        f"{MTP}, 5.1",
        explanations.choice_shares,
        "any trained model on choice points, probed",
        _sweep("choice-points", _PROBED.format("choice-points", "choice-points")),
        "The terms are a count; tested is whether the shares of gradient and of loss "
        "rise with them.",
    ),
    Claim(
        "C13",
        "Multi-token prediction promotes right decisions at choice points.",
        f"{MTP}, 5.1",
        explanations.right_decisions,
        "any trained model on choice points",
        _sweep("choice-points"),
    ),
    Claim(
        "C14",
        "Two-token loss doubles the weight of I(X;Y): X is learnt better where it is high.",
        f"{MTP}, 5.2",
        explanations.informed_symbols,
        "any trained model on coupled sources",
        _sweep("information"),
    ),
    Claim(
        "C15",
        "It narrows the gap between teacher-forced and free-running quality, at equal "
        "teacher-forced quality.",
        f"{MTP}, 5",
        explanations.running_gap,
        "models of equal teacher-forced accuracy on choice points, probed along training",
        _sweep(
            "choice-points",
            _PROBED.format("choice-points", "choice-points") + " --every-step",
        ),
        "At equal forced share of possible tokens, from the probed steps of two runs of "
        "a seed; last gaps that cannot be matched so are shown, and decide nothing.",
    ),
    Claim(
        "C21",
        "The log residual of predicting the next token falls linearly with depth.",
        LAW,
        explanations.straight_law,
        "any trained model, probed",
        _sweep(
            "prediction-law",
            "python -m synth probe law --run runs/prediction-law-paper/* --save",
        ),
        "Small models have few layers: a slope from five points proves little.",
        "the share of random monotone curves that are as straight saturates at 0 and 1, "
        "so a test over seeds says nothing of it; curvature is not measured yet",
    ),
)
"""Each with its evidence, its scale, and the command that would settle it."""


def judge_all(frame: pl.DataFrame, only: Collection[str] = ()) -> list[Judgement]:
    """A verdict on every claim, or on those named in `only`."""
    frame = usable(frame)
    return [judge(claim, frame) for claim in CLAIMS if not only or claim.id in only]

"""The claims that the tables can answer, each with its one contrast.

C1 to C15 and C18 are of arXiv 2404.19737, C21 of 2408.13442, C24 and C25 of 2403.06963,
C26 to C28 of 2508.19228. A contrast names sizes, runs and sign before they are trained.
"""

import math
from collections.abc import Collection

import polars as pl

from analysis.claims import Claim, Contrast, Judgement, judge
from analysis.evidence import explanations, induction, paths, polynomial
from analysis.selection import IS_TRIAL, usable
from sweeps.catalogue import CATALOGUE

MTP, LAW = "arXiv 2404.19737", "arXiv 2408.13442"
STAR, TOP = "arXiv 2403.06963", "arXiv 2508.19228"
SMALL, LARGE = (1e6, 30e6), (100e6, math.inf)
FROM_1M, FIGURE_8 = (1e6, math.inf), (30e6, 100e6)
POINTS = 0.05
"""Five points of accuracy: the least difference that would matter."""


COSTS = {
    "best-horizon": "14 core-hours",
    "choice-points-night": "17 core-hours",
    "star-night": "5 core-hours",
    "information-small": "1.8e18 FLOP",
    "prediction-law-small": "3.4e18 FLOP",
    "star-paper": "7e19 FLOP",
    "polynomial-paper": "1.1e21 FLOP",
    "polynomial-sizes-paper": "2.5e21 FLOP",
    "polynomial-pause-paper": "3.4e21 FLOP",
    "induction-paper": "2.2e22 FLOP",
    "induction-books-paper": "2.2e22 FLOP",
}
"""Tuning and training, from `sweeps plan`: hours of a quiet core, or executed FLOP where
that is out of reach of CPUs."""


def _sweep(name: str, scale: str, probe: str = "", arms: str = "") -> str:
    """Five seeds of a sweep at the best rate of each arm and size, then its probe."""
    cells = " ".join(
        f"{word}={value}"
        for word, value in (("SWEEP", name), ("SCALE", scale), ("ARMS", arms))
        if value
    )
    single = len(CATALOGUE[name].scales) == 1
    folder = name if single else f"{name}-{scale}"
    tuned = f"runs/{folder}-tuning/tuned.json"
    steps = [f"make tune {cells}", f"make sweep {cells} SEEDS=5 TUNED={tuned}"]
    if probe:
        probed = probe.format(f"runs/{folder}-tuned/*")
        steps.append(f"python -m synth probe {probed} --save")
    return f"{'; '.join(steps)}  # {COSTS[folder]}"


CLAIMS = (
    Claim(
        "C1",
        "Up to 30M, n = 2 forms induction far better than next-token prediction.",
        f"{MTP}, 4.1",
        Contrast(
            "second-token accuracy at the last step, stories alone with open names, "
            "n = 2 minus n = 1",
            "above",
            induction.gain_of_two,
            effect=2 * POINTS,
            sizes=SMALL,
        ),
        induction.induction_small,
        _sweep("induction", "paper"),
        "Generated stories; below the rule of the commonest name nothing is induction.",
    ),
    Claim(
        "C2",
        "From 100M on the advantage is gone and n = 2 hurts on this test.",
        f"{MTP}, 4.1",
        Contrast(
            "second-token accuracy at the last step, stories alone with open names, "
            "n = 2 minus n = 1",
            "below",
            induction.gain_of_two,
            effect=POINTS,
            sizes=LARGE,
        ),
        induction.induction_large,
        _sweep("induction", "paper"),
    ),
    Claim(
        "C3",
        "Name tokens that training never showed cap the score (untied embeddings).",
        f"{MTP}, 4.1",
        Contrast(
            "second-token accuracy with n = 1, open names: tokens that training showed "
            "minus others",
            "above",
            induction.seen_over_unseen,
            effect=2 * POINTS,
            needs_tuning=False,
        ),
        induction.unseen_names,
        _sweep("induction", "paper"),
    ),
    Claim(
        "C4",
        "Nine parts books bring induction earlier and higher.",
        f"{MTP}, J",
        Contrast(
            "second-token accuracy at the last step with n = 1, nine to one minus "
            "stories alone",
            "above",
            induction.gain_of_books,
            effect=2 * POINTS,
            sizes=FROM_1M,
        ),
        induction.books_mix,
        _sweep("induction-books", "paper"),
        "Higher is tested, earlier is not; the amount of story data changes with quality.",
    ),
    Claim(
        "C5",
        "On the mix, n = 2 helps the two smallest sizes only.",
        f"{MTP}, J and 4.1",
        Contrast(
            "second-token accuracy on the mix: gain of n = 2 at 1M and 3M minus its gain "
            "from 10M on",
            "above",
            induction.gain_by_size,
            effect=POINTS,
            sizes=FROM_1M,
        ),
        induction.mix_by_size,
        _sweep("induction-books", "paper"),
        "Tested is that it helps small models more, not that it helps others nothing.",
    ),
    Claim(
        "C6",
        "Once induction has formed, the task is plain next-token prediction.",
        f"{MTP}, 4.1 and J",
        Contrast(
            "second-token accuracy after both losses formed induction, stories alone with "
            "open names, n = 2 minus n = 1",
            "within",
            induction.gap_after_forming,
            effect=0.03,
            sizes=FROM_1M,
        ),
        induction.formed_induction,
        _sweep("induction", "paper"),
        "Formed: three of four second tokens right. Tested is the mean gap over the later "
        "half of the time after both have formed it.",
    ),
    Claim(
        "C7",
        "Multi-token prediction raises polynomial accuracy at every trained m.",
        f"{MTP}, 4.2",
        Contrast(
            "exact match on F_7[X]/(X^5), mean over the m of training, n = 2 minus n = 1",
            "above",
            polynomial.gain_in_domain,
            effect=POINTS,
            sizes=FIGURE_8,
        ),
        polynomial.polynomial_in_domain,
        _sweep("polynomial", "paper"),
        "Each m and n = 4 are in the exploratory table.",
    ),
    Claim(
        "C8",
        "It raises accuracy for larger m too, at a low level.",
        f"{MTP}, 4.2",
        Contrast(
            "exact match on F_7[X]/(X^5), mean over larger m, n = 2 minus n = 1",
            "above",
            polynomial.gain_out_of_domain,
            effect=0.02,
            sizes=FIGURE_8,
        ),
        polynomial.polynomial_out_of_domain,
        _sweep("polynomial", "paper"),
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
        _sweep("polynomial-sizes", "paper"),
    ),
    Claim(
        "C10",
        "The advantage survives 5 and 10 pause tokens.",
        f"{MTP}, K",
        Contrast(
            "exact match on F_7[X]/(X^5) with pause tokens, mean over the m of training, "
            "n = 2 minus n = 1",
            "above",
            polynomial.gain_with_pauses,
            effect=POINTS,
            sizes=FIGURE_8,
        ),
        polynomial.paused_polynomials,
        _sweep("polynomial-pause", "paper"),
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
        _sweep("polynomial-pause", "paper"),
        "Supported means: within three points, not merely undetected.",
    ),
    Claim(
        "C12",
        "A choice point gets n(n+1)/2 loss terms against n.",
        f"{MTP}, 5.1",
        Contrast(
            "share of the gradient at choice points, n = 4 minus n = 1",
            "above",
            explanations.gradient_at_choices,
            effect=2 * POINTS,
        ),
        explanations.choice_shares,
        _sweep("choice-points", "night", "choice-points {}"),
        "The terms are a count; tested is whether the share of the gradient rises with it.",
    ),
    Claim(
        "C13",
        "Multi-token prediction promotes right decisions at choice points.",
        f"{MTP}, 5.1",
        Contrast(
            "tokens until the excess loss at choices is at most 0.3 nats, n = 4 against "
            "n = 1 (above: earlier)",
            "above",
            explanations.choices_learned,
            effect=3.0,
        ),
        explanations.right_decisions,
        _sweep("choice-points", "night"),
        "n = 4 leaves n = 1 three layers more; rates are equal unless tuned.",
    ),
    Claim(
        "C14",
        "Two-token loss doubles the weight of I(X;Y): X is learnt better where it is high.",
        f"{MTP}, 5.2",
        Contrast(
            "gain of n = 4 over n = 1 in excess loss on X, at coupling 1 minus at 0",
            "above",
            explanations.gain_with_information,
            effect=0.02,
        ),
        explanations.informed_symbols,
        _sweep("information", "small"),
        "n = 4 stands for n = 2, since every scale trains it.",
    ),
    Claim(
        "C15",
        "It narrows the gap between teacher-forced and free-running quality, at equal "
        "teacher-forced quality.",
        f"{MTP}, 5",
        Contrast(
            "forced minus free share of possible tokens at equal forced share, n = 4 "
            "minus n = 1",
            "below",
            explanations.gap_at_equal_forced,
            effect=0.02,
        ),
        explanations.running_gap,
        _sweep("choice-points", "night", "choice-points {} --every-step"),
        "From the probed steps of two runs of a seed, where their forced shares overlap.",
    ),
    Claim(
        "C18",
        "The best n depends on the data, and too large an n hurts.",
        f"{MTP}, 3.4",
        Contrast(
            "excess loss at choices, mean over training, consequences of 1, 3 and 7 "
            "tokens each: the better end of n minus the best n between, both chosen on "
            "the other seeds",
            "above",
            explanations.best_n,
            effect=0.02,
        ),
        explanations.arms_at_choices,
        _sweep("best-horizon", "night"),
        "An interior optimum is tested; that it moves with the consequences is not. Heads "
        "take their layers from the trunk, so n = 8 leaves head 1 seven layers fewer.",
    ),
    Claim(
        "C21",
        "The log residual of predicting the next token falls linearly with depth.",
        LAW,
        Contrast(
            "bend of log10 of the one-hot residual over layers, less a tenth of its fall, "
            "n = 1 on choice points (below: it falls, and in a line)",
            "below",
            explanations.bend_of_the_law,
            effect=0.02,
            needs_tuning=False,
        ),
        explanations.straight_law,
        _sweep("prediction-law", "small", "law --run {}"),
        "One task with few symbols; the models of the paper are language models.",
    ),
    Claim(
        "C24",
        "Next-token prediction stays at 1/d on star graphs, though it follows edges.",
        STAR,
        Contrast(
            "first hop minus 1/d with n = 1, of runs whose decoded paths follow edges",
            "within",
            paths.first_hop,
            effect=POINTS,
            margin=POINTS,
        ),
        paths.star_arms,
        _sweep("star", "night", arms="n1"),
        "A run that has not learned to follow edges does not count.",
    ),
    Claim(
        "C25",
        "Reversed targets solve what next-token prediction cannot.",
        STAR,
        Contrast(
            "path accuracy minus 1/d with n = 1 and reversed answers",
            "above",
            paths.reversed_paths,
            effect=0.2,
        ),
        paths.star_arms,
        _sweep("star", "night", arms="n1"),
    ),
    Claim(
        "C26",
        "The heads that are needed grow with path length and degree.",
        f"{TOP}, table 5",
        Contrast(
            "tokens until 90 % of paths on G(3, 5) are right, n = 4 against n = 2, heads "
            "on top of a full trunk (above: earlier)",
            "above",
            paths.four_heads_over_two,
            effect=3.0,
        ),
        paths.star_arms,
        _sweep("star", "paper"),
    ),
    Claim(
        "C27",
        "Token order solves G(5, 5) where next-token and multi-token prediction fail.",
        f"{TOP}, table 5",
        Contrast(
            "tokens until 90 % of paths on G(5, 5) are right, token order against n = 4, "
            "heads on top of a full trunk (above: earlier)",
            "above",
            paths.token_order_over_heads,
            effect=3.0,
        ),
        paths.star_arms,
        _sweep("star", "paper"),
    ),
    Claim(
        "C28",
        "The loss of a head rises strictly with its offset.",
        f"{TOP}, figure 2",
        Contrast(
            "rise of loss from one head of n = 4 to the next on text, where it is smallest "
            "on the other seeds",
            "above",
            paths.loss_by_offset,
            effect=0.01,
            needs_tuning=False,
        ),
        paths.offsets_in_order,
        "for s in 0 1 2 3 4; do python -m synth train text --corpus YOUR.txt --horizon 4 "
        "--scale 1M --batch-rows 16 --context 256 --steps 3000 --warmup-steps 100 --seed "
        "$s --runs runs/claims; done  # 2 core-hours; text of yours, so no sweep has it",
        "Other tasks are in the exploratory table: where later tokens are forced, curves "
        "cross.",
    ),
)
"""Each with its contrast, its exploratory table, and the command that would settle it."""


def judge_all(frame: pl.DataFrame, only: Collection[str] = ()) -> list[Judgement]:
    """A verdict on every claim, or on those named in `only`.

    Runs that hold out the validation split chose rates, and count for no claim.
    """
    frame = usable(frame).filter(~IS_TRIAL, pl.col("state") == "done")
    return [judge(claim, frame) for claim in CLAIMS if not only or claim.id in only]

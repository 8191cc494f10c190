"""Claims about choice points, information and the layer law: C12 to C21."""

from analysis.claims import Claim, Contrast
from analysis.evidence import explanations
from analysis.statements.settling import settling_command
from analysis.statements.terms import LAW, MTP, POINTS

EXPLANATIONS = (
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
        settling_command("choice-points", "night", "choice-points {}"),
        "The number of terms is a fact; tests whether the share of the gradient rises too.",
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
        settling_command("choice-points", "night"),
        "Head 1 has three layers more with n = 1; rates are equal unless tuned.",
    ),
    Claim(
        "C14",
        "Two-token loss doubles the weight of I(X;Y): X is learnt better where it is high.",
        f"{MTP}, 5.2",
        Contrast(
            "gain of n = 2 over n = 1 in excess loss on X, at coupling 1 minus at 0",
            "above",
            explanations.gain_with_information,
            effect=0.02,
        ),
        explanations.informed_symbols,
        settling_command("information", "night"),
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
        settling_command(
            "choice-points", "night", "choice-points {} --every-step", keep_every=700
        ),
        "Compares two runs of a seed at probed steps where their forced shares overlap; "
        "all runs are probed at the same steps.",
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
        settling_command("best-horizon", "night"),
        "Tests for an optimum between the ends, not whether it moves with the "
        "consequences. Where the largest n is best, a larger one may still hurt. Heads "
        "take their layers from the trunk, so head 1 has seven layers fewer with n = 8.",
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
        settling_command("prediction-law", "small", "law {}"),
        "One task with few symbols; the models of the paper are language models.",
    ),
)

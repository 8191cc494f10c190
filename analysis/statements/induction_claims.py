"""Claims about induction in stories: C1 to C6 (arXiv 2404.19737, 4.1 and J)."""

from analysis.claims import Claim, Contrast
from analysis.evidence import induction
from analysis.statements.settling import settling_command
from analysis.statements.terms import FROM_1M, LARGE, MTP, POINTS, SMALL

INDUCTION = (
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
        settling_command("induction", "paper"),
        "Generated stories. Scores below those of guessing the commonest name show no "
        "induction.",
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
        settling_command("induction", "paper"),
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
        settling_command("induction", "paper"),
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
        settling_command("induction-books", "paper"),
        "Tests higher, not earlier. With books, the amount of story data differs too.",
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
        settling_command("induction-books", "paper"),
        "Tests that small models gain more, not that larger ones gain nothing.",
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
        settling_command("induction", "paper"),
        "Formed: three of four second tokens right. Tests the mean gap over the later half "
        "of the time after both have formed it.",
    ),
)

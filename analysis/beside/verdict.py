"""The verdict on a published difference and ours, one of five.

The rule uses only the two intervals. Where a source prints no spread, its interval is the
printed number. Where outcomes are "solved" or not, a source shows which of two arms solves
the task but not how often, so its interval is all differences of one sign: (0, 1],
[-1, 0), or 0 if both arms solve it or neither does.
"""

from typing import Literal

Verdict = Literal[
    "replicates",
    "same sign, different size",
    "opposite sign",
    "undecided",
    "not run",
]
MEANINGS: dict[Verdict, str] = {
    "replicates": "our interval has the published sign and overlaps the published one",
    "same sign, different size": "it has the published sign and does not overlap",
    "opposite sign": "it excludes 0 on the other side",
    "undecided": "each says why: too few pairs, rates not tuned, seeds in two groups, or "
    "an interval that holds 0",
    "not run": "fewer than two pairs of runs here",
}
"""The verdicts, in the order of display, and their meanings."""
FEWEST_PAIRS = 5
"""Fewer pairs are undecided."""
Bounds = tuple[float, float]


def why_undecided(
    ours: Bounds,
    pairs: int,
    theirs: Bounds,
    tuned: bool = True,
    in_groups: bool = False,
) -> list[str]:
    """Every reason why a difference has no verdict, in words; empty if it has one.

    `tuned`: each arm ran at the best rate of its own grid. `in_groups`: the seeds of an
    arm fall into two groups, which have no mean.

    >>> why_undecided((-0.01, 0.05), 3, (0.04, 0.06), tuned=False)
    ['3 pairs of 5', 'rates not tuned', 'ours holds 0']
    """
    reasons = {
        f"{pairs} pairs of {FEWEST_PAIRS}": pairs < FEWEST_PAIRS,
        "rates not tuned": not tuned,
        "two groups": in_groups,
        "ours holds 0": ours[0] <= 0 <= ours[1],
        "theirs holds 0": theirs[0] <= 0 <= theirs[1],
    }
    return [words for words, holds in reasons.items() if holds]


def judge(ours: Bounds, pairs: int, theirs: Bounds) -> Verdict:
    """The verdict on one difference, from both intervals.

    >>> judge((0.01, 0.05), 20, (0.04, 0.06)), judge((0.01, 0.02), 20, (0.04, 0.06))
    ('replicates', 'same sign, different size')
    >>> judge((-0.05, -0.01), 20, (0.04, 0.06)), judge((-0.01, 0.05), 20, (0.04, 0.06))
    ('opposite sign', 'undecided')
    """
    if pairs < 2:
        return "not run"
    if why_undecided(ours, pairs, theirs):
        return "undecided"
    if (ours[0] > 0) != (theirs[0] > 0):
        return "opposite sign"
    overlap = ours[0] <= theirs[1] and theirs[0] <= ours[1]
    return "replicates" if overlap else "same sign, different size"

"""Claims of the papers and what the runs say about them, by one stated rule.

A claim is made of tests. A test is a set of independent values, one a data seed, that
the claim says are above zero, below it, or within a margin of it. p values are adjusted
after Holm over all counted tests of a claim.

A test is
    supported      above, below: adjusted p < 0.05 in the claimed direction;
                   within: the 95 % t interval lies inside the margin;
    contradicted   above, below: adjusted p < 0.05 in the other direction;
                   within: adjusted p < 0.05 and the interval outside the margin;
    undecided      otherwise, and always with fewer than five seeds.
The t interval is over seeds, on one test set. Where it is known what other test items
(stories, problems) would give, the 95 % interval over items must say the same of the
same mean: a difference that these items alone show stays undecided.
A claim is contradicted if one of its tests is, supported if all of them are, undecided
otherwise. A claim is not tested where no run has a size and a task that it is stated for,
or where its measure cannot decide: the numbers are shown, and are read neither way.
Tests of fewer than five seeds do not count where others of the same claim have them.
Arms that a claim does not name are shown, adjusted among themselves, and do not count.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from analysis.comparisons import Difference, holm, seeds_to_resolve
from analysis.selection import size_name
from analysis.statistics import Interval

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
Direction = Literal["above", "below", "within"]
RULE = (__doc__ or "").partition("\n\n")[2].strip()
"""The rule in words, for the report."""
LEVEL, ENOUGH_SEEDS, MARGIN = 0.05, 5, 0.03
"""Error rate of a claim; seeds for a verdict; three points of accuracy are nothing."""


@dataclass(frozen=True)
class Test:
    """Values that a claim has an expectation of, one a data seed."""

    __test__ = False  # for pytest

    about: str
    """What the values are, with size, arm and setting."""
    direction: Direction
    values_S: tuple[float, ...]
    parameters: int
    """Non-embedding parameters of the (larger) model."""
    as_stated: bool = True
    """Whether size and task are those that the claim is about."""
    of_named_arms: bool = True
    """Whether its arms are those that the claim names; other tests decide nothing."""
    margin: float = MARGIN
    over_items: Interval | None = None
    """What other test items would give, of the mean over seeds."""
    note: str = ""
    """What a reader must know of these values."""

    @property
    def difference(self) -> Difference:
        """Interval and p value."""
        return Difference.of(self.values_S)


@dataclass(frozen=True)
class JudgedTest:
    """A test, judged."""

    test: Test
    result: Verdict
    p_holm: float
    counted: bool

    @property
    def seeds_needed(self) -> int | None:
        """Seeds that would resolve a difference as large as the one seen."""
        interval = self.test.difference.interval
        if interval.count < 2:
            return None
        return seeds_to_resolve(interval.spread, interval.mean)


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and how runs bear on it."""

    id: str
    says: str
    source: str
    evidence: Callable[[pl.DataFrame], Iterable[Test]]
    stated_for: str
    """Sizes and task of the claim, in words."""
    settled_by: str
    """What to type to get the runs that would settle it."""
    caveat: str = ""
    """What the tests leave open even where they are passed."""
    undecidable: str = ""
    """Why the evidence, whatever it is, is no test of the claim; empty if it is one."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and all that it rests on."""

    claim: Claim
    verdict: Verdict
    reason: str
    outcomes: tuple[JudgedTest, ...]

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "claim": self.claim.id,
            "says": self.claim.says,
            "source": self.claim.source,
            "verdict": self.verdict,
            "reason": self.reason,
            "settled_by": self.claim.settled_by,
            "tests": outcome_table(self).to_dicts(),
        }


def judge(claim: Claim, frame: pl.DataFrame) -> Judgement:
    """The verdict on `claim` of all runs in `frame`."""
    try:
        tests = [test for test in claim.evidence(frame) if test.values_S]
    except ValueError as error:  # of the runs: the other claims are judged all the same
        reason = f"its runs cannot be compared ({str(error).rstrip('.')})"
        return Judgement(claim, "not tested", reason, ())
    named = [test for test in tests if test.of_named_arms]
    stated = [test for test in named if test.as_stated]
    others = [test for test in tests if not test.of_named_arms]
    others = [test for test in others if test.as_stated or not stated]
    beside = tuple(replace(one, counted=False) for one in judge_tests(others))
    if not named:
        reason = f"no finished runs bear on it; it is stated for {claim.stated_for}"
        return Judgement(claim, "not tested", reason, beside)
    outcomes = tuple(judge_tests(stated or named))
    counted = [outcome for outcome in outcomes if outcome.counted]
    seeds = _seeds(counted)
    if claim.undecidable or not stated:
        largest = max(test.parameters for test in named)
        notes = {test.note for test in named if test.note}
        at_an_end = notes.pop() if len(notes) == 1 and not stated else ""
        why = claim.undecidable or at_an_end or f"stated for {claim.stated_for}"
        reason = f"{why}; runs reach {size_name(largest)} ({seeds})"
        shown = [
            replace(o, result="not tested", counted=False) for o in outcomes + beside
        ]
        return Judgement(claim, "not tested", reason, tuple(shown))
    tally = ", ".join(
        f"{sum(outcome.result == name for outcome in counted)} {name}"
        for name in ("supported", "contradicted", "undecided")
    )
    reason = f"of {len(counted)} tests {tally}, with {seeds}"
    together = _together([outcome.result for outcome in counted])
    return Judgement(claim, together, reason, outcomes + beside)


def judge_tests(tests: Sequence[Test]) -> list[JudgedTest]:
    """Judge each test, with p values adjusted over those that count."""
    found = [test.difference for test in tests]
    enough = [one.interval.count >= ENOUGH_SEEDS for one in found]
    counted = [ok or not any(enough) for ok in enough]
    adjusted = iter(
        holm([one.p_value for one, c in zip(found, counted, strict=True) if c])
    )
    outcomes = []
    for test, one, ok, counts in zip(tests, found, enough, counted, strict=True):
        p = next(adjusted) if counts else one.p_value
        result: Verdict = _result(test, one, p) if ok else "undecided"
        outcomes.append(JudgedTest(test, result, p, counts))
    return outcomes


def _result(test: Test, found: Difference, p: float) -> Verdict:
    """Over seeds and, where that is known, over items."""
    result = _over_seeds(test, found, p)
    items = test.over_items
    if result == "undecided" or items is None:
        return result
    low, high = items.low, items.high
    if test.direction == "within":
        inside = -test.margin < low and high < test.margin
        outside = low > test.margin or high < -test.margin
        agrees = inside if result == "supported" else outside
    else:
        agrees = low > 0 if found.interval.mean > 0 else high < 0
    return result if agrees else "undecided"


def _over_seeds(test: Test, found: Difference, p: float) -> Verdict:
    interval = found.interval
    if test.direction == "within":
        if -test.margin < interval.low and interval.high < test.margin:
            return "supported"
        apart = interval.low > test.margin or interval.high < -test.margin
        outside = apart and p < LEVEL
        return "contradicted" if outside else "undecided"
    if p >= LEVEL:
        return "undecided"
    return (
        "supported"
        if (interval.mean > 0) == (test.direction == "above")
        else ("contradicted")
    )


def _together(results: Sequence[Verdict]) -> Verdict:
    if "contradicted" in results:
        return "contradicted"
    if results and all(result == "supported" for result in results):
        return "supported"
    return "undecided"


def _seeds(outcomes: Sequence[JudgedTest]) -> str:
    counts = [len(outcome.test.values_S) for outcome in outcomes]
    low, high = min(counts), max(counts)
    text = f"{low} seeds" if low == high else f"{low} to {high} seeds"
    return text + (f" where {ENOUGH_SEEDS} are needed" if low < ENOUGH_SEEDS else "")


def outcome_table(judgement: Judgement) -> pl.DataFrame:
    """One row a test: what, numbers, seeds, result."""
    rows = []
    for outcome in judgement.outcomes:
        interval = outcome.test.difference.interval
        many, items = interval.count > 1, outcome.test.over_items
        rows.append(
            {
                "claim": judgement.claim.id,
                "test": outcome.test.about,
                "expected": outcome.test.direction,
                "mean": interval.mean,
                "low": interval.low if many else None,
                "high": interval.high if many else None,
                "seeds": interval.count,
                "items_low": items.low if items else None,
                "items_high": items.high if items else None,
                "p_holm": outcome.p_holm,
                "result": outcome.result,
                "counted": outcome.counted,
                "seeds_needed": outcome.seeds_needed,
                "note": outcome.test.note,
            }
        )
    schema = {
        "claim": pl.String(),
        "test": pl.String(),
        "expected": pl.String(),
        "mean": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "seeds": pl.Int64(),
        "items_low": pl.Float64(),
        "items_high": pl.Float64(),
        "p_holm": pl.Float64(),
        "result": pl.String(),
        "counted": pl.Boolean(),
        "seeds_needed": pl.Int64(),
        "note": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")

"""Claims of the papers and what the runs say about them, by one stated rule.

A claim has one primary contrast, fixed in the code beside it: what is compared, at which
sizes, and which sign is claimed. It is measured on the claim's own runs: of each size
the setting that was trained on most tokens. A data seed gives one value, the mean over
sizes.

above, below  supported: the 95 % t interval over seeds lies on the claimed side of zero;
              contradicted: it lies on the other side;
within        supported: it lies inside the margin; contradicted: outside of it;
events        log-rank test of the times to a fixed level, stratified by size:
              supported, contradicted: p < 0.05 in or against the claimed direction;
undecided     otherwise, and always with fewer than five seeds. Also if not every arm and
              size has the best rate of its own (runs of a sweep that was tuned;
              `python -m sweeps tune`). Exempt are claims about parts of the same runs
              (C3, C21, C28): no arm can gain there by its rate.

Where counts by test item are known, the 95 % interval over items must say the same.
There is no verdict ("not tested") without runs of the sizes that the claim speaks of,
where both sides are at the floor or at the ceiling, and where seeds fall into two groups,
whose mean describes neither.

The exploratory table has every other arm, size and part, with p values adjusted after
Holm over the table. It decides nothing.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from analysis.comparisons import Difference, holm, seeds_to_resolve
from analysis.events import LogRank, runs_to_resolve
from analysis.selection import size_name
from analysis.statistics import Interval

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
Direction = Literal["above", "below", "within"]
RULE = (__doc__ or "").partition("\n\n")[2].strip()
"""The rule in words, for the report."""
LEVEL, ENOUGH_SEEDS, MARGIN = 0.05, 5, 0.03
"""Error rate of a claim; seeds for a verdict; three points of accuracy are nothing."""
ANY_SIZE = (0.0, math.inf)


@dataclass(frozen=True)
class Evidence:
    """What the runs of a claim say about its contrast."""

    runs: str
    """Which they are, in words."""
    seeds: int
    parameters: tuple[int, ...] = ()
    """Non-embedding parameters of the sizes."""
    values_S: tuple[float, ...] = ()
    """One a data seed; empty for events."""
    data_seeds_S: tuple[int, ...] = ()
    """Whose values they are."""
    events: LogRank | None = None
    happened_share: float = 0.0
    """Of all runs, those in which the event happened."""
    over_items: Interval | None = None
    """What other test items would give, of the mean over seeds."""
    tuned: bool = False
    """Whether all runs are of tuned sweeps: each arm and size has its own best rate."""
    barred: str = ""
    """Why no verdict can rest on these runs; empty if one can."""
    notes: tuple[str, ...] = ()
    """What a reader must know of these runs."""


@dataclass(frozen=True)
class Contrast:
    """The one comparison that decides a claim."""

    measure: str
    """What is compared, in words."""
    expected: Direction
    """Of its value, or for events of the second side's rate over the first's."""
    evidence: Callable[[pl.DataFrame], Evidence | None]
    effect: float
    """The least that would matter: in the measure's unit, for events a hazard ratio."""
    sizes: tuple[float, float] = ANY_SIZE
    """The parameters of the models that the claim speaks of."""
    margin: float = MARGIN
    """For `within`."""
    needs_tuning: bool = True
    """False only where both sides are parts of the same runs. Between arms, and against
    a fixed level, another rate may turn any result: shares of a gradient as well."""

    def of_sizes(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The runs of these sizes; as far as a fifth below and 30 % above, as rungs are
        not exact."""
        low, high = self.sizes
        inside = pl.col("parameters").is_between(0.8 * low, 1.3 * high)
        return frame.filter(inside)

    @property
    def stated_for(self) -> str:
        """The sizes in words."""
        low, high = self.sizes
        if self.sizes == ANY_SIZE:
            return "any size"
        if math.isinf(high):
            return f"{size_name(int(low))} parameters and more"
        return f"{size_name(int(low))} to {size_name(int(high))} parameters"


@dataclass(frozen=True)
class Test:
    """Values of the exploratory table, one a data seed."""

    __test__ = False  # for pytest

    about: str
    """What the values are, with size, arm and setting."""
    direction: Direction
    values_S: tuple[float, ...]
    parameters: int
    """Non-embedding parameters of the (larger) model."""
    over_items: Interval | None = None
    """What other test items would give, of the mean over seeds."""
    note: str = ""
    """What a reader must know of these values."""

    @property
    def difference(self) -> Difference:
        """Interval and p value."""
        return Difference.of(self.values_S)


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and how runs bear on it."""

    id: str
    says: str
    source: str
    contrast: Contrast
    beside: Callable[[pl.DataFrame], Iterable[Test]]
    """The exploratory table."""
    settled_by: str
    """What to type to get the runs that would settle it."""
    caveat: str = ""
    """What the contrast leaves open even where it is passed."""


@dataclass(frozen=True)
class Judgement:
    """A verdict and all that it rests on."""

    claim: Claim
    verdict: Verdict
    reason: str
    evidence: Evidence | None = None
    seeds_needed: int | None = None
    """Seeds that would resolve the claim's effect at the spread that was seen."""
    beside: tuple[Test, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        claim, found = self.claim, self.evidence
        interval = Difference.of(found.values_S).interval if found else None
        known = interval if interval is not None and interval.count > 1 else None
        return {
            "claim": claim.id,
            "says": claim.says,
            "source": claim.source,
            "verdict": self.verdict,
            "reason": self.reason,
            "contrast": claim.contrast.measure,
            "expected": claim.contrast.expected,
            "sizes": claim.contrast.stated_for,
            "effect": claim.contrast.effect,
            "runs": found.runs if found else None,
            "seeds": found.seeds if found else 0,
            "mean": interval.mean if interval and interval.count else None,
            "low": known.low if known else None,
            "high": known.high if known else None,
            "z": found.events.z if found and found.events else None,
            "p": _p_value(found) if found and found.seeds else None,
            "seeds_needed": self.seeds_needed,
            "tuned": found.tuned if found else None,
            "notes": list(found.notes) if found else [],
            "settled_by": claim.settled_by,
            "tests": exploratory_table(self).to_dicts(),
        }


def judge(claim: Claim, frame: pl.DataFrame) -> Judgement:
    """The verdict on `claim` of the runs in `frame` that it speaks of."""
    contrast = claim.contrast
    try:
        beside = tuple(test for test in claim.beside(frame) if test.values_S)
        sized = contrast.of_sizes(frame)
        found = contrast.evidence(sized)
        others = None
        if found is None and sized.height < frame.height:
            others = contrast.evidence(frame)
    except ValueError as error:  # of the runs: the other claims are judged all the same
        reason = f"its runs cannot be compared ({str(error).rstrip('.')})"
        return Judgement(claim, "not tested", reason)
    if found is None:
        reason = f"no finished runs bear on it; it is stated for {contrast.stated_for}"
        if others is not None and others.parameters:
            largest = size_name(max(others.parameters))
            reason = f"stated for {contrast.stated_for}; runs reach {largest}"
        return Judgement(claim, "not tested", reason, beside=beside)
    needed = _seeds_needed(contrast, found)
    if found.barred:
        reason = f"{found.barred} ({found.runs})"
        return Judgement(claim, "not tested", reason, found, needed, beside)
    verdict, reason = read_contrast(contrast, found)
    return Judgement(claim, verdict, reason, found, needed, beside)


def read_contrast(contrast: Contrast, found: Evidence) -> tuple[Verdict, str]:
    """What the rule says of evidence, and why."""
    if found.events is None:
        interval = Difference.of(found.values_S).interval
        seen = f"mean {interval.mean:+.3g}"
        if interval.count > 1:
            seen += f" [{interval.low:+.3g}, {interval.high:+.3g}]"
    else:
        seen = f"log-rank p {found.events.p_value:.2g}, z {found.events.z:+.2f}"
    reason = f"{seen}, {found.seeds} seeds; {found.runs}"
    if found.seeds < ENOUGH_SEEDS:
        return "undecided", f"{reason}; {ENOUGH_SEEDS} seeds are needed"
    if contrast.needs_tuning and not found.tuned:
        return "undecided", f"{reason}; rates were not tuned arm by arm"
    verdict = _over_seeds(contrast, found)
    if verdict != "undecided" and not _items_agree(contrast, found):
        return "undecided", f"{reason}; other test items may say otherwise"
    return verdict, reason


def _over_seeds(contrast: Contrast, found: Evidence) -> Verdict:
    if contrast.expected == "within":
        interval = Difference.of(found.values_S).interval
        if -contrast.margin < interval.low and interval.high < contrast.margin:
            return "supported"
        apart = interval.low > contrast.margin or interval.high < -contrast.margin
        return "contradicted" if apart else "undecided"
    if _p_value(found) >= LEVEL:
        return "undecided"
    if found.events is not None:
        upwards = found.events.z > 0
    else:
        upwards = sum(found.values_S) > 0
    return "supported" if upwards == (contrast.expected == "above") else "contradicted"


def _p_value(found: Evidence) -> float:
    if found.events is not None:
        return found.events.p_value
    return Difference.of(found.values_S).p_value


def _items_agree(contrast: Contrast, found: Evidence) -> bool:
    """Whether other test items would have given the same side."""
    items = found.over_items
    if items is None:
        return True
    if contrast.expected == "within":
        inside = -contrast.margin < items.low and items.high < contrast.margin
        apart = items.low > contrast.margin or items.high < -contrast.margin
        return inside or apart
    return items.low > 0 if sum(found.values_S) > 0 else items.high < 0


def _seeds_needed(contrast: Contrast, found: Evidence) -> int | None:
    if found.events is not None:
        return runs_to_resolve(contrast.effect, found.happened_share)
    spread = Difference.of(found.values_S).interval.spread
    return (
        seeds_to_resolve(spread, contrast.effect) if len(found.values_S) > 1 else None
    )


def exploratory_table(judgement: Judgement) -> pl.DataFrame:
    """One row a test of the exploratory table: what, numbers, seeds; no verdict."""
    tests = judgement.beside
    found = [test.difference for test in tests]
    adjusted = holm([one.p_value for one in found])
    rows = []
    for test, one, p_holm in zip(tests, found, adjusted, strict=True):
        interval, items = one.interval, test.over_items
        many = interval.count > 1
        rows.append(
            {
                "claim": judgement.claim.id,
                "test": test.about,
                "expected": test.direction,
                "mean": interval.mean,
                "low": interval.low if many else None,
                "high": interval.high if many else None,
                "seeds": interval.count,
                "items_low": items.low if items else None,
                "items_high": items.high if items else None,
                "p_holm": p_holm,
                "note": test.note,
            }
        )
    return pl.DataFrame(rows, schema=EXPLORATORY, orient="row")


EXPLORATORY: dict[str, pl.DataType] = {
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
    "note": pl.String(),
}
"""Columns of the exploratory table."""

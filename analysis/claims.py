"""Verdicts on the claims of the papers, by one stated rule.

A claim has one primary contrast, fixed in the code: what is compared, at which sizes, and
which sign is claimed. It is measured on the claim's own runs: of each size the setting
that was trained on most tokens. A data seed gives one value, the mean over sizes; sizes
of fewer than five seeds are left out where others have five.

above, below  supported: the 95 % t interval over seeds lies on the claimed side of zero;
              contradicted: it lies on the other side. Of equal values at all seeds,
              which have no spread, and of shares of runs (C25), the sign test decides;
              it takes six seeds;
within        supported: it lies inside the margin; contradicted: outside of it;
events        log-rank test of the times to a fixed level, stratified by size:
              supported, contradicted: p < 0.05 in or against the claimed direction;
undecided     otherwise, and always with fewer than five seeds. Also if not every arm and
              size has the best rate of its own (runs of a sweep that was tuned;
              `python -m sweeps tune`). Exempt are claims about parts of the same runs
              (C3, C21, C28): no arm can gain there by its rate.

Where counts by test item are known, the 95 % interval over items must agree.
There is no verdict ("not tested") without runs of the sizes that the claim speaks of,
where both sides are at the floor or at the ceiling, and where seeds of a measure of known
range fall into two groups, whose mean describes neither.

The exploratory table has every other arm, size and part, with p values adjusted after
Holm over the table. It does not affect verdicts.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from analysis.comparisons import Difference, holm, seeds_to_resolve, sign_test
from analysis.events import LogRank, runs_to_resolve
from analysis.statistics import Interval
from synth.scales import format_count

Verdict = Literal["supported", "contradicted", "undecided", "not tested"]
Direction = Literal["above", "below", "within"]
RULE = (__doc__ or "").partition("\n\n")[2].strip()
"""The rule in words, for the report."""
LEVEL, ENOUGH_SEEDS, MARGIN = 0.05, 5, 0.03
"""Error rate of a claim; seeds for a verdict; the margin of "within", in accuracy."""
ANY_SIZE = (0.0, math.inf)


@dataclass(frozen=True)
class Evidence:
    """The measurements of a claim's contrast."""

    runs: str
    """The runs, in words."""
    seeds: int
    parameters: tuple[int, ...] = ()
    """Non-embedding parameters of each stratum: a size, or another pooled condition."""
    values_S: tuple[float, ...] = ()
    """A value for each data seed; empty for events."""
    data_seeds_S: tuple[int, ...] = ()
    """The data seeds of the values."""
    events: LogRank | None = None
    happened_share: float = 0.0
    """Share of the runs in which the event happened."""
    over_items: Interval | None = None
    """Interval of the mean over seeds for other test items."""
    counts: bool = False
    """Whether the values are shares of runs."""
    tuned: bool = False
    """Whether each arm and size has its own best rate (`rates_are_tuned`)."""
    obstacle: str = ""
    """Why these runs allow no verdict; "" if they do."""
    notes: tuple[str, ...] = ()
    """Remarks on these runs."""


@dataclass(frozen=True)
class Contrast:
    """The one comparison that decides a claim."""

    measure: str
    """What is compared, in words."""
    expected: Direction
    """The claimed sign of the value; for events, of the second side against the first."""
    evidence: Callable[[pl.DataFrame], Evidence | None]
    effect: float
    """The smallest effect of interest, in the measure's unit; for events a hazard ratio."""
    sizes: tuple[float, float] = ANY_SIZE
    """The range of parameters for which the claim is stated."""
    margin: float = MARGIN
    """The margin of `within`."""
    needs_tuning: bool = True
    """False only if both sides are parts of the same runs. Between arms, or against a
    fixed level, another learning rate may reverse any result, even a gradient's share."""

    def select_sizes(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The runs of these sizes, from 20 % below to 30 % above, as sizes are nominal."""
        low, high = self.sizes
        inside = pl.col("parameters").is_between(0.8 * low, 1.3 * high)
        return frame.filter(inside)

    @property
    def stated_for(self) -> str:
        """The range of sizes, in words."""
        low, high = self.sizes
        if self.sizes == ANY_SIZE:
            return "any size"
        if math.isinf(high):
            return f"{format_count(int(low))} parameters and more"
        return f"{format_count(int(low))} to {format_count(int(high))} parameters"


@dataclass(frozen=True)
class ExploratoryTest:
    """A row of the exploratory table."""

    about: str
    """The contrast, with size, arm and setting."""
    direction: Direction
    values_S: tuple[float, ...]
    """A value for each data seed."""
    over_items: Interval | None = None
    """Interval of the mean over seeds for other test items."""
    note: str = ""
    """A remark on these values."""

    @property
    def difference(self) -> Difference:
        """The interval and p value of the values."""
        return Difference.of(self.values_S)


@dataclass(frozen=True)
class Claim:
    """A statement of a paper, and the contrast that tests it."""

    id: str
    says: str
    source: str
    contrast: Contrast
    explore: Callable[[pl.DataFrame], Iterable[ExploratoryTest]]
    """Yields the rows of the exploratory table."""
    settled_by: str
    """The commands that train the runs to settle it."""
    caveat: str = ""
    """What a supported contrast does not show."""


@dataclass(frozen=True)
class Judgement:
    """A verdict, its reason and its evidence."""

    claim: Claim
    verdict: Verdict
    reason: str
    evidence: Evidence | None = None
    seeds_needed: int | None = None
    """Seeds that would resolve the claim's effect at the observed spread."""
    exploratory: tuple[ExploratoryTest, ...] = field(default=(), repr=False)

    def to_dict(self) -> dict[str, object]:
        """The judgement as JSON values."""
        claim, evidence = self.claim, self.evidence
        interval = Difference.of(evidence.values_S).interval if evidence else None
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
            "runs": evidence.runs if evidence else None,
            "seeds": evidence.seeds if evidence else 0,
            "mean": interval.mean if interval and interval.count else None,
            **(interval.bounds if interval else {"low": None, "high": None}),
            "z": evidence.events.z if evidence and evidence.events else None,
            "p": _p_value(evidence) if evidence and evidence.seeds else None,
            "seeds_needed": self.seeds_needed,
            "tuned": evidence.tuned if evidence else None,
            "notes": list(evidence.notes) if evidence else [],
            "settled_by": claim.settled_by,
            "tests": exploratory_table(self).to_dicts(),
        }


def judge(claim: Claim, frame: pl.DataFrame) -> Judgement:
    """Judge a claim from the runs in `frame`."""
    contrast = claim.contrast
    try:
        exploratory = tuple(t for t in claim.explore(frame) if t.values_S)
        sized = contrast.select_sizes(frame)
        evidence = contrast.evidence(sized)
        others = None
        if evidence is None and sized.height < frame.height:
            others = contrast.evidence(frame)
    except ValueError as error:  # concerns this claim; the others are still judged
        reason = f"its runs cannot be compared ({str(error).rstrip('.')})"
        return Judgement(claim, "not tested", reason)
    if evidence is None:
        reason = f"no finished runs bear on it; it is stated for {contrast.stated_for}"
        if others is not None and others.parameters:
            largest = format_count(max(others.parameters))
            reason = f"stated for {contrast.stated_for}; runs reach {largest}"
        return Judgement(claim, "not tested", reason, exploratory=exploratory)
    needed = _seeds_needed(contrast, evidence)
    if evidence.obstacle:
        reason = f"{evidence.obstacle} ({evidence.runs})"
        return Judgement(claim, "not tested", reason, evidence, needed, exploratory)
    verdict, reason = read_contrast(contrast, evidence)
    return Judgement(claim, verdict, reason, evidence, needed, exploratory)


def read_contrast(contrast: Contrast, evidence: Evidence) -> tuple[Verdict, str]:
    """The verdict of the rule on evidence, and the reason."""
    if evidence.events is None:
        interval = Difference.of(evidence.values_S).interval
        result = f"mean {interval.mean:+.3g}"
        if interval.count > 1:
            result += f" [{interval.low:+.3g}, {interval.high:+.3g}]"
    else:
        result = f"log-rank p {evidence.events.p_value:.2g}, z {evidence.events.z:+.2f}"
    reason = f"{result}, {evidence.seeds} seeds; {evidence.runs}"
    if evidence.seeds < ENOUGH_SEEDS:
        return "undecided", f"{reason}; {ENOUGH_SEEDS} seeds are needed"
    if contrast.needs_tuning and not evidence.tuned:
        return "undecided", f"{reason}; rates were not tuned arm by arm"
    verdict = _judge_seeds(contrast, evidence)
    if verdict != "undecided" and not _items_agree(contrast, evidence):
        return "undecided", f"{reason}; the interval over test items disagrees"
    return verdict, reason


def _judge_seeds(contrast: Contrast, evidence: Evidence) -> Verdict:
    if contrast.expected == "within":
        interval = Difference.of(evidence.values_S).interval
        if -contrast.margin < interval.low and interval.high < contrast.margin:
            return "supported"
        outside = interval.low > contrast.margin or interval.high < -contrast.margin
        return "contradicted" if outside else "undecided"
    if _p_value(evidence) >= LEVEL:
        return "undecided"
    if evidence.events is not None:
        upwards = evidence.events.z > 0
    else:
        upwards = sum(evidence.values_S) > 0
    return "supported" if upwards == (contrast.expected == "above") else "contradicted"


def _p_value(evidence: Evidence) -> float:
    if evidence.events is not None:
        return evidence.events.p_value
    if evidence.counts:
        return sign_test(evidence.values_S)
    return Difference.of(evidence.values_S).p_value


def _items_agree(contrast: Contrast, evidence: Evidence) -> bool:
    """Whether the interval over test items, if known, lies on the same side."""
    items = evidence.over_items
    if items is None:
        return True
    if contrast.expected == "within":
        inside = -contrast.margin < items.low and items.high < contrast.margin
        outside = items.low > contrast.margin or items.high < -contrast.margin
        return inside or outside
    return items.low > 0 if sum(evidence.values_S) > 0 else items.high < 0


def _seeds_needed(contrast: Contrast, evidence: Evidence) -> int | None:
    if evidence.events is not None:
        runs = runs_to_resolve(contrast.effect, evidence.happened_share)
        strata = max(1, len(evidence.parameters))
        return None if runs is None else math.ceil(runs / strata)
    spread = Difference.of(evidence.values_S).interval.spread
    return seeds_to_resolve(spread, contrast.effect)


def exploratory_table(judgement: Judgement) -> pl.DataFrame:
    """The exploratory table of a claim, a row a test, without verdicts."""
    tests = judgement.exploratory
    adjusted = holm([test.difference.p_value for test in tests])
    rows = []
    for test, p_holm in zip(tests, adjusted, strict=True):
        interval, items = test.difference.interval, test.over_items
        rows.append(
            {
                "claim": judgement.claim.id,
                "test": test.about,
                "expected": test.direction,
                "mean": interval.mean,
                **interval.bounds,
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

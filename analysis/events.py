"""Events: when runs reach a fixed level, and how arms differ in these times.

Where learning is an event (a plateau is left, or not), a mean over seeds is misleading:
the outcome is whether and when the event happened. A run without the event by its last
evaluation is *censored* there: the event is later, or never comes.

Letters in names: S runs, N runs of both sides, E event times, P arrangements of runs on
two sides.
"""

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from scipy import stats

from analysis.statistics import POWER
from synth.identity import require
from synth.metrics import Better

IN_A_ROW = 2
"""Consecutive evaluations that must reach the level, since a single one may be noise."""
MOST_ARRANGEMENTS = 10_000
"""Up to this number arrangements are enumerated; otherwise this number is drawn."""


@dataclass(frozen=True)
class Times:
    """The event times of several runs; for censored runs the time of censoring."""

    tokens_S: tuple[float, ...]
    happened_S: tuple[bool, ...]
    """False for a censored run."""

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Times":
        """The runs of a result of `event_times`."""
        return cls(tuple(rows["tokens"].to_list()), tuple(rows["happened"].to_list()))

    def censored(self) -> stats.CensoredData:
        """The times in the form that scipy takes."""
        tokens, happened = np.asarray(self.tokens_S), np.asarray(self.happened_S, bool)
        return stats.CensoredData(uncensored=tokens[happened], right=tokens[~happened])


def event_times(
    curves: pl.DataFrame,
    level: float,
    better: Better = "higher",
    in_a_row: int = IN_A_ROW,
) -> pl.DataFrame:
    """One row a run: the tokens at which it reached `level` or was censored.

    A run reaches the level at the first of `in_a_row` consecutive evaluations at or above
    it (at or below, where lower is better). Times are not interpolated, so their
    resolution is the distance between evaluations. Columns: `run_id`, `tokens`,
    `happened`.

    `curves` has the columns `run_id`, `step`, `tokens` and `value`, one row an evaluation
    of one metric, suite and slice. Evaluations without a value are skipped.
    """
    require(in_a_row >= 1, "in_a_row", "at least 1", in_a_row)
    require(math.isfinite(level), "level", "finite", level)
    rows: list[tuple[str, float, bool]] = []
    ordered = curves.drop_nulls(["value", "tokens"]).sort("run_id", "step")
    for run in ordered.partition_by("run_id", maintain_order=True):
        values = run["value"].to_numpy()
        reached = values >= level if better == "higher" else values <= level
        streaks = [
            start
            for start in range(len(reached) - in_a_row + 1)
            if reached[start : start + in_a_row].all()
        ]
        at = streaks[0] if streaks else -1
        rows.append((run["run_id"][0], float(run["tokens"][at]), bool(streaks)))
    schema = {"run_id": pl.String(), "tokens": pl.Float64(), "happened": pl.Boolean()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def kaplan_meier(times: Times) -> pl.DataFrame:
    """Kaplan-Meier estimate of the share of runs with the event by a number of tokens.

    One row at 0 and one at each time at which a run had the event or was censored:
    `tokens`, `share`, and `low` and `high`, the pointwise 95 % interval (log-log
    transform; null before the first event, and once all runs had it).
    """
    with warnings.catch_warnings():  # undefined bounds, which become null
        warnings.simplefilter("ignore", RuntimeWarning)
        waiting = stats.ecdf(times.censored()).sf
        band = waiting.confidence_interval(0.95, method="log-log")
    learned = 1 - waiting.probabilities
    inside = (learned > 0) & (learned < 1)
    bounds = [
        [float(value) if ok else None for value, ok in zip(edge, inside, strict=True)]
        for edge in (1 - band.high.probabilities, 1 - band.low.probabilities)
    ]
    return pl.DataFrame(
        {
            "tokens": [0.0, *waiting.quantiles.tolist()],
            "share": [0.0, *learned.tolist()],
            "low": pl.Series([None, *bounds[0]], dtype=pl.Float64()),
            "high": pl.Series([None, *bounds[1]], dtype=pl.Float64()),
        }
    )


def median_tokens(times: Times) -> float | None:
    """Tokens by which half of the runs had the event; None if fewer had it."""
    if not any(times.happened_S):
        return None
    curve = kaplan_meier(times)
    half = curve.filter(pl.col("share") >= 0.5 - 1e-9)
    return float(half["tokens"][0]) if half.height else None


@dataclass(frozen=True)
class LogRank:
    """A log-rank test: whether the second side has its events earlier than the first."""

    z: float
    """The standardised statistic; positive if the second side is earlier."""
    p_value: float
    """Two-sided, over all arrangements of the runs on the two sides, or over drawn ones.
    Unlike the normal approximation it is valid for five runs."""
    hazard_ratio: float
    """Of the second side over the first (Peto's estimate); NaN without events."""
    strata: int


def log_rank(strata: Sequence[tuple[Times, Times]]) -> LogRank:
    """Log-rank test of two sides, stratified where there are several strata.

    A stratum is a first and a second side that are compared with each other: a size, or
    (in the paired form) a data seed with one run of each side. The p value permutes the
    runs within strata. In the paired form it is a sign test of which side was first, and
    needs six pairs to fall below 0.05.

    Source: Mantel (1966); Peto and Peto (1972) for the hazard ratio.
    """
    samples, counts = [], []
    for first, second in strata:
        tokens = np.asarray([*first.tokens_S, *second.tokens_S])
        happened = np.asarray([*first.happened_S, *second.happened_S], bool)
        sides = (len(first.tokens_S), len(second.tokens_S))
        counts.append(math.comb(sum(sides), sides[1]))
        samples.append((tokens, happened, sides))
    exact = math.prod(counts) <= MOST_ARRANGEMENTS
    rng = np.random.default_rng([0, len(samples)])
    statistics = []
    for tokens, happened, sides in samples:
        second_PN = (
            _all_arrangements(*sides) if exact else _drawn_arrangements(*sides, rng)
        )
        statistics.append(_excess_and_variance(tokens, happened, second_PN))
    observed = np.sum([(excess[0], spread[0]) for excess, spread in statistics], axis=0)
    excess_P, variance_P = _sum_strata(statistics, exact)
    z, hazard = 0.0, math.nan
    if observed[1] > 0:
        z = float(observed[0] / math.sqrt(observed[1]))
        hazard = math.exp(min(50.0, float(observed[0] / observed[1])))
    known = variance_P > 0
    z_P = np.zeros(len(excess_P))
    z_P[known] = excess_P[known] / np.sqrt(variance_P[known])
    hits = int((np.abs(z_P) >= abs(z) - 1e-9).sum())
    p_value = hits / len(z_P) if exact else (1 + hits) / (1 + len(z_P))
    return LogRank(z, p_value, hazard, len(samples))


@lru_cache(maxsize=16)
def _all_arrangements(first: int, second: int) -> np.ndarray:
    """Which runs are on the second side, (P, N); the observed arrangement is first."""
    runs = first + second
    chosen = np.array(list(itertools.combinations(range(runs), second))[::-1])
    second_PN = np.zeros((len(chosen), runs))
    np.put_along_axis(second_PN, chosen, 1.0, axis=1)
    return second_PN


def _drawn_arrangements(
    first: int, second: int, rng: np.random.Generator
) -> np.ndarray:
    """The observed arrangement and random ones, (P, N)."""
    observed = np.repeat([0.0, 1.0], [first, second])
    drawn = rng.permuted(np.tile(observed, (MOST_ARRANGEMENTS, 1)), axis=1)
    return np.concatenate([observed[None], drawn])


def _excess_and_variance(
    tokens_N: np.ndarray, happened_N: np.ndarray, second_PN: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Events of the second side beyond expectation, and their variance, each (P,)."""
    times_E = np.unique(tokens_N[happened_N])
    at_risk_NE = tokens_N[:, None] >= times_E
    events_NE = (tokens_N[:, None] == times_E) & happened_N[:, None]
    risk_E, events_E = at_risk_NE.sum(0), events_NE.sum(0)
    share_PE = (second_PN @ at_risk_NE) / risk_E
    excess_P = (second_PN @ events_NE - events_E * share_PE).sum(1)
    spread_E = events_E * (risk_E - events_E) / np.maximum(risk_E - 1, 1)
    return excess_P, (spread_E * share_PE * (1 - share_PE)).sum(1)


def _sum_strata(
    statistics: Sequence[tuple[np.ndarray, np.ndarray]], exact: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over strata: for every combination of arrangements, or for the drawn ones."""
    if not exact:  # the first arrangement is the observed one, not a draw
        return (
            np.sum([one[0][1:] for one in statistics], axis=0),
            np.sum([one[1][1:] for one in statistics], axis=0),
        )
    excess_P, variance_P = np.zeros(1), np.zeros(1)
    for excess, variance in statistics:
        excess_P = np.add.outer(excess_P, excess).ravel()
        variance_P = np.add.outer(variance_P, variance).ravel()
    return excess_P, variance_P


def runs_to_resolve(hazard_ratio: float, happened_share: float) -> int | None:
    """Number of runs a side that give a log-rank test at 5 % the `POWER` for a ratio.

    `happened_share` is the share of all runs in which the event happens. None for more
    than 1000 runs, or without events. Source: Schoenfeld (1981).

    >>> runs_to_resolve(hazard_ratio=4.0, happened_share=0.8)
    11
    """
    if not (happened_share > 0 and hazard_ratio > 0) or hazard_ratio == 1:
        return None
    quantiles = stats.norm.ppf(0.975) + stats.norm.ppf(POWER)
    events = 4 * (quantiles / math.log(hazard_ratio)) ** 2
    runs = math.ceil(events / happened_share / 2)
    return runs if runs <= 1000 else None

"""Events: when a run reaches a fixed level, and how arms differ in it.

Where learning is an event (a plateau is left, or not), a mean over seeds says little:
what counts is whether and when it happened. A run in which it has not happened by the
last evaluation is *censored* there: the event lies later, or never comes.

Letters in names: S runs, N runs of both sides, E event times, P arrangements of runs on
two sides.
"""

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import polars as pl
from scipy import stats

Better = Literal["higher", "lower"]
IN_A_ROW = 2
"""Evaluations that must agree: one alone may be noise."""
MOST_ARRANGEMENTS = 10_000
"""Up to so many are enumerated; of more, as many are drawn."""


@dataclass(frozen=True)
class Times:
    """When each of several runs had the event, or until when it was watched without."""

    tokens_S: tuple[float, ...]
    happened_S: tuple[bool, ...]
    """False for a censored run."""

    @classmethod
    def of(cls, rows: pl.DataFrame) -> "Times":
        """The runs of a result of `event_times`."""
        return cls(tuple(rows["tokens"].to_list()), tuple(rows["happened"].to_list()))

    def censored(self) -> stats.CensoredData:
        """As scipy takes them."""
        tokens, happened = np.asarray(self.tokens_S), np.asarray(self.happened_S, bool)
        return stats.CensoredData(uncensored=tokens[happened], right=tokens[~happened])


def event_times(
    curves: pl.DataFrame,
    level: float,
    better: Better = "higher",
    in_a_row: int = IN_A_ROW,
) -> pl.DataFrame:
    """One row a run: the tokens at which it reached `level`, or was last seen short of it.

    It reaches the level at the first of `in_a_row` evaluations in a row that are at or
    above it (at or below, where lower is better). Nothing is interpolated, so times are
    exact to the distance between evaluations. Columns: `run_id`, `tokens`, `happened`.

    Parameters
    ----------
    curves
        Rows of one metric, suite and slice, one an evaluation: `run_id`, `step`,
        `tokens`, `value`. Evaluations without a value are passed over.
    """
    if in_a_row < 1:
        raise ValueError(f"in_a_row must be at least 1; got {in_a_row}.")
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
    """Share of runs that have had the event by a number of tokens, censoring allowed for.

    One row at 0 and one at each time at which a run had the event or was censored:
    `tokens`, `share`, and `low` and `high`, the pointwise 95 % interval (log-log
    transform; null before the first event, and once all runs had it).
    """
    with warnings.catch_warnings():  # of bounds that are undefined; they become null
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
    """Tokens by which half of the runs have had the event; None if fewer ever did."""
    if not any(times.happened_S):
        return None
    curve = kaplan_meier(times)
    half = curve.filter(pl.col("share") >= 0.5 - 1e-9)
    return float(half["tokens"][0]) if half.height else None


@dataclass(frozen=True)
class LogRank:
    """Whether the events of a second side come earlier (or more often) than of a first."""

    z: float
    """Standardised; positive where the second side is earlier."""
    p_value: float
    """Two-sided, over all arrangements of the runs on the two sides, or many drawn ones:
    it holds for five runs, where the normal approximation does not."""
    hazard_ratio: float
    """Of the second side over the first (Peto's estimate); NaN without events."""
    strata: int


def log_rank(strata: Sequence[tuple[Times, Times]], seed: int = 0) -> LogRank:
    """Log-rank test of two sides, stratified where there are several strata.

    A stratum is a first and a second side that are compared with one another alone: a
    size, or (the paired form) a data seed with one run of each side. The p value exchanges
    the runs of a stratum. In its paired form it is a sign test of who was first, and
    needs six pairs to pass 0.05.

    Source: Mantel (1966); Peto and Peto (1972) for the hazard ratio.
    """
    parts, counts = [], []
    for first, second in strata:
        tokens = np.asarray([*first.tokens_S, *second.tokens_S])
        happened = np.asarray([*first.happened_S, *second.happened_S], bool)
        sides = (len(first.tokens_S), len(second.tokens_S))
        counts.append(math.comb(sum(sides), sides[1]))
        parts.append((tokens, happened, sides))
    exact = math.prod(counts) <= MOST_ARRANGEMENTS
    rng = np.random.default_rng([seed, len(parts)])
    found = []
    for tokens, happened, sides in parts:
        second_PN = (
            _all_arrangements(*sides) if exact else _drawn_arrangements(*sides, rng)
        )
        found.append(_excess_and_variance(tokens, happened, second_PN))
    observed = np.sum([(excess[0], spread[0]) for excess, spread in found], axis=0)
    excess_P, variance_P = _combined(found, exact)
    z, hazard = 0.0, math.nan
    if observed[1] > 0:
        z = float(observed[0] / math.sqrt(observed[1]))
        hazard = math.exp(min(50.0, float(observed[0] / observed[1])))
    known = variance_P > 0
    z_P = np.zeros(len(excess_P))
    z_P[known] = excess_P[known] / np.sqrt(variance_P[known])
    hits = int((np.abs(z_P) >= abs(z) - 1e-9).sum())
    p_value = hits / len(z_P) if exact else (1 + hits) / (1 + len(z_P))
    return LogRank(z, p_value, hazard, len(parts))


@lru_cache(maxsize=16)
def _all_arrangements(first: int, second: int) -> np.ndarray:
    """Who of the runs is on the second side, (P, N); the observed one comes first."""
    runs = first + second
    chosen = np.array(list(itertools.combinations(range(runs), second))[::-1])
    second_PN = np.zeros((len(chosen), runs))
    np.put_along_axis(second_PN, chosen, 1.0, axis=1)
    return second_PN


def _drawn_arrangements(
    first: int, second: int, rng: np.random.Generator
) -> np.ndarray:
    """The same for arrangements drawn at random."""
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


def _combined(
    found: Sequence[tuple[np.ndarray, np.ndarray]], exact: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over strata: of every combination of their arrangements, or of drawn ones."""
    if not exact:  # the first is the observed one, and no draw
        return (
            np.sum([one[0][1:] for one in found], axis=0),
            np.sum([one[1][1:] for one in found], axis=0),
        )
    excess_P, variance_P = np.zeros(1), np.zeros(1)
    for excess, variance in found:
        excess_P = np.add.outer(excess_P, excess).ravel()
        variance_P = np.add.outer(variance_P, variance).ravel()
    return excess_P, variance_P


def runs_to_resolve(
    hazard_ratio: float, happened_share: float, power: float = 0.8, level: float = 0.05
) -> int | None:
    """Runs a side with which a log-rank test would find a hazard ratio.

    `happened_share` is the share of all runs in which the event happens. None: more than
    1000, or nothing happens. Source: Schoenfeld (1981).

    >>> runs_to_resolve(hazard_ratio=4.0, happened_share=0.8)
    11
    """
    if not (happened_share > 0 and hazard_ratio > 0) or hazard_ratio == 1:
        return None
    quantiles = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)
    events = 4 * (quantiles / math.log(hazard_ratio)) ** 2
    runs = math.ceil(events / happened_share / 2)
    return runs if runs <= 1000 else None

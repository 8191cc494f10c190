"""Coverage and error rates by simulation, longer than the test suite can afford.

    python -m tests.bench.bench_coverage [DRAWS [NAME ...]]

NAME is intervals, shares, counts, verdicts, events or laws; all if none is given.
Intervals should cover 93 to 97 %; verdicts with no effect should be at most 5 %. Each
line names what is simulated, the share, and its standard error. 2,000 draws (the
default; a tenth of them for power laws) take about ten minutes on one core.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Literal

import numpy as np
from scipy import stats

from analysis.claims import Contrast, Evidence, read_contrast
from analysis.comparisons import cluster_bootstrap
from analysis.events import Times, log_rank
from analysis.noise import noise_floor
from analysis.scaling import fit_power_law, power_law
from analysis.statistics import (
    Interval,
    mean_interval,
    share_difference,
    t_interval,
)

SIZES = np.array([1e4, 3e4, 1e5, 3e5, 1e6, 3e6])
LAW = (0.5, 40.0, 0.35)
SHARES = (0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95)
Line = tuple[str, list[bool]]
Method = Literal["wilson", "exact"]
METHODS: tuple[Method, ...] = ("wilson", "exact")


def intervals(rng: np.random.Generator, draws: int) -> Iterator[Line]:
    """t intervals of normal and of skewed values, the noise band, a bootstrap."""
    for seeds in (5, 10):
        normal = rng.normal(0.3, 0.05, (draws, seeds))
        yield f"t interval, {seeds} normal values", _cover(map(t_interval, normal), 0.3)
        skewed = rng.gamma(4.0, 0.25, (draws, seeds))
        yield f"t interval, {seeds} gamma values", _cover(map(t_interval, skewed), 1.0)
        pairs = rng.normal(0.4, 0.03, (draws, 2, seeds))
        apart = [
            abs(one.mean() - two.mean()) < noise_floor(one).band for one, two in pairs
        ]
        yield f"noise band, {seeds} seeds", apart
    stories = [rng.binomial(20, rng.beta(2, 2, 60)) / 20 for _ in range(draws // 4)]
    found = (
        cluster_bootstrap(s.tolist(), draws=400, seed=i) for i, s in enumerate(stories)
    )
    yield "bootstrap over 60 stories", _cover(found, 0.5)


def _cover(found: Iterable[Interval], truth: float) -> list[bool]:
    return [one.low <= truth <= one.high for one in found]


def shares(rng: np.random.Generator, draws: int) -> Iterator[Line]:
    """Mean shares over seeds on the logit scale, and beside them plain t intervals.

    The share of a seed has a beta distribution, whose spread is a tenth or a fifth of
    the largest possible, sqrt(p (1 - p)).
    """
    for spread in (0.1, 0.2):
        sum_ab = 1 / spread**2 - 1
        for seeds in (3, 5, 10):
            for share in SHARES:
                parameters = sum_ab * share, sum_ab * (1 - share)
                values = rng.beta(*parameters, (draws, seeds)).tolist()
                what = f"share {share:g}, {seeds} seeds, spread {spread:g}"
                logit = (mean_interval(one, share=True) for one in values)
                yield f"logit interval, {what}", _cover(logit, share)
                yield f"t interval, {what}", _cover(map(t_interval, values), share)


def counts(rng: np.random.Generator, draws: int) -> Iterator[Line]:
    """Binomial intervals of P(learned), and Newcombe's of a difference of two."""
    for runs in (3, 5, 10):
        for method in METHODS:
            tests = [stats.binomtest(k, runs) for k in range(runs + 1)]
            bounds = [test.proportion_ci(0.95, method) for test in tests]
            for share in (*SHARES, None):
                p = rng.random(draws) if share is None else np.full(draws, share)
                low, high = np.array(bounds)[rng.binomial(runs, p)].T
                what = "uniform P" if share is None else f"P = {share:g}"
                inside = (low <= p) & (p <= high)
                yield f"P(learned), {method}, {runs} runs, {what}", inside.tolist()
        newcombe = cache(share_difference)
        for base, share in ((0.05, 0.05), (0.05, 0.5), (0.05, 0.95), (0.5, 0.5)):
            pairs = rng.binomial(runs, [share, base], (draws, 2)).tolist()
            limits = (newcombe(one, two, runs)[1] for one, two in pairs)
            inside_differences = [low <= share - base <= high for low, high in limits]
            yield f"P = {share:g} minus {base:g}, {runs} runs", inside_differences


def verdicts(rng: np.random.Generator, draws: int) -> Iterator[Line]:
    """The rule with no effect (false verdicts) and with effects (right verdicts)."""
    for seeds in (5, 10):
        for mean in (0.0, 1.0, 2.0):
            read = []
            for values in rng.normal(mean, 1.0, (draws, seeds)):
                found = Evidence("", seeds, values_S=tuple(values), tuned=True)
                contrast = Contrast("", "above", lambda frame: None, 1.0)
                read.append(read_contrast(contrast, found)[0])
            wanted = ("supported", "contradicted") if mean == 0 else ("supported",)
            what = "false verdicts" if mean == 0 else f"supported at {mean:g} sd"
            yield f"{what}, {seeds} seeds", [one in wanted for one in read]


def events(rng: np.random.Generator, draws: int) -> Iterator[Line]:
    """Log-rank tests with and without an effect; one size, and two sizes as strata."""
    for ratio in (1.0, 4.0):
        for runs, strata in ((5, 1), (8, 1), (5, 2)):
            found = []
            for _ in range(draws // 2):
                sizes = [
                    (_times(rng, runs, 1.0), _times(rng, runs, ratio))
                    for _ in range(strata)
                ]
                found.append(log_rank(sizes))
            what = f"hazard ratio {ratio:g}, {runs} runs a side, {strata} sizes"
            yield f"log-rank p < 0.05, {what}", [one.p_value < 0.05 for one in found]


def _times(rng: np.random.Generator, runs: int, rate: float) -> Times:
    tokens = np.ceil(20 * rng.exponential(1 / rate, runs)) / 20
    happened = tuple((tokens <= 1).tolist())
    return Times(tuple(np.minimum(tokens, 1).tolist()), happened)


def laws(rng: np.random.Generator, draws: int) -> Iterator[Line]:
    """Exponent and band of a power law with offset, six sizes, five seeds."""
    exact = power_law(SIZES, *LAW)
    for noise in (0.005, 0.02):
        exponents, bands = [], []
        for _ in range(draws // 10):
            values = [value * (1 + noise * rng.standard_normal(5)) for value in exact]
            found = fit_power_law(SIZES, values)
            exponents.append(found.exponent_low <= LAW[2] <= found.exponent_high)
            low, high = found.band(SIZES[3])
            bands.append(bool(low <= exact[3] <= high))
        yield f"exponent of a power law, noise {noise:.1%}", exponents
        yield f"band of a power law, noise {noise:.1%}", bands


SIMULATIONS: dict[str, Callable[[np.random.Generator, int], Iterator[Line]]] = {
    simulate.__name__: simulate
    for simulate in (intervals, shares, counts, verdicts, events, laws)
}


def main() -> None:
    """Print a line a simulation."""
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    rng = np.random.default_rng(0)
    for name in sys.argv[2:] or SIMULATIONS:
        for what, hits in SIMULATIONS[name](rng, draws):
            share = float(np.mean(hits))
            error = math.sqrt(max(share * (1 - share), 1e-9) / len(hits))
            print(f"{what:<60} {share:6.1%} +- {error:.1%}", flush=True)


if __name__ == "__main__":
    main()

"""Scaling: a power law of a score against parameters, tokens or FLOP.

value = offset + factor * x^-exponent, with offset, factor and exponent not negative. For a
metric that should rise, its distance from the ceiling is fitted. Three parameters would
fit any few sizes, so fewer than five are refused.

Letters in names: S seeds, X sizes, B bootstrap draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy import optimize

from analysis.comparisons import with_costs
from analysis.modes import lower_group_size, span_of
from analysis.selection import at_end
from analysis.settings import name_settings, setting_labels, with_setting
from analysis.statistics import NORMAL, t_quantile
from synth.command_words import as_typed
from synth.scales import format_count

VARIABLES = ("parameters", "tokens", "flops")
"""What x can be."""
MIN_SIZES = 5
"""Fewer sizes have no law."""
DRAWS = 200


@dataclass(frozen=True)
class PowerLaw:
    """A fitted law, with 95 % bounds from the bootstrap over seeds."""

    offset: float
    factor: float
    exponent: float
    exponent_low: float
    exponent_high: float
    offset_low: float
    offset_high: float
    sizes: int
    seeds: int
    """The number of seeds of the size that has fewest."""
    max_error: float
    """The largest relative error of the law, over the means of sizes."""
    draws_B: tuple[tuple[float, float, float], ...]
    """Offset, factor and exponent of each bootstrap draw, for bands."""

    def at(self, x: float | np.ndarray) -> np.ndarray:
        """The law at x."""
        return power_law(x, self.offset, self.factor, self.exponent)

    def band(self, x: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pointwise 95 % bounds of the law at x."""
        drawn = np.array([power_law(x, *draw) for draw in self.draws_B])
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        return low, high


def power_law(
    x: float | np.ndarray, offset: float, factor: float, exponent: float
) -> np.ndarray:
    """offset + factor * x^-exponent."""
    return np.asarray(offset + factor * np.asarray(x, np.float64) ** -exponent)


def fit_power_law(
    x_X: Sequence[float],
    values_XS: Sequence[Sequence[float]],
    with_offset: bool = True,
    draws: int = DRAWS,
) -> PowerLaw:
    """Fit a law to the means over seeds, by least squares in the log of the value.

    The bounds come from a bootstrap over the seeds of each size.

    Raises `ValueError` for fewer than five sizes, a size with one seed, or a mean that
    is not positive.
    """
    x = np.asarray(x_X, np.float64)
    if len(np.unique(x)) < MIN_SIZES:
        raise ValueError(
            f"A power law needs at least {MIN_SIZES} sizes; there are {len(np.unique(x))}. "
            "Train more sizes, or compare the sizes that are there pair by pair."
        )
    fewest = min(len(values) for values in values_XS)
    if fewest < 2:
        raise ValueError("Each size needs two seeds or more: the band comes from them.")
    means = np.array([np.mean(values) for values in values_XS])
    if not (means > 0).all() or not (x > 0).all():
        raise ValueError(
            "A power law needs positive values, but a mean over seeds is 0 or negative. "
            "Fit a loss, or a score below its ceiling."
        )
    best = _fit(x, means, with_offset)
    # The bootstrap of n seeds has (n - 1) / n of the variance of their mean, and few seeds
    # estimate it badly, hence the t quantile. Its degrees of freedom are those of a third
    # of the sizes, since the law has three parameters.
    degrees = (fewest - 1) * len(x) / 3
    wider = np.sqrt(fewest / (fewest - 1)) * t_quantile(degrees) / NORMAL
    rng = np.random.default_rng([0, len(x)])
    drawn = []
    for _ in range(draws):
        drawn_means = np.array([np.mean(rng.choice(v, len(v))) for v in values_XS])
        # Relative shifts, since the fit is to logarithms and needs positive values.
        resampled = means * np.exp(wider * (drawn_means / means - 1))
        drawn.append(_fit(x, resampled, with_offset, start=best))
    bounds = np.quantile(np.array(drawn), [0.025, 0.975], axis=0)
    law = power_law(x, *best)
    return PowerLaw(
        *best,
        exponent_low=float(bounds[0, 2]),
        exponent_high=float(bounds[1, 2]),
        offset_low=float(bounds[0, 0]),
        offset_high=float(bounds[1, 0]),
        sizes=len(x),
        seeds=fewest,
        max_error=float(np.abs(means / law - 1).max()),
        draws_B=tuple(drawn),
    )


def _fit(
    x: np.ndarray,
    means: np.ndarray,
    with_offset: bool,
    start: tuple[float, float, float] | None = None,
) -> tuple[float, float, float]:
    """Least squares in log value, from `start` or else from several points."""
    middle = float(np.exp(np.log(x).mean()))
    target = np.log(means)

    def residuals(parameters: np.ndarray) -> np.ndarray:
        offset, log_factor, exponent = parameters
        falling = np.exp(log_factor - exponent * np.log(x / middle))
        return np.log(falling + offset * with_offset) - target

    def derivatives(parameters: np.ndarray) -> np.ndarray:
        offset, log_factor, exponent = parameters
        falling = np.exp(log_factor - exponent * np.log(x / middle))
        whole = falling + offset * with_offset
        columns = (
            with_offset / whole,
            falling / whole,
            -falling * np.log(x / middle) / whole,
        )
        return np.stack(np.broadcast_arrays(*columns), axis=1)

    slope = -np.polyfit(np.log(x), target, 1)[0]
    shares = (0.0, 0.5, 0.9) if with_offset else (0.0,)
    least = float(means.min())
    starts = [
        (
            share * least,
            float(np.log(means.mean() - share * least)),
            max(slope, 0.01) * k,
        )
        for share in shares
        for k in (1.0, 3.0)
    ]
    if start is not None:
        offset, factor, exponent = start
        starts = [(offset, float(np.log(factor)) - exponent * np.log(middle), exponent)]
    fits = [
        optimize.least_squares(
            residuals,
            np.clip(one, [0.0, -60.0, 0.0], [least, 60.0, 10.0]),
            derivatives,
            bounds=([0.0, -60.0, 0.0], [least, 60.0, 10.0]),
            x_scale=(least, 1.0, 1.0),
            ftol=1e-10 if start is None else 1e-6,
        )
        for one in starts
    ]
    offset, log_factor, exponent = min(fits, key=lambda fit: fit.cost).x
    factor = np.exp(log_factor + exponent * np.log(middle))
    return float(offset * with_offset), float(factor), float(exponent)


def scaling_table(
    rows: pl.DataFrame,
    axis: str = "parameters",
    with_offset: bool = True,
    ceiling: float | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """A row an arm and setting with its law, and the reasons of those without one.

    Runs of one law differ only in size and seeds; for FLOP also in training steps, for
    tokens in these and not in size. At one x they have one shape. `rows` has all
    evaluations of one metric, of which the last of each run counts. For a metric that
    should rise, the distance from `ceiling` is fitted.

    Raises `ValueError` for another axis, if no run has a value of it, and if no arm has
    a law.
    """
    if axis not in VARIABLES:
        raise ValueError(f"axis must be one of {', '.join(VARIABLES)}; got {axis!r}.")
    rows = at_end(with_costs(rows)).drop_nulls([axis, "value"])
    if rows.is_empty():
        raise ValueError(f"No finished run has both a value and its {axis}.")
    span = span_of(rows)
    if ceiling is not None:
        rows = rows.with_columns(value=ceiling - pl.col("value"))
    varied = {
        "parameters": ("scale", "arm"),
        "tokens": ("arm", "steps"),  # a law a size
        "flops": ("scale", "arm", "steps"),
    }[axis]
    laws: list[dict[str, object]] = []
    refused: dict[str, list[str]] = {}
    labels = setting_labels(rows, *varied)
    cells = with_setting(rows, *varied).partition_by("task", "setting", "arm")
    for cell in sorted(cells, key=lambda c: c.select("task", "setting", "arm").row(0)):
        key = dict(zip(_KEY, cell.select(_KEY).row(0), strict=True))
        sizes = cell.group_by(axis).agg("value", pl.col("scale").n_unique()).sort(axis)
        try:
            if sizes["scale"].max() != 1:
                raise ValueError(
                    f"Models of several shapes have equal {axis}, and no law averages over "
                    "shapes. Choose one at each: --where scale=..."
                )
            _refuse_groups(sizes, axis, span)
            law = fit_power_law(
                sizes[axis].to_list(), sizes["value"].to_list(), with_offset
            )
        except ValueError as error:
            words = (key["task"], labels[key["setting"]], key["arm"])
            refused.setdefault(str(error), []).append(", ".join(filter(None, words)))
            continue
        named = {name: getattr(law, name) for name in _NUMBERS}
        laws.append(key | named | {"sizes": law.sizes, "seeds": law.seeds})
    schema: dict[str, pl.DataType] = {name: pl.String() for name in _KEY} | {
        name: pl.Float64() for name in _NUMBERS
    }
    schema |= {"sizes": pl.Int64(), "seeds": pl.Int64()}
    reasons = [f"{'; '.join(cells)}: {reason}" for reason, cells in refused.items()]
    if not laws:
        raise ValueError(" ".join(reasons))
    table = pl.DataFrame(laws, schema=schema, orient="row")
    return name_settings(table, labels), reasons


def _refuse_groups(sizes: pl.DataFrame, axis: str, span: float) -> None:
    """Refuse sizes whose seeds fall into two groups, which have no mean to fit."""
    for x, values in sizes.select(axis, "value").iter_rows():
        if lower_group_size(values, span) is not None:
            raise ValueError(
                f"Seeds at {format_count(int(x))} {axis} fall into two groups, whose mean "
                "describes neither. Leave them out with --where, or count them: "
                f"`{as_typed('analysis events')}`."
            )


_KEY = ("task", "setting", "arm")
_NUMBERS = (
    *("exponent", "exponent_low", "exponent_high"),
    *("offset", "offset_low", "offset_high", "factor", "max_error"),
)

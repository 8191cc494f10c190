"""Arms that several sweeps train: numbers of heads, in one layout or more."""

from collections.abc import Sequence
from typing import Literal

from synth.objectives.multi_token import Layout, MultiTokenConfig


def arms_of(
    horizons: Sequence[int],
    layouts: Sequence[Layout] = ("parallel",),
    scored: Literal["all", "answer"] = "all",
) -> list[MultiTokenConfig]:
    """Every number of heads in every layout; layouts differ from two heads on."""
    return [
        MultiTokenConfig(horizon=horizon, layout=layout, scored=scored)
        for horizon in horizons
        for layout in (layouts if horizon > 1 else ("parallel",))
    ]

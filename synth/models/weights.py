"""Parameters of lanes, each with the role that initialisation and optimisers read.

A module declares a parameter and its role in one line. Letters: K lanes, any axes after
them; the last axis of a matrix is what it reads.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Role:
    """How a parameter starts, whether weight decay acts on it, and what Muon updates."""

    std: float | None
    """Standard deviation of its normal initial values; `None`: all start at 1."""
    decays: bool
    maps: tuple[int, ...] = ()
    """Rows of each map between hidden states, from the first row on. Muon orthogonalises
    every map by itself; parameters without maps are left to AdamW."""


def matrix(
    num_lanes: int,
    *shape: int,
    std: float | None = None,
    summed: int = 1,
    maps: Sequence[int] | None = None,
) -> nn.Parameter:
    """A decayed weight (K, ..., inputs) without values yet.

    Its standard deviation is 1 / sqrt(inputs) if not given, which keeps the scale of what
    it reads. `summed` outputs that are added up share that variance. `maps` are the rows of
    each map that the matrix stacks: all rows are one if not given, and () says that it is
    no map between hidden states (a table of embeddings, a convolution).
    """
    if std is None:
        std = 1 / math.sqrt(shape[-1]) / math.sqrt(summed)
    if maps is None:
        maps = shape[:1] if len(shape) == 2 else ()
    assert not maps or sum(maps) == shape[0], (shape, maps)
    return _declared(
        torch.empty(num_lanes, *shape), Role(std, decays=True, maps=tuple(maps))
    )


def gain(num_lanes: int, *shape: int) -> nn.Parameter:
    """A factor or an offset of each channel (K, ...): starts at 1, does not decay."""
    return _declared(torch.ones(num_lanes, *shape), Role(None, decays=False))


def role_of(parameter: nn.Parameter) -> Role:
    """The role with which a parameter was declared."""
    role = getattr(parameter, "role", None)
    if role is None:
        raise TypeError(
            f"A parameter of shape {tuple(parameter.shape)} has no role. Declare it with "
            "`matrix` or `gain` of synth.models.weights."
        )
    return role  # type: ignore[no-any-return]


def _declared(values: torch.Tensor, role: Role) -> nn.Parameter:
    parameter = nn.Parameter(values)
    parameter.role = role  # type: ignore[attr-defined]
    return parameter

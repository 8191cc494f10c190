"""Parameters of lanes, each with the role that initialisation and AdamW read.

A module declares a parameter and its role in one line. Letters: K lanes, any axes after
them; the last axis of a matrix is what it reads.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Role:
    """How a parameter starts, and whether weight decay acts on it."""

    std: float | None
    """Standard deviation of its normal initial values; `None`: all start at 1."""
    decays: bool


def matrix(
    num_lanes: int, *shape: int, std: float | None = None, summed: int = 1
) -> nn.Parameter:
    """A decayed weight (K, ..., inputs) without values yet.

    Its standard deviation is 1 / sqrt(inputs) if not given, which keeps the scale of what
    it reads. `summed` outputs that are added up share that variance.
    """
    if std is None:
        std = 1 / math.sqrt(shape[-1]) / math.sqrt(summed)
    return _declared(torch.empty(num_lanes, *shape), Role(std, decays=True))


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

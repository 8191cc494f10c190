"""What stands on the trunk: the modules of the heads that an objective lists.

Letters: K lanes, B batch, T time, D width.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.lanes import concatenate_lanes, lane_linear
from synth.models.layer import Layer
from synth.models.mixers.attention import Attention, Rotary
from synth.models.mixers.recurrence import Memory
from synth.models.norm import RMSNorm
from synth.models.weights import gain, matrix
from synth.objectives.declarations import Head, Merge


class LinearHead(nn.Module):
    """One linear map per lane."""

    def __init__(self, num_lanes: int, width: int) -> None:
        super().__init__()
        self.map_KDD = matrix(num_lanes, width, width)

    def forward(self, x_KBTD: Tensor) -> Tensor:
        """(K, B, T, D) to (K, B, T, D)."""
        return lane_linear(x_KBTD, self.map_KDD)


class TrunkOutput(nn.Module):
    """A head without parts of its own: the state that it stands on."""

    def forward(self, x_KBTD: Tensor) -> Tensor:
        """A view, so that the head's state is a tensor of its own."""
        return x_KBTD.view_as(x_KBTD)


class ProjectToken(nn.Module):
    """Merges the embedding of a given token into a state: M [norm(h); norm(e)]."""

    def __init__(self, num_lanes: int, width: int) -> None:
        super().__init__()
        self.norm_state = RMSNorm(num_lanes, width)
        self.norm_token = RMSNorm(num_lanes, width)
        self.state_KDD = matrix(num_lanes, width, width, summed=2)
        self.token_KDD = matrix(num_lanes, width, width, summed=2)

    def forward(self, x_KBTD: Tensor, given_KBTD: Tensor) -> Tensor:
        """(K, B, T, D) twice to (K, B, T, D)."""
        kept = self.norm_state.then(x_KBTD, self.state_KDD)
        return kept + self.norm_token.then(given_KBTD, self.token_KDD)


class AddToken(nn.Module):
    """Adds the embedding of a given token to a state: h + k e, k a learnt scalar."""

    def __init__(self, num_lanes: int) -> None:
        super().__init__()
        self.scale_K1 = gain(num_lanes, 1)

    def forward(self, x_KBTD: Tensor, given_KBTD: Tensor) -> Tensor:
        """(K, B, T, D) twice to (K, B, T, D).

        Lane by lane, so that the gradient of k is summed in the order of a lane alone.
        """
        lanes = (part.split(1) for part in (x_KBTD, self.scale_K1, given_KBTD))
        return concatenate_lanes(
            [x + scale[..., None, None] * e for x, scale, e in zip(*lanes, strict=True)]
        )


class StepByToken(nn.Module):
    """Moves a state by a given token: h + C gelu(B gelu(A [norm(h); norm(e)]))."""

    def __init__(self, num_lanes: int, width: int) -> None:
        super().__init__()
        self.first = ProjectToken(num_lanes, width)
        self.second_KDD = matrix(num_lanes, width, width)
        self.third_KDD = matrix(num_lanes, width, width)

    def forward(self, x_KBTD: Tensor, given_KBTD: Tensor) -> Tensor:
        """(K, B, T, D) twice to (K, B, T, D)."""
        inner = functional.gelu(self.first(x_KBTD, given_KBTD))
        inner = functional.gelu(lane_linear(inner, self.second_KDD))
        return x_KBTD + lane_linear(inner, self.third_KDD)


class AttendTokens(nn.Module):
    """Attends to all given tokens, each on half of the state: u_g + attention(u_0..u_g).

    u_j = h / 2 + E[x[t+j]]. The positions of this attention are j, and it never looks at
    another t.
    """

    def __init__(self, num_lanes: int, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(num_lanes, config)
        self.attention.rotary = Rotary(config.shape.width // config.shape.heads)

    def forward(self, x_KBTD: Tensor, *given_KBTD: Tensor) -> Tensor:
        """(K, B, T, D) and the embeddings of tokens t, ..., t+g to (K, B, T, D)."""
        u_KBTGD = x_KBTD[:, :, :, None] / 2 + torch.stack(given_KBTD, 3)
        mixed = self.attention(u_KBTGD.flatten(1, 2)).view_as(u_KBTGD)
        return (u_KBTGD + mixed)[:, :, :, -1].contiguous()


def new_merge(merge: Merge, num_lanes: int, config: ModelConfig) -> nn.Module:
    """The module of a way to merge a given token."""
    if merge == "sum":
        return AddToken(num_lanes)
    if merge == "attend":
        return AttendTokens(num_lanes, config)
    kinds = {"project": ProjectToken, "mlp": StepByToken}
    return kinds[merge](num_lanes, config.shape.width)


class HeadStack(nn.Module):
    """A head of several parts: a merge, linear maps, layers, in this order."""

    def __init__(
        self, head: Head, merges: bool, num_lanes: int, config: ModelConfig
    ) -> None:
        super().__init__()
        self.merge = new_merge(head.merge, num_lanes, config) if merges else None
        self.maps = nn.ModuleList(
            LinearHead(num_lanes, config.shape.width) for _ in range(head.maps)
        )
        self.layers = nn.ModuleList(
            Layer(num_lanes, config) for _ in range(head.layers)
        )

    def forward(
        self, x_KBTD: Tensor, *given_KBTD: Tensor, memories: Sequence[Memory] = ()
    ) -> Tensor:
        """(K, B, T, D), and the embeddings that it merges, to (K, B, T, D).

        In decoding, each of its layers has a memory.
        """
        if self.merge is not None:
            x_KBTD = self.merge(x_KBTD, *given_KBTD)
        for part in self.maps:
            x_KBTD = part(x_KBTD)
        for layer, memory in itertools.zip_longest(self.layers, memories):
            x_KBTD = layer(x_KBTD, memory)
        return x_KBTD


def new_head(
    head: Head, merges: bool, num_lanes: int, config: ModelConfig
) -> nn.Module:
    """The plainest module for what a head consists of."""
    if not merges and (head.layers, head.maps) == (0, 0):
        return TrunkOutput()
    if not merges and (head.layers, head.maps) == (0, 1):
        return LinearHead(num_lanes, config.shape.width)
    if not merges and (head.layers, head.maps) == (1, 0):
        return Layer(num_lanes, config)
    return HeadStack(head, merges, num_lanes, config)

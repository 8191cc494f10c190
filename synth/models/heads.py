"""What stands on the trunk: the modules of the heads that an objective lists.

Letters: K lanes, B batch, T time, D width.
"""

from torch import Tensor, nn

from synth.config import ModelConfig
from synth.models.lanes import lane_linear, together
from synth.models.layer import Layer
from synth.models.mixers.recurrence import Memory
from synth.models.norm import RMSNorm
from synth.models.weights import gain, matrix
from synth.objectives.objective import Head


class LinearHead(nn.Module):
    """One linear map per lane."""

    def __init__(self, num_lanes: int, width: int) -> None:
        super().__init__()
        self.map_KDD = matrix(num_lanes, width, width)

    def forward(self, x_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """(K, B, T, D) to (K, B, T, D); nothing to remember."""
        return lane_linear(x_KBTD, self.map_KDD)


class TrunkOutput(nn.Module):
    """A head without parts of its own: the state that it stands on."""

    def forward(self, x_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """A view, so that the head's state is a tensor of its own."""
        return x_KBTD.view_as(x_KBTD)


class Merge(nn.Module):
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
        return together(
            [x + scale[..., None, None] * e for x, scale, e in zip(*lanes, strict=True)]
        )


class HeadStack(nn.Module):
    """A head of several parts: a merge, linear maps, layers, in this order."""

    def __init__(
        self, head: Head, merges: bool, num_lanes: int, config: ModelConfig
    ) -> None:
        super().__init__()
        self.merge: nn.Module | None = None
        if merges:
            self.merge = (
                AddToken(num_lanes)
                if head.merge == "sum"
                else Merge(num_lanes, config.shape.width)
            )
        self.maps = nn.ModuleList(
            LinearHead(num_lanes, config.shape.width) for _ in range(head.maps)
        )
        self.layers = nn.ModuleList(
            Layer(num_lanes, config) for _ in range(head.layers)
        )

    def forward(self, x_KBTD: Tensor, given_KBTD: Tensor | None = None) -> Tensor:
        """(K, B, T, D), and the embeddings that it merges, to (K, B, T, D)."""
        if self.merge is not None:
            assert given_KBTD is not None
            x_KBTD = self.merge(x_KBTD, given_KBTD)
        for part in (*self.maps, *self.layers):
            x_KBTD = part(x_KBTD)
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

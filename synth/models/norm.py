"""Root-mean-square norm with a gain per lane, folded into the product that follows.

Letters: K lanes, N any axes between lane and width, D width, E features out.
"""

from torch import Tensor, nn

from synth.models.elementwise import fold_gain, unit_rms
from synth.models.lanes import lane_linear
from synth.models.weights import gain


class RMSNorm(nn.Module):
    """Root-mean-square norm with a gain per lane."""

    def __init__(self, num_lanes: int, width: int) -> None:
        super().__init__()
        self.gain_KD = gain(num_lanes, width)

    def forward(self, x_KNTD: Tensor) -> Tensor:
        """Norm over the last axis; any axes between lane and width."""
        axes = [1] * (x_KNTD.dim() - 2)
        return unit_rms(x_KNTD) * self.gain_KD.view(len(self.gain_KD), *axes, -1)

    def then(self, x_KND: Tensor, weight_KED: Tensor) -> Tensor:
        """The product of the normed rows with a weight, (K, N, E), N any axes.

        The gain scales the columns of the weight, which costs a pass over the weight
        and saves several over the activations.
        """
        return lane_linear(unit_rms(x_KND), fold_gain(weight_KED, self.gain_KD))

"""A decoder layer with a leading lane axis: RMSNorm, a mixer, SwiGLU, no biases.

Letters: K lanes, B batch, T time, D width, M width of the MLP. The layout is that of
LLaMA: norm before each part, 12 L d^2 matrices. What mixes positions is one of
`synth.models.mixers`: attention, or a recurrence in its place.
"""

from collections.abc import Callable

from torch import Tensor, nn

from synth.config import ModelConfig
from synth.models.elementwise import gated
from synth.models.lanes import lane_linear
from synth.models.mixers.attention import Attention
from synth.models.mixers.mamba import Mamba2
from synth.models.mixers.recurrence import Memory
from synth.models.mixers.rwkv import TimeMix
from synth.models.norm import RMSNorm
from synth.models.weights import matrix
from synth.scales import Scale
from synth.shapes.mixer_shapes import Mixer


class MLP(nn.Module):
    """Norm and gated MLP: (SiLU(x G) * x U) W."""

    def __init__(self, num_lanes: int, shape: Scale) -> None:
        super().__init__()
        inner = shape.mlp_width
        self.norm = RMSNorm(num_lanes, shape.width)
        self.gate_up_KMD = matrix(
            num_lanes, 2 * inner, shape.width, maps=(inner, inner)
        )
        self.down_KDM = matrix(num_lanes, shape.width, inner, summed=2 * shape.layers)

    def forward(self, x_KBTD: Tensor) -> Tensor:
        """Applied at each position alone."""
        both = self.norm.then(x_KBTD, self.gate_up_KMD)
        return lane_linear(gated(both), self.down_KDM)


MIXERS: dict[Mixer, type[nn.Module]] = {
    "attention": Attention,
    "mamba2": Mamba2,
    "rwkv": TimeMix,
}


class Layer(nn.Module):
    """One layer: a mixer of positions and an MLP, each added to what it reads.

    The mixer is registered under its own name, which the names of its weights contain.
    `synth.fast.fused` may set native forms of the layer, or of "x plus the part's output".
    """

    def __init__(self, num_lanes: int, config: ModelConfig) -> None:
        super().__init__()
        self.fused: Callable[[Tensor], Tensor] | None = None
        self.fused_mixer: Callable[[Tensor, Tensor | None], Tensor] | None = None
        self.fused_mlp: Callable[[Tensor], Tensor] | None = None
        self.kind = config.mixer
        self.add_module(self.kind, MIXERS[self.kind](num_lanes, config))
        self.mlp = MLP(num_lanes, config.shape)

    @property
    def mixer(self) -> nn.Module:
        """The part that looks at other positions."""
        return self.get_submodule(self.kind)

    def forward(
        self,
        x_KBTD: Tensor,
        memory: Memory | None = None,
        registers_KB: Tensor | None = None,
    ) -> Tensor:
        """(K, B, T, D) to (K, B, T, D).

        With registers, the second half of the rows holds those of the first half, and
        `registers` says how many tokens ahead each row's registers predict.
        """
        if self.fused is not None and memory is None and registers_KB is None:
            return self.fused(x_KBTD)
        if self.fused_mixer is not None and memory is None:
            x_KBTD = self.fused_mixer(x_KBTD, registers_KB)
        elif registers_KB is not None:
            assert isinstance(self.mixer, Attention), "require_parts was not asked"
            x_KBTD = x_KBTD + self.mixer.with_registers(x_KBTD, registers_KB)
        else:
            x_KBTD = x_KBTD + self._modules[self.kind](x_KBTD, memory)  # type: ignore[misc]
        if self.fused_mlp is not None:
            return self.fused_mlp(x_KBTD)
        return x_KBTD + self.mlp(x_KBTD)

"""A decoder layer with a leading lane axis: RMSNorm, rotary positions, SwiGLU, no bias.

Letters: K lanes, B batch, T time, D width, H attention heads, C channels of a head, M
width of the MLP. The layout is that of LLaMA: norm before each part, 12 L d^2 matrices.
Attention may be replaced by a recurrence (`synth.models.mamba`, `synth.models.rwkv`).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.mixers import Mixer
from synth.models.elementwise import gated, rotate
from synth.models.lanes import lane_linear
from synth.models.mamba import Mamba2
from synth.models.norm import RMSNorm
from synth.models.recurrence import Memory
from synth.models.rwkv import TimeMix
from synth.scales import Scale


class Cache:
    """Keys and values of the tokens that one attention layer has seen."""

    def __init__(self) -> None:
        self.kv: tuple[Tensor, Tensor] | None = None

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append along time and return all keys and values so far."""
        if self.kv is not None:
            k = torch.cat((self.kv[0], k), dim=-2)
            v = torch.cat((self.kv[1], v), dim=-2)
        self.kv = (k, v)
        return k, v


class Rotary(nn.Module):
    """Rotary positions (base 10,000), computed once per length and type."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self._tables: dict[tuple, tuple[Tensor, Tensor]] = {}

    def table(self, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of positions 0..stop-1, each (stop, C)."""
        key = (stop, like.dtype, like.device)
        if key not in self._tables:
            half = self.channels // 2
            rate = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
            angle = torch.arange(stop, dtype=torch.float64)[:, None] * rate
            cos, sin = angle.cos(), angle.sin()
            tables = (torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))
            self._tables[key] = tuple(t.to(like.device, like.dtype) for t in tables)  # type: ignore[assignment]
        return self._tables[key]

    def forward(self, x_NHTC: Tensor, start: int) -> Tensor:
        """Turn each pair of channels by its position, the first being `start`."""
        stop = start + x_NHTC.shape[-2]
        cos_TC, sin_TC = (t[start:] for t in self.table(stop, x_NHTC))
        return rotate(x_NHTC, cos_TC, sin_TC)


class Attention(nn.Module):
    """Norm and causal self-attention through torch's fused kernel."""

    def __init__(self, num_lanes: int, shape: Scale) -> None:
        super().__init__()
        width = shape.width
        self.heads = shape.heads
        self.norm = RMSNorm(num_lanes, width)
        self.qkv_KED = nn.Parameter(torch.empty(num_lanes, 3 * width, width))
        self.out_KDD = nn.Parameter(torch.empty(num_lanes, width, width))
        self.rotary = Rotary(width // shape.heads)

    def forward(self, x_KBTD: Tensor, cache: Cache | None = None) -> Tensor:
        """Attend to this and all earlier positions, and to the cache if there is one."""
        lanes, batch, time, width = x_KBTD.shape
        qkv = self.norm.then(x_KBTD, self.qkv_KED)
        qkv = qkv.view(lanes * batch, time, 3, self.heads, width // self.heads)
        qk, v = qkv.permute(2, 0, 3, 1, 4).split((2, 1))
        start = 0 if cache is None or cache.kv is None else cache.kv[0].shape[-2]
        (q, k), v = self.rotary(qk, start), v.squeeze(0)
        if cache is not None:
            k, v = cache.extend(k, v)
        assert start == 0 or time == 1, "a cache is filled at once, then token by token"
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=start == 0)
        mixed = mixed.transpose(1, 2).reshape(x_KBTD.shape)
        return lane_linear(mixed, self.out_KDD)


class MLP(nn.Module):
    """Norm and gated MLP: (SiLU(x G) * x U) W."""

    def __init__(self, num_lanes: int, shape: Scale) -> None:
        super().__init__()
        inner = shape.mlp_width
        self.norm = RMSNorm(num_lanes, shape.width)
        self.gate_up_KMD = nn.Parameter(torch.empty(num_lanes, 2 * inner, shape.width))
        self.down_KDM = nn.Parameter(torch.empty(num_lanes, shape.width, inner))

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

    The mixer is registered under its own name, so weights say what they belong to.
    `synth.models.fused` may put faster forms of "x plus part" in the place of the parts.
    """

    def __init__(
        self, num_lanes: int, shape: Scale, mixer: Mixer = "attention"
    ) -> None:
        super().__init__()
        self.fused_mixer: Callable[[Tensor], Tensor] | None = None
        self.fused_mlp: Callable[[Tensor], Tensor] | None = None
        self.kind = mixer
        self.add_module(mixer, MIXERS[mixer](num_lanes, shape))
        self.mlp = MLP(num_lanes, shape)

    @property
    def mixer(self) -> nn.Module:
        """The part that looks at other positions."""
        return self.get_submodule(self.kind)

    def forward(self, x_KBTD: Tensor, cache: Cache | Memory | None = None) -> Tensor:
        """(K, B, T, D) to (K, B, T, D)."""
        if self.fused_mixer is not None and cache is None:
            x_KBTD = self.fused_mixer(x_KBTD)
        else:
            x_KBTD = x_KBTD + self._modules[self.kind](x_KBTD, cache)  # type: ignore[misc]
        if self.fused_mlp is not None:
            return self.fused_mlp(x_KBTD)
        return x_KBTD + self.mlp(x_KBTD)

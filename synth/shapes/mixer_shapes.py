"""Mixers without torch: their setting, and widths that give all the same parameter count.

Attention has 4 d^2 weights. The inner widths of the other mixers are chosen such that
their parameters, without the gain of the first norm, sum to about 4 d^2 too. They have as
many heads as attention. The channels of a head are chosen first; the state (Mamba-2) or
the rank of the decay (RWKV), whose steps are finer, makes up for the rounding.
Letters: d width, H heads, P channels of a head, I = H P, S state, R rank,
T context, Q chunk.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, Self

from synth.identity import Part, identity
from synth.scales import Scale

Mixer = Literal["attention", "mamba2", "rwkv"]


@dataclass(frozen=True, kw_only=True)
class MixerConfig(Part):
    """The setting of a model that its mixer owns."""

    mixer: Mixer = identity("attention", implied="attention")
    """What mixes positions in each layer; every mixer has about 4 d^2 weights."""


MAX_STATE = 128
"""Largest state aimed at for a Mamba-2 head (the default of its authors)."""
WINDOW = 4
"""Positions that the short convolution of Mamba-2 sees."""


class MixerShape(Protocol):
    """Counts of one mixer; its first norm is part of `synth.shapes.counts.layer_counts`."""

    @property
    def matrices(self) -> int:
        """Parameters that are decayed."""
        ...

    @property
    def gains(self) -> int:
        """Parameters that are exempt from decay."""
        ...

    def training_flops(self, context: int) -> int:
        """Of the products between positions, forward and backward, per token."""
        ...


@dataclass(frozen=True)
class AttentionShape:
    """Queries, keys, values and output, each d x d."""

    width: int

    @property
    def matrices(self) -> int:
        """4 d^2."""
        return 4 * self.width**2

    @property
    def gains(self) -> int:
        """None besides the norm."""
        return 0

    def training_flops(self, context: int) -> int:
        """6 T d: scores and sums over the earlier half of the row."""
        return 6 * context * self.width


@dataclass(frozen=True)
class MambaShape:
    """Inner widths of a Mamba-2 layer (`synth.models.mixers.mamba`)."""

    width: int
    heads: int
    channels: int
    state: int
    chunk: int = 32

    @classmethod
    def of(cls, shape: Scale) -> Self:
        """About 4 d^2: 3 I d for z, x and output, 2 S d for B and C, H d for dt."""
        width, heads = shape.width, shape.heads
        aim = min(MAX_STATE, max(1, width // 2))
        channels = max(1, round((4 * width - 2 * aim - heads) / (3 * heads)))
        empty = cls(width, heads, channels, 0)
        left = 4 * width**2 - empty.matrices - empty.gains
        return cls(
            width, heads, channels, max(1, round(left / (2 * width + 2 * WINDOW)))
        )

    @property
    def inner(self) -> int:
        """I = H P."""
        return self.heads * self.channels

    @property
    def convolved(self) -> int:
        """Channels of x, B and C, which pass the short convolution."""
        return self.inner + 2 * self.state

    @property
    def matrices(self) -> int:
        """Input and output projections and the convolution."""
        projections = 2 * self.inner + 2 * self.state + self.heads + self.inner
        return self.width * projections + WINDOW * self.convolved

    @property
    def gains(self) -> int:
        """Gated norm, decay, step and skip."""
        return self.inner + 3 * self.heads

    def training_flops(self, context: int) -> int:
        """Within chunks 2 Q (S + I), into and out of the states 4 S I, times 3."""
        chunk = min(self.chunk, context)
        inside = 2 * chunk * (self.state + self.inner)
        return 3 * (inside + 4 * self.state * self.inner)


@dataclass(frozen=True)
class RWKVShape:
    """Inner widths of an RWKV time mix (`synth.models.mixers.rwkv`)."""

    width: int
    heads: int
    channels: int
    rank: int
    chunk: int = 32

    @classmethod
    def of(cls, shape: Scale) -> Self:
        """About 4 d^2: 5 I d for r, k, v, gate and output, R (d + I) for the decay."""
        width, heads = shape.width, shape.heads
        least = max(1, width // 16)
        # 5 d gains of the token shift and 3 I of decay, bonus and norm count as well.
        room = 4 * width**2 - 5 * width - least * width
        channels = max(1, int(room / ((5 * width + least + 3) * heads)))
        empty = cls(width, heads, channels, 0)
        left = 4 * width**2 - empty.matrices - empty.gains
        rank = max(1, round(left / (width + empty.inner)))
        return cls(width, heads, channels, rank)

    @property
    def inner(self) -> int:
        """I = H P."""
        return self.heads * self.channels

    @property
    def matrices(self) -> int:
        """Five projections, and the two thin matrices of the decay."""
        return 5 * self.width * self.inner + self.rank * (self.width + self.inner)

    @property
    def gains(self) -> int:
        """Token shift of r, k, v, gate and decay; decay, bonus and norm of heads."""
        return 5 * self.width + 3 * self.inner

    def training_flops(self, context: int) -> int:
        """Within chunks 4 Q I, into and out of the states 4 P I, times 3."""
        chunk = min(self.chunk, context)
        return 3 * (4 * chunk * self.inner + 4 * self.channels * self.inner)


def mixer_shape(mixer: Mixer, shape: Scale) -> MixerShape:
    """Inner widths and counts of a mixer at a scale.

    >>> from synth.scales import SCALES
    >>> mixer_shape("mamba2", SCALES["1M"])
    MambaShape(width=128, heads=4, channels=32, state=58, chunk=32)
    """
    if mixer == "mamba2":
        return MambaShape.of(shape)
    return RWKVShape.of(shape) if mixer == "rwkv" else AttentionShape(shape.width)

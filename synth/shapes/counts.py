"""Parameters and FLOPs of layers and heads, by arithmetic alone (no torch).

`synth.models.describe` adds them up; tests compare the sums with real modules.
"""

from __future__ import annotations

from dataclasses import dataclass

from synth.objectives.declarations import Head
from synth.scales import Scale
from synth.shapes.mixer_shapes import Mixer, mixer_shape


@dataclass(frozen=True)
class Counts:
    """Parameters of a part by their role, and its training FLOPs per token."""

    decayed: int = 0
    exempt: int = 0
    """Gains: no weight decay acts on them."""
    flops: int = 0
    """Of one run of the part, forward and backward; a product-sum counts as two."""

    @classmethod
    def of_products(cls, weights: int, exempt: int = 0, more_flops: int = 0) -> Counts:
        """A part that multiplies every token by each of `weights`: 6 FLOPs a weight."""
        return cls(weights, exempt, 6 * weights + more_flops)

    @property
    def parameters(self) -> int:
        """Of both roles."""
        return self.decayed + self.exempt

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.decayed + other.decayed,
            self.exempt + other.exempt,
            self.flops + other.flops,
        )

    def __rmul__(self, times: int) -> Counts:
        return Counts(times * self.decayed, times * self.exempt, times * self.flops)


def layer_counts(mixer: Mixer, shape: Scale, context: int) -> Counts:
    """A layer: the mixer, the three matrices of the MLP, and a norm for each of the two."""
    mixing = mixer_shape(mixer, shape)
    return Counts.of_products(
        mixing.matrices + 3 * shape.width * shape.mlp_width,
        mixing.gains + 2 * shape.width,
        mixing.training_flops(context),
    )


def head_counts(head: Head, merges: bool, layer: Counts, width: int) -> Counts:
    """The module of a head: its merge, its maps, its layers (`synth.models.heads`)."""
    counts = head.layers * layer + Counts.of_products(head.maps * width**2)
    if not merges:
        return counts
    matrix = width**2
    if head.merge == "sum":
        return counts + Counts(exempt=1)
    if head.merge == "project":
        return counts + Counts.of_products(2 * matrix, exempt=2 * width)
    if head.merge == "mlp":
        return counts + Counts.of_products(4 * matrix, exempt=2 * width)
    vectors = head.given + 1  # of which each is projected and attends to those before
    flops = vectors * (6 * 4 * matrix + 6 * vectors * width)
    return counts + Counts(4 * matrix, width, flops)

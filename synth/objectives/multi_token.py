"""Multi-token prediction (arXiv 2404.19737, section 2); n = 1 is next-token prediction.

Head i predicts token t+i from x[..t]; the loss is the sum over heads, or one of the
weighted forms of `synth.objectives.term_weights`. z is the trunk's output, h_i the state of
head i, f_i its layer; logits_i = unembed(norm(h_i)):

```
parallel      h_i = f_i(z)                        the default
causal        h_1 = f_1(z),  h_i = f_i(h_[i-1])   far heads stand on near ones
anticausal    h_n = f_n(z),  h_i = f_i(h_[i+1])   near heads stand on far ones
linear        h_1 = z,       h_i = A_i z          a d x d map, no nonlinearity
same          h_1 = f_1(z),  h_i = h_1            one prediction, scored against each
```

What each position reads and predicts, n = 2:

```
position   0  1  2  3  4  5  6  7        one row, two examples, the second one's
token      a  b  =  x  .  c  =  y        answer is y
head 1     b  =  x  .  -  =  y           targets at t+1, none across the border
head 2     =  x  .  -  -  y              targets at t+2
```

With a `stride` of k, head i predicts token t + 1 + (i-1) k: the offsets 1, k+1, 2k+1 of
leap prediction (L-MTP, arXiv 2505.17505, which uses k = 3).

Layers on the way to head 1, of a scale of L layers (`n1` has L):

```
budget      parallel, causal   anticausal   linear                same
moved       L - n + 1          L            L - round((n-1)/12)   L
added       L                  L + n - 1    L                     -
```

By default the heads weigh the same, so the norm of the gradient grows with n, and
clipping bites harder; the unclipped norm is logged. Only the loss of head 1 is
comparable across n.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from synth.identity import identity
from synth.objectives.declarations import Head
from synth.objectives.term_weights import WeightedHeadsConfig

Layout = Literal["parallel", "causal", "anticausal", "linear", "same"]
MAX_HORIZON = 256
"""More heads, or further ahead, than any published model; almost surely a typo."""
MAPS_PER_LAYER = 12
"""d x d matrices that weigh as much as one decoder layer."""


@dataclass(frozen=True, kw_only=True)
class MultiTokenConfig(WeightedHeadsConfig):
    """Predict the next n tokens at each position; n = 1 is next-token prediction."""

    kind: ClassVar[str] = "multi-token"

    horizon: int = identity(1)
    """Tokens predicted at each position, the next one included (n)."""
    stride: int = identity(1, implied=1)
    """Tokens between the targets of two heads (k): 1 predicts the next n tokens."""
    layout: Layout = identity("parallel")
    """Input of head i: the trunk, the head before it, the head after it, or head 1."""
    budget: Literal["moved", "added"] = identity("moved")
    """Head layers replace trunk layers (equal size, as in the paper), or those of heads
    beyond the first are added to the layers of the scale, the last of which is head 1;
    anticausal ones come before it and make it deeper."""

    def validate(self) -> None:
        """Refuse impossible horizons; one head has one form, whatever the layout."""
        self.check_ranges(horizon=(1, MAX_HORIZON))
        furthest = 1 + (self.horizon - 1) * self.stride
        self.check(
            self.stride >= 1 and furthest <= MAX_HORIZON,
            "stride",
            f"at least 1, and the last target at most {MAX_HORIZON} tokens ahead",
        )
        self.check_weights(self.horizon)
        if self.horizon == 1:
            for name, value in (
                ("stride", 1),
                ("layout", "parallel"),
                ("budget", "moved"),
            ):
                object.__setattr__(self, name, value)
        if self.layout == "same":  # its heads have no layers to add
            object.__setattr__(self, "budget", "moved")

    @property
    def arm(self) -> str:
        """`n4`; what is not the default is named, `n4_causal_added`, `n4_stride3`."""
        layout = "" if self.layout == "parallel" else f"_{self.layout}"
        added = "_added" if self.budget == "added" else ""
        stride = "" if self.stride == 1 else f"_stride{self.stride}"
        return f"n{self.horizon}{layout}{added}{stride}{self.weights_word()}"

    def heads(self) -> tuple[Head, ...]:
        """Heads 1..n, each of one layer or one map."""
        n = self.horizon
        parents: dict[Layout, list[int | None]] = {
            "causal": [None, *range(1, n)],
            "anticausal": [*range(2, n + 1), None],
            "same": [None, *[1] * (n - 1)],
        }
        parent = parents.get(self.layout, [None] * n)
        linear, same = self.layout == "linear", self.layout == "same"
        return tuple(
            Head(
                offset=1 + i * self.stride,
                parent=parent[i],
                layers=int(not linear and (not same or i == 0)),
                maps=int(linear and i > 0),
                weight=weight,
            )
            for i, weight in enumerate(self.base_weights(n))
        )

    def trunk_layers(self, layers: int) -> int:
        """L counts trunk and heads (section 3.1), without those that are added."""
        if self.layout == "linear":
            maps = self.horizon - 1 if self.budget == "moved" else 0
            return layers - round(maps / MAPS_PER_LAYER)
        moved = self.budget == "moved" and self.layout != "same"
        return layers - (self.horizon if moved else 1)

    def shallower(self, layers: int) -> list[str]:
        """The longest horizon that fits, or heads on top."""
        if layers < 2:
            return []
        fewer = (
            replace(self, horizon=n, head_weights=())
            for n in range(self.horizon - 1, 0, -1)
        )
        fits = next(one for one in fewer if one.trunk_layers(layers) >= 1)
        return [f"horizon {fits.horizon}", "budget 'added'"]

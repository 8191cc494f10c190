"""Multi-token prediction (arXiv 2404.19737, section 2); n = 1 is next-token prediction.

Head i predicts token t+i from x[..t]; the loss is the sum over heads. z is the trunk's
output, h_i the state of head i, f_i its layer; logits_i = unembed(norm(h_i)):

```
parallel      h_i = f_i(z)                        the default
causal        h_1 = f_1(z),  h_i = f_i(h_[i-1])   far heads stand on near ones
anticausal    h_n = f_n(z),  h_i = f_i(h_[i+1])   near heads stand on far ones
linear        h_1 = z,       h_i = A_i z          a d x d map, no nonlinearity
```

What each position reads and predicts, n = 2:

```
position   0  1  2  3  4  5  6  7        one row, two examples, the second one's
token      a  b  =  x  .  c  =  y        answer is y
head 1     b  =  x  .  -  =  y           targets at t+1, none across the border
head 2     =  x  .  -  -  y              targets at t+2
```

The heads weigh the same, so the norm of the gradient grows with n, and clipping bites
harder; the unclipped norm is logged. Only the loss of head 1 is comparable across n.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from synth.identity import identity
from synth.objectives.objective import Head, ObjectiveConfig

Layout = Literal["parallel", "causal", "anticausal", "linear"]
MAX_HORIZON = 256
"""More heads than any published model; almost surely a typo."""
MAPS_PER_LAYER = 12
"""d x d matrices that weigh as much as one decoder layer."""


@dataclass(frozen=True, kw_only=True)
class MultiTokenConfig(ObjectiveConfig):
    """Predict the next n tokens at each position; n = 1 is next-token prediction."""

    kind: ClassVar[str] = "multi-token"
    version: ClassVar[int] = 1

    horizon: int = identity(1)
    """Tokens predicted at each position, the next one included (n)."""
    layout: Layout = identity("parallel")
    """Input of head i: the trunk, the head before it, or the head after it."""
    budget: Literal["moved", "added"] = identity("moved")
    """Head layers replace trunk layers (equal size, as in the paper) or come on top."""

    def validate(self) -> None:
        """Refuse impossible horizons; one head has one form, whatever the layout."""
        self.check(
            1 <= self.horizon <= MAX_HORIZON, "horizon", f"from 1 to {MAX_HORIZON}"
        )
        if self.horizon == 1:
            object.__setattr__(self, "layout", "parallel")
            object.__setattr__(self, "budget", "moved")

    @property
    def arm(self) -> str:
        """`n4`; another layout or budget than the default is named, `n4_causal_added`."""
        layout = "" if self.layout == "parallel" else f"_{self.layout}"
        return f"n{self.horizon}{layout}{'_added' if self.budget == 'added' else ''}"

    def heads(self) -> tuple[Head, ...]:
        """Heads 1..n, each of one layer or one map."""
        n = self.horizon
        if self.layout == "linear":
            rest = (Head(offset=i, layers=0, maps=1) for i in range(2, n + 1))
            return (Head(offset=1, layers=0), *rest)
        parents: list[int | None] = [None] * n
        if self.layout == "causal":
            parents = [None, *range(1, n)]
        elif self.layout == "anticausal":
            parents = [*range(2, n + 1), None]
        return tuple(Head(offset=i, parent=p) for i, p in enumerate(parents, 1))

    def trunk_layers(self, layers: int) -> int:
        """L counts trunk and heads (section 3.1); added heads keep all but head 1's."""
        if self.layout == "linear":
            maps = self.horizon - 1 if self.budget == "moved" else 0
            return layers - round(maps / MAPS_PER_LAYER)
        return layers - (self.horizon if self.budget == "moved" else 1)

    def shallower(self, layers: int) -> list[str]:
        """The longest horizon that fits, or heads on top."""
        if self.budget == "added" or layers < 2:
            return []
        fewer = (replace(self, horizon=n) for n in range(self.horizon - 1, 0, -1))
        fits = next(one for one in fewer if one.trunk_layers(layers) >= 1)
        return [f"horizon {fits.horizon}", "budget 'added'"]

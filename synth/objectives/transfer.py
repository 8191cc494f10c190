"""Transfer heads on a full trunk, with next-token injection (arXiv 2509.23186).

All layers of the scale are the trunk, and the trunk itself predicts the next token. Head
i >= 2 maps the trunk's state to a state that predicts token t+i. All heads share the
last norm and the unembedding. h is the trunk's output before that norm, E the input
embedding, k_i a learnt scalar of head i:

```
head 1                 h[t]                                    predicts x[t+1]
head i                 transfer_i(h[t])                        predicts x[t+i]
head i, injection      transfer_i(h[t] + k_i E[x[t+1]])        predicts x[t+i]

position     0    1    2    3    4        n = 3, with injection
token        a    b    c    d    e
head 1       b    c    d    e    -        reads x[..t]
heads 2, 3   a+b  b+c  c+d  d+e  -        read x[..t], x[t+1]
head 2       c    d    e    -    -        predicts x[t+2]
head 3       d    e    -    -    -        predicts x[t+3]
```

A transfer of depth 0 is one d x d matrix; a deeper one is that many decoder layers. Each
head has its own and stands on the trunk, not on the head before. The loss is the plain
sum over heads, as in the source, or one of the weighted forms of
`synth.objectives.term_weights`; inference uses head 1 alone. With injection, heads i >= 2
have read one token more than the trunk, so their scores carry `given=1`.

Size beyond `n1` of the same scale: n - 1 times d^2, or `depth` layers, and with injection
n - 1 scalars. A step executes every head once.

Not stated in the source, and settled so: k_i starts at 1 and is not decayed; the
embedding is added as it is, without a norm; a linear transfer has no bias and is drawn at
random, not as the identity; a position without a next token in its row adds that of id 0
and is never scored.
"""

from dataclasses import dataclass
from typing import ClassVar

from synth.identity import identity
from synth.objectives.declarations import Head
from synth.objectives.term_weights import WeightedHeadsConfig

MAX_HORIZON = 64
MAX_DEPTH = 64
"""More than in any published model; almost surely a typo."""


@dataclass(frozen=True, kw_only=True)
class TransferConfig(WeightedHeadsConfig):
    """Predict n tokens from a full trunk, all but the next one through transfer heads."""

    kind: ClassVar[str] = "transfer"

    horizon: int = identity(2)
    """Tokens predicted at each position, the next one included (n)."""
    depth: int = identity(1)
    """Decoder layers of a transfer head; 0 is a linear map."""
    injection: bool = identity(False)
    """Transfer heads also read the next token, added to the trunk's state."""

    def validate(self) -> None:
        self.check_ranges(horizon=(2, MAX_HORIZON), depth=(0, MAX_DEPTH))
        self.check_weights(self.horizon)

    @property
    def arm(self) -> str:
        """`transfer2` for heads of one layer; `transfer3_linear`, `transfer2_6layers`.

        Heads with next-token injection add `_injected`.
        """
        depths = {0: "_linear", 1: ""}
        depth = depths.get(self.depth, f"_{self.depth}layers")
        injected = "_injected" if self.injection else ""
        return f"transfer{self.horizon}{depth}{injected}{self.weights_word()}"

    def heads(self) -> tuple[Head, ...]:
        """The trunk's own prediction, then transfer heads 2..n."""
        first, *rest = self.base_weights(self.horizon)
        return (
            Head(offset=1, layers=0, weight=first),
            *(
                Head(
                    offset=i,
                    layers=self.depth,
                    maps=int(self.depth == 0),
                    given=int(self.injection),
                    merge="sum",
                    weight=weight,
                )
                for i, weight in enumerate(rest, 2)
            ),
        )

    def trunk_layers(self, layers: int) -> int:
        """All of them: transfer heads come on top."""
        return layers

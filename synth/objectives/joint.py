"""Joint prediction of several tokens through a bottleneck (JTP, arXiv 2503.21801).

All of what the model knows of x[..t] must pass through one state h[t]; the tokens ahead
are then predicted in turn, each given the true ones before it:

```
head 1       h[t]                                       predicts x[t+1]
head g + 1   u_g + attention(u_0 .. u_g)                predicts x[t+g+1], g = 1..D
             u_j = h[t] / 2 + E[x[t+j]]

position     0      1      2      3    4        D = 2
token        a      b      c      d    e
head 1       b      c      d      e    -        reads x[..t]
head 2       c      d      e      -    -        reads h[t], x[t], x[t+1]
head 3       d      e      -      -    -        reads h[t], x[t], x[t+1], x[t+2]
```

h is the output of the full trunk, E the input embedding. The attention is one module,
used by every head; it looks over the given tokens of one t and never at another t, so
whatever is needed of x[..t] has to be in h[t]. It comes on top of the trunk: 4 d^2 and d
parameters, a third of a layer. Head g + 1 runs it on g + 1 vectors. All heads share the
last norm and the unembedding. Heads beyond the first carry `given=g`; inference uses
head 1 alone. L = L_1 + (weight / D) sum of the rest, or another form of
`synth.objectives.term_weights`.

The half of h, the weight of 0.1 and D = 4 are those of a re-implementation of the paper
(RWKV-Lab), whose mechanics are not printed in full. Settled here, otherwise than there: u_0
is a key but predicts nothing, since head 1 does; where u_g is added, it adds h[t]; the
attention has the rotary positions j and the norm of the other layers, and its output starts
as theirs does, not at zero. NextLat (arXiv 2511.05963, table 4) counts the module among the
parameters of inference, so there the next token seems to pass through it too.
"""

from dataclasses import dataclass
from typing import ClassVar

from synth.identity import identity
from synth.objectives.declarations import Head
from synth.objectives.term_weights import WeightedHeadsConfig

MAX_DEPTH = 64
"""More tokens than in any published model; almost surely a typo."""


@dataclass(frozen=True, kw_only=True)
class JointConfig(WeightedHeadsConfig):
    """Predict the next token, and D further ones from its state and those between."""

    kind: ClassVar[str] = "joint"

    depth: int = identity(4)
    """Tokens predicted after the next one (D)."""
    weight: float | None = identity(0.1)
    """Weight of the mean loss of these tokens beside that of the next one; "None" is the
    plain sum."""

    def validate(self) -> None:
        self.check_ranges(depth=(1, MAX_DEPTH))
        self.check_weights(self.depth + 1)

    @property
    def arm(self) -> str:
        """`joint4`; other weights than the usual ones are named."""
        return f"joint{self.depth}{self.weights_word(usual=0.1)}"

    def heads(self) -> tuple[Head, ...]:
        """The trunk's own prediction, then one for each number of given tokens."""
        first, *rest = self.base_weights(self.depth + 1)
        return (
            Head(offset=1, layers=0, weight=first),
            *(
                Head(
                    offset=given + 1,
                    parent=1,
                    layers=0,
                    given=given,
                    merge="attend",
                    shares=2 if given > 1 else None,
                    weight=weight,
                )
                for given, weight in enumerate(rest, 1)
            ),
        )

    def trunk_layers(self, layers: int) -> int:
        """All of them: the attention over given tokens comes on top."""
        return layers

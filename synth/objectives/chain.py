"""A chain of prediction modules, teacher-forced (DeepSeek-V3, arXiv 2412.19437, 2.2).

The trunk predicts the next token; module k stands on the state before it, reads
the embedding of the true token t+k, and predicts token t+k+1:

```
h_0[t]  = trunk                                             predicts x[t+1]
h'_k[t] = M_k [norm(h_(k-1)[t]); norm(embedding(x[t+k]))]   M_k of d x 2d
h_k[t]  = layer_k(h'_k[..t])                                predicts x[t+k+1]

position    0    1    2    3    4
token       a    b    c    d    e
head 1      b    c    d    e    -
module 1    a+b  b+c  c+d  d+e  -        reads x[..t], x[t+1]
predicts    c    d    e    -    -        x[t+2]
```

Embedding, last norm and unembedding are shared. L = L_1 + (weight / D) sum_k L_(k+1),
or another form of `synth.objectives.term_weights`. D counts the modules, so that D = 1
predicts two tokens, and `chain1` is the arm. With `modules` "shared" one module is used
recursively: M, its norms and its layer are the same at every depth, and its input is
what it gave one depth before. Because
module k is given x[t+k], its accuracy is not that of a head that sees x[..t] alone; its
scores carry `given=k`. The last k positions of a row have no such token: they merge that
of id 0, and are never scored.

Not stated in the source, and settled so: the rotary position of a module's input is t;
module weights are drawn as those of layers; M_k has no bias; the last norm is the trunk's
(public implementations give each module its own).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from synth.identity import identity
from synth.objectives.declarations import Head
from synth.objectives.term_weights import WeightedHeadsConfig

MAX_DEPTH = 64
"""More modules than any published model; almost surely a typo."""
MERGE = 1 / 6
"""Size of M (2 d^2) in layers (12 d^2)."""


@dataclass(frozen=True, kw_only=True)
class ChainConfig(WeightedHeadsConfig):
    """Predict the next token, and D further ones by a chain that reads those between."""

    kind: ClassVar[str] = "chain"

    depth: int = identity(1)
    """Modules after the next-token prediction (D)."""
    modules: Literal["own", "shared"] = identity("own")
    """Each depth has a module of its own, or one module is applied D times."""
    budget: Literal["moved", "added"] = identity("moved")
    """Modules replace trunk layers (equal in size within half a layer) or come on top."""
    weight: float | None = identity(0.3)
    """Weight of the mean loss of the modules beside that of the next token (lambda);
    "None" is the plain sum."""

    def validate(self) -> None:
        self.check_ranges(depth=(1, MAX_DEPTH))
        self.check_weights(self.depth + 1)
        if self.depth == 1:  # one module has no other to share with
            object.__setattr__(self, "modules", "own")

    @property
    def arm(self) -> str:
        """`chain2`; shared modules, an added budget and another weight are named."""
        shared = "_shared" if self.modules == "shared" else ""
        added = "_added" if self.budget == "added" else ""
        return f"chain{self.depth}{shared}{added}{self.weights_word(usual=0.3)}"

    def heads(self) -> tuple[Head, ...]:
        """The trunk's own prediction, then module 1..D, each on the one before."""
        first, *rest = self.base_weights(self.depth + 1)
        return (
            Head(offset=1, layers=0, weight=first),
            *(
                Head(
                    offset=k + 1,
                    parent=k,
                    given=k,
                    shares=2 if self.modules == "shared" and k > 1 else None,
                    weight=weight,
                )
                for k, weight in enumerate(rest, 1)
            ),
        )

    def trunk_layers(self, layers: int) -> int:
        """All layers, less those that moved to the modules."""
        if self.budget == "added":
            return layers
        modules = self.depth if self.modules == "own" else 1
        return layers - round(modules * (1 + MERGE))

    def shallower(self, layers: int) -> list[str]:
        return ["budget 'added'"]

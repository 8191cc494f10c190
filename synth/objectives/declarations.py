"""What an objective lists: heads, readouts, registers.

```
head   offset  parent  given      reads              predicts
1      1       trunk   0          x[..t]             x[t+1]     every objective's answer
2      2       trunk   0          x[..t]             x[t+2]     multi-token prediction
2      2       head 1  1          x[..t], x[t+1]     x[t+2]     a chain, teacher-forced
3      3       trunk   1          x[..t], x[t+1]     x[t+3]     next-token injection
```

Heads share the last norm and the unembedding. What is trained on something other than
one token has a *readout*: a loss of its own on a head's state, or on logits made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Merge = Literal["project", "sum", "mlp", "attend"]
"""Ways to merge a state h and the embedding e of a given token:

```
project   M [norm(h); norm(e)]                           M of d x 2d
sum       h + k e                                        k a learnt scalar
mlp       h + C gelu(B gelu(A [norm(h); norm(e)]))       A of d x 2d
attend    u_g + attention(u_0 .. u_g), u_j = h / 2 + E[x[t+j]], g tokens given
```
"""


@dataclass(frozen=True, kw_only=True)
class Head:
    """One prediction of a token: what it stands on, what it is made of, its target.

    Heads are numbered from 1, in the order in which an objective lists them.
    """

    offset: int
    """At position t it predicts token t + offset."""
    parent: int | None = None
    """The head whose state it stands on; `None` is the trunk."""
    layers: int = 1
    """Decoder layers of its own."""
    maps: int = 0
    """d x d matrices of its own, without a nonlinearity."""
    given: int = 0
    """Tokens after t that it has read: 0 sees x[..t] alone, 1 sees x[t+1] too.

    A head that is given one more than its parent first merges the embedding e of token
    t + given into the parent's state h; it cannot be given fewer. With merge "attend" it
    may be given several more.
    """
    merge: Merge = "project"
    """How it merges them."""
    shares: int | None = None
    """The head whose module it uses; `None` has its own."""
    weight: float = 1.0
    """Of its loss in the objective, at full strength where there is a schedule."""

    @property
    def unembeddings(self) -> float:
        """Times that a token is unembedded; a third without a backward pass."""
        return 1 if self.weight else 1 / 3

    @property
    def prediction(self) -> Prediction:
        """What the head says, for those who score it."""
        return Prediction(self.offset, self.given)


@dataclass(frozen=True)
class Prediction:
    """A prediction of token t + offset from tokens 0..t+given."""

    offset: int
    given: int = 0

    @property
    def label(self) -> str:
        """The slice of its scores.

        >>> Prediction(2).label, Prediction(2, given=1).label
        ('horizon=2', 'horizon=2,given=1')
        """
        given = f",given={self.given}" if self.given else ""
        return f"horizon={self.offset}{given}"


@dataclass(frozen=True, kw_only=True)
class Readout:
    """A loss that is not that of one token, on what is read out of a head's state."""

    name: str
    """What its loss is called in the metrics."""
    head: int = 1
    """The head whose state it reads."""
    weight: float = 1.0
    """Of its loss in the objective."""
    reads: Literal["own", "frozen", "state"] = "own"
    """Logits of an unembedding (V x d) of its own, logits of the shared one, which gets
    no gradient, or the state itself, divided by its root mean square."""
    beside: int | None = None
    """A head that `head` stands on: the loss is given what is read out of its state too,
    without a gradient."""

    @property
    def unembeddings(self) -> float:
        """Times that a token is unembedded, of which each of three products is a third."""
        if self.reads == "state":
            return 0
        found = 1 if self.reads == "own" else 2 / 3
        return found if self.beside is None else found + 1 / 3


@dataclass(frozen=True, kw_only=True)
class Registers:
    """A register after every token t: it reads x[..t], and predicts x[t + off].

    No position reads a register but itself. `off` is one number for a row, from 1 to
    `furthest`, and the register's rotary position is t + off - 1. Training alone has
    registers; they pass through the trunk and head 1.
    """

    furthest: int
    """The largest offset."""
    weight: float
    """Of their mean loss in the objective."""

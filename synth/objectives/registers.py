"""Register tokens that predict ahead (MuToR, arXiv 2505.10518).

In training, a register follows every token. It reads the tokens up to there, stands at
the rotary position just before its target, and predicts the token `off` places ahead
through the same trunk, head and unembedding. No position reads a register but itself, so
tokens compute what they compute without registers, and inference has none:

```
L = (1 - weight) L_next + weight L_register

place       0    1    2    3    4         off = 2
token       a    b    c    d    e         position t, predicts x[t+1], reads x[..t]
register    r    r    r    r    r         position t+1, predicts x[t+2], reads x[..t] and
predicts    c    d    e    -    -         itself
```

`off` is from 1 to `furthest`, one for all registers of a row, decided by the row's tokens:
a row that comes again has the same one. Over rows the values are about equally common.
A register counts if its target lies in the example of its place; with `scored` answer, if
the next token and the target belong to the answer, as if registers stood there alone.

Registers double the positions that a step computes, in trunk and head; they have one
embedding, d parameters. The source puts registers between the tokens of one row, with a
mask; here they are rows beside it, which gives the same numbers. Recurrences would have
to be run anew for every register, and only rotary positions tell one `off` from another:
other mixers and positions are refused. Layers of a native step run in parts, with
products of torch between them, whatever their width.

The source draws `off` at random, trains on answers alone and lets questions see both ways
in one of its programs; here attention is causal everywhere.
"""

from dataclasses import dataclass
from typing import ClassVar

from synth.identity import identity
from synth.objectives.declarations import Head, Registers
from synth.objectives.objective import OneHeadConfig

MAX_FURTHEST = 64
"""Further than any published model; almost surely a typo."""


@dataclass(frozen=True, kw_only=True)
class RegistersConfig(OneHeadConfig):
    """Predict the next token, and by registers one that is further ahead."""

    kind: ClassVar[str] = "registers"
    mixers: ClassVar[tuple[str, ...]] = ("attention",)
    positions: ClassVar[tuple[str, ...]] = ("rotary",)

    furthest: int = identity(4)
    """The largest offset of a register's target (d_max)."""
    weight: float = identity(0.3)
    """Weight of the registers' loss (a); the next token's has 1 - a."""

    def validate(self) -> None:
        self.check_ranges(furthest=(1, MAX_FURTHEST))
        self.check(0 < self.weight < 1, "weight", "between 0 and 1")

    @property
    def arm(self) -> str:
        """`registers4`; another weight than 0.3 is named."""
        weight = "" if self.weight == 0.3 else f"_w{self.weight:g}"
        return f"registers{self.furthest}{weight}"

    def heads(self) -> tuple[Head, ...]:
        """The next token, by one layer, as for `n1`."""
        return (Head(offset=1, weight=1 - self.weight),)

    def registers(self) -> Registers:
        return Registers(furthest=self.furthest, weight=self.weight)

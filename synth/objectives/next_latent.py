"""Next-latent prediction: a state foretells the next one (NextLat, arXiv 2511.05963).

The full trunk predicts the next token. A small network f then moves its state by one
true token, and again, D times; each result must look like the state that the trunk has
there, and predict what that state predicts:

```
h[t]        trunk state                                  predicts x[t+1]
g_0[t]      h[t]
g_k[t]      f(g_(k-1)[t], E[x[t+k]])                     should be h[t+k], k = 1..D
f(g, e)     g + C gelu(B gelu(A [norm(g); norm(e)]))

L = L_next + (latent_weight / D)       sum_k smooth_l1(unit(g_k[t]), unit(h[t+k]))
           + (distribution_weight / D) sum_k KL(p(h[t+k]) || p(g_k[t]))

position    0    1    2    3        D = 1
token       a    b    c    d
head 1      b    c    d    -        reads x[..t]
head 2      a+b  b+c  c+d  -        reads h[t], x[t+1]; its prediction of x[t+2] is only
                                    measured, with weight 0
```

h[t+k] is a constant in both terms, and so are norm and unembedding in p: they train f
and, through h[t], the trunk. unit divides by the root mean square; smooth_l1 has its bend
at 1 and is a mean over the width. The state term counts wherever t+k lies in the example
of t; the term of distributions where token t+k+1 does too and, with `scored` answer,
belongs to the answer. f is one module, 4 d^2 and 2 d parameters on top of the trunk; it
runs D times. Inference uses the trunk alone.

Settled here: f moves the state before the last norm, and states are compared after it,
without its gain; the source moves and compares states after the last norm. It uses one
layer norm over [g; e], and biases in f; here both parts have a norm of their own, without
biases. The weights are 1 by default, as for most of its tasks (Countdown has 2 for states,
Manhattan 0.1 for distributions).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from synth.identity import identity
from synth.objectives.declarations import Head, Readout
from synth.objectives.objective import MAX_WEIGHT, ObjectiveConfig

if TYPE_CHECKING:
    from torch import Tensor

MAX_DEPTH = 64
"""More steps than in any published model; almost surely a typo."""


@dataclass(frozen=True, kw_only=True)
class NextLatentConfig(ObjectiveConfig):
    """Predict the next token, and the states that the model will have D tokens on."""

    kind: ClassVar[str] = "next-latent"

    depth: int = identity(1)
    """Tokens by which a state is moved (D)."""
    latent_weight: float = identity(1.0)
    """Weight of the mean distance of states."""
    distribution_weight: float = identity(1.0)
    """Weight of the mean divergence of their next-token distributions."""

    def validate(self) -> None:
        self.check_ranges(depth=(1, MAX_DEPTH))
        allowed = f"from 0 to {MAX_WEIGHT:g}"
        inside = 0 <= self.latent_weight <= MAX_WEIGHT
        self.check(inside, "latent_weight", allowed)
        self.check(
            0 <= self.distribution_weight <= MAX_WEIGHT
            and self.latent_weight + self.distribution_weight > 0,
            "distribution_weight",
            f"{allowed}, and above 0 where latent_weight is 0",
        )

    @property
    def arm(self) -> str:
        """`latent2`; other weights than 1 are named, `latent1_s0.5_d2`."""
        states = "" if self.latent_weight == 1 else f"_s{self.latent_weight:g}"
        weight = self.distribution_weight
        return f"latent{self.depth}{states}{'' if weight == 1 else f'_d{weight:g}'}"

    def heads(self) -> tuple[Head, ...]:
        """The trunk's own prediction, then the moved states, whose tokens are measured."""
        return (
            Head(offset=1, layers=0),
            *(
                Head(
                    offset=k + 1,
                    parent=k,
                    layers=0,
                    given=k,
                    merge="mlp",
                    shares=2 if k > 1 else None,
                    weight=0.0,
                )
                for k in range(1, self.depth + 1)
            ),
        )

    def trunk_layers(self, layers: int) -> int:
        """All of them: the network that moves states comes on top."""
        return layers

    def readouts(self) -> tuple[Readout, ...]:
        """For each depth the distance of states and that of distributions."""
        kinds: tuple[tuple[str, Literal["state", "frozen"], float], ...] = (
            ("latent", "state", self.latent_weight / self.depth),
            ("distribution", "frozen", self.distribution_weight / self.depth),
        )
        return tuple(
            Readout(
                name=f"{name}={k}", head=k + 1, weight=weight, reads=reads, beside=1
            )
            for k in range(1, self.depth + 1)
            for name, reads, weight in kinds
        )

    def readout_scored(
        self, readout: Readout, example_KBT: Tensor, answer_KBT: Tensor
    ) -> Tensor:
        """Where the state that is foretold, or the token after it, is in the example."""
        from synth.objectives.batch.ahead import is_scored, same_example

        depth = readout.head - 1
        if readout.reads == "state":
            return same_example(example_KBT, depth)
        return is_scored(example_KBT, answer_KBT, depth + 1, self.scored)

    def readout_losses(
        self, readout: Readout, read_KBTX: Tensor, batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Smooth L1 distance of states, or KL divergence of distributions, (K, B, T)."""
        from torch.nn import functional

        # The state k tokens on; what wraps around at the end is never scored.
        wanted_KBTX = batch["beside"].roll(1 - readout.head, 2).float()
        if readout.reads == "state":
            each = functional.smooth_l1_loss(
                read_KBTX.float(), wanted_KBTX, reduction="none"
            )
            return each.mean(-1)
        logs, wanted = read_KBTX.float().log_softmax(-1), wanted_KBTX.log_softmax(-1)
        return (wanted.exp() * (wanted - logs)).sum(-1)

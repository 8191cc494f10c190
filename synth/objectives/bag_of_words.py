"""Future bag of words beside the next token (FSP, arXiv 2510.14751).

A second unembedding U on the state of the next token says, for each token v of the
vocabulary, whether it comes within the window W, the very next token aside:

```
L        = L_next + weight L_bag
a[t,v]   = 1 if v is among x[t+2] .. x[t+W] and lies in the example of t, else 0
L_bag[t] = (1 / V) sum_v binary_cross_entropy(a[t,v], sigmoid(U norm(h[t]))_v)

position   0  1  2  3  4         W = 3, one example
token      a  b  a  c  b
bag        ac bc b  -  -         what a[t] holds: x[t+2], x[t+3]
```

A position without a token at t+2 in its example has no loss, nor does it count in the
mean. With `scored` answer, a position enters the loss if token t+2 belongs to the answer.
The sum over the vocabulary starts near V log 2; divided by V, it weighs as much as other
losses do. The readout, V d parameters and one unembedding a token, is dropped at
inference, so the model has the size of `n1`. A window of 0 reaches to the end of the
example.

The source puts the bag on an auxiliary head and also weighs tokens by tf-idf; here the
bag stands on the state of head 1, and every token weighs the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from synth.identity import identity
from synth.objectives.declarations import Readout
from synth.objectives.objective import MAX_WEIGHT, OneHeadConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class BagOfWordsConfig(OneHeadConfig):
    """Predict the next token, and which tokens come soon after it."""

    kind: ClassVar[str] = "bag-of-words"

    window: int = identity(0)
    """The furthest token of the bag (W); 0 is the end of the example."""
    weight: float = identity(1.0)
    """Weight of the bag's loss beside that of the next token."""

    def validate(self) -> None:
        self.check(
            self.window == 0 or self.window >= 2,
            "window",
            "at least 2, or 0 for the whole example",
        )
        allowed = f"above 0 and at most {MAX_WEIGHT:g}"
        self.check(0 < self.weight <= MAX_WEIGHT, "weight", allowed)

    @property
    def arm(self) -> str:
        """`bag8` for a window of 8, `bag` for the whole example; other weights named."""
        weight = "" if self.weight == 1 else f"_w{self.weight:g}"
        return f"bag{self.window or ''}{weight}"

    def readouts(self) -> tuple[Readout, ...]:
        return (Readout(name="bag", weight=self.weight),)

    def readout_scored(
        self, readout: Readout, example_KBT: Tensor, answer_KBT: Tensor
    ) -> Tensor:
        """Positions whose token at t+2 lies in the same example (and in the answer)."""
        from synth.objectives.batch.ahead import is_scored

        return is_scored(example_KBT, answer_KBT, 2, self.scored)

    def readout_losses(
        self, readout: Readout, read_KBTX: Tensor, batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Mean binary cross-entropy over the vocabulary, (K, B, T)."""
        from torch.nn import functional

        bag_KBTV = self.bags(batch["tokens"], batch["example"], read_KBTX.shape[-1])
        each = functional.binary_cross_entropy_with_logits(
            read_KBTX.float(), bag_KBTV.float(), reduction="none"
        )
        return each.mean(-1)

    def bags(self, tokens_KBT: Tensor, example_KBT: Tensor, vocab_size: int) -> Tensor:
        """Whether each token of the vocabulary is in the bag of t, (K, B, T, V)."""
        import torch

        from synth.objectives.batch.ahead import example_ends, next_places

        time = tokens_KBT.shape[-1]
        at_T = torch.arange(time, device=tokens_KBT.device)
        last_KBT = example_ends(example_KBT)
        if self.window:
            last_KBT = torch.minimum(last_KBT, at_T + min(self.window, time))
        # The bag of t begins after t+1: where tokens come next after that position.
        next_KBTV = next_places(tokens_KBT, vocab_size).roll(-1, 2)
        inside_KBTV = next_KBTV <= last_KBT[..., None]
        inside_KBTV[:, :, -1].zero_()
        return inside_KBTV

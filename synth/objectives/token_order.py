"""Token order prediction beside the next token (TOP, arXiv 2508.19228).

A second unembedding U on the same state ranks the vocabulary by how soon each token
comes. With dist(t, v) the distance from t to the next occurrence of v:

```
L      = L_next + weight L_order
y[t,v] = W - dist(t, v)  for 0 < dist <= W, else minus infinity
L_order[t] = - sum_v softmax(y[t])_v log softmax(U norm(h[t]))_v

position   0  1  2  3  4         W = 3, one example
token      a  b  a  c  b
y[0]       a: 3-2  b: 3-1  c: 3-3         softmax weights e^1 : e^2 : e^0
```

Distances reach as far as the example that holds t, and not beyond the window. A position
without any token ahead has no loss; nor does it count in the mean. With `scored` answer,
a position enters the loss if the token after it belongs to the answer, as for the next
token. The readout is dropped at inference, so the model has the size of `n1`.

The source trains (1 - a) L_next + a L_order (best a = 0.9) and, by default, the plain sum;
`weight` is that of L_order. A window of 0 is the whole row, the source's default; since
the softmax falls by e with each distance, 8 tokens hold over 99.9 % of it. The source's
rows look across the borders of documents, and positions without a target count in its mean.
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
class TokenOrderConfig(OneHeadConfig):
    """Predict the next token, and rank all tokens by when they come."""

    kind: ClassVar[str] = "token-order"

    window: int = identity(0)
    """Tokens ahead that are ranked (W); 0 is the whole row."""
    weight: float = identity(1.0)
    """Weight of the ranking's loss beside that of the next token."""

    def validate(self) -> None:
        self.check(self.window >= 0, "window", "at least 0 (0 is the whole row)")
        allowed = f"above 0 and at most {MAX_WEIGHT:g}"
        self.check(0 < self.weight <= MAX_WEIGHT, "weight", allowed)

    @property
    def arm(self) -> str:
        """`top4` for a window of 4, `top` for the whole row; another weight is named."""
        weight = "" if self.weight == 1 else f"_w{self.weight:g}"
        return f"top{self.window or ''}{weight}"

    def readouts(self) -> tuple[Readout, ...]:
        return (Readout(name="order", weight=self.weight),)

    def readout_scored(
        self, readout: Readout, example_KBT: Tensor, answer_KBT: Tensor
    ) -> Tensor:
        """Positions whose next token lies in the same example (and in the answer)."""
        from synth.objectives.batch.ahead import is_scored

        return is_scored(example_KBT, answer_KBT, 1, self.scored)

    def readout_losses(
        self, readout: Readout, logits_KBTV: Tensor, batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Cross-entropy of the ranking with the softmax of W - dist, (K, B, T)."""
        target_KBTV = self.rank_targets(
            batch["tokens"], batch["example"], logits_KBTV.shape[-1]
        )
        logs_KBTV = logits_KBTV.float().log_softmax(-1)
        return -(target_KBTV * logs_KBTV).sum(-1)

    def rank_targets(
        self, tokens_KBT: Tensor, example_KBT: Tensor, vocab_size: int
    ) -> Tensor:
        """softmax(W - dist) over the vocabulary, (K, B, T, V); zeros without a token.

        The distance is kept negative: W itself cancels in the softmax.
        """
        import torch

        from synth.objectives.batch.ahead import example_ends, next_places

        time = tokens_KBT.shape[-1]
        window = self.window or time
        at_T1 = torch.arange(time, device=tokens_KBT.device)[:, None]
        next_KBTV = next_places(tokens_KBT, vocab_size)
        distance_KBTV = next_KBTV - at_T1
        inside_KBTV = next_KBTV <= example_ends(example_KBT)[..., None]
        ahead_KBTV = (distance_KBTV <= window) & inside_KBTV
        score_KBTV = (-distance_KBTV.float()).masked_fill(~ahead_KBTV, -torch.inf)
        return score_KBTV.softmax(-1).nan_to_num(0.0)

"""Multi-token prediction without gradients between positions (arXiv 2404.00859).

In training, the loss at position t changes what is computed at t, and what earlier
positions computed for it to look at. The myopic arm cuts the second way: in every layer,
keys and values of other positions are constants, so no position learns to prepare
anything for a later one.

```
forward     state[t] reads x[..t]            the same numbers as multi-token prediction
backward    loss[t] -> state[t] -> its own query, key, value, embedding; nothing at s < t
```

What myopic training loses against the same arm with all gradients measures how much the
model computes ahead of need; the gap at n = 1 and n > 1 is the measured counterpart of
section 5.1 of arXiv 2404.19737. Heads, parameters and FLOP are those of multi-token
prediction with the same fields, and so are arms, with `_myopic` after them.

Attention alone has such a form: a recurrence passes its state through all positions, and
would have to be run anew for each.
"""

from dataclasses import dataclass
from typing import ClassVar

from synth.objectives.multi_token import MultiTokenConfig


@dataclass(frozen=True, kw_only=True)
class MyopicConfig(MultiTokenConfig):
    """Predict the next n tokens; no position learns to prepare for a later one."""

    kind: ClassVar[str] = "myopic"
    version: ClassVar[int] = 1
    mixers: ClassVar[tuple[str, ...]] = ("attention",)
    myopic: ClassVar[bool] = True

    @property
    def arm(self) -> str:
        """The arm of multi-token prediction and `_myopic`."""
        return f"{super().arm}_myopic"

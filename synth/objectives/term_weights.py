"""What the heads of one objective weigh in its loss, and how that changes in training.

Multi-token prediction, the chain and transfer heads take their weights from here. With
heads 1..n, D = n - 1 of them beyond the next token, at step s of S (from 0):

```
default                 L = L_1 + L_2 + ... + L_n
weight = w              L = L_1 + (w / D) (L_2 + ... + L_n)
head_weights = 1 a b    L = L_1 + a L_2 + b L_3

schedule                what the weight of head i > 1 is multiplied with
constant                1
to-zero                 1 - s / S
forward                 1 while i <= k, else 0;  k = 1 + floor(n s / S)   1, 2, ..., n
reverse                 1 while i <= k, else 0;  k = n - floor(n s / S)   n, ..., 2, 1
```

The curricula are those of arXiv 2505.22757 with phases in steps in place of epochs. A
head of weight 0 is computed and its loss measured, but it has no gradient; its matrices
still decay. The losses in the metrics are those of the heads, without weights.
"""

from dataclasses import dataclass
from typing import Literal

from synth.identity import identity
from synth.objectives.objective import MAX_WEIGHT, ObjectiveConfig

Schedule = Literal["constant", "to-zero", "forward", "reverse"]


@dataclass(frozen=True, kw_only=True)
class WeightedHeadsConfig(ObjectiveConfig):
    """An objective whose heads have weights and a schedule."""

    weight: float | None = identity(None, implied=None)
    """Weight of the mean loss of the heads beyond the next token; the plain sum of all
    losses if not given."""
    head_weights: tuple[float, ...] = identity((), implied=())
    """One weight for each head, the next token's first; excludes `weight`."""
    schedule: Schedule = identity("constant", implied="constant")
    """How the weights of heads beyond the next token change in training."""

    def base_weights(self, count: int) -> tuple[float, ...]:
        """Weights of heads 1..count, before any schedule."""
        if self.head_weights:
            return self.head_weights
        rest = 1.0 if self.weight is None else self.weight / max(1, count - 1)
        return (1.0, *[rest] * (count - 1))

    def check_weights(self, count: int) -> None:
        """Refuse weights that are negative, train nothing or fit another number of heads.

        One head has no others to weigh: the three fields take their defaults.
        """
        if count == 1:
            for name, value in (
                ("weight", None),
                ("head_weights", ()),
                ("schedule", "constant"),
            ):
                object.__setattr__(self, name, value)
            return
        inside = self.weight is None or 0 < self.weight <= MAX_WEIGHT
        self.check(inside, "weight", f"above 0 and at most {MAX_WEIGHT:g}")
        if not self.head_weights:
            return
        if self.weight not in (None, type(self).weight):
            raise ValueError(
                f"{type(self).__name__} takes weight or head_weights, not both; got "
                f"{self.weight:g} and {self.head_weights}. Leave one of them out."
            )
        object.__setattr__(self, "weight", None)
        first, *rest = self.head_weights
        fits = len(rest) + 1 == count and first > 0 and min(rest, default=0) >= 0
        self.check(
            fits and max(self.head_weights) <= MAX_WEIGHT,
            "head_weights",
            f"{count} numbers up to {MAX_WEIGHT:g}, the first above 0, none below 0",
        )

    def weights_word(self, usual: float | None = None) -> str:
        """What the arm says of weights other than the usual ones: `_w0.3_forward`."""
        found = ""
        if self.head_weights:
            found = "_w" + "_".join(f"{weight:g}" for weight in self.head_weights)
        elif self.weight != usual:
            found = "_sum" if self.weight is None else f"_w{self.weight:g}"
        if self.schedule != "constant":
            found += f"_{self.schedule.replace('-', '')}"
        return found

    @property
    def scheduled(self) -> bool:
        """Whether weights change in training."""
        return self.schedule != "constant"

    def term_weights(self, step: int, steps: int) -> tuple[float, ...]:
        """Weights at a step: those of the heads by the schedule, then readouts."""
        heads = self.heads()
        count, phase = len(heads), len(heads) * step // steps
        if self.schedule == "forward":
            factors = [float(i <= 1 + phase) for i in range(1, count + 1)]
        elif self.schedule == "reverse":
            factors = [float(i <= count - phase) for i in range(1, count + 1)]
        else:
            rest = 1 - step / steps if self.schedule == "to-zero" else 1.0
            factors = [1.0] + [rest] * (count - 1)
        weights = super().term_weights(step, steps)
        return (
            *(w * f for w, f in zip(weights[:count], factors, strict=True)),
            *weights[count:],
        )

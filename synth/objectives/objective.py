"""The contract of an objective: which predictions a model makes, and what they cost.

An objective is one file. Its config says, without torch, which *heads* stand on the
trunk; models, losses, evaluation, counts and plans follow from that list:

```
head   offset  parent  given      reads              predicts
1      1       trunk   0          x[..t]             x[t+1]     every objective's answer
2      2       trunk   0          x[..t]             x[t+2]     multi-token prediction
2      2       head 1  1          x[..t], x[t+1]     x[t+2]     a chain, teacher-forced
3      3       trunk   1          x[..t], x[t+1]     x[t+3]     next-token injection
```

Heads share the last norm and the unembedding. What predicts something other than one
token has a *readout*: an unembedding of its own on a head's state, and its own loss.
No torch here, so that a sweep can be planned without importing it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from synth.families import Family
from synth.identity import Part, identity
from synth.scales import SCALES

if TYPE_CHECKING:
    from torch import Tensor

NEXT_TOKEN = "n1"
"""The arm of next-token prediction, the baseline of every comparison."""


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

    A head that is given more than its parent first merges the embedding e of token
    t + given into the parent's state h.
    """
    merge: Literal["project", "sum"] = "project"
    """How: M [norm(h); norm(e)] with M of d x 2d, or h + k e with a learnt scalar k."""
    shares: int | None = None
    """The head whose module it uses; `None` has its own."""
    weight: float = 1.0
    """Of its loss in the objective, at full strength where there is a schedule."""

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
    """An unembedding (V x d) of an objective's own, with a loss that is not one token's."""

    name: str
    """What its loss is called in the metrics."""
    head: int = 1
    """The head whose state it reads."""
    weight: float = 1.0
    """Of its loss in the objective."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Part, Family, ABC, family="objective"):
    """What a model is trained towards; `kind` is its name in files and commands.

    The loss is a weighted sum of terms, one a head and one a readout. Each term is the
    mean over its own scored positions: those whose target lies in the same example.
    """

    version: ClassVar[int] = 1

    scored: Literal["all", "answer"] = identity("all")
    """Which tokens enter the loss as targets: all, or those of the answer."""

    @property
    @abstractmethod
    def arm(self) -> str:
        """The word that run ids, plans, legends and comparisons use; letters, digits, _."""

    @abstractmethod
    def heads(self) -> tuple[Head, ...]:
        """The predictions, that of the next token first (offset 1, given 0)."""

    @abstractmethod
    def trunk_layers(self, layers: int) -> int:
        """Layers that are left to the trunk of a model whose scale has `layers`."""

    def readouts(self) -> tuple[Readout, ...]:
        """Losses on something other than one token; most objectives have none."""
        return ()

    def readout_scored(
        self, readout: Readout, example_KBT: Tensor, answer_KBT: Tensor
    ) -> Tensor:
        """Which positions enter the loss of a readout, (K, B, T)."""
        raise NotImplementedError

    def readout_losses(
        self, readout: Readout, logits_KBTV: Tensor, batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Loss of each position in nats, (K, B, T); of whole rows, maybe not all.

        `batch` holds `tokens`, `example` and `answer`, each (K, B, T). Values where
        nothing is scored are ignored, but must be finite.
        """
        raise NotImplementedError

    def shallower(self, layers: int) -> list[str]:
        """Settings of this objective that leave a trunk to so many layers, in words."""
        return []

    def terms(self) -> tuple[str, ...]:
        """The name of each term of the loss: heads first, then readouts."""
        heads = [head.prediction.label for head in self.heads()]
        return (*heads, *(readout.name for readout in self.readouts()))

    @property
    def scheduled(self) -> bool:
        """Whether `term_weights` depends on the step."""
        return False

    def term_weights(self, step: int, steps: int) -> tuple[float, ...]:
        """The weight of each of the `terms` at step 0, ..., steps - 1 of a run.

        0 measures a term without training on it.
        """
        heads = [float(head.weight) for head in self.heads()]
        return (*heads, *(float(readout.weight) for readout in self.readouts()))

    def path(self, head: int) -> list[int]:
        """The heads on the path from the trunk to `head`, inclusive."""
        parent = self.heads()[head - 1].parent
        return [*(self.path(parent) if parent else []), head]

    def merges(self, head: int) -> bool:
        """Whether a head is given more tokens than what it stands on."""
        heads = self.heads()
        parent = heads[head - 1].parent
        return heads[head - 1].given > (heads[parent - 1].given if parent else 0)

    def require_trunk(self, scale: str, layers: int) -> None:
        """Raise `ValueError` where several heads share no trunk, with ways out.

        A single head may be the whole model: next-token prediction of one layer.
        """
        trunk = self.trunk_layers(layers)
        if trunk >= (1 if len(self.heads()) > 1 else 0):
            return
        ways = self.shallower(layers)
        deeper = [n for n, s in SCALES.items() if self.trunk_layers(s.layers) >= 1]
        if deeper:
            order = list(SCALES)
            here = order.index(scale) if scale in order else 0
            nearest_scale = min(deeper, key=lambda name: abs(order.index(name) - here))
            ways.append(f"scale {nearest_scale!r}")
        raise ValueError(
            f"Objective {self.arm!r} ({self.kind}) takes {layers - trunk} of the {layers} "
            f"layers of scale {scale!r} and leaves no trunk. "
            f"Use {_either(ways) or f'a shape of {layers - trunk + 1} layers'}."
        )

    def to_dict(self) -> dict[str, Any]:
        """All fields, the version, and the kind."""
        return {"kind": self.kind} | super().to_dict()

    def canonical(self) -> dict[str, Any]:
        """The hashed fields; objectives of two kinds never share an identity."""
        return {"kind": self.kind} | super().canonical()


def _either(ways: list[str]) -> str:
    """Alternatives as a sentence lists them."""
    return " or ".join(filter(None, (", ".join(ways[:-1]), *ways[-1:])))

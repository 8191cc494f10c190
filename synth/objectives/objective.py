"""The contract of an objective: which predictions a model makes, and what they cost.

An objective is one file. Its config says, without torch, which *heads* stand on the trunk
(`synth.objectives.declarations`); models, losses, evaluation, counts and plans follow
from that list. What changes the whole model is declared as well: which tokens it reads
(`inputs`), whether an answer is decoded in one pass, where gradients stop, which mixers
can do it. No torch here, so that a sweep can be planned without importing it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from synth.families.family import Family, require_word
from synth.identity import identity, require
from synth.objectives.declarations import Head, Prediction, Readout, Registers
from synth.scales import SCALES

if TYPE_CHECKING:
    from torch import Tensor

NEXT_TOKEN = "n1"
"""The arm of next-token prediction, the baseline of every comparison."""
MAX_WEIGHT = 1e5
"""Of a term of the loss; more is almost surely a typo, and no word of an arm."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Family, ABC, family="objective"):
    """What a model is trained towards; `kind` is its name in files and commands.

    The loss is a weighted sum of terms, one a head and one a readout. Each term is the
    mean over its own scored positions: those whose target lies in the same example.
    """

    mixers: ClassVar[tuple[str, ...]] = ("attention", "mamba2", "rwkv")
    """The mixers that can train it."""
    positions: ClassVar[tuple[str, ...]] = ("rotary", "learned")
    """The positions with which it can be trained."""
    decodes_at_once: ClassVar[bool] = False
    """Whether all tokens of an answer are predicted in one pass, from the question."""
    myopic: ClassVar[bool] = False
    """Whether gradients stop between positions, in the mixers."""

    scored: Literal["all", "answer"] = identity("all")
    """Which tokens enter the loss as targets: all, or those of the answer."""

    @property
    @abstractmethod
    def arm(self) -> str:
        """The word that run ids, plans, legends and comparisons use (`PLAIN_WORD`)."""

    @abstractmethod
    def heads(self) -> tuple[Head, ...]:
        """The predictions, that of the next token first (offset 1, given 0)."""

    @abstractmethod
    def trunk_layers(self, layers: int) -> int:
        """Layers that are left to the trunk of a model whose scale has `layers`."""

    def readouts(self) -> tuple[Readout, ...]:
        """Losses on something other than one token; most objectives have none."""
        return ()

    def registers(self) -> Registers | None:
        """Positions that read and are not read; most objectives have none."""
        return None

    def inputs(self, tokens_KBT: Tensor, answer_KBT: Tensor) -> Tensor:
        """The tokens that the model reads, in training and in evaluation, (K, B, T)."""
        return tokens_KBT

    def readout_scored(
        self, readout: Readout, example_KBT: Tensor, answer_KBT: Tensor
    ) -> Tensor:
        """Which positions enter the loss of a readout, (K, B, T)."""
        raise NotImplementedError

    def readout_losses(
        self, readout: Readout, read_KBTX: Tensor, batch: Mapping[str, Tensor]
    ) -> Tensor:
        """Loss of each position in nats, (K, B, T); of whole rows, maybe not all.

        `read` is what the readout reads, logits or states. `batch` holds `tokens`,
        `example` and `answer`, each (K, B, T), and `beside` where that is declared, of
        the shape of `read`. Values where nothing is scored are ignored, but must be
        finite.
        """
        raise NotImplementedError

    def unembeddings(self) -> float:
        """Times that training unembeds a token; a third without a backward pass."""
        heads = sum(head.unembeddings for head in self.heads())
        readouts = sum(readout.unembeddings for readout in self.readouts())
        return heads + readouts + (self.registers() is not None)

    def shallower(self, layers: int) -> list[str]:
        """Settings of this objective that leave a trunk to so many layers, in words."""
        return []

    def terms(self) -> tuple[str, ...]:
        """The name of each term of the loss: heads, then readouts, then registers."""
        heads = [head.prediction.label for head in self.heads()]
        registers = [] if self.registers() is None else ["register"]
        return (*heads, *(readout.name for readout in self.readouts()), *registers)

    @property
    def scheduled(self) -> bool:
        """Whether `term_weights` depends on the step."""
        return False

    def term_weights(self, step: int, steps: int) -> tuple[float, ...]:
        """The weight of each of the `terms` at step 0, ..., steps - 1 of a run.

        0 measures a term without training on it.
        """
        registers = self.registers()
        weighted: list[Head | Readout | Registers] = [*self.heads(), *self.readouts()]
        weighted += [] if registers is None else [registers]
        return tuple(float(term.weight) for term in weighted)

    def path(self, head: int) -> list[int]:
        """The heads on the path from the trunk to `head`, inclusive."""
        parent = self.heads()[head - 1].parent
        return [*(self.path(parent) if parent else []), head]

    def merges(self, head: int) -> bool:
        """Whether a head is given more tokens than what it stands on."""
        heads = self.heads()
        parent = heads[head - 1].parent
        return heads[head - 1].given > (heads[parent - 1].given if parent else 0)

    def require_heads(self) -> None:
        """Raise `ValueError` where `arm` or `heads` break the contract, with the head."""
        require_word(f"{type(self).__name__}.arm", self.arm)
        owner, heads = f"{type(self).__name__}.heads()", self.heads()
        listed = isinstance(heads, tuple) and all(
            isinstance(one, Head) for one in heads
        )
        if not (listed and heads):
            raise ValueError(
                f"{owner} must be a tuple of heads, such as (Head(offset=1),); "
                f"got {heads!r}."
            )
        require(
            heads[0].prediction == Prediction(1),
            f"{owner}, head 1",
            "the prediction of the next token, offset=1 and given=0",
            heads[0].prediction,
        )
        for number, head in enumerate(heads, 1):
            place = f"{owner}, head {number}: "
            require(head.given >= 0, f"{place}given", "at least 0", head.given)
            ahead = f"above {head.given}, since a head predicts a token it has not read"
            require(head.offset > head.given, f"{place}offset", ahead, head.offset)
            others = [None, *(n for n in range(1, len(heads) + 1) if n != number)]
            one_of = f"one of {', '.join(map(str, others))}"
            require(head.parent in others, f"{place}parent", one_of, head.parent)
            for name in ("layers", "maps"):
                number_of = getattr(head, name)
                whole = isinstance(number_of, int) and number_of >= 0
                require(whole, f"{place}{name}", "a whole number from 0", number_of)
            finite = math.isfinite(head.weight)
            require(finite, f"{place}weight", "a finite number", head.weight)
        for number, head in enumerate(heads, 1):
            place = f"{owner}, head {number}: "
            below = head.parent
            for _ in heads:  # by then the trunk is reached
                below = heads[below - 1].parent if below else None
            ends = "None or a head on a way to the trunk, not in a circle"
            require(below is None, f"{place}parent", ends, head.parent)
            read = heads[head.parent - 1].given if head.parent else 0
            stands = "since it stands on a state that has read as many"
            least = f"at least {read}, {stands}"
            require(head.given >= read, f"{place}given", least, head.given)
            most = f"at most {read + 1}: merge {head.merge!r} adds one token"
            fits = head.merge == "attend" or head.given <= read + 1
            require(fits, f"{place}given", most, head.given)
        labels = [head.prediction.label for head in heads]
        if len(set(labels)) < len(labels):
            raise ValueError(
                f"{owner} predicts one token twice, so that their scores would have one "
                f"name: {'; '.join(labels)}. Give each head an offset of its own."
            )

    def require_trunk(self, scale: str, layers: int) -> None:
        """Raise `ValueError` where several heads share no trunk, with ways out.

        A single head may be the whole model: next-token prediction of one layer.
        """
        trunk = self.trunk_layers(layers)
        owner = f"{type(self).__name__}.trunk_layers({layers})"
        require(isinstance(trunk, int), owner, "a whole number", trunk)
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

    def require_parts(self, mixer: str, positions: str) -> None:
        """Raise `ValueError` where the parts of a model cannot train this."""
        for name, value, allowed in (
            ("mixer", mixer, self.mixers),
            ("positions", positions, self.positions),
        ):
            if value not in allowed:
                raise ValueError(
                    f"The objective {self.kind!r} has no form for {name} {value!r}. "
                    f"Use {_either([repr(one) for one in allowed])}."
                )


@dataclass(frozen=True, kw_only=True)
class OneHeadConfig(ObjectiveConfig):
    """An objective whose only head is that of `n1`: the next token, by one layer."""

    def heads(self) -> tuple[Head, ...]:
        return (Head(offset=1),)

    def trunk_layers(self, layers: int) -> int:
        return layers - 1


def _either(ways: list[str]) -> str:
    """Alternatives as a sentence lists them."""
    return " or ".join(filter(None, (", ".join(ways[:-1]), *ways[-1:])))

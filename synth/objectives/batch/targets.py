"""What the terms of an objective's loss have to predict at each position of a batch.

Letters: N heads, K lanes, B batch, T time. A target counts if it lies in the same example
as the position that predicts it:

```
position   0  1  2  3  4  5  6  7        one row, two examples, the second one's
token      a  b  =  x  .  c  =  y        answer is y
offset 1   b  =  x  .  -  =  y           targets at t+1, none across the border
offset 2   =  x  .  -  -  y              targets at t+2
```
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synth.objectives.batch.ahead import is_scored, same_example, shifted
from synth.objectives.objective import ObjectiveConfig


@dataclass(frozen=True)
class RegisterTargets:
    """What the registers of a batch predict.

    `ahead_KB`: how many tokens ahead those of a row do. `tokens_KBT`, `weights_KBT`: as
    for heads.
    """

    ahead_KB: Tensor
    tokens_KBT: Tensor
    weights_KBT: Tensor

    def rows(self, chosen: slice) -> "RegisterTargets":
        """The same for some rows of the batch."""
        return RegisterTargets(
            self.ahead_KB[:, chosen],
            self.tokens_KBT[:, chosen],
            self.weights_KBT[:, chosen],
        )


@dataclass(frozen=True)
class Targets:
    """A batch, and what each head and readout has to predict at each position of it.

    `batch`: `tokens`, `example` and `answer`, each (K, B, T).
    `tokens_NKBT`: the target of each head (0 where there is none).
    `weights_NKBT`: 1 / (scored positions of that head and lane), 0 where not scored.
    `readouts`: the same weights for each readout, (K, B, T).
    `sparse`: whether few positions are scored, as with answers alone.
    `scales`: the weight of each term of the loss; none given is 1 for each. Numbers, or
    tensors (without axes) where the step is recorded once for all its weights.
    """

    batch: Mapping[str, Tensor]
    tokens_NKBT: Tensor
    weights_NKBT: Tensor
    readouts: tuple[Tensor, ...] = ()
    sparse: bool = False
    scales: Sequence[float | Tensor] = ()
    registers: RegisterTargets | None = None

    def scale(self, term: int) -> float | Tensor:
        """The weight of a term, counted from 0."""
        return self.scales[term] if self.scales else 1.0

    def rows(self, chosen: slice) -> "Targets":
        """The same for some rows of the batch; weights stay those of the whole batch."""
        return Targets(
            {name: values[:, chosen] for name, values in self.batch.items()},
            self.tokens_NKBT[:, :, chosen],
            self.weights_NKBT[:, :, chosen],
            tuple(weights_KBT[:, chosen] for weights_KBT in self.readouts),
            self.sparse,
            self.scales,
            None if self.registers is None else self.registers.rows(chosen),
        )


def make_targets(
    tokens_KBT: Tensor,
    example_KBT: Tensor,
    answer_KBT: Tensor,
    objective: ObjectiveConfig,
    scales: Sequence[float | Tensor] | None = None,
) -> Targets:
    """Targets and weights of an objective's heads and readouts.

    A position t is scored by a head of offset i if t+i lies in the same row and example
    and, with `scored="answer"`, token t+i belongs to the answer. A term without any
    scored position weighs 0 everywhere (its loss is 0, not NaN). `scales` are the
    weights of the terms, those of the first step if not given.
    """
    all_tokens, all_weights = [], []
    for head in objective.heads():
        target = shifted(tokens_KBT, head.offset)
        scored = is_scored(example_KBT, answer_KBT, head.offset, objective.scored)
        all_tokens.append(target)
        all_weights.append(_means(scored))
    readouts = tuple(
        _means(objective.readout_scored(readout, example_KBT, answer_KBT))
        for readout in objective.readouts()
    )
    return Targets(
        {"tokens": tokens_KBT, "example": example_KBT, "answer": answer_KBT},
        torch.stack(all_tokens),
        torch.stack(all_weights),
        readouts,
        objective.scored == "answer",
        objective.term_weights(0, 1) if scales is None else scales,
        _register_targets(tokens_KBT, example_KBT, answer_KBT, objective),
    )


def _register_targets(
    tokens_KBT: Tensor,
    example_KBT: Tensor,
    answer_KBT: Tensor,
    objective: ObjectiveConfig,
) -> RegisterTargets | None:
    """Targets of registers, each row with an offset that its tokens decide.

    So the offsets are those of the data: equal in every arm, pack and resumed run.
    """
    registers = objective.registers()
    if registers is None:
        return None
    at_T = torch.arange(tokens_KBT.shape[-1], device=tokens_KBT.device)
    mixed_KB = (tokens_KBT * (at_T * 0x9E3779B1 % 0x7FFFFFFF + 1)).sum(-1)
    ahead_KB = 1 + mixed_KB % 0x7FFFFFFF * 0x85EBCA6B % 0x7FFFFFFF % registers.furthest
    target_KBT = torch.zeros_like(tokens_KBT)
    scored_KBT = torch.zeros_like(answer_KBT)
    for ahead in range(1, registers.furthest + 1):
        here_KB1 = (ahead_KB == ahead)[..., None]
        scored = same_example(example_KBT, ahead)
        if objective.scored == "answer":  # as if registers stood in the answer alone
            scored &= shifted(answer_KBT, 1) & shifted(answer_KBT, ahead)
        target_KBT = torch.where(here_KB1, shifted(tokens_KBT, ahead), target_KBT)
        scored_KBT = torch.where(here_KB1, scored, scored_KBT)
    return RegisterTargets(ahead_KB, target_KBT, _means(scored_KBT))


def _means(scored_KBT: Tensor) -> Tensor:
    """Weights whose sum with the losses is the mean over a lane's scored positions."""
    count_K = scored_KBT.sum((1, 2)).clamp(min=1)
    return scored_KBT / count_K[:, None, None]

"""Losses over horizons, with a backward pass that holds one head's logits at a time.

Letters: N horizons, K lanes, B batch, T time, D width, V vocabulary.

```
position   0  1  2  3  4  5  6  7        one row, two examples, the second one's
token      a  b  =  x  .  c  =  y        answer is y
head 1     b  =  x  .  -  =  y           targets at t+1, none across the border
head 2     =  x  .  -  -  y              targets at t+2
```

The loss of head i is the mean over its own scored positions (section 2 of arXiv
2404.19737 writes a sum); the loss of a run is the sum over heads, each of weight 1. So
the norm of the gradient grows with n, and clipping at 1.0 bites harder: the unclipped
norm is logged. Only the loss of head 1 is comparable across n.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from synth.config import ObjectiveConfig
from synth.describe import SPARSE_VOCABULARY
from synth.prediction import Predictor, token_losses

MAX_LOGITS = 1 << 23
"""Largest number of logits of one lane held at once; more positions go in chunks."""


@dataclass(frozen=True)
class Targets:
    """What each head has to predict at each position.

    `tokens_NKBT`: token t+i for head i (0 where there is none).
    `weights_NKBT`: 1 / (scored positions of that head and lane), 0 where not scored.
    `sparse`: whether few positions are scored, as with answers alone.
    """

    tokens_NKBT: Tensor
    weights_NKBT: Tensor
    sparse: bool = False


def horizon_targets(
    tokens_KBT: Tensor,
    example_KBT: Tensor,
    answer_KBT: Tensor,
    objective: ObjectiveConfig,
) -> Targets:
    """Targets and weights for horizons 1..n.

    A position t is scored by head i if t+i lies in the same row and the same example
    and, with `scored="answer"`, token t+i belongs to the answer. A head without any
    scored position weighs 0 everywhere (its loss is 0, not NaN).
    """
    all_tokens, all_weights = [], []
    for ahead in range(1, objective.horizon + 1):
        target = _shifted(tokens_KBT, ahead)
        scored = (_shifted(example_KBT, ahead) == example_KBT) & (example_KBT > 0)
        if objective.scored == "answer":
            scored &= _shifted(answer_KBT, ahead)
        count_K = scored.sum((1, 2)).clamp(min=1)
        all_tokens.append(target)
        all_weights.append(scored / count_K[:, None, None])
    sparse = objective.scored == "answer"
    return Targets(torch.stack(all_tokens), torch.stack(all_weights), sparse)


PieceLoss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""States (K, N, D), targets and weights (K, N) to losses (K,) and the states' gradient."""


def loss_and_backward(
    model: Predictor,
    tokens_KBT: Tensor,
    targets: Targets,
    piece: PieceLoss | None = None,
) -> Tensor:
    """Losses (N, K) in nats; gradients are added to the parameters' `grad`.

    One forward pass through the trunk, then each head in turn, forward and backward, its
    gradient added to that of the state it stands on; last, one backward pass through the
    trunk (section 2, and figure S11 for chained heads). Heads that others stand on keep
    their layer's activations until their successors are done. `piece` computes the loss
    and gradient of some of a head's positions; by default autograd does.
    """
    losses: dict[int, Tensor] = {}
    # On a GPU a choice of positions waits for the device, and all logits are cheap.
    few = targets.sparse and model.vocab_size >= SPARSE_VOCABULARY
    piece = piece or functools.partial(_piece_loss, model)
    head_loss: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    if few and not tokens_KBT.is_cuda:
        head_loss = functools.partial(_loss_of_scored, model)
    else:
        head_loss = functools.partial(_loss_of_all, piece, model.vocab_size)

    def visit(parent: int | None, state: Tensor) -> None:
        for head in model.children_of(parent):
            output = model.run_head(head, state)
            leaf = output.detach().requires_grad_()
            visit(head, leaf)
            losses[head], grad = head_loss(
                leaf.detach(),
                targets.tokens_NKBT[head - 1],
                targets.weights_NKBT[head - 1],
            )
            _pass_back(output, grad if leaf.grad is None else grad.add_(leaf.grad))

    z = model.run_trunk(tokens_KBT)
    leaf = z.detach().requires_grad_()
    visit(None, leaf)
    assert leaf.grad is not None
    _pass_back(z, leaf.grad)
    return torch.stack([losses[head] for head in range(1, model.horizon + 1)])


class _Handover(Function):
    """A scalar whose backward pass hands a given gradient to `output`."""

    @staticmethod
    def forward(ctx: Any, output: Tensor, grad: Tensor) -> Tensor:
        ctx.grad = grad
        return output.new_zeros(())

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.grad, None


def _pass_back(output: Tensor, grad: Tensor) -> None:
    """`output.backward(grad)`, which would import sympy to compare two shapes."""
    assert output.shape == grad.shape
    _Handover.apply(output, grad).backward()  # type: ignore[no-untyped-call]


def _loss_of_all(
    piece: PieceLoss,
    vocab_size: int,
    h_KBTD: Tensor,
    targets_KBT: Tensor,
    weights_KBT: Tensor,
) -> tuple[Tensor, Tensor]:
    """Loss of one head (K,) and its gradient with respect to the head's state."""
    h_KND = h_KBTD.flatten(1, 2)
    targets_KN, weights_KN = targets_KBT.flatten(1), weights_KBT.flatten(1)
    positions = h_KND.shape[1]
    chunk = min(positions, max(256, MAX_LOGITS // vocab_size))
    if chunk == positions:
        loss_K, grad_KND = piece(h_KND, targets_KN, weights_KN)
        return loss_K, grad_KND.view_as(h_KBTD)
    grad_KND = torch.empty_like(h_KND)
    loss_K = torch.zeros(len(h_KND), device=h_KND.device)
    for start in range(0, positions, chunk):
        part = slice(start, start + chunk)
        part_loss_K, grad_KND[:, part] = piece(
            h_KND[:, part], targets_KN[:, part], weights_KN[:, part]
        )
        loss_K += part_loss_K
    return loss_K, grad_KND.view_as(h_KBTD)


def _piece_loss(
    model: Predictor, h_KND: Tensor, targets_KN: Tensor, weights_KN: Tensor
) -> tuple[Tensor, Tensor]:
    """Weighted loss (K,) at some positions, its gradient there and in the parameters."""
    states = h_KND.detach().requires_grad_()
    nll_KN = token_losses(model.unembed(states), targets_KN)
    loss_K = (nll_KN * weights_KN).sum(1)
    # Lanes share no parameter, so the gradient of the sum is that of each.
    loss_K.sum().backward()
    assert states.grad is not None
    return loss_K.detach(), states.grad


def _loss_of_scored(
    model: Predictor, h_KBTD: Tensor, targets_KBT: Tensor, weights_KBT: Tensor
) -> tuple[Tensor, Tensor]:
    """As `_loss_of_all`, without the logits of positions whose weight is 0.

    Lanes differ in how many they score, so each goes through a product of its own.
    """
    h_KND = h_KBTD.flatten(1, 2)
    targets_KN, weights_KN = targets_KBT.flatten(1), weights_KBT.flatten(1)
    places = [weights_N.nonzero().squeeze(1) for weights_N in weights_KN]
    chunk = max(256, MAX_LOGITS // model.vocab_size)
    grad_KND = torch.zeros_like(h_KND)
    loss_K = torch.zeros(len(h_KND), device=h_KND.device)
    for start in range(0, max(map(len, places)), chunk):
        parts = list(enumerate(part[start : start + chunk] for part in places))
        states = [h_KND[lane, part].requires_grad_() for lane, part in parts]
        logits = model.unembed_rows(states)
        part_loss_K = torch.stack(
            [
                token_losses(logits[lane][None], targets_KN[lane, part][None])[0]
                @ weights_KN[lane, part]
                for lane, part in parts
            ]
        )
        part_loss_K.sum().backward()
        for lane, part in parts:
            grad_ND = states[lane].grad
            assert grad_ND is not None
            grad_KND[lane, part] = grad_ND
        loss_K += part_loss_K.detach()
    return loss_K, grad_KND.view_as(h_KBTD)


def _shifted(values_KBT: Tensor, ahead: int) -> Tensor:
    """Entry t holds what stood at t+ahead, 0 (or false) beyond the end of the row."""
    shifted = torch.zeros_like(values_KBT)
    if ahead < values_KBT.shape[-1]:
        shifted[..., :-ahead] = values_KBT[..., ahead:]
    return shifted

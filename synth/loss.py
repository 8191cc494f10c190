"""The loss of any objective, with a backward pass that holds one head's logits at a time.

Letters: N heads, R readouts, K lanes, B batch, T time, D width, V vocabulary.

An objective (`synth.objectives`) lists heads and readouts; `synth.targets` makes of a
batch what each has to predict. The loss of each is the mean over its own scored
positions, and the loss of a run is their sum with the weights of the step. Losses are
reported without these weights.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from synth.models.decoder import PredictionModel
from synth.models.describe import SPARSE_VOCABULARY
from synth.run.spans import span
from synth.targets import Targets

MAX_LOGITS = 1 << 23
"""Largest number of logits of one lane held at once; more positions go in chunks."""


PieceLoss = Callable[[Tensor, Tensor, Tensor, float | Tensor], tuple[Tensor, Tensor]]
"""States (K, N, D), targets and weights (K, N) and the weight of the term to losses (K,)
without that weight, and the states' gradient with it."""


def loss_and_backward(
    model: PredictionModel,
    targets: Targets,
    piece: PieceLoss | None = None,
) -> Tensor:
    """Loss of each term (N + R, K), unweighted, in the order of the objective's `terms`.

    Adds the gradients of the weighted sum to the parameters' `grad`.

    One forward pass through the trunk, then each head in turn, forward and backward, its
    gradient added to that of the state it stands on; last, one backward pass through the
    trunk (arXiv 2404.19737, section 2, and figure S11 for chained heads). Heads that
    others stand on keep their layer's activations until their successors are done.
    `piece` computes the loss and gradient of some of a head's positions; by default
    autograd does.
    """
    objective, batch = model.objective, targets.batch
    readouts, tokens_KBT = objective.readouts(), batch["tokens"]
    if "answer" in batch:
        tokens_KBT = objective.inputs(tokens_KBT, batch["answer"])
    registers = targets.registers
    ahead_KB = None if registers is None else registers.ahead_KB
    states: dict[int, Tensor] = {}
    losses: dict[int, Tensor] = {}
    read: dict[str, Tensor] = {}
    # On a GPU a choice of positions waits for the device, and all logits are cheap.
    few = targets.sparse and model.vocab_size >= SPARSE_VOCABULARY
    few = few and not tokens_KBT.is_cuda
    eager_piece = functools.partial(_piece_loss, model)

    def token_loss(
        h_KBTD: Tensor, targets_KBT: Tensor, weights_KBT: Tensor, scale: float | Tensor
    ) -> tuple[Tensor, Tensor | None]:
        if few:
            return _loss_of_scored(model, h_KBTD, targets_KBT, weights_KBT, scale)
        # A piece of one's own may know no other way than to take the gradient.
        used = eager_piece if piece is None or _is(scale, 0) else piece
        wanted = (targets_KBT, weights_KBT, scale)
        return _loss_of_all(used, model.vocab_size, h_KBTD, *wanted)

    def head_loss(head: int, h_KBTD: Tensor) -> tuple[Tensor, Tensor | None]:
        wanted = (targets.tokens_NKBT[head - 1], targets.weights_NKBT[head - 1])
        scale = targets.scale(head - 1)
        if registers is None:
            return token_loss(h_KBTD, *wanted, scale)
        real_KBTD, own_KBTD = h_KBTD.chunk(2, 1)
        loss_K, grad = token_loss(real_KBTD, *wanted, scale)
        wanted = (registers.tokens_KBT, registers.weights_KBT)
        scale = targets.scale(model.num_heads + len(readouts))
        read["register"], own_grad = token_loss(own_KBTD, *wanted, scale)
        assert grad is not None
        assert own_grad is not None
        return loss_K, torch.cat((grad, own_grad), 1)

    def visit(parent: int | None, state: Tensor) -> None:
        for head in model.children_of(parent):
            output = model.run_head(head, state, tokens_KBT, ahead_KB)
            leaf = output.detach().requires_grad_()
            states[head] = leaf.detach()
            visit(head, leaf)
            losses[head], grad = head_loss(head, states[head])
            found = [grad]
            for index, readout in enumerate(readouts):
                if readout.head == head:
                    read[readout.name], grad = _readout_loss(
                        model, index, states, targets
                    )
                    found.append(grad)
            grads = [grad for grad in (*found, leaf.grad) if grad is not None]
            if grads:
                _pass_back(output, functools.reduce(torch.add, grads))

    z = model.run_trunk(tokens_KBT, ahead_KB)
    leaf = z.detach().requires_grad_()
    visit(None, leaf)
    assert leaf.grad is not None
    _pass_back(z, leaf.grad)
    by_term = [losses[head] for head in range(1, model.num_heads + 1)]
    return torch.stack(
        by_term + [read[name] for name in objective.terms()[len(losses) :]]
    )


def _is(scale: float | Tensor, number: float) -> bool:
    """Whether a weight is known to be that number; one in a tensor is not known."""
    return not isinstance(scale, Tensor) and scale == number


def _backward(loss: Tensor, scale: float | Tensor) -> None:
    """The gradient of a loss times its weight."""
    with span("backward"):
        (loss if _is(scale, 1) else loss * scale).backward()


def _readout_loss(
    model: PredictionModel, index: int, head_states: dict[int, Tensor], targets: Targets
) -> tuple[Tensor, Tensor | None]:
    """Unweighted loss (K,) of a readout, and its weighted gradient for the state.

    In chunks of whole rows, since a readout's targets may need the rest of the row.
    """
    readout, weights_KBT = model.objective.readouts()[index], targets.readouts[index]
    scale = targets.scale(model.num_heads + index)
    h_KBTD = head_states[readout.head]
    rows, time = h_KBTD.shape[1:3]
    chunk = max(1, MAX_LOGITS // (time * model.vocab_size))
    grad_KBTD = torch.empty_like(h_KBTD)
    loss_K = h_KBTD.new_zeros(len(h_KBTD), dtype=torch.float32)
    for start in range(0, rows, chunk):
        part = slice(start, start + chunk)
        states = h_KBTD[:, part].detach().requires_grad_()
        batch = {name: values[:, part] for name, values in targets.batch.items()}
        if readout.beside is not None:
            with torch.no_grad():
                beside = head_states[readout.beside][:, part]
                batch["beside"] = model.read_out(readout, beside)
        read = model.read_out(readout, states)
        losses_KBT = model.objective.readout_losses(readout, read, batch)
        part_loss_K = (losses_KBT * weights_KBT[:, part]).sum((1, 2))
        loss_K += part_loss_K.detach()
        if not _is(scale, 0):
            _backward(part_loss_K.sum(), scale)
            assert states.grad is not None
            grad_KBTD[:, part] = states.grad
    return loss_K, None if _is(scale, 0) else grad_KBTD


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
    with span("backward"):
        _Handover.apply(output, grad).backward()  # type: ignore[no-untyped-call]


def _loss_of_all(
    piece: PieceLoss,
    vocab_size: int,
    h_KBTD: Tensor,
    targets_KBT: Tensor,
    weights_KBT: Tensor,
    scale: float | Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Loss of one head (K,) and its gradient with respect to the head's state."""
    h_KND = h_KBTD.flatten(1, 2)
    targets_KN, weights_KN = targets_KBT.flatten(1), weights_KBT.flatten(1)
    positions = h_KND.shape[1]
    chunk = min(positions, max(256, MAX_LOGITS // vocab_size))
    if chunk == positions:
        loss_K, grad_KND = piece(h_KND, targets_KN, weights_KN, scale)
    else:
        grad_KND = torch.empty_like(h_KND)
        loss_K = torch.zeros(len(h_KND), device=h_KND.device)
        for start in range(0, positions, chunk):
            part = slice(start, start + chunk)
            part_loss_K, grad_KND[:, part] = piece(
                h_KND[:, part], targets_KN[:, part], weights_KN[:, part], scale
            )
            loss_K += part_loss_K
    return loss_K, None if _is(scale, 0) else grad_KND.view_as(h_KBTD)


def _piece_loss(
    model: PredictionModel,
    h_KND: Tensor,
    targets_KN: Tensor,
    weights_KN: Tensor,
    scale: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Loss (K,) at some positions, its gradient there and in the parameters."""
    states = h_KND.detach().requires_grad_()
    nll_KN = token_losses(model.unembed(states), targets_KN)
    loss_K = (nll_KN * weights_KN).sum(1)
    if _is(scale, 0):
        return loss_K.detach(), torch.zeros_like(states)
    # Lanes share no parameter, so the gradient of the sum is that of each.
    _backward(loss_K.sum(), scale)
    assert states.grad is not None
    return loss_K.detach(), states.grad


def _loss_of_scored(
    model: PredictionModel,
    h_KBTD: Tensor,
    targets_KBT: Tensor,
    weights_KBT: Tensor,
    scale: float | Tensor,
) -> tuple[Tensor, Tensor | None]:
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
        loss_K += part_loss_K.detach()
        if _is(scale, 0):
            continue
        _backward(part_loss_K.sum(), scale)
        for lane, part in parts:
            grad_ND = states[lane].grad
            assert grad_ND is not None
            grad_KND[lane, part] = grad_ND
    return loss_K, None if _is(scale, 0) else grad_KND.view_as(h_KBTD)


def token_losses(logits_KNV: Tensor, targets_KN: Tensor) -> Tensor:
    """-log p of each target in nats, computed in fp32, (K, N)."""
    flat = functional.cross_entropy(
        logits_KNV.flatten(0, 1).float(), targets_KN.flatten(), reduction="none"
    )
    return flat.view_as(targets_KN)

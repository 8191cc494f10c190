"""The loss of any objective, with a backward pass that holds one head's logits at a time.

Letters: N terms of the loss (heads, then readouts, then registers), K lanes, B batch,
T time, S positions of all rows, D width, V vocabulary.

An objective (`synth.objectives`) lists heads and readouts; `targets` beside this file
makes of a batch what each has to predict. The loss of each is the mean over its own
scored positions, and the loss of a run is their sum with the weights of the step. Losses
are reported without these weights.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from synth.models.decoder import PredictionModel
from synth.models.describe import SPARSE_VOCABULARY
from synth.objectives.batch.targets import Targets
from synth.run.spans import span

CHUNK_LOGITS = 1 << 23
"""Logits of one lane that a chunk of positions aims at. A chunk never has fewer than 256
positions, or one row for readouts, so a large vocabulary may exceed it."""


PieceLoss = Callable[[Tensor, Tensor, Tensor, float | Tensor], tuple[Tensor, Tensor]]
"""States (K, S, D), targets and weights (K, S) and the weight of the term to losses (K,)
without that weight, and the states' gradient with it."""


def loss_and_backward(
    model: PredictionModel,
    targets: Targets,
    piece: PieceLoss | None = None,
) -> Tensor:
    """Loss of each term (N, K), unweighted, in the order of the objective's `terms`.

    Adds the gradients of the weighted sum to the parameters' `grad`.

    One forward pass through the trunk, then each head in turn, forward and backward, its
    gradient added to that of the state it stands on; last, one backward pass through the
    trunk (arXiv 2404.19737, section 2, and figure S11 for chained heads). Heads that
    others stand on keep their layer's activations until their successors are done.
    `piece` computes the loss and gradient of some of a head's positions; by default
    autograd does.
    """
    heads = _HeadByHead(model, targets, piece)
    z_KBTD = model.run_trunk(heads.tokens_KBT, heads.ahead_KB)
    leaf = z_KBTD.detach().requires_grad_()
    heads.visit(None, leaf)
    assert leaf.grad is not None
    _pass_back(z_KBTD, leaf.grad)
    return torch.stack([heads.losses[term] for term in range(len(heads.losses))])


class _HeadByHead:
    """Forward and backward passes of the heads that stand on each other, over a batch.

    `losses` holds the unweighted loss (K,) of each term that is done, by its number.
    """

    def __init__(
        self, model: PredictionModel, targets: Targets, piece: PieceLoss | None
    ) -> None:
        self.model, self.targets, self.piece = model, targets, piece
        self.readouts = model.objective.readouts()
        self.states: dict[int, Tensor] = {}
        self.losses: dict[int, Tensor] = {}
        batch = targets.batch
        self.tokens_KBT = batch["tokens"]
        if "answer" in batch:
            self.tokens_KBT = model.objective.inputs(self.tokens_KBT, batch["answer"])
        registers = targets.registers
        self.ahead_KB = None if registers is None else registers.ahead_KB
        # On a GPU a choice of positions waits for the device, and all logits are cheap.
        few = targets.sparse and model.vocab_size >= SPARSE_VOCABULARY
        self.scored_alone = few and not self.tokens_KBT.is_cuda

    def visit(self, parent: int | None, state_KBTD: Tensor) -> None:
        """Run all heads on a state; their gradients add up in its `grad`."""
        for head in self.model.children_of(parent):
            output = self.model.run_head(
                head, state_KBTD, self.tokens_KBT, self.ahead_KB
            )
            leaf = output.detach().requires_grad_()
            self.states[head] = leaf.detach()
            self.visit(head, leaf)
            grads = [self._head_loss(head), *self._readout_losses(head), leaf.grad]
            wanted = [grad for grad in grads if grad is not None]
            if wanted:
                _pass_back(output, functools.reduce(torch.add, wanted))

    def _head_loss(self, head: int) -> Tensor | None:
        """Losses of a head and of its registers; their gradient for the head's state."""
        targets, state_KBTD = self.targets, self.states[head]
        tokens_KBT = targets.tokens_NKBT[head - 1]
        weights_KBT = targets.weights_NKBT[head - 1]
        if targets.registers is None:
            return self._token_loss(head - 1, state_KBTD, tokens_KBT, weights_KBT)
        real_KBTD, own_KBTD = state_KBTD.chunk(2, 1)
        grad = self._token_loss(head - 1, real_KBTD, tokens_KBT, weights_KBT)
        last = self.model.num_heads + len(self.readouts)
        tokens_KBT = targets.registers.tokens_KBT
        weights_KBT = targets.registers.weights_KBT
        own_grad = self._token_loss(last, own_KBTD, tokens_KBT, weights_KBT)
        assert grad is not None
        assert own_grad is not None
        return torch.cat((grad, own_grad), 1)

    def _token_loss(
        self, term: int, h_KBTD: Tensor, targets_KBT: Tensor, weights_KBT: Tensor
    ) -> Tensor | None:
        """Loss of a term on tokens; its gradient for the states, if it has a weight."""
        model, scale = self.model, self.targets.scale(term)
        wanted = (h_KBTD, targets_KBT, weights_KBT, scale)
        if self.scored_alone:
            self.losses[term], grad = _loss_of_scored(model, *wanted)
            return grad
        piece = self.piece
        # A piece of one's own may know no other way than to take the gradient.
        if piece is None or _is(scale, 0):
            piece = functools.partial(_piece_loss, model)
        self.losses[term], grad = _loss_of_all(piece, model.vocab_size, *wanted)
        return grad

    def _readout_losses(self, head: int) -> Iterator[Tensor | None]:
        """Losses of the readouts of a head; the gradient of each for its state."""
        for index, readout in enumerate(self.readouts):
            if readout.head == head:
                term = self.model.num_heads + index
                self.losses[term], grad = _readout_loss(
                    self.model, index, self.states, self.targets
                )
                yield grad


def _is(scale: float | Tensor, number: float) -> bool:
    """Whether a weight is that number; False for a tensor, whose value is not read."""
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
    chunk = max(1, CHUNK_LOGITS // (time * model.vocab_size))
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
    h_KSD = h_KBTD.flatten(1, 2)
    targets_KS, weights_KS = targets_KBT.flatten(1), weights_KBT.flatten(1)
    positions = h_KSD.shape[1]
    chunk = min(positions, max(256, CHUNK_LOGITS // vocab_size))
    if chunk == positions:
        loss_K, grad_KSD = piece(h_KSD, targets_KS, weights_KS, scale)
    else:
        grad_KSD = torch.empty_like(h_KSD)
        loss_K = torch.zeros(len(h_KSD), device=h_KSD.device)
        for start in range(0, positions, chunk):
            part = slice(start, start + chunk)
            part_loss_K, grad_KSD[:, part] = piece(
                h_KSD[:, part], targets_KS[:, part], weights_KS[:, part], scale
            )
            loss_K += part_loss_K
    return loss_K, None if _is(scale, 0) else grad_KSD.view_as(h_KBTD)


def _piece_loss(
    model: PredictionModel,
    h_KSD: Tensor,
    targets_KS: Tensor,
    weights_KS: Tensor,
    scale: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """Loss (K,) at some positions, its gradient there and in the parameters."""
    states = h_KSD.detach().requires_grad_()
    nll_KS = token_losses(model.unembed(states), targets_KS)
    loss_K = (nll_KS * weights_KS).sum(1)
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
    h_KSD = h_KBTD.flatten(1, 2)
    targets_KS, weights_KS = targets_KBT.flatten(1), weights_KBT.flatten(1)
    places = [weights_S.nonzero().squeeze(1) for weights_S in weights_KS]
    chunk = max(256, CHUNK_LOGITS // model.vocab_size)
    grad_KSD = torch.zeros_like(h_KSD)
    loss_K = torch.zeros(len(h_KSD), device=h_KSD.device)
    for start in range(0, max(map(len, places)), chunk):
        parts = list(enumerate(part[start : start + chunk] for part in places))
        states = [h_KSD[lane, part].requires_grad_() for lane, part in parts]
        logits = model.unembed_rows(states)
        part_loss_K = torch.stack(
            [
                token_losses(logits[lane][None], targets_KS[lane, part][None])[0]
                @ weights_KS[lane, part]
                for lane, part in parts
            ]
        )
        loss_K += part_loss_K.detach()
        if _is(scale, 0):
            continue
        _backward(part_loss_K.sum(), scale)
        for lane, part in parts:
            grad_SD = states[lane].grad
            assert grad_SD is not None
            grad_KSD[lane, part] = grad_SD
    return loss_K, None if _is(scale, 0) else grad_KSD.view_as(h_KBTD)


def token_losses(logits_KSV: Tensor, targets_KS: Tensor) -> Tensor:
    """-log p of each target in nats, computed in fp32, (K, S)."""
    flat = functional.cross_entropy(
        logits_KSV.flatten(0, 1).float(), targets_KS.flatten(), reduction="none"
    )
    return flat.view_as(targets_KS)

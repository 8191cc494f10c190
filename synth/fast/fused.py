"""Layers and head losses on CPU, in fp32 or bf16, with the passes of `synth.fast.native`.

The same formulas as `synth.models.layer` and `synth.models.backward`, up to rounding.
Everything between two matrix products is one pass over memory in each direction, and the
products add the gradients of weights to `grad` directly. Products are done lane by lane,
so that a lane has the same bits as when it trains alone.

```
forward    x -> [norm] -> qkv -> [rotate, attend] -> out + x -> y
           y -> [norm] -> gate_up -> [gate] -> down + y -> z          [one native pass]
```

Letters: K lanes, B batch, T time, N = B T, D width, M width of the MLP, V vocabulary.
"""

import ctypes
import struct
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from synth.fast.native import Native
from synth.models.decoder import PredictionModel
from synth.models.elementwise import EPSILON
from synth.models.lanes import align_lanes, each_lane
from synth.models.layer import MLP, Layer
from synth.models.mixers.attention import Attention
from synth.models.norm import RMSNorm
from synth.models.products import add_product, product
from synth.objectives.registers import MAX_FURTHEST


class LaneWeight:
    """One weight (K, E, D) of every lane, with its gradient."""

    def __init__(self, weight_KED: nn.Parameter) -> None:
        assert weight_KED.grad is not None, "gradients are rows of FlatLanes"
        self.weights = list(weight_KED.data)
        self.transposed = [weight.t() for weight in self.weights]
        self.grads = list(weight_KED.grad)
        self.features = weight_KED.shape[1]

    def forward(self, x_KND: Tensor) -> Tensor:
        """(K, N, D) to (K, N, E)."""
        out = x_KND.new_empty(*x_KND.shape[:-1], self.features)
        return each_lane(product, out, align_lanes(x_KND), self.transposed)

    def forward_onto(self, residual_KNE: Tensor, x_KND: Tensor) -> Tensor:
        """`residual` plus the product."""
        out = torch.empty_like(residual_KNE)
        return each_lane(
            add_product, out, residual_KNE, align_lanes(x_KND), self.transposed
        )

    def backward(self, grad_KNE: Tensor, x_KND: Tensor) -> Tensor:
        """The gradient for x; that of the weight is added to its `grad`."""
        self.collect(grad_KNE, x_KND)
        return self.back(grad_KNE)

    def back(self, grad_KNE: Tensor) -> Tensor:
        """The gradient for x."""
        out = grad_KNE.new_empty(*grad_KNE.shape[:-1], self.weights[0].shape[1])
        return each_lane(product, out, align_lanes(grad_KNE), self.weights)

    def collect(self, grad_KNE: Tensor, x_KND: Tensor) -> None:
        """Add the gradient of the weight to its `grad`."""
        lanes = zip(align_lanes(grad_KNE), align_lanes(x_KND), self.grads, strict=True)
        for grad_NE, x_ND, to_ED in lanes:
            add_product(to_ED, grad_NE.t(), x_ND, out=to_ED)


class FusedNorm:
    """Root-mean-square norm with its gain, in one pass each way."""

    def __init__(self, norm: RMSNorm, native: Native) -> None:
        assert norm.gain_KD.grad is not None
        self.native = native
        self.gain_KD, self.grad_KD = norm.gain_KD.data, norm.gain_KD.grad
        self.stride = self.gain_KD.stride(0)

    def forward(self, x_KND: Tensor) -> tuple[Tensor, Tensor]:
        """The normed rows and 1 / rms of each row, (K, N)."""
        out, rate_KN = torch.empty_like(x_KND), torch.empty(x_KND.shape[:2])
        shape = (self.stride, *x_KND.shape)
        self.native("unit_rms", x_KND, self.gain_KD, out, rate_KN, *shape, EPSILON)
        return out, rate_KN

    def backward(
        self, x_KND: Tensor, rate_KN: Tensor, grad_KND: Tensor, residual: Tensor | None
    ) -> Tensor:
        """The gradient for x, plus `residual`, that of the residual stream."""
        out = torch.empty_like(x_KND)
        self.native(
            "unit_rms_backward",
            *(x_KND, self.gain_KD, rate_KN, grad_KND, residual, out, self.grad_KD),
            *(self.stride, *x_KND.shape),
        )
        return out


class FusedAttention:
    """x + attention(norm(x))."""

    def __init__(self, attention: Attention, native: Native) -> None:
        self.native, self.heads, self.myopic = native, attention.heads, attention.myopic
        self.norm = FusedNorm(attention.norm, native)
        self.qkv = LaneWeight(attention.qkv_KED)
        self.out = LaneWeight(attention.out_KDD)
        self.rotary = attention.rotary

    def __call__(self, x_KBTD: Tensor, ahead_KB: Tensor | None = None) -> Tensor:
        """(K, B, T, D) to (K, B, T, D); with `ahead`, of rows and their registers."""
        ahead_KB = None if ahead_KB is None else ahead_KB.contiguous()
        return _Attention.apply(x_KBTD.contiguous(), ahead_KB, self)  # type: ignore[no-any-return]


class FusedMLP:
    """x + MLP(norm(x))."""

    def __init__(self, mlp: MLP, native: Native) -> None:
        self.native = native
        self.norm = FusedNorm(mlp.norm, native)
        self.gate_up = LaneWeight(mlp.gate_up_KMD)
        self.down = LaneWeight(mlp.down_KDM)

    def __call__(self, x_KBTD: Tensor) -> Tensor:
        """Any axes between lane and width."""
        return _MLP.apply(x_KBTD.contiguous(), self)  # type: ignore[no-any-return]


class _Attention(Function):
    @staticmethod
    def forward(
        ctx: Any, x_KBTD: Tensor, ahead_KB: Tensor | None, part: FusedAttention
    ) -> Tensor:
        lanes, batch, time, width = x_KBTD.shape
        x_KND = x_KBTD.view(lanes, batch * time, width)
        normed, rate = part.norm.forward(x_KND)
        qkv = part.qkv.forward(normed)
        mixed = torch.empty_like(x_KND)
        padded = -(-time // part.native.block) * part.native.block
        softmax = torch.empty(lanes * batch, part.heads, 2, padded)
        sizes: tuple[int, ...] = (time, part.heads, width // part.heads)
        if ahead_KB is None:
            tables = part.rotary.table(time, softmax)
            sizes = (lanes * batch, *sizes)
            part.native("attend", qkv, *tables, mixed, softmax, *sizes)
        else:
            tables = part.rotary.table(time + MAX_FURTHEST, softmax)
            sizes = (lanes, batch // 2, *sizes)
            given = (qkv, *tables, ahead_KB, mixed, softmax)
            part.native("attend_registers", *given, *sizes)
        ctx.save_for_backward(x_KND, normed, rate, qkv, mixed, softmax, *tables)
        ctx.part, ctx.sizes, ctx.ahead_KB = part, sizes, ahead_KB
        return part.out.forward_onto(x_KND, mixed).view_as(x_KBTD)

    @staticmethod
    def backward(ctx: Any, grad_KBTD: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        x_KND, normed, rate, qkv, mixed, softmax, *tables = ctx.saved_tensors
        part, ahead_KB = ctx.part, ctx.ahead_KB
        grad_KND = grad_KBTD.contiguous().view_as(x_KND)
        to_mixed = part.out.backward(grad_KND, mixed)
        to_qkv = torch.empty_like(qkv)
        slopes = (mixed, softmax, to_mixed, to_qkv)
        if ahead_KB is None:
            given = (qkv, *tables, *slopes, *ctx.sizes, part.myopic)
            part.native("attend_backward", *given)
        else:
            given = (qkv, *tables, ahead_KB, *slopes, *ctx.sizes)
            part.native("attend_registers_backward", *given)
        to_normed = part.qkv.backward(to_qkv, normed)
        to_x = part.norm.backward(x_KND, rate, to_normed, grad_KND)
        return to_x.view_as(grad_KBTD), None, None


class _MLP(Function):
    @staticmethod
    def forward(ctx: Any, x_KBTD: Tensor, part: FusedMLP) -> Tensor:
        x_KND = x_KBTD.flatten(1, -2)
        normed, rate = part.norm.forward(x_KND)
        both = part.gate_up.forward(normed)
        lanes, rows, double = both.shape
        inner = both.new_empty(lanes, rows, double // 2)
        part.native("gated", both, inner, lanes * rows, double // 2)
        ctx.save_for_backward(x_KND, normed, rate, both)
        ctx.part = part
        return part.down.forward_onto(x_KND, inner).view_as(x_KBTD)

    @staticmethod
    def backward(ctx: Any, grad_KBTD: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        x_KND, normed, rate, both = ctx.saved_tensors
        part = ctx.part
        grad_KND = grad_KBTD.contiguous().view_as(x_KND)
        lanes, rows, double = both.shape
        # Recompute the gate's output: cheaper than keeping M numbers a row and layer.
        inner = both.new_empty(lanes, rows, double // 2)
        to_inner = part.down.back(grad_KND)
        to_both = torch.empty_like(both)
        sizes = (lanes * rows, double // 2)
        part.native("gated_backward", both, to_inner, to_both, inner, *sizes)
        part.down.collect(grad_KND, inner)
        to_normed = part.gate_up.backward(to_both, normed)
        to_x = part.norm.backward(x_KND, rate, to_normed, grad_KND)
        return to_x.view_as(grad_KBTD), None


class FusedLayers:
    """Layers with attention, one after another, each way in one call.

    Products are native too: where a layer is narrow they cost less than torch's, and
    everything between them stays in the cache.
    """

    def __init__(self, layers: Sequence[Layer], native: Native) -> None:
        self.native = native
        self.parameters: list[nn.Parameter] = []
        for layer in layers:
            mixer, mlp = layer.mixer, layer.mlp
            assert isinstance(mixer, Attention)
            self.parameters += [mixer.norm.gain_KD, mixer.qkv_KED, mixer.out_KDD]
            self.parameters += [mlp.norm.gain_KD, mlp.gate_up_KMD, mlp.down_KDM]
            self.rotary, self.heads, self.myopic = (
                mixer.rotary,
                mixer.heads,
                mixer.myopic,
            )
        self.count, self.inner = len(layers), mlp.down_KDM.shape[-1]
        addresses = ctypes.c_void_p * len(self.parameters)
        self.weights = addresses(*(p.data_ptr() for p in self.parameters))
        self.grads = addresses(*(p.grad.data_ptr() for p in self.parameters))  # type: ignore[union-attr]
        self.rooms: list[Tensor] = []

    def take_room(self, count: int) -> Tensor:
        """Memory for activations: that of an earlier step, if it has this size.

        New memory costs a fifth of a step, since the kernel zeroes each of its pages.
        """
        while self.rooms:
            room = self.rooms.pop()
            if room.numel() == count:
                return room
        return torch.empty(count)

    def __call__(self, x_KBTD: Tensor) -> Tensor:
        """(K, B, T, D) to (K, B, T, D)."""
        return _Layers.apply(x_KBTD.contiguous(), self)  # type: ignore[no-any-return]

    def shape(self, x_KBTD: Tensor) -> bytes:
        """The sizes that the passes ask for."""
        stride = self.parameters[0].stride(0)
        sizes = (self.count, *x_KBTD.shape, self.inner, self.heads, stride)
        return struct.pack("9lf", *sizes, self.myopic, EPSILON)


class _Layers(Function):
    @staticmethod
    def forward(ctx: Any, x_KBTD: Tensor, part: FusedLayers) -> Tensor:
        shape, kept = part.shape(x_KBTD), None
        if ctx.needs_input_grad[0]:
            kept = part.take_room(part.native("kept_by_layers", shape))
        tables = part.rotary.table(x_KBTD.shape[2], torch.empty(0))
        out = torch.empty_like(x_KBTD)
        part.native("layers", shape, part.weights, *tables, x_KBTD, out, kept)
        ctx.part, ctx.shape, ctx.kept, ctx.tables = part, shape, kept, tables
        return out

    @staticmethod
    def backward(ctx: Any, grad_KBTD: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        part, grad_KBTD = ctx.part, grad_KBTD.contiguous()
        to_x = torch.empty_like(grad_KBTD)
        given = (ctx.shape, part.weights, part.grads, *ctx.tables)
        part.native("layers_backward", *given, ctx.kept, grad_KBTD, to_x)
        part.rooms.append(ctx.kept)
        return to_x, None


class FusedLoss:
    """Norm, unembedding and cross-entropy of one head: the loss and its gradient."""

    def __init__(self, model: PredictionModel, native: Native) -> None:
        self.native = native
        self.norm = FusedNorm(model.norm, native)
        self.unembedding = LaneWeight(model.unembedding_KVD)
        self.scale = model.logit_scale

    def __call__(
        self,
        h_KND: Tensor,
        targets_KN: Tensor,
        weights_KN: Tensor,
        scale: float | Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Losses (K,) and `scale` times the gradient for h; adds those of the weights."""
        h_KND = h_KND.contiguous()
        normed, rate = self.norm.forward(h_KND)
        if self.scale != 1:
            normed.mul_(self.scale)
        logits = self.unembedding.forward(normed)
        loss_KN = torch.empty(h_KND.shape[:2])
        rows, vocab = loss_KN.numel(), logits.shape[-1]
        wanted = (targets_KN.contiguous(), weights_KN.contiguous())
        self.native("cross_entropy", logits, *wanted, loss_KN, rows, vocab)
        if isinstance(scale, Tensor) or scale != 1:
            logits.mul_(scale)  # the pass has replaced them by their gradients
        to_normed = self.unembedding.backward(logits, normed)
        if self.scale != 1:
            to_normed.mul_(self.scale)
        return loss_KN.sum(1), self.norm.backward(h_KND, rate, to_normed, None)


def fuse(model: PredictionModel, native: Native) -> FusedLoss:
    """Make the layers of a model on flat lanes use native passes; returns its head loss.

    `native` must hold the passes for the type of the model's parameters.
    """
    attends = model.config.mixer == "attention"
    narrow = model.config.shape.width <= native.widest
    registers = model.objective.registers() is not None
    if attends and narrow and model.trunk:
        model.fused_trunk = FusedLayers([*model.trunk], native)  # type: ignore[list-item]
    for layer in model.layers():
        layer.fused_mlp = FusedMLP(layer.mlp, native)
        if attends and narrow:
            layer.fused = FusedLayers([layer], native)
        if isinstance(layer.mixer, Attention) and (registers or not narrow):
            layer.fused_mixer = FusedAttention(layer.mixer, native)
    return FusedLoss(model, native)

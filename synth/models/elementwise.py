"""Norm, rotation and gate with backward passes written out.

At small widths a step spends more time in passes over activations than in products. The
functions here take as few passes as torch's operations allow, about half as many as
autograd. Letters: N any leading axes, D width, T time, C channels, M inner.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

EPSILON = 1e-6


class UnitRMS(Function):
    """x / rms(x) over the last axis; the gain is folded into the product that follows."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor) -> Tensor:
        """Same shape and type; the mean square is taken in fp32."""
        square_N1 = x_ND.float().square().mean(-1, keepdim=True)
        rate_N1 = (square_N1 + EPSILON).rsqrt_().to(x_ND.dtype)
        unit_ND = x_ND * rate_N1
        ctx.save_for_backward(unit_ND, rate_N1)
        return unit_ND

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> Tensor:  # type: ignore[override]
        """(g - u mean(g u)) / rms(x) for the output u."""
        unit_ND, rate_N1 = ctx.saved_tensors
        along_N1 = (grad_ND * unit_ND).mean(-1, keepdim=True)
        return torch.addcmul(grad_ND, unit_ND, along_N1, value=-1).mul_(rate_N1)


class Rotation(Function):
    """Turn channel pairs (c, c + C/2) by the angles of a table, `sin` signed by half."""

    @staticmethod
    def forward(ctx: Any, x_NTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
        """x cos + swap(x) sin."""
        ctx.save_for_backward(cos_TC, sin_TC)
        return torch.addcmul(x_NTC * cos_TC, _swapped(x_NTC), sin_TC)

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_NTC: Tensor
    ) -> tuple[Tensor, None, None]:
        """The opposite rotation."""
        cos_TC, sin_TC = ctx.saved_tensors
        turned = torch.addcmul(grad_NTC * cos_TC, _swapped(grad_NTC), sin_TC, value=-1)
        return turned, None, None


class Gate(Function):
    """SiLU of the first half of the channels times the second half."""

    @staticmethod
    def forward(ctx: Any, both_NM: Tensor) -> Tensor:
        """(..., 2M) to (..., M)."""
        ctx.save_for_backward(both_NM)
        gate_NM, up_NM = both_NM.chunk(2, -1)
        return functional.silu(gate_NM).mul_(up_NM)

    @staticmethod
    def backward(ctx: Any, grad_NM: Tensor) -> Tensor:  # type: ignore[override]
        """Both halves written in place into one tensor."""
        (both_NM,) = ctx.saved_tensors
        gate_NM, up_NM = both_NM.chunk(2, -1)
        result = torch.empty_like(both_NM)
        to_gate, to_up = result.chunk(2, -1)
        torch.mul(grad_NM, functional.silu(gate_NM), out=to_up)
        to_gate.copy_(torch.ops.aten.silu_backward(grad_NM * up_NM, gate_NM))
        return result


class FoldedGain(Function):
    """A weight whose columns are scaled by the gain of the norm before it."""

    @staticmethod
    def forward(ctx: Any, weight_KED: Tensor, gain_KD: Tensor) -> Tensor:
        """(K, E, D) times (K, D)."""
        ctx.save_for_backward(weight_KED, gain_KD)
        return weight_KED * gain_KD[:, None]

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_KED: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient of the gain is summed lane by lane, always in the same order."""
        weight_KED, gain_KD = ctx.saved_tensors
        grad_KED = grad_KED.contiguous()
        along = [(g * w).sum(0) for g, w in zip(grad_KED, weight_KED, strict=True)]
        return grad_KED * gain_KD[:, None], torch.stack(along)


def _swapped(x_NTC: Tensor) -> Tensor:
    return torch.cat(x_NTC.chunk(2, -1)[::-1], -1)


def unit_rms(x_ND: Tensor) -> Tensor:
    """Each vector of the last axis divided by its root mean square."""
    return UnitRMS.apply(x_ND)  # type: ignore[no-any-return]


def rotate(x_NTC: Tensor, cos_TC: Tensor, sin_TC: Tensor) -> Tensor:
    """Rotary positions (`synth.models.mixers.attention.Rotary` makes the tables)."""
    return Rotation.apply(x_NTC, cos_TC, sin_TC)  # type: ignore[no-any-return]


def fold_gain(weight_KED: Tensor, gain_KD: Tensor) -> Tensor:
    """One weight in place of a gain and the weight after it."""
    return FoldedGain.apply(weight_KED, gain_KD)  # type: ignore[no-any-return]


def gated(both_NM: Tensor) -> Tensor:
    """SwiGLU's gate: SiLU(first half) times the second half."""
    return Gate.apply(both_NM)  # type: ignore[no-any-return]

"""What recurrent mixers share: chunks, states between chunks, shifts, lane parameters.

Letters: K lanes, B batch, N = K B sequences, T time, Q positions of a chunk, J chunks, C
channels, W window. Decays are kept as logarithms; sums run in fp32 or wider. Gradients
of parameters are summed lane by lane in one layout, so that a lane's bits do not depend
on its neighbours.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional


class Memory:
    """What a recurrent layer keeps of the tokens it has seen."""

    def __init__(self) -> None:
        self.tail: Tensor | None = None
        """The last inputs, as many as the shift or the convolution looks back."""
        self.state: Tensor | None = None
        """The state of the recurrence."""


class Spread(Function):
    """A lane's parameter repeated over positions."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, size: tuple[int, ...]) -> Tensor:
        """Expand axes of size 1 to `size` (a view)."""
        pairs = enumerate(zip(parameter.shape[1:], size[1:], strict=True))
        ctx.axes = [axis for axis, (old, new) in pairs if old != new]
        return parameter.expand(size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        """Sums over the repeated axes, one lane after the other."""
        if not ctx.axes:
            return grad, None
        sums = [g.contiguous().sum(ctx.axes, keepdim=True) for g in grad]
        return torch.stack(sums), None


class ShortConvolution(Function):
    """Causal depthwise convolution over time, each lane and channel with its weights."""

    @staticmethod
    def forward(ctx: Any, x_KBTC: Tensor, weight_KCW: Tensor) -> Tensor:
        """(K, B, T + W - 1, C) to (K, B, T, C); the last weight meets the position."""
        ctx.save_for_backward(x_KBTC, weight_KCW)
        window = weight_KCW.shape[-1]
        time = x_KBTC.shape[2] - window + 1
        out = x_KBTC[:, :, :time] * _at(weight_KCW, 0)
        for back in range(1, window):
            out.addcmul_(x_KBTC[:, :, back : back + time], _at(weight_KCW, back))
        return out

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_KBTC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The mirrored convolution, and sums over batch and time by lane."""
        x_KBTC, weight_KCW = ctx.saved_tensors
        time, window = grad_KBTC.shape[2], weight_KCW.shape[-1]
        grad_x, grad_weight = torch.zeros_like(x_KBTC), torch.empty_like(weight_KCW)
        for back in range(window):
            part = slice(back, back + time)
            grad_x[:, :, part].addcmul_(grad_KBTC, _at(weight_KCW, back))
            for lane, (g, x) in enumerate(zip(grad_KBTC, x_KBTC, strict=True)):
                along = (g * x[:, part]).contiguous()
                grad_weight[lane, :, back] = along.sum((0, 1))
        return grad_x, grad_weight


def _at(weight_KCW: Tensor, back: int) -> Tensor:
    return weight_KCW[:, None, None, :, back]


def spread(parameter: Tensor, *size: int) -> Tensor:
    """`parameter` expanded to `size`; axes of size 1 are repeated."""
    return Spread.apply(parameter, size)  # type: ignore[no-any-return]


def convolve(x_KBTC: Tensor, weight_KCW: Tensor) -> Tensor:
    """Short causal convolution of an input that begins with its W - 1 predecessors."""
    return ShortConvolution.apply(x_KBTC, weight_KCW)  # type: ignore[no-any-return]


def with_past(x_KBTC: Tensor, memory: Memory | None, count: int) -> Tensor:
    """The input after its `count` predecessors: remembered ones, or zeros."""
    if memory is None or memory.tail is None:
        longer = functional.pad(x_KBTC, (0, 0, count, 0))
    else:
        longer = torch.cat((memory.tail, x_KBTC), dim=2)
    if memory is not None:
        memory.tail = longer[:, :, longer.shape[2] - count :]
    return longer


def widened(x: Tensor) -> Tensor:
    """In fp32, or fp64 if it is that already."""
    return x if x.dtype == torch.float64 else x.float()


def chunked(x_NTX: Tensor, chunk: int) -> Tensor:
    """(N, T, ...) to (N, J, Q, ...), the end filled with zeros."""
    missing = -x_NTX.shape[1] % chunk
    if missing:
        padding = [0, 0] * (x_NTX.dim() - 2) + [0, missing]
        x_NTX = functional.pad(x_NTX, padding)
    return x_NTX.unflatten(1, (-1, chunk))


def carried(
    decay_NJX: Tensor, update_NJX: Tensor, initial_NX: Tensor | None
) -> tuple[Tensor, Tensor]:
    """States before each chunk (N, J, ...), and the state after the last (N, ...).

    s[j+1] = decay[j] s[j] + update[j], decays broadcast over the update's axes.
    """
    updates = update_NJX.unbind(1)
    state = torch.zeros_like(updates[0]) if initial_NX is None else initial_NX
    before = []
    for decay, update in zip(decay_NJX.unbind(1), updates, strict=True):
        before.append(state)
        state = torch.addcmul(update, decay, state)
    return torch.stack(before, 1), state

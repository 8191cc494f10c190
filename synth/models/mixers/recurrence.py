"""What mixers share: lanes in turn, chunks, states between chunks, earlier inputs.

Letters: K lanes, B batch, N = K B sequences, T time, Q positions of a chunk, J chunks, C
channels, H heads, W window.
Decays are kept as logarithms; sums over time run in fp32 or wider.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from synth.models.lanes import concatenate_lanes


class Memory:
    """What a layer keeps of the tokens it has seen."""

    def __init__(self) -> None:
        self.tail: Tensor | None = None
        """The last inputs that the shift or the convolution reads; keys of attention."""
        self.state: Tensor | None = None
        """The state of the recurrence; values of attention."""
        self.tokens = 0
        """Tokens seen so far; the embedding counts them for learned positions."""


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
        """The mirrored convolution, and sums over batch and time."""
        x_KBTC, weight_KCW = ctx.saved_tensors
        time, window = grad_KBTC.shape[2], weight_KCW.shape[-1]
        grad_x, grad_weight = torch.zeros_like(x_KBTC), torch.empty_like(weight_KCW)
        for back in range(window):
            part = slice(back, back + time)
            grad_x[:, :, part].addcmul_(grad_KBTC, _at(weight_KCW, back))
            grad_weight[..., back] = (grad_KBTC * x_KBTC[:, :, part]).sum((1, 2))
        return grad_x, grad_weight


def _at(weight_KCW: Tensor, back: int) -> Tensor:
    return weight_KCW[:, None, None, :, back]


def convolve(x_KBTC: Tensor, weight_KCW: Tensor) -> Tensor:
    """Short causal convolution of an input that begins with its W - 1 predecessors."""
    return ShortConvolution.apply(x_KBTC, weight_KCW)  # type: ignore[no-any-return]


def by_lane(
    mix: Callable[..., tuple[Tensor, Tensor, Tensor]],
    x_KBTD: Tensor,
    memory: Memory | None,
    weights: dict[str, Tensor],
    at_once: bool = False,
) -> Tensor:
    """Run `mix(x, tail, state, weights)`, on a CPU one lane after the other.

    On a CPU the bits of a lane could depend on the other lanes: vector instructions round
    exponentials differently from the scalar code for the last few elements of a tensor,
    and products depend on alignment. A GPU, where bits are not promised, takes all lanes
    at once; so does a CPU with `at_once`, for a `mix` without such effects.
    """
    memory = memory or Memory()
    lanes = len(x_KBTD)
    if lanes == 1 or at_once or x_KBTD.device.type != "cpu":
        out, memory.tail, memory.state = mix(x_KBTD, memory.tail, memory.state, weights)
        return out
    split = {name: weight.split(1) for name, weight in weights.items()}
    none = (None,) * lanes
    tails = none if memory.tail is None else memory.tail.chunk(lanes)
    states = none if memory.state is None else memory.state.chunk(lanes)
    found = [
        mix(x.clone(), tails[k], states[k], {name: w[k] for name, w in split.items()})
        for k, x in enumerate(x_KBTD.split(1))
    ]
    outs, *kept = zip(*found, strict=True)
    memory.tail, memory.state = map(torch.cat, kept)
    return concatenate_lanes(outs)


def prepend_past(x_KBTC: Tensor, tail_KBTC: Tensor | None, count: int) -> Tensor:
    """The input with its `count` predecessors before it: `tail`, or zeros."""
    if tail_KBTC is None:
        return functional.pad(x_KBTC, (0, 0, count, 0))
    return torch.cat((tail_KBTC, x_KBTC), dim=2)


def widen(x: Tensor) -> Tensor:
    """Convert to fp32, unless it is fp64."""
    return x if x.dtype == torch.float64 else x.float()


def split_chunks(x_NTHX: Tensor, chunk: int) -> Tensor:
    """(N, T, H, ...) to (N, J, H, Q, ...); the last chunk is padded with zeros.

    Zeros do not change the state, so a scan in chunks is exact for every length.
    """
    missing = -x_NTHX.shape[1] % chunk
    if missing:
        padding = [0, 0] * (x_NTHX.dim() - 2) + [0, missing]
        x_NTHX = functional.pad(x_NTHX, padding)
    return x_NTHX.unflatten(1, (-1, chunk)).transpose(2, 3)


def join_chunks(x_NJHQX: Tensor, time: int) -> Tensor:
    """Undo `split_chunks`: (N, J, H, Q, ...) to (N, T, H, ...), without the padding."""
    return x_NJHQX.transpose(2, 3).flatten(1, 2)[:, :time]


def carry_states(
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

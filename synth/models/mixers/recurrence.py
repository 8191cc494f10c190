"""What mixers share: lanes in turn, chunks, states between chunks, earlier inputs.

Letters: K lanes, B batch, N = K B sequences, T time, Q positions of a chunk, J chunks, C
channels, H heads, W window.
Decays are kept as logarithms; sums over time run in fp32 or wider.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from synth.models.lanes import concatenate_lanes


@dataclass
class Reading:
    """Where the tokens stand that a model reads next, one for all of its memories."""

    start: int = 0
    """Tokens read before them, where all rows are in step."""
    start_KB: Tensor | None = None
    """Tokens read before them in each row, where rows go on from places of their own,
    maybe from earlier ones than they had reached."""
    room: int = 0
    """Tokens of the longest row; beyond them no place is read."""
    back: int = 0
    """How many tokens rows may go back after this."""

    def places(self, time: int) -> Tensor:
        """The places of the next `time` tokens in each row, (K, B, T)."""
        assert self.start_KB is not None
        ahead_T = torch.arange(time, device=self.start_KB.device)
        return (self.start_KB[..., None] + ahead_T).clamp(max=self.room - 1)


class Memory:
    """What a layer keeps of the tokens it has seen."""

    def __init__(self, reading: Reading | None = None) -> None:
        self.tail: Tensor | None = None
        """The last inputs that the shift or the convolution reads; keys of attention."""
        self.state: Tensor | None = None
        """The state of the recurrence; values of attention."""
        self.reading = reading or Reading()
        self._steps: list[tuple[Tensor | None, Tensor | None]] = []
        """Tail and state of a recurrence before its last tokens and after each."""
        self._first_KB: Tensor | int = 0
        """Tokens read before the first of these."""

    def make_room(self) -> None:
        """Widen keys and values to the longest row."""
        assert self.tail is not None
        assert self.state is not None
        missing = self.reading.room - self.tail.shape[-2]
        if missing:
            self.tail = functional.pad(self.tail, (0, 0, 0, missing))
            self.state = functional.pad(self.state, (0, 0, 0, missing))

    def begin_steps(self, first_KB: Tensor | int) -> None:
        """Keep what is known from here on, token by token."""
        self._steps, self._first_KB = [(self.tail, self.state)], first_KB

    def keep_step(self) -> None:
        """Keep what is known after one more token."""
        self._steps.append((self.tail, self.state))

    def go_to(self, start_KB: Tensor) -> None:
        """Forget the tokens of each row from `start` on."""
        step_KB = start_KB - self._first_KB
        lane_K1 = torch.arange(len(step_KB), device=step_KB.device)[:, None]
        row_B = torch.arange(step_KB.shape[1], device=step_KB.device)
        tails, states = zip(*self._steps, strict=True)
        self.tail, self.state = (
            # Nothing was known before the first token: zeros.
            torch.stack([torch.zeros_like(kept[-1]) if k is None else k for k in kept])[
                step_KB, lane_K1, row_B
            ]
            for kept in (tails, states)
        )


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


class Cache:
    """What a model remembers of a row that it decodes: a memory for each layer in use."""

    def __init__(self, room: int = 0, back: int = 0) -> None:
        """For rows of up to `room` tokens that may go back by `back`; 0: they never do."""
        self.reading = Reading(room=room, back=back)
        self._memories: dict[tuple[int | None, int], Memory] = {}

    def memories(self, head: int | None, layers: int) -> list[Memory]:
        """Those of the layers of a head (1..n), or of the trunk (`None`)."""
        return [
            self._memories.setdefault((head, layer), Memory(self.reading))
            for layer in range(layers)
        ]


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


def recur(
    mix: Callable[..., tuple[Tensor, Tensor, Tensor]],
    x_KBTD: Tensor,
    memory: Memory | None,
    weights: dict[str, Tensor],
) -> Tensor:
    """`by_lane` of a recurrence, whose rows may go back to an earlier token.

    A state cannot be cut, so it is kept after each of the last tokens, which pass one
    after the other.
    """
    if memory is None or not memory.reading.back:
        return by_lane(mix, x_KBTD, memory, weights)
    reading = memory.reading
    if reading.start_KB is not None:
        memory.go_to(reading.start_KB)
    at_once = max(x_KBTD.shape[2] - reading.back, 0)
    outs = [by_lane(mix, x_KBTD[:, :, :at_once], memory, weights)] if at_once else []
    start_KB = reading.start if reading.start_KB is None else reading.start_KB
    memory.begin_steps(start_KB + at_once)
    for x_KB1D in x_KBTD[:, :, at_once:].split(1, 2):
        outs.append(by_lane(mix, x_KB1D, memory, weights))
        memory.keep_step()
    return torch.cat(outs, 2)


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

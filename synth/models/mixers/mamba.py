"""Mamba-2: a recurrence with one decay per head, in chunks (arXiv 2405.21060).

```
z, x, B, C, dt = W_in norm(u)        x, B, C pass a short causal convolution and SiLU
a_t = exp(dt_t A)                    one number per head and position, A < 0
S_t = a_t S_(t-1) + B_t (dt_t x_t)   state of a head, S x P; B and C serve all heads
y_t = C_t S_t + D x_t                output W_out norm(y * SiLU(z))
```

Within a chunk the sum over earlier positions is a masked product (section 6 of the
paper); between chunks the states are carried on. Decays are differences of cumulative
sums in fp64, so a strong decay early in a chunk costs later ones no precision.

Letters: K lanes, B batch, N = K B sequences, T time, J chunks, Q positions of a chunk, D
width, H heads, P channels of a head, I = H P, S state.

As in the authors' code, but without biases, dt starts between 0.001 and 0.1 and -A
between 1 and 16, spread over the heads. Here these first values are constants. A learnt
offset is added to dt before its softplus, and a learnt one to log(-A). Both are stored as
gains (start at 1, do not decay), from which 1 is subtracted.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.elementwise import fold_gain, unit_rms
from synth.models.lanes import lane_linear
from synth.models.mixers.recurrence import (
    Memory,
    carry_states,
    convolve,
    join_chunks,
    prepend_past,
    recur,
    split_chunks,
    widen,
)
from synth.models.norm import RMSNorm
from synth.models.weights import gain, matrix
from synth.shapes.mixer_shapes import WINDOW, MambaShape

FIRST_STEPS = (1e-3, 1e-1)
"""Range of dt at the start, geometric over the heads."""
FIRST_RATES = (1.0, 16.0)
"""Range of -A at the start, linear over the heads."""


def scan(
    x_NTHP: Tensor,
    log_decay_NTH: Tensor,
    b_NTS: Tensor,
    c_NTS: Tensor,
    chunk: int,
    initial_NHSP: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_t = C_t S_t for S_t = a_t S_(t-1) + B_t x_t, and the last state."""
    time = x_NTHP.shape[1]
    chunk = min(chunk, time)
    x_NJHQP = split_chunks(x_NTHP, chunk)
    b_NJ1QS = split_chunks(b_NTS[:, :, None], chunk)
    c_NJ1QS = split_chunks(c_NTS[:, :, None], chunk)
    log_NJHQ = split_chunks(log_decay_NTH.double(), chunk).cumsum(-1)
    last_NJH1 = log_NJHQ[..., -1:]
    later = torch.ones(chunk, chunk, dtype=torch.bool, device=x_NTHP.device).triu(1)
    between = (log_NJHQ[..., :, None] - log_NJHQ[..., None, :]).to(x_NTHP.dtype)
    weight_NJHQQ = between.masked_fill(later, -math.inf).exp()
    weight_NJHQQ = weight_NJHQQ * (c_NJ1QS @ b_NJ1QS.transpose(-2, -1))
    y_NJHQP = weight_NJHQQ @ x_NJHQP

    to_end_NJHQ1 = (last_NJH1 - log_NJHQ).exp().to(x_NTHP.dtype)[..., None]
    update_NJHSP = b_NJ1QS.transpose(-2, -1) @ (x_NJHQP * to_end_NJHQ1)
    decay_NJH11 = last_NJH1.exp().to(x_NTHP.dtype)[..., None]
    before_NJHSP, state_NHSP = carry_states(decay_NJH11, update_NJHSP, initial_NHSP)
    from_start_NJHQ1 = log_NJHQ.exp().to(x_NTHP.dtype)[..., None]
    y_NJHQP = y_NJHQP + (c_NJ1QS @ before_NJHSP) * from_start_NJHQ1
    return join_chunks(y_NJHQP, time), state_NHSP


class Mamba2(nn.Module):
    """Norm and Mamba-2 layer with about as many weights as attention."""

    def __init__(self, num_lanes: int, config: ModelConfig) -> None:
        super().__init__()
        shape = config.shape
        self.shape = inner = MambaShape.of(shape)
        self._starts: dict[tuple, tuple[Tensor, Tensor]] = {}
        self.norm = RMSNorm(num_lanes, shape.width)
        read = (inner.inner, inner.inner, inner.state, inner.state, inner.heads)
        self.in_KED = matrix(num_lanes, sum(read), shape.width, maps=read)
        self.convolution_KCW = matrix(num_lanes, inner.convolved, WINDOW, maps=())
        self.step_KH = gain(num_lanes, inner.heads)
        self.decay_KH = gain(num_lanes, inner.heads)
        self.skip_KH = gain(num_lanes, inner.heads)
        self.gated_norm = RMSNorm(num_lanes, inner.inner)
        self.out_KDI = matrix(
            num_lanes, shape.width, inner.inner, summed=2 * shape.layers
        )

    def forward(self, u_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """Mix this and all earlier positions, remembered ones among them."""
        return recur(self._mix, u_KBTD, memory, dict(self.named_parameters()))

    def _mix(
        self,
        u_KBTD: Tensor,
        tail_KBTC: Tensor | None,
        state_KBHSP: Tensor | None,
        weights: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The layer, the end of the convolution's input, and the state."""
        shape = self.shape
        weight = fold_gain(weights["in_KED"], weights["norm.gain_KD"])
        both = lane_linear(unit_rms(u_KBTD.flatten(1, 2)), weight)
        z_KBTI, xbc_KBTC, dt_KBTH = both.view(*u_KBTD.shape[:-1], -1).split(
            (shape.inner, shape.convolved, shape.heads), -1
        )
        longer = prepend_past(xbc_KBTC, tail_KBTC, WINDOW - 1)
        xbc = functional.silu(convolve(longer, weights["convolution_KCW"]))
        x_KBTI, b_KBTS, c_KBTS = widen(xbc).split(
            (shape.inner, shape.state, shape.state), -1
        )
        x_KBTHP = x_KBTI.unflatten(-1, (shape.heads, shape.channels))
        dt_KBTH, log_decay_KBTH = self._rates(widen(dt_KBTH), weights)
        y_NTHP, state_NHSP = scan(
            (x_KBTHP * dt_KBTH[..., None]).flatten(0, 1),
            log_decay_KBTH.flatten(0, 1),
            b_KBTS.flatten(0, 1),
            c_KBTS.flatten(0, 1),
            shape.chunk,
            None if state_KBHSP is None else state_KBHSP.flatten(0, 1),
        )
        skip_KH = widen(weights["skip_KH"])
        y_KBTHP = y_NTHP.view(x_KBTHP.shape) + x_KBTHP * skip_KH[:, None, None, :, None]
        y_KBTI = y_KBTHP.flatten(-2).to(both.dtype) * functional.silu(z_KBTI)
        weight = fold_gain(weights["out_KDI"], weights["gated_norm.gain_KD"])
        out = lane_linear(unit_rms(y_KBTI.flatten(1, 2)), weight)
        state_KBHSP = state_NHSP.unflatten(0, u_KBTD.shape[:2])
        return out.view_as(u_KBTD), longer[:, :, 1 - WINDOW :], state_KBHSP

    def _rates(
        self, raw_KBTH: Tensor, weights: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Steps dt and log decays dt A, each (K, B, T, H)."""
        offsets_H, rates_H = self._first_values(raw_KBTH)
        offset_KH = offsets_H + (widen(weights["step_KH"]) - 1)
        dt_KBTH = functional.softplus(raw_KBTH + offset_KH[:, None, None])
        rate_KH = rates_H * (widen(weights["decay_KH"]) - 1).exp()
        return dt_KBTH, -dt_KBTH * rate_KH[:, None, None]

    def _first_values(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """First values of dt before its softplus and of -A, (H,), cached per device.

        Sending them to a GPU in every step would force a sync and prevent recording.
        """
        key = (like.dtype, like.device)
        if key not in self._starts:
            span = torch.linspace(0, 1, self.shape.heads, dtype=torch.float64).tolist()
            low, high = (math.log(step) for step in FIRST_STEPS)
            steps = [math.exp(low + (high - low) * s) for s in span]
            # The inverse of softplus, so that dt starts there for an input of 0.
            offsets = [s + math.log(-math.expm1(-s)) for s in steps]
            slow, fast = FIRST_RATES
            rates = [slow + (fast - slow) * s for s in span]
            self._starts[key] = (like.new_tensor(offsets), like.new_tensor(rates))
        return self._starts[key]

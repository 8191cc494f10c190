"""RWKV time mix: a matrix state with a decay per channel, in chunks (RWKV-6).

```
x_j  = u_t + m_j (u_(t-1) - u_t)      token shift, m_j per channel; j: r, k, v, g, w
w_t  = exp(-e^(-1/2) sigmoid(d + A tanh(B x_w)))       data-dependent, (0.545, 1)
y_t  = r_t (S_(t-1) + (b k_t) v_t)    b: bonus of the position itself, per channel
S_t  = w_t S_(t-1) + k_t v_t          state of a head, P x P; w_t acts on key channels
out  = W_o (norm_per_head(y) * SiLU(g))
```

The recurrence is that of RWKV-6 (Finch, arXiv 2404.05892, section 4). Simplified: the
token shift has one learnt share per channel (as RWKV-5; Finch makes it depend on the
input), the norm of heads is RMS, and the decay is bounded as in RWKV-7 (arXiv
2503.14456). The bound makes the chunked form exact and stable: relative to the middle
of a chunk of 32 positions, log decays stay within 10, so products of e^(+x) and e^(-x)
neither overflow nor lose digits, and no (Q, Q, P) tensor is built.

The channel mix of RWKV is not used: the suite's gated MLP stays, so that only the mixer
differs between trunks.

Letters: K lanes, B batch, N = K B sequences (rows K, N: positions of a lane), T time, J
chunks, Q positions of a chunk, D width, H heads, P channels of a head, I = H P, R rank.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.mixers import RWKVShape
from synth.models.elementwise import folded, unit_rms
from synth.models.lanes import lane_linear
from synth.models.norm import RMSNorm
from synth.models.recurrence import Memory, carried, chunked, spread, widened, with_past
from synth.scales import Scale

FASTEST = math.exp(-0.5)
"""Largest -log w of one step."""
FIRST_DECAYS = (-6.0, 2.0)
"""Range of the decay's logit at the start, linear over the channels of a head."""


def scan(
    r_NTHP: Tensor,
    k_NTHP: Tensor,
    v_NTHP: Tensor,
    log_decay_NTHP: Tensor,
    chunk: int,
    initial_NHPP: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """y_t = r_t S_(t-1) for S_t = w_t S_(t-1) + k_t v_t, and the last state.

    Exact for every length; the end of the last chunk is filled with zeros, which leave
    the state as it is.
    """
    time = r_NTHP.shape[1]
    chunk = min(chunk, time)
    r, k, v, log_NJHQP = (
        chunked(x, chunk).transpose(2, 3)
        for x in (r_NTHP, k_NTHP, v_NTHP, log_decay_NTHP)
    )
    through = log_NJHQP.cumsum(-2)
    until = through - log_NJHQP
    # The middle cancels in every product; it only keeps the exponents small.
    middle = through[..., chunk // 2, None, :].detach()
    score_NJHQQ = (r * (until - middle).exp()) @ (
        k * (middle - through).exp()
    ).transpose(-2, -1)
    y_NJHQP = score_NJHQQ.tril(-1) @ v

    end = through[..., -1:, :]
    update_NJHPP = (k * (end - through).exp()).transpose(-2, -1) @ v
    decay_NJHP1 = end.exp().transpose(-2, -1)
    before_NJHPP, state_NHPP = carried(decay_NJHP1, update_NJHPP, initial_NHPP)
    y_NJHQP = y_NJHQP + (r * until.exp()) @ before_NJHPP
    return y_NJHQP.transpose(2, 3).flatten(1, 2)[:, :time], state_NHPP


class TimeMix(nn.Module):
    """Norm and RWKV time mix with about as many weights as attention."""

    def __init__(self, num_lanes: int, shape: Scale) -> None:
        super().__init__()
        self.shape = inner = RWKVShape.of(shape)
        width, channels = shape.width, inner.inner
        self.norm = RMSNorm(num_lanes, width)
        self.shift_KF = nn.Parameter(torch.empty(num_lanes, 5 * width))
        self.rkvg_KED = nn.Parameter(torch.empty(num_lanes, 4 * channels, width))
        self.decay_down_KRD = nn.Parameter(torch.empty(num_lanes, inner.rank, width))
        self.decay_up_KIR = nn.Parameter(torch.empty(num_lanes, channels, inner.rank))
        self.decay_KI = nn.Parameter(torch.empty(num_lanes, channels))
        self.bonus_KI = nn.Parameter(torch.empty(num_lanes, channels))
        self.head_norm = RMSNorm(num_lanes, channels)
        self.out_KDI = nn.Parameter(torch.empty(num_lanes, width, channels))

    def forward(self, u_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """Mix this and all earlier positions, remembered ones among them."""
        shape = self.shape
        rkvg_4KNI, log_decay_KNI = self._project(u_KBTD, memory)
        r, k, v, g = rkvg_4KNI.unbind(0)
        sequences = (-1, u_KBTD.shape[2], shape.heads, shape.channels)
        r, k, v = (widened(x) for x in (r, k, v))
        r_NTHP, k_NTHP, v_NTHP = (x.reshape(sequences) for x in (r, k, v))
        y_NTHP, state = scan(
            r_NTHP,
            k_NTHP,
            v_NTHP,
            log_decay_KNI.reshape(sequences),
            shape.chunk,
            None if memory is None else memory.state,
        )
        if memory is not None:
            memory.state = state
        bonus_KNI = spread(widened(self.bonus_KI)[:, None], *k.shape)
        own_NTH1 = (r * k * bonus_KNI).reshape(sequences).sum(-1, keepdim=True)
        y_NTHP = unit_rms(y_NTHP + own_NTH1 * v_NTHP)
        y_KNI = y_NTHP.reshape(g.shape).to(g.dtype) * functional.silu(g)
        # The gain of the norm commutes with the gate, so it goes into the output.
        out = lane_linear(y_KNI, folded(self.out_KDI, self.head_norm.gain_KD))
        return out.view_as(u_KBTD)

    def _project(self, u_KBTD: Tensor, memory: Memory | None) -> tuple[Tensor, Tensor]:
        """Receptance, key, value and gate (4, K, N, I), and log decays (K, N, I)."""
        lanes, batch, time, width = u_KBTD.shape
        shape = self.shape
        longer = with_past(unit_rms(u_KBTD), memory, 1)
        unit, earlier = longer[:, :, 1:], longer[:, :, :-1]
        change_K1ND = (earlier - unit).reshape(lanes, 1, batch * time, width)
        share_K51D = self.shift_KF.view(lanes, 5, 1, width)
        ramp_D = torch.linspace(0, 1, width, device=unit.device, dtype=unit.dtype)
        share_K5ND = spread(share_K51D, lanes, 5, batch * time, width) * ramp_D
        mixed_K5ND = torch.addcmul(
            unit.reshape(change_K1ND.shape), change_K1ND, share_K5ND
        )
        weight = folded(self.rkvg_KED, self.norm.gain_KD)
        rkvg = torch.bmm(
            mixed_K5ND[:, :4].flatten(0, 1),
            weight.view(4 * lanes, shape.inner, width).transpose(1, 2),
        )
        down = folded(self.decay_down_KRD, self.norm.gain_KD)
        thin_KNR = lane_linear(mixed_K5ND[:, 4], down).tanh()
        logit_KNI = widened(lane_linear(thin_KNR, self.decay_up_KIR))
        first_I = torch.linspace(*FIRST_DECAYS, shape.channels).repeat(shape.heads)
        offset_KI = widened(self.decay_KI) - 1 + first_I.to(logit_KNI)
        logit_KNI = logit_KNI + spread(offset_KI[:, None], *logit_KNI.shape)
        return (
            rkvg.view(lanes, 4, -1, shape.inner).transpose(0, 1),
            -FASTEST * logit_KNI.sigmoid(),
        )

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

from synth.config import ModelConfig
from synth.models.elementwise import fold_gain, unit_rms
from synth.models.lanes import lane_linear
from synth.models.mixers.recurrence import (
    Memory,
    carry_states,
    join_chunks,
    prepend_past,
    recur,
    split_chunks,
    widen,
)
from synth.models.norm import RMSNorm
from synth.models.weights import gain, matrix
from synth.shapes.mixer_shapes import RWKVShape

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
    """y_t = r_t S_(t-1) for S_t = w_t S_(t-1) + k_t v_t, and the last state."""
    time = r_NTHP.shape[1]
    chunk = min(chunk, time)
    r, k, v, log_NJHQP = (
        split_chunks(x, chunk) for x in (r_NTHP, k_NTHP, v_NTHP, log_decay_NTHP)
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
    before_NJHPP, state_NHPP = carry_states(decay_NJHP1, update_NJHPP, initial_NHPP)
    y_NJHQP = y_NJHQP + (r * until.exp()) @ before_NJHPP
    return join_chunks(y_NJHQP, time), state_NHPP


class TimeMix(nn.Module):
    """Norm and RWKV time mix with about as many weights as attention."""

    def __init__(self, num_lanes: int, config: ModelConfig) -> None:
        super().__init__()
        shape = config.shape
        self.shape = inner = RWKVShape.of(shape)
        self._starts: dict[tuple, Tensor] = {}
        width, channels = shape.width, inner.inner
        self.norm = RMSNorm(num_lanes, width)
        self.shift_KF = gain(num_lanes, 5 * width)
        self.rkvg_KED = matrix(num_lanes, 4 * channels, width, maps=4 * [channels])
        self.decay_down_KRD = matrix(num_lanes, inner.rank, width)
        self.decay_up_KIR = matrix(num_lanes, channels, inner.rank)
        self.decay_KI = gain(num_lanes, channels)
        self.bonus_KI = gain(num_lanes, channels)
        self.head_norm = RMSNorm(num_lanes, channels)
        self.out_KDI = matrix(num_lanes, width, channels, summed=2 * shape.layers)

    def forward(self, u_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """Mix this and all earlier positions, remembered ones among them."""
        return recur(self._mix, u_KBTD, memory, dict(self.named_parameters()))

    def _mix(
        self,
        u_KBTD: Tensor,
        tail_KB1D: Tensor | None,
        state_KBHPP: Tensor | None,
        weights: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The layer, the last normed input, and the state."""
        longer = prepend_past(unit_rms(u_KBTD), tail_KB1D, 1)
        rkvg, log_decay_KNI = self._project(longer, weights)
        shape = self.shape
        sequences = (-1, u_KBTD.shape[2], shape.heads, shape.channels)
        r, k, v = (widen(x) for x in rkvg[:3])
        r_NTHP, k_NTHP, v_NTHP = (x.reshape(sequences) for x in (r, k, v))
        y_NTHP, state_NHPP = scan(
            r_NTHP,
            k_NTHP,
            v_NTHP,
            log_decay_KNI.reshape(sequences),
            shape.chunk,
            None if state_KBHPP is None else state_KBHPP.flatten(0, 1),
        )
        own_KNI = r * k * widen(weights["bonus_KI"])[:, None]
        own_NTH1 = own_KNI.reshape(sequences).sum(-1, keepdim=True)
        y_NTHP = unit_rms(y_NTHP + own_NTH1 * v_NTHP)
        gate_KNI = functional.silu(rkvg[3])
        y_KNI = y_NTHP.reshape(gate_KNI.shape).to(gate_KNI.dtype) * gate_KNI
        # The gain of the norm commutes with the gate, so it goes into the output.
        weight = fold_gain(weights["out_KDI"], weights["head_norm.gain_KD"])
        out = lane_linear(y_KNI, weight).view_as(u_KBTD)
        return out, longer[:, :, -1:], state_NHPP.unflatten(0, u_KBTD.shape[:2])

    def _project(
        self, longer_KBTD: Tensor, weights: dict[str, Tensor]
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Receptance, key, value and gate, and log decays, each (K, N, I).

        The gain of the first norm is folded into what follows the token shift.
        """
        lanes, _, _, width = longer_KBTD.shape
        unit_KND = longer_KBTD[:, :, 1:].flatten(1, 2)
        change_KND = longer_KBTD[:, :, :-1].flatten(1, 2) - unit_KND
        ramp_D = torch.linspace(0, 1, width, device=unit_KND.device)
        shares = (weights["shift_KF"].view(lanes, 5, width) * ramp_D).unbind(1)
        gain_KD = weights["norm.gain_KD"]
        maps = fold_gain(weights["rkvg_KED"], gain_KD).chunk(4, dim=1)
        down = fold_gain(weights["decay_down_KRD"], gain_KD)
        *rkvg, thin_KNR = (
            lane_linear(
                torch.addcmul(unit_KND, change_KND, share[:, None].to(unit_KND.dtype)),
                weight,
            )
            for share, weight in zip(shares, (*maps, down), strict=True)
        )
        logit_KNI = widen(lane_linear(thin_KNR.tanh(), weights["decay_up_KIR"]))
        offset_KI = widen(weights["decay_KI"]) - 1 + self._first_logits(logit_KNI)
        return tuple(rkvg), -FASTEST * (logit_KNI + offset_KI[:, None]).sigmoid()

    def _first_logits(self, like: Tensor) -> Tensor:
        """First logits of the decays, (I,), cached per type and device.

        Sending them to a GPU in every step would force a sync and prevent recording.
        """
        key = (like.dtype, like.device)
        if key not in self._starts:
            first_P = torch.linspace(*FIRST_DECAYS, self.shape.channels).to(like)
            self._starts[key] = first_P.repeat(self.shape.heads)
        return self._starts[key]

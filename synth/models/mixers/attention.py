"""Causal self-attention, with rotary positions unless they are learned elsewhere.

Letters: K lanes, B batch, T time, D width, H attention heads, C channels of a head.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.elementwise import rotate
from synth.models.lanes import concatenate_lanes, lane_linear, lanes_are_aligned
from synth.models.mixers.recurrence import Memory, by_lane
from synth.models.norm import RMSNorm
from synth.models.products import widen
from synth.models.weights import matrix


class Rotary(nn.Module):
    """Rotary positions (base 10,000), computed once per length and type.

    Where it does not turn, all angles are 0.
    """

    def __init__(self, channels: int, turns: bool = True) -> None:
        super().__init__()
        self.channels, self.turns = channels, turns
        self._tables: dict[tuple, tuple[Tensor, Tensor]] = {}

    def table(self, stop: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines of positions 0..stop-1, each (stop, C)."""
        key = (stop, like.dtype, like.device)
        if key not in self._tables:
            half = self.channels // 2
            rate = 10_000.0 ** -(torch.arange(half, dtype=torch.float64) / half)
            angle = torch.arange(stop, dtype=torch.float64)[:, None] * rate * self.turns
            cos, sin = angle.cos(), angle.sin()
            tables = (torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))
            self._tables[key] = tuple(t.to(like.device, like.dtype) for t in tables)  # type: ignore[assignment]
        return self._tables[key]

    def forward(self, x_NHTC: Tensor, start: int) -> Tensor:
        """Turn each pair of channels by its position, the first being `start`."""
        if not self.turns:
            return x_NHTC
        stop = start + x_NHTC.shape[-2]
        cos_TC, sin_TC = (t[start:] for t in self.table(stop, x_NHTC))
        return rotate(x_NHTC, cos_TC, sin_TC)


class Attention(nn.Module):
    """Norm and causal self-attention through torch's fused kernel."""

    def __init__(self, num_lanes: int, config: ModelConfig) -> None:
        super().__init__()
        shape = config.shape
        width = shape.width
        self.heads = shape.heads
        self.myopic = False
        """Whether keys and values get gradients from their own position alone."""
        self.norm = RMSNorm(num_lanes, width)
        self.qkv_KED = matrix(num_lanes, 3 * width, width, maps=3 * [width])
        self.out_KDD = matrix(num_lanes, width, width, summed=2 * shape.layers)
        self.rotary = Rotary(width // shape.heads, config.positions == "rotary")

    def forward(self, x_KBTD: Tensor, memory: Memory | None = None) -> Tensor:
        """Attend to this and all earlier positions, remembered ones among them."""
        qkv = widen(self.norm.then(x_KBTD, self.qkv_KED))
        at_once = lanes_are_aligned(qkv) and not self.myopic
        places = {}
        if memory is not None and memory.reading.start_KB is not None:
            places["places_KBT"] = memory.reading.places(x_KBTD.shape[2])
            memory.make_room()
        mixed = by_lane(self._mix, qkv, memory, places, at_once=at_once)
        return lane_linear(mixed.to(x_KBTD.dtype), self.out_KDD)

    def weights(self, x_KBTD: Tensor) -> Tensor:
        """What the fused kernel does not return: attention weights, (K, B, H, T, T)."""
        lanes, batch, time, _ = x_KBTD.shape
        qkv = self.norm.then(x_KBTD, self.qkv_KED)
        qkv = qkv.view(lanes * batch, time, 3, self.heads, -1)
        q, k = self.rotary(qkv.permute(2, 0, 3, 1, 4)[:2], 0)
        score = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5
        later = torch.ones(time, time, dtype=torch.bool, device=q.device).triu(1)
        weights = score.float().masked_fill(later, -torch.inf).softmax(-1)
        return weights.view(lanes, batch, self.heads, time, time)

    def with_registers(self, x_KCTD: Tensor, ahead_KB: Tensor) -> Tensor:
        """Rows, then their registers (C = 2 B rows): see `declarations.Registers`.

        A register attends to tokens up to its own place, and to itself.
        """
        qkv = widen(self.norm.then(x_KCTD, self.qkv_KED))
        lanes = zip(qkv.split(1), ahead_KB, strict=True)
        mixed = [self._mix_registers(qkv_1CTE[0], ahead) for qkv_1CTE, ahead in lanes]
        mixed_KCTD = concatenate_lanes([part[None] for part in mixed])
        return lane_linear(mixed_KCTD.to(x_KCTD.dtype), self.out_KDD)

    def _mix_registers(self, qkv_CTE: Tensor, ahead_B: Tensor) -> Tensor:
        """The heads' outputs of one lane, (C, T, D)."""
        batch, time = len(ahead_B), qkv_CTE.shape[1]
        qkv_3CHTC = qkv_CTE.view(2 * batch, time, 3, self.heads, -1).permute(
            2, 0, 3, 1, 4
        )
        (q, k, v), (q_own, k_own, v_own) = (
            part.unbind() for part in qkv_3CHTC.split(batch, 1)
        )
        q, k = self.rotary(torch.stack((q, k)), 0)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)

        at_T = torch.arange(time, device=q.device)
        # Tables reach twice as far as a row, so that their length is one for all offsets.
        place_B1T = (at_T + ahead_B[:, None] - 1).clamp(max=2 * time - 1)[:, None]
        cos_B1TC, sin_B1TC = (
            part[place_B1T] for part in self.rotary.table(2 * time, q)
        )
        q_own, k_own = (rotate(part, cos_B1TC, sin_B1TC) for part in (q_own, k_own))
        earlier_TT = at_T <= at_T[:, None]
        seen_TS = torch.cat((earlier_TT, at_T == at_T[:, None]), 1)
        mixed_own = functional.scaled_dot_product_attention(
            q_own, torch.cat((k, k_own), -2), torch.cat((v, v_own), -2), seen_TS
        )
        return torch.cat((mixed, mixed_own)).transpose(1, 2).flatten(2)

    def _mix(
        self,
        qkv_KBTE: Tensor,
        k_NHTC: Tensor | None,
        v_NHTC: Tensor | None,
        places: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the heads, and keys and values of all positions so far, N = K B.

        With `places`, rows stand at positions of their own: keys and values that were
        there are replaced, and later ones are not read.
        """
        lanes, batch, time, _ = qkv_KBTE.shape
        qkv = qkv_KBTE.view(lanes * batch, time, 3, self.heads, -1)
        qk, v = qkv.permute(2, 0, 3, 1, 4).split((2, 1))
        if places:
            assert k_NHTC is not None
            assert v_NHTC is not None
            place_N1T = places["places_KBT"].flatten(0, 1)[:, None]
            mixed, k, v = self._mix_in_place(
                place_N1T, qk, v.squeeze(0), k_NHTC, v_NHTC
            )
            return mixed.transpose(1, 2).reshape(lanes, batch, time, -1), k, v
        start = 0 if k_NHTC is None else k_NHTC.shape[-2]
        assert start == 0 or time == 1, "memory is filled at once, then token by token"
        (q, k), v = self.rotary(qk, start), v.squeeze(0)
        if k_NHTC is not None and v_NHTC is not None:
            k, v = torch.cat((k_NHTC, k), -2), torch.cat((v_NHTC, v), -2)
        if self.myopic and torch.is_grad_enabled():
            mixed = myopic_attention(q, k, v)
        else:
            mixed = functional.scaled_dot_product_attention(
                q, k, v, is_causal=start == 0
            )
        return mixed.transpose(1, 2).reshape(lanes, batch, time, -1), k, v

    def _mix_in_place(
        self,
        place_N1T: Tensor,
        qk_2NHTC: Tensor,
        v_NHTC: Tensor,
        k_NHSC: Tensor,
        v_NHSC: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of tokens at these positions, and keys and values with theirs."""
        q, k = qk_2NHTC
        if self.rotary.turns:
            tables = self.rotary.table(k_NHSC.shape[-2], q)
            cos_N1TC, sin_N1TC = (part[place_N1T] for part in tables)
            q, k = (rotate(part, cos_N1TC, sin_N1TC) for part in (q, k))
        where_NHTC = place_N1T[..., None].expand_as(k)
        k_NHSC = k_NHSC.scatter(-2, where_NHTC, k)
        v_NHSC = v_NHSC.scatter(-2, where_NHTC, v_NHTC)
        seen_N1TS = (
            torch.arange(k_NHSC.shape[-2], device=q.device) <= place_N1T[..., None]
        )
        mixed = functional.scaled_dot_product_attention(q, k_NHSC, v_NHSC, seen_N1TS)
        return mixed, k_NHSC, v_NHSC


def myopic_attention(q_NHTC: Tensor, k_NHTC: Tensor, v_NHTC: Tensor) -> Tensor:
    """Causal attention without gradients between positions.

    The values of causal attention; keys and values of other positions are constants.
    Differences that are zero carry the gradient of a position's own key and value.
    """
    time, rate = q_NHTC.shape[-2], q_NHTC.shape[-1] ** -0.5
    k_fixed, v_fixed = k_NHTC.detach(), v_NHTC.detach()
    scores_NHTT = q_NHTC @ k_fixed.transpose(-1, -2)
    own_NHT = (q_NHTC * (k_NHTC - k_fixed)).sum(-1)
    scores_NHTT = (scores_NHTT + own_NHT.diag_embed()) * rate
    later_TT = torch.ones(time, time, dtype=torch.bool, device=q_NHTC.device).triu(1)
    weight_NHTT = scores_NHTT.masked_fill(later_TT, -torch.inf).softmax(-1)
    own_NHT1 = weight_NHTT.diagonal(dim1=-2, dim2=-1)[..., None]
    return weight_NHTT @ v_fixed + own_NHT1 * (v_NHTC - v_fixed)

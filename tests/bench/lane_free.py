"""This suite's architecture without a lane axis, to price the axis at K = 1.

Both sides run the same elementwise operations, loss and optimiser; one holds weights as
(E, D), the other as (1, E, D) rows of flat tensors.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.models.elementwise import FoldedGain, gated, rotate, unit_rms
from synth.models.mixers.attention import Rotary
from synth.scales import Scale


class LaneFree(nn.Module):
    """RMSNorm, rotary attention, SwiGLU; untied unembedding."""

    def __init__(self, shape: Scale, vocabulary: int) -> None:
        super().__init__()
        width, self.heads = shape.width, shape.heads
        sizes = [(3 * width, width), (width, width)]
        sizes += [(2 * shape.mlp_width, width), (width, shape.mlp_width)]
        self.weights = nn.ParameterList(
            torch.randn(e, d) / d**0.5 for _ in range(shape.layers) for e, d in sizes
        )
        self.gains = nn.ParameterList(
            torch.ones(width) for _ in range(2 * shape.layers + 1)
        )
        self.embedding = nn.Parameter(torch.randn(vocabulary, width))
        self.unembedding = nn.Parameter(torch.randn(vocabulary, width) / width)
        self.rotary = Rotary(width // self.heads)

    def normed(self, x_ND: Tensor, weight_ED: Tensor, gain: int) -> Tensor:
        """The product of the normed rows, the gain folded into the weight."""
        # The operation takes a leading axis; a view costs nothing.
        folded = FoldedGain.apply(weight_ED[None], self.gains[gain][None])[0]
        return functional.linear(unit_rms(x_ND), folded)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (N, V)."""
        batch, time = tokens_BT.shape
        x_BTD = functional.embedding(tokens_BT, self.embedding)
        width = x_BTD.shape[-1]
        for layer in range(len(self.weights) // 4):
            qkv, out, gate_up, down = list(self.weights)[4 * layer : 4 * layer + 4]
            both = self.normed(x_BTD.flatten(0, 1), qkv, 2 * layer)
            both = both.view(batch, time, 3, self.heads, width // self.heads)
            qk, v = both.permute(2, 0, 3, 1, 4).split((2, 1))
            tables = self.rotary.table(time, qk)
            (q, k), v = rotate(qk, *tables), v.squeeze(0)
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            mixed = mixed.transpose(1, 2).reshape(batch * time, width)
            x_BTD = x_BTD + functional.linear(mixed, out).view_as(x_BTD)
            inner = gated(self.normed(x_BTD.flatten(0, 1), gate_up, 2 * layer + 1))
            x_BTD = x_BTD + functional.linear(inner, down).view_as(x_BTD)
        return self.normed(x_BTD.flatten(0, 1), self.unembedding, -1)


def lane_free_step(
    shape: Scale, tokens_BT: Tensor, vocabulary: int
) -> Callable[[], None]:
    """Forward, backward, clipping and fused AdamW on fixed tokens."""
    model = LaneFree(shape, vocabulary)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    targets_N = tokens_BT.roll(-1, 1).flatten()

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        functional.cross_entropy(model(tokens_BT), targets_N).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def lanes_step(shape: Scale, tokens_BT: Tensor, vocabulary: int) -> Callable[[], None]:
    """The same with one lane, by this suite's model, loss and optimiser."""
    from synth.config import ModelConfig, TrainingConfig
    from synth.models.backward import loss_and_backward
    from synth.models.decoder import PredictionModel
    from synth.models.lanes import FlatLanes, initialise
    from synth.objectives.batch.targets import Targets
    from synth.objectives.multi_token import MultiTokenConfig
    from synth.optimizer import LaneOptimizer

    name = f"d{shape.width}-L{shape.layers}-h{shape.heads}"
    model = PredictionModel(ModelConfig(scale=name), MultiTokenConfig(), vocabulary, 1)
    lanes = FlatLanes(model, torch.float32)
    initialise(lanes, model.initial_stds(), [0])
    optimizer = LaneOptimizer(lanes, [TrainingConfig(learning_rate=1e-4)])
    targets = Targets(
        {"tokens": tokens_BT[None]},
        tokens_BT.roll(-1, 1)[None, None],
        torch.full((1, 1, *tokens_BT.shape), 1 / tokens_BT.numel()),
    )

    def step() -> None:
        lanes.zero_grad()
        loss_and_backward(model, targets)
        optimizer.schedule(0)
        optimizer.update(optimizer.norms())

    return step

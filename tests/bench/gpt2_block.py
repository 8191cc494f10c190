"""The yardstick of the speed benchmarks: a plain GPT-2 decoder, as one would write it.

LayerNorm with bias, learned positions, GELU MLP of width 4 d, biases everywhere, torch's
fused attention, untied unembedding, AdamW with torch's defaults and clipping at norm 1.
Written for this benchmark; nothing in it is slow on purpose or tuned.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from synth.scales import Scale


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        batch, time, width = x_BTD.shape
        qkv = self.qkv(self.norms[0](x_BTD)).view(batch, time, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x_BTD = x_BTD + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        inner = functional.gelu(self.up(self.norms[1](x_BTD)))
        return x_BTD + self.down(inner)


class PlainGPT2(nn.Module):
    """Embedding, blocks, last norm, unembedding."""

    def __init__(self, shape: Scale, vocabulary: int, context: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, shape.width)
        self.positions = nn.Parameter(torch.randn(context, shape.width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(shape.width, shape.heads) for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.width)
        self.unembedding = nn.Linear(shape.width, vocabulary, bias=False)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        x_BTD = self.tokens(tokens_BT) + self.positions[: tokens_BT.shape[1]]
        for block in self.blocks:
            x_BTD = block(x_BTD)
        return self.unembedding(self.norm(x_BTD))


def plain_step(
    shape: Scale,
    tokens_BT: Tensor,
    vocabulary: int,
    compiled: bool = False,
    autocast: bool = False,
    fused: bool | None = None,
) -> Callable[[], Tensor]:
    """One training step of the plain decoder on fixed tokens, as a function."""
    device = tokens_BT.device.type
    with tokens_BT.device:
        model = PlainGPT2(shape, vocabulary, tokens_BT.shape[1])
    forward = torch.compile(model) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

    def step() -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            logits = forward(tokens_BT[:, :-1]).flatten(0, 1)
            loss = functional.cross_entropy(logits, tokens_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach()

    return step

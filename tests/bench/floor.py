"""The floor under a training step: its matrix products through torch, nothing else."""

from collections.abc import Callable

import torch
from torch import Tensor

from synth.scales import Scale


def floor_step(
    shape: Scale,
    rows: int,
    context: int,
    vocabulary: int,
    attention: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Callable[[], None]:
    """Forward, input-gradient and weight-gradient products of every layer.

    With `attention`, also its batched products over whole squares, a softmax, and the
    softmax's gradient: what attention costs through torch's own operations.
    """
    positions, width = rows * context, shape.width
    layer = [(width, 3 * width), (width, width)]
    layer += [(width, 2 * shape.mlp_width), (shape.mlp_width, width)]
    products = layer * shape.layers + [(width, vocabulary)]
    largest = max(max(pair) for pair in products)
    x_NE, y_NE = torch.randn(2, positions * largest, dtype=dtype)
    weight = torch.randn(largest * largest, dtype=dtype)
    change = torch.empty_like(weight)
    heads, channels = rows * shape.heads, width // shape.heads
    q, k, v, out = torch.randn(4, heads, context, channels, dtype=dtype)
    square, other = torch.randn(2, heads, context, context, dtype=dtype)

    def view(flat: Tensor, first: int, second: int) -> Tensor:
        return flat[: first * second].view(first, second)

    def step() -> None:
        for inputs, outputs in products:
            x, y = view(x_NE, positions, inputs), view(y_NE, positions, outputs)
            w, dw = view(weight, outputs, inputs), view(change, outputs, inputs)
            torch.mm(x, w.t(), out=y)
            torch.mm(y, w, out=x)
            torch.mm(y.t(), x, out=dw)
        x_NE.fill_(1.0), y_NE.fill_(1.0)  # numbers grow from step to step
        for _ in range(shape.layers if attention else 0):
            torch.bmm(q, k.transpose(1, 2), out=square)
            share = square.softmax(-1)
            torch.bmm(share, v, out=out)
            torch.bmm(out, v.transpose(1, 2), out=other)
            slope = torch._softmax_backward_data(other, share, -1, dtype)
            torch.bmm(share.transpose(1, 2), out, out=q)
            torch.bmm(slope, k, out=out)
            torch.bmm(slope.transpose(1, 2), q, out=out)
            q.fill_(0.01), k.fill_(0.01)

    return step

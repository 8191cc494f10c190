"""Lanes: K independent models of one shape that train in lock-step.

Letters: K lanes, B batch, T time, D width, E features out, V vocabulary, P parameters.
No operation mixes lanes, so a lane computes what it would compute alone: bit for bit on
a CPU with one thread, whatever the processor.

Libraries of matrix products promise less than that. A batched product may round
differently from a plain one, and so may a plain product whose operands start elsewhere in
a cache line (MKL on AMD does both). So on a CPU each lane gets a product of its own, and
its operands are aligned as they are when the lane trains alone.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

from synth.models.products import Product, product
from synth.models.weights import role_of
from synth.seeding import torch_seed

BOUNDARY = 64
"""Bytes of a cache line; torch aligns every tensor that it allocates to one."""


def lanes_are_aligned(x_KX: Tensor) -> bool:
    """Whether every lane starts at the same offset in a cache line as the first."""
    step = x_KX.stride(0) * x_KX.element_size()
    return len(x_KX) == 1 or step % BOUNDARY == 0


def align_lanes(x_KX: Tensor) -> Sequence[Tensor]:
    """Each lane (...) as an operand of a product: a view if it is aligned, else a copy."""
    lanes = x_KX.unbind()
    return lanes if lanes_are_aligned(x_KX) else [lane.clone() for lane in lanes]


def each_lane(
    multiply: Product, out_KNE: Tensor, *operands: Iterable[Tensor]
) -> Tensor:
    """The product of each lane's operands, in `out` if its lanes are aligned."""
    lanes = zip(*operands, strict=True)
    if not lanes_are_aligned(out_KNE):
        return torch.stack([multiply(*lane) for lane in lanes])
    for lane, out_NE in zip(lanes, out_KNE, strict=True):
        multiply(*lane, out=out_NE)
    return out_KNE


def lane_products(a_KNM: Tensor, b_KME: Tensor) -> Tensor:
    """The product of each lane, (K, N, E)."""
    out_KNE = a_KNM.new_empty(*a_KNM.shape[:2], b_KME.shape[2])
    return each_lane(product, out_KNE, align_lanes(a_KNM), align_lanes(b_KME))


class LaneProducts(Function):
    """Each lane's rows times its own weight, lane by lane in both directions."""

    @staticmethod
    def forward(ctx: Any, x_KND: Tensor, weight_KED: Tensor) -> Tensor:
        """(K, N, D) and (K, E, D) to (K, N, E)."""
        ctx.save_for_backward(x_KND, weight_KED)
        return lane_products(x_KND, weight_KED.transpose(1, 2))

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_KNE: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of those that need one."""
        x_KND, weight_KED = ctx.saved_tensors
        grad_KNE = grad_KNE.contiguous()
        to_x, to_weight = ctx.needs_input_grad
        return (
            lane_products(grad_KNE, weight_KED) if to_x else None,
            lane_products(grad_KNE.transpose(1, 2), x_KND) if to_weight else None,
        )


class ConcatenatedLanes(Function):
    """Lanes (1, ...) as one tensor; the gradient of each lane is an aligned copy."""

    @staticmethod
    def forward(ctx: Any, *lanes_1X: Tensor) -> Tensor:
        """K times (1, ...) to (K, ...)."""
        return torch.cat(lanes_1X)

    @staticmethod
    def backward(ctx: Any, grad_KX: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Copies, (1, ...) each."""
        return tuple(grad_1X.clone() for grad_1X in grad_KX.split(1))


def concatenate_lanes(lanes_1X: Sequence[Tensor]) -> Tensor:
    """Results of single lanes, (1, ...) each, as one tensor (K, ...)."""
    return ConcatenatedLanes.apply(*lanes_1X)  # type: ignore[no-any-return, no-untyped-call]


def lane_linear(x_KND: Tensor, weight_KED: Tensor) -> Tensor:
    """Multiply each lane's rows with its own weight: (K, N, D) to (K, N, E).

    N stands for any axes. Several lanes take one batched product if compiled or on a GPU,
    where bits are not promised.
    """
    if x_KND.device.type == "cpu" and not torch.compiler.is_compiling():
        out_KNE = LaneProducts.apply(x_KND.flatten(1, -2), weight_KED)  # type: ignore[no-untyped-call]
    elif weight_KED.shape[0] == 1:
        return functional.linear(x_KND, weight_KED.squeeze(0))
    else:
        out_KNE = torch.bmm(x_KND.flatten(1, -2), weight_KED.transpose(1, 2))
    return out_KNE.view(*x_KND.shape[:-1], weight_KED.shape[1])  # type: ignore[no-any-return]


def lane_embedding(tokens_KBT: Tensor, weight_KVD: Tensor) -> Tensor:
    """Look each lane's tokens up in its own table: (K, B, T) to (K, B, T, D)."""
    num_lanes, vocab, _ = weight_KVD.shape
    if num_lanes == 1:
        return functional.embedding(tokens_KBT, weight_KVD.squeeze(0))
    first_K11 = torch.arange(num_lanes, device=tokens_KBT.device)[:, None, None] * vocab
    return functional.embedding(tokens_KBT + first_K11, weight_KVD.flatten(0, 1))


class FlatLanes:
    """The parameters of a model as rows of flat tensors, one row a lane.

    `master_KP` holds fp32 weights, those that decay first and the exempt ones last;
    `grad_KP` their gradients. The parameters of the model are views: of the master
    itself in fp32, of a bf16 copy otherwise. Every row starts at a cache line, so there may
    be gaps between rows.
    """

    def __init__(self, model: nn.Module, precision: torch.dtype) -> None:
        named = sorted(
            model.named_parameters(), key=lambda item: not role_of(item[1]).decays
        )
        first = named[0][1]
        self.num_lanes = first.shape[0]
        self.names = [name for name, _ in named]
        self.roles = [role_of(parameter) for _, parameter in named]
        self.shapes = [parameter.shape[1:] for _, parameter in named]
        sizes = [parameter[0].numel() for _, parameter in named]
        self.spans = _spans(sizes)
        self.num_decayed = sum(
            size for size, role in zip(sizes, self.roles, strict=True) if role.decays
        )

        def zeros(dtype: torch.dtype) -> Tensor:
            step = BOUNDARY // dtype.itemsize
            room = -(-sum(sizes) // step) * step
            whole = torch.zeros(self.num_lanes, room, device=first.device, dtype=dtype)
            return whole[:, : sum(sizes)]

        self.master_KP, self.grad_KP = zeros(torch.float32), zeros(torch.float32)
        self._compute_KP, self._compute_grad_KP = self.master_KP, self.grad_KP
        if precision != torch.float32:
            self._compute_KP, self._compute_grad_KP = zeros(precision), zeros(precision)
        self.attach(model, master=precision == torch.float32)
        self._parameters = [parameter for _, parameter in named]

    def attach(self, model: nn.Module, master: bool) -> None:
        """Make the parameters of `model` views of the master or of the working copy."""
        parameters = dict(model.named_parameters())
        source = self.master_KP if master else self._compute_KP
        grad = self.grad_KP if master else self._compute_grad_KP
        flats = zip(self.names, self.views(source), self.views(grad), strict=True)
        for name, flat, flat_grad in flats:
            parameters[name].data, parameters[name].grad = flat, flat_grad

    def views(self, flat_KP: Tensor) -> Iterator[Tensor]:
        """Each parameter of a flat tensor in its own shape, in the order of `names`."""
        for (start, stop), shape in zip(self.spans, self.shapes, strict=True):
            yield flat_KP[:, start:stop].unflatten(1, shape)

    def lane(self, flat_KP: Tensor, lane: int) -> dict[str, Tensor]:
        """One lane of a flat tensor by parameter name, without the lane axis."""
        return {
            name: view[lane]
            for name, view in zip(self.names, self.views(flat_KP), strict=True)
        }

    def refresh(self) -> None:
        """Bring the working copy up to date with the master."""
        if self._compute_KP is not self.master_KP:
            self._compute_KP.copy_(self.master_KP)

    def zero_grad(self) -> None:
        """Zero all gradients in place."""
        self._compute_grad_KP.zero_()

    def gather_grad(self) -> Tensor:
        """The fp32 gradient of every lane, (K, P)."""
        if self._compute_grad_KP is not self.grad_KP:
            self.grad_KP.copy_(self._compute_grad_KP)
        return self.grad_KP

    def put_grad(self, grad_KP: Tensor) -> None:
        """Replace the gradient of every lane by one in the layout of `gather_grad`."""
        if self._compute_grad_KP is not grad_KP:
            self._compute_grad_KP.copy_(grad_KP)


def initialise(lanes: FlatLanes, stds: dict[str, float], seeds: Sequence[int]) -> None:
    """Draw each lane's weights; one stream per seed and parameter name.

    So a lane's weights depend neither on its neighbours nor on other parameters: layers
    of the same name start equal across objectives. `stds` gives the standard deviation of
    each parameter; those that it leaves out start at 1.
    """
    assert len(seeds) == lanes.num_lanes
    for lane, seed in enumerate(seeds):
        for name, weight in lanes.lane(lanes.master_KP, lane).items():
            if name not in stds:
                weight.fill_(1.0)
                continue
            stream = torch.Generator().manual_seed(torch_seed(seed, "init", name))
            drawn = torch.randn(weight.shape, generator=stream)
            weight.copy_(drawn * stds[name])
    lanes.refresh()


def _spans(sizes: Sequence[int]) -> list[tuple[int, int]]:
    ends = accumulate(sizes)
    return [(end - size, end) for end, size in zip(ends, sizes, strict=True)]

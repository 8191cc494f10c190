"""Matrix products of single lanes on a CPU.

torch multiplies bf16 matrices on x86 with oneDNN, which needs AVX-512. On other processors
it falls back to plain loops, thirty times slower than fp32. There the factors are widened:
a product in fp32, rounded once, is what bf16 units compute, up to the order of sums.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor


class Product(Protocol):
    """A function of matrices, in `out` if it is given."""

    def __call__(self, *operands: Tensor, out: Tensor | None = None) -> Tensor: ...


@functools.cache
def bf16_products_are_loops() -> bool:
    """Whether torch has only plain loops for products of bf16 matrices on this CPU."""
    if not torch.backends.mkldnn.is_available():
        return False
    return not torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _would_loop(x: Tensor) -> bool:
    if x.dtype != torch.bfloat16 or x.device.type != "cpu":
        return False
    return bf16_products_are_loops()


def widen(x: Tensor) -> Tensor:
    """The tensor in fp32, if products of it would otherwise be plain loops."""
    return x.float() if _would_loop(x) else x


def product(*factors: Tensor, out: Tensor | None = None) -> Tensor:
    """(N, M) times (M, E)."""
    return _multiply(torch.mm, factors, out)


def add_product(*terms: Tensor, out: Tensor | None = None) -> Tensor:
    """The first matrix plus the product of the other two; `out` may be the first."""
    return _multiply(torch.addmm, terms, out)


def _multiply(
    operation: Callable[..., Tensor], operands: Sequence[Tensor], out: Tensor | None
) -> Tensor:
    if not _would_loop(operands[0]):
        return operation(*operands, out=out)
    wide = operation(*(operand.float() for operand in operands))
    return wide.bfloat16() if out is None else out.copy_(wide)

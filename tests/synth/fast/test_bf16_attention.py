"""Attention with bf16 products, in each form that a processor may give it."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from synth.fast import native
from tests.synth.fast.test_native import far, needs_compiler

FORMS = {
    "of this processor": (),
    "fp32": ("-U__AVX512BF16__",),
}
"""Compiler flags that hide what the processor has."""
FORM_PARAMETERS = [
    pytest.param(n, marks=[pytest.mark.slow] if f else []) for n, f in FORMS.items()
]


class Shape(NamedTuple):
    sequences: int
    time: int
    heads: int
    channels: int


def tables(time: int, channels: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines as the rotary module has them, the first half with a minus."""
    rates = 0.01 ** (torch.arange(channels // 2) / (channels / 2))
    angles = torch.arange(time)[:, None] * rates
    signed = torch.cat((-angles.sin(), angles.sin()), 1)
    return torch.cat((angles.cos(), angles.cos()), 1), signed


def attend(qkv: Tensor, grad: Tensor, shape: Shape, myopic: bool) -> list[Tensor]:
    """Output and gradient by the native passes of the tensors' type."""
    passes = native.load(qkv.dtype)
    sequences, time, heads, channels = shape
    padded = -(-time // passes.block) * passes.block
    softmax = torch.empty(sequences, heads, 2, padded)
    mixed, to_qkv = torch.empty_like(grad), torch.empty_like(qkv)
    angles = tables(time, channels)
    passes("attend", qkv, *angles, mixed, softmax, *shape)
    known = (qkv, *angles, mixed, softmax, grad, to_qkv)
    passes("attend_backward", *known, *shape, myopic)
    return [mixed, to_qkv]


@pytest.fixture(params=FORM_PARAMETERS)
def form(request, monkeypatch):
    """The library as a processor of this form would build it."""
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, *FORMS[request.param]))
    native.load.cache_clear()
    yield request.param
    native.load.cache_clear()


@needs_compiler
def test_output_and_gradient_are_those_of_fp32_up_to_rounding(form):
    for shape, myopic in (
        (Shape(2, 7, 2, 8), False),
        (Shape(3, 70, 2, 20), False),
        (Shape(2, 64, 3, 48), True),
        (Shape(1, 300, 2, 32), False),
        (Shape(1, 33, 1, 70), False),
    ):
        torch.manual_seed(0)
        width = shape.heads * shape.channels
        qkv = torch.randn(shape.sequences, shape.time, 3 * width).bfloat16()
        grad = torch.randn(shape.sequences, shape.time, width).bfloat16()
        expected = attend(qkv.float(), grad.float(), shape, myopic)
        for actual, exact in zip(
            attend(qkv, grad, shape, myopic), expected, strict=True
        ):
            assert 0 < far(actual.float(), exact) < 6e-3, (form, shape)


@needs_compiler
def test_a_sequence_has_the_same_bits_among_others_and_sees_nothing_later(form):
    shape = Shape(3, 70, 2, 24)
    torch.manual_seed(0)
    qkv = torch.randn(3, 70, 144).bfloat16()
    grad = torch.randn(3, 70, 48).bfloat16()
    grad[1, 50:] = 0
    together = attend(qkv, grad, shape, False)
    changed = qkv.clone()
    changed[1, 50:] = 3.0
    mixed, _ = attend(changed, grad, shape, False)
    assert torch.equal(mixed[1, :50], together[0][1, :50])
    assert not torch.equal(mixed[1, 50:], together[0][1, 50:])
    assert (together[1][1, 50:] == 0).all()
    one = Shape(1, *shape[1:])
    for alone, among in zip(
        attend(qkv[1:2].contiguous(), grad[1:2].contiguous(), one, False),
        together,
        strict=True,
    ):
        assert torch.equal(alone[0], among[1])


@needs_compiler
def test_far_scores_are_exact_and_what_is_no_number_stays_in_its_sequence(form):
    shape = Shape(2, 5, 1, 8)
    qkv = torch.zeros(2, 5, 24).bfloat16()
    qkv[:, :, :8] = 1.0
    qkv[:, 2, [11, 15]] = 300.0  # the channels that turn slowest
    qkv[:, :, 16:] = torch.arange(5.0)[None, :, None]
    qkv[1, 3] = float("nan")
    mixed, to_qkv = attend(qkv, torch.ones(2, 5, 8).bfloat16(), shape, False)
    assert (mixed[0, 2:] == 2.0).all()
    assert to_qkv[0].isfinite().all()
    assert mixed[1, 3:].isnan().all()

"""Backward passes written out against autograd on the plain formulas."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional

from synth.models.elementwise import gated, rotate, unit_rms
from synth.models.norm import RMSNorm


def plain_rms(x):
    return functional.rms_norm(x, x.shape[-1:], eps=1e-6)


def plain_rotation(x, cos, sin):
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((second, first), -1) * sin


def plain_gate(both):
    gate, up = both.chunk(2, -1)
    return functional.silu(gate) * up


def tables(time, channels):
    angle = torch.randn(time, channels // 2)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


CASES = {
    "norm": (unit_rms, plain_rms, lambda: ()),
    "rotation": (rotate, plain_rotation, lambda: tables(5, 8)),
    "gate": (gated, plain_gate, lambda: ()),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_the_plain_formula(name):
    fused, plain, extra = CASES[name]
    x = torch.randn(3, 5, 8, requires_grad=True)
    rest = extra()
    weight = torch.randn_like(fused(x, *rest))
    values, grads = [], []
    for form in (fused, plain):
        result = form(x, *rest)
        values.append(result)
        grads.append(torch.autograd.grad((result * weight).sum(), x)[0])
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["rotation", "gate"])
def test_gradients_equal_finite_differences(name):
    fused, _, extra = CASES[name]
    x = torch.randn(2, 5, 8, dtype=torch.float64, requires_grad=True)
    rest = [table.double() for table in extra()]
    assert gradcheck(lambda y: fused(y, *rest), (x,))


def test_a_folded_gain_equals_a_gain_on_the_activations():
    norm = RMSNorm(2, 8)
    with torch.no_grad():
        norm.gain_KD.copy_(torch.rand(2, 8) + 0.5)
    x, weight = torch.randn(2, 6, 8), torch.randn(2, 5, 8)
    plain = torch.einsum("knd,ked->kne", norm(x), weight)
    torch.testing.assert_close(norm.then(x, weight), plain, rtol=1e-5, atol=1e-6)

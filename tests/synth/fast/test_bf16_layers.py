"""Whole layers on bf16 rows, in each form that a processor may give them."""

import pytest
import torch

from synth.fast import native
from synth.fast.fused import fuse
from synth.models.backward import loss_and_backward
from tests.synth.fast.test_bf16_attention import FORM_PARAMETERS, FORMS
from tests.synth.fast.test_native import batch, built, far, needs_compiler

PARTS = 0
"""The widest layer in one call, where none is: passes with torch's products between."""


@pytest.fixture(autouse=True, params=[*FORM_PARAMETERS, "parts"])
def form(request, monkeypatch):
    """The library as a processor of this form would build it, or used in parts."""
    monkeypatch.setattr(native, "FLAGS", (*native.FLAGS, *FORMS.get(request.param, ())))
    native.load.cache_clear()
    if request.param == "parts":
        monkeypatch.setattr(native.load(torch.bfloat16), "widest", PARTS)
    yield request.param
    native.load.cache_clear()


def gradients(scale, rows, time, lanes=2, dtype=torch.bfloat16, myopic=False):
    """Losses and gradients of the last lane, by name."""
    model, flat = built(scale, lanes=lanes, dtype=dtype)
    for layer in model.layers():
        layer.mixer.myopic = myopic
    _, targets = batch(lanes, rows, time, 2)
    loss = fuse(model, native.load(dtype))
    flat.zero_grad()
    losses = loss_and_backward(model, targets, loss)
    flat.gather_grad()
    return losses[:, -1], flat.lane(flat.grad_KP, lanes - 1)


@needs_compiler
@pytest.mark.parametrize(
    ("scale", "rows", "time", "myopic"),
    [
        ("d40-L3-h2", 5, 100, False),  # two sequences a group, and one in the last
        ("d64-L3-h4", 3, 7, True),
        ("d96-L3-h2", 1, 300, False),
        ("d34-L3-h1", 2, 33, True),
    ],
)
def test_losses_and_gradients_are_those_of_fp32_up_to_rounding(
    scale, rows, time, myopic
):
    losses, found = gradients(scale, rows, time, myopic=myopic)
    exact, expected = gradients(scale, rows, time, dtype=torch.float32, myopic=myopic)
    torch.testing.assert_close(losses, exact, rtol=0, atol=5e-3)
    for name, gradient in expected.items():
        assert 0 < far(found[name], gradient) < 2.5e-2, name

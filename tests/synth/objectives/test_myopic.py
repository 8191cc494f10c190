"""Myopic training: the numbers of attention, and no gradient between positions."""

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig, RunConfig
from synth.fast import fused
from synth.fast.native import load
from synth.models.backward import loss_and_backward
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.myopic import MyopicConfig
from synth.tasks.repeats import RepeatsConfig
from tests.synth.fast.test_native import needs_compiler
from tests.synth.objectives.conftest import build, random_rows

TIME = 7


def batch(lanes=1, time=TIME):
    return random_rows((lanes, 2, time))


class Others(torch.nn.Module):
    """A layer at one position, with what it reads of other positions held fixed."""

    def __init__(self, layer, states_KBTD, at):
        super().__init__()
        self.layer, self.states, self.at = layer, states_KBTD.detach(), at

    def forward(self, x_KB1D):
        attention = self.layer.mixer
        before = self.states[:, :, : self.at]

        def parts(x):
            qkv = attention.norm.then(x, attention.qkv_KED)[0]
            batch, time, _ = qkv.shape
            return qkv.view(batch, time, 3, attention.heads, -1).permute(2, 0, 3, 1, 4)

        with torch.no_grad():
            fixed = parts(before) if self.at else None
        q, k, v = parts(x_KB1D)
        q, k = attention.rotary(torch.stack((q, k)), self.at)
        if fixed is not None:
            k = torch.cat((attention.rotary(fixed[1], 0), k), -2)
            v = torch.cat((fixed[2], v), -2)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        mixed = mixed.transpose(1, 2).flatten(2)[None]
        x = x_KB1D + mixed @ attention.out_KDD.transpose(1, 2)[:, None]
        return x + self.layer.mlp(x)


@pytest.mark.parametrize(
    "form", ["eager", pytest.param("native", marks=needs_compiler)]
)
def test_losses_and_gradients_equal_positions_on_their_own(form):
    """The slow form runs each position by itself; what it reads of others is fixed."""
    objective = MyopicConfig(horizon=2)
    model, flat = build(objective)
    rows = batch()
    tokens = rows[0]
    flat.zero_grad()
    piece = fused.fuse(model, load(torch.float32)) if form == "native" else None
    losses = loss_and_backward(model, make_targets(*rows, objective), piece)[:, 0]
    gradient = flat.gather_grad().clone()

    flat.zero_grad()
    with torch.no_grad():
        states = model.trunk_states(tokens)
    total, expected = 0.0, torch.zeros(2)
    for at in range(TIME):
        x = model.embed(tokens[..., at : at + 1])
        for layer, reads in zip(model.trunk, states, strict=False):
            x = Others(layer, reads, at)(x)
        for head, module in enumerate(model.heads, 1):
            if at + head >= TIME:
                continue
            state = Others(module, states[-1], at)(x)
            logits = model.unembed(state)[0, :, 0]
            loss = functional.cross_entropy(logits, tokens[0, :, at + head])
            loss = loss / (TIME - head)
            expected[head - 1] += loss.item()
            total = total + loss
    total.backward()
    assert torch.allclose(losses, expected, atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("narrow", [0, 128])
def test_native_gradients_equal_eager_ones_over_several_blocks(monkeypatch, narrow):
    monkeypatch.setattr(load(torch.float32), "widest", narrow)
    objective = MyopicConfig(horizon=2)
    model, flat = build(objective, 2)
    targets = make_targets(*batch(2, time=70), objective)
    flat.zero_grad()
    loss_and_backward(model, targets)
    expected = flat.gather_grad().clone()
    flat.zero_grad()
    loss_and_backward(model, targets, fused.fuse(model, load(torch.float32)))
    torch.testing.assert_close(flat.gather_grad(), expected, rtol=1e-3, atol=1e-6)


def test_the_numbers_are_those_of_multi_token_prediction():
    rows = batch(2)
    myopic, _ = build(MyopicConfig(horizon=2), 2)
    plain, _ = build(MultiTokenConfig(horizon=2), 2)
    assert torch.allclose(myopic(rows[0]), plain(rows[0]), atol=1e-5)
    with torch.no_grad():
        assert torch.equal(myopic(rows[0]), plain(rows[0]))


def test_a_recurrence_is_refused():
    with pytest.raises(ValueError, match="no form for mixer 'rwkv'"):
        RunConfig(
            task=RepeatsConfig(),
            model=ModelConfig(scale="d16-L4-h2", mixer="rwkv"),
            objective=MyopicConfig(),
        )


def test_arms_are_those_of_multi_token_prediction():
    assert MyopicConfig().arm == "n1_myopic"
    assert MyopicConfig(horizon=4, layout="causal").arm == "n4_causal_myopic"

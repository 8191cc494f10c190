"""Transfer heads: what each reads, beside formulas that know nothing of lanes."""

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.describe import describe_model
from synth.models.elementwise import EPSILON
from synth.objectives.declarations import Prediction
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.transfer import TransferConfig
from tests.synth.objectives.conftest import (
    VOCAB,
    build,
    losses_and_gradient,
    random_rows,
)

TIME = 9
CONFIG = ModelConfig(scale="d16-L4-h2")
FORMS = [
    TransferConfig(horizon=3, depth=depth, injection=injection)
    for depth in (0, 1, 3)
    for injection in (False, True)
]
forms = pytest.mark.parametrize("objective", FORMS, ids=lambda one: one.arm)


def batch():
    return random_rows((1, 3, TIME), 5)


def slow_losses(model, objective, tokens_BT, example_BT):
    """Mean loss of each head of a model of one lane, after the source's formulas."""
    table = model.embedding_KVD[0]
    trunk = functional.embedding(tokens_BT, table)[None]
    for layer in model.trunk:
        trunk = layer(trunk)
    losses = []
    for offset, head in enumerate(model.heads, 1):
        state = trunk[0]
        if offset > 1 and objective.injection:
            later = torch.cat((tokens_BT[:, 1:], torch.zeros(3, 1, dtype=int)), 1)
            scale = head.merge.scale_K1[0, 0]
            state = state + scale * functional.embedding(later, table)
        if offset > 1 and objective.depth == 0:
            linear = head.maps[0] if objective.injection else head
            state = state @ linear.map_KDD[0].T
        elif offset > 1:
            layers = [head] if not hasattr(head, "layers") else head.layers
            assert len(layers) == objective.depth
            for layer in layers:
                state = layer(state[None])[0]
        rms = (state.square().mean(-1, keepdim=True) + EPSILON).sqrt()
        logits = state / rms * model.norm.gain_KD[0] @ model.unembedding_KVD[0].T
        inside = example_BT[:, offset:] == example_BT[:, :-offset]
        losses.append(
            functional.cross_entropy(
                logits[:, :-offset][inside], tokens_BT[:, offset:][inside]
            )
        )
    return torch.stack(losses)


@forms
def test_losses_and_gradients_equal_the_slow_form(objective):
    model, flat = build(objective)
    for name, parameter in model.named_parameters():
        if "scale" in name:
            parameter.data.fill_(0.7)
    tokens, example, answer = batch()
    losses, gradient = losses_and_gradient(model, flat, tokens, example, answer)
    expected = slow_losses(model, objective, tokens[0], example[0])
    expected.sum().backward()
    assert torch.allclose(losses, expected, atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)
    assert all(part.any() for part in flat.lane(flat.grad_KP, 0).values())


@forms
def test_transfer_heads_read_the_next_token_with_injection_alone(objective):
    model, _ = build(objective)
    tokens, at = batch()[0], 4
    whole = model.head_states(model.run_trunk(tokens), tokens)
    for place in range(TIME):
        changed = tokens.clone()
        changed[..., place] = changed[..., place] % (VOCAB - 1) + 1
        moved = model.head_states(model.run_trunk(changed), changed)
        for said, old, new in zip(model.predictions, whole, moved, strict=True):
            given = int(objective.injection and said.offset > 1)
            assert said.given == given
            same = torch.equal(old[:, :, at], new[:, :, at])
            assert same == (place > at + given)


@forms
def test_counts_are_those_of_the_model(objective):
    found = describe_model(CONFIG, objective, VOCAB, 64)
    model, _ = build(objective)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["depth_to_head_1"] == CONFIG.shape.layers
    one = describe_model(CONFIG, MultiTokenConfig(), VOCAB, 64)
    heads, width = 2, CONFIG.shape.width
    added = found["parameters"] - one["parameters"] - heads * objective.injection
    work = found["training_flops_per_token"] - one["training_flops_per_token"]
    work -= heads * 6 * VOCAB * width
    if objective.depth == 0:
        assert (added, work) == (heads * width**2, heads * 6 * width**2)
    else:
        layers = heads * objective.depth / CONFIG.shape.layers
        gain = width  # the last norm belongs to no layer
        assert added == layers * (one["non_embedding_parameters"] - gain)
        alone = one["training_flops_per_token"] - 6 * VOCAB * width
        assert work == pytest.approx(layers * alone)


def test_arms_and_predictions_name_what_differs():
    assert TransferConfig().arm == "transfer2"
    assert TransferConfig(depth=0).arm == "transfer2_linear"
    assert TransferConfig(horizon=3, depth=6, injection=True).arm == (
        "transfer3_6layers_injected"
    )
    heads = TransferConfig(horizon=3, injection=True).heads()
    said = [Prediction(1), Prediction(2, given=1), Prediction(3, given=1)]
    assert [head.prediction for head in heads] == said

"""Joint prediction: what passes the bottleneck, beside attention written out."""

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.describe import describe_model
from synth.objectives.joint import JointConfig
from synth.objectives.multi_token import MultiTokenConfig
from tests.synth.objectives.conftest import (
    VOCAB,
    build,
    losses_and_gradient,
    normed,
    random_rows,
)

TIME = 8
CONFIG = ModelConfig(scale="d16-L4-h2")


def batch():
    return random_rows((1, 3, TIME))


def turned(x_C, position):
    """Rotary positions of one vector: pairs (c, c + C/2) as complex numbers."""
    half = len(x_C) // 2
    angle = position * 10_000.0 ** -(torch.arange(half) / half)
    pairs = torch.complex(x_C[:half], x_C[half:]) * torch.polar(
        torch.ones(half), angle.float()
    )
    return torch.cat((pairs.real, pairs.imag))


def slow_state(model, trunk_D, tokens, given):
    """The state of head given + 1 at one position, with attention head by head."""
    attention = model.heads[1].merge.attention
    table = model.embedding_KVD[0]
    u_GD = torch.stack([trunk_D / 2 + table[token] for token in tokens[: given + 1]])
    qkv = normed(u_GD, attention.norm.gain_KD[0]) @ attention.qkv_KED[0].T
    q, k, v = qkv.view(given + 1, 3, attention.heads, -1).unbind(1)
    mixed = []
    for head in range(attention.heads):
        query = turned(q[given, head], given)
        keys = torch.stack([turned(k[j, head], j) for j in range(given + 1)])
        weight = (keys @ query / len(query) ** 0.5).softmax(0)
        mixed.append(weight @ v[:, head])
    return u_GD[given] + attention.out_KDD[0] @ torch.cat(mixed)


def test_losses_and_gradients_equal_the_slow_form():
    objective = JointConfig(depth=2)
    model, flat = build(objective)
    tokens, example, answer = batch()
    losses, gradient = losses_and_gradient(model, flat, tokens, example, answer)
    trunk_BTD = model.run_trunk(tokens)[0]
    expected = []
    for head in range(1, 4):
        nll = []
        for row in range(3):
            for t in range(TIME - head):
                state = trunk_BTD[row, t]
                if head > 1:
                    state = slow_state(model, state, tokens[0, row, t:], head - 1)
                logits = model.unembedding_KVD[0] @ normed(state, model.norm.gain_KD[0])
                target = tokens[0, row, t + head]
                nll.append(functional.cross_entropy(logits[None], target[None]))
        expected.append(torch.stack(nll).mean())
    (expected[0] + 0.1 / 2 * (expected[1] + expected[2])).backward()
    assert torch.allclose(losses, torch.stack(expected), atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


def test_the_state_of_one_position_is_all_that_heads_see_of_the_past():
    """With the trunk's state held fixed, no head depends on tokens before t."""
    model, _ = build(JointConfig(depth=2))
    tokens, at = batch()[0], 4
    trunk = model.run_trunk(tokens)
    whole = model.head_states(trunk, tokens)
    for place in range(TIME):
        changed = tokens.clone()
        changed[..., place] = changed[..., place] % (VOCAB - 1) + 1
        moved = model.head_states(trunk, changed)
        for given, (old, new) in enumerate(zip(whole, moved, strict=True)):
            same = torch.equal(old[:, :, at], new[:, :, at])
            assert same == (given == 0 or not at <= place <= at + given)


@pytest.mark.parametrize("depth", [1, 3])
def test_counts_are_those_of_the_model(depth):
    objective = JointConfig(depth=depth)
    model, _ = build(objective)
    found = describe_model(CONFIG, objective, VOCAB, 64)
    one = describe_model(CONFIG, MultiTokenConfig(), VOCAB, 64)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    width = CONFIG.shape.width
    assert found["parameters"] - one["parameters"] == 4 * width**2 + width
    work = found["training_flops_per_token"] - one["training_flops_per_token"]
    vectors = [given + 1 for given in range(1, depth + 1)]
    products = sum(n * 4 * width**2 + n**2 * width for n in vectors)
    assert work == 6 * (products + depth * VOCAB * width)


def test_arms_name_what_differs():
    assert JointConfig().arm == "joint4"
    assert JointConfig(depth=2, weight=0.5, schedule="to-zero").arm == (
        "joint2_w0.5_tozero"
    )

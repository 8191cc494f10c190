"""The chain: what each module reads, beside a loop that knows nothing of lanes."""

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.decoder import PredictionModel
from synth.models.describe import describe_model
from synth.objectives.chain import ChainConfig
from tests.synth.objectives.conftest import (
    VOCAB,
    build,
    losses_and_gradient,
    normed,
    random_rows,
)

TIME, SCALE = 12, "d16-L6-h2"
MODULES = ["own", "shared"]


def batch():
    return random_rows((1, 3, TIME), 7, padding=1)


def slow_states(model, tokens_BT):
    """States of the trunk and of each module, written after the source's formulas."""
    table = model.embedding_KVD[0]
    state = functional.embedding(tokens_BT, table)[None]
    for layer in model.trunk:
        state = layer(state)
    states = [state[0]]
    for k, module in enumerate(list(model.heads)[1:], 1):
        later = torch.zeros_like(tokens_BT)
        later[:, :-k] = tokens_BT[:, k:]
        merge = module.merge
        both = torch.cat(
            (
                normed(states[-1], merge.norm_state.gain_KD[0]),
                normed(functional.embedding(later, table), merge.norm_token.gain_KD[0]),
            ),
            -1,
        )
        weight = torch.cat((merge.state_KDD[0], merge.token_KDD[0]), -1)
        states.append(module.layers[0]((both @ weight.T)[None])[0])
    return states


@pytest.mark.parametrize("modules", MODULES)
@pytest.mark.parametrize("depth", [1, 3])
def test_losses_and_gradients_equal_the_slow_form(depth, modules):
    objective = ChainConfig(depth=depth, modules=modules)
    model, flat = build(objective, scale=SCALE)
    tokens, example, answer = batch()
    losses, gradient = losses_and_gradient(model, flat, tokens, example, answer)
    expected = []
    for offset, state in enumerate(slow_states(model, tokens[0]), 1):
        logits = normed(state, model.norm.gain_KD[0]) @ model.unembedding_KVD[0].T
        inside = example[0, :, offset:] == example[0, :, :-offset]
        inside &= example[0, :, offset:] > 0
        nll = functional.cross_entropy(
            logits[:, :-offset][inside], tokens[0, :, offset:][inside]
        )
        expected.append(nll)
    total = expected[0] + objective.weight / depth * sum(expected[1:])
    total.backward()
    assert torch.allclose(losses, torch.stack(expected), atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


@pytest.mark.parametrize("modules", MODULES)
def test_module_k_sees_the_tokens_up_to_t_plus_k_and_no_other(modules):
    model, _ = build(ChainConfig(depth=3, modules=modules), scale=SCALE)
    tokens = batch()[0]
    at = 5
    whole = model.head_states(model.run_trunk(tokens), tokens)
    for place in range(TIME):
        changed = tokens.clone()
        changed[..., place] = changed[..., place] % (VOCAB - 1) + 1
        moved = model.head_states(model.run_trunk(changed), changed)
        for head, (old, new) in enumerate(zip(whole, moved, strict=True)):
            same = torch.equal(old[:, :, at], new[:, :, at])
            assert same == (place > at + head)


def test_shared_modules_are_one_set_of_weights_that_runs_often():
    config = ModelConfig(scale=SCALE)
    own = describe_model(config, ChainConfig(depth=3, budget="added"), VOCAB, 64)
    shared = ChainConfig(depth=3, modules="shared", budget="added")
    one = describe_model(config, shared, VOCAB, 64)
    assert one["head_layers"] == 1
    assert own["head_layers"] == 3
    assert one["training_flops_per_token"] == own["training_flops_per_token"]
    for objective in (ChainConfig(depth=3), shared, ChainConfig(depth=1)):
        model = PredictionModel(config, objective, VOCAB, 1)
        real = sum(p.numel() for p in model.parameters())
        assert describe_model(config, objective, VOCAB, 64)["parameters"] == real


@pytest.mark.parametrize(
    ("fields", "layers"),
    [
        ({}, 7),  # a module is 7/6 of a layer
        ({"depth": 2}, 6),  # 14/6
        ({"depth": 4}, 3),  # 28/6
        ({"depth": 4, "modules": "shared"}, 7),
        ({"depth": 4, "budget": "added"}, 8),
    ],
)
def test_layers_that_are_left_to_a_trunk_of_eight(fields, layers):
    assert ChainConfig(**fields).trunk_layers(8) == layers


def test_moved_modules_keep_the_size_to_half_a_layer():
    config = ModelConfig(scale="d128-L8-h4")
    shape = config.shape
    layer = 4 * shape.width**2 + 3 * shape.width * shape.mlp_width
    for depth in (1, 2, 4, 5):
        found = describe_model(config, ChainConfig(depth=depth), VOCAB, 64)
        difference = found["non_embedding_parameters"] - found["nominal_parameters"]
        assert abs(difference) < 0.6 * layer


def test_arms_name_what_differs():
    assert ChainConfig().arm == "chain1"
    assert ChainConfig(modules="shared") == ChainConfig()
    assert ChainConfig(depth=2, modules="shared").arm == "chain2_shared"
    assert ChainConfig(depth=2, budget="added", weight=0.1).arm == "chain2_added_w0.1"

"""Next-latent prediction: losses and gradients beside the formulas in one graph."""

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.describe import describe_model
from synth.models.elementwise import EPSILON
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.next_latent import NextLatentConfig
from tests.synth.objectives.conftest import (
    VOCAB,
    build,
    losses_and_gradient,
    random_rows,
)

TIME = 9
CONFIG = ModelConfig(scale="d16-L4-h2")


def batch():
    return random_rows((1, 3, TIME), 5, answer=slice(2, 5))


def unit(x):
    return x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt()


def moved(module, state, embedded):
    """f(g, e) with plain products."""
    merge = module.merge
    both = torch.cat(
        (
            unit(state) * merge.first.norm_state.gain_KD[0],
            unit(embedded) * merge.first.norm_token.gain_KD[0],
        ),
        -1,
    )
    weight = torch.cat((merge.first.state_KDD[0], merge.first.token_KDD[0]), -1)
    inner = functional.gelu(both @ weight.T)
    inner = functional.gelu(inner @ merge.second_KDD[0].T)
    return state + inner @ merge.third_KDD[0].T


@pytest.mark.parametrize("scored", ["all", "answer"])
@pytest.mark.parametrize("depth", [1, 2])
def test_losses_and_gradients_equal_the_slow_form(depth, scored):
    objective = NextLatentConfig(
        depth=depth, latent_weight=0.5, distribution_weight=2, scored=scored
    )
    model, flat = build(objective)
    tokens, example, answer = batch()
    losses, gradient = losses_and_gradient(model, flat, tokens, example, answer)
    tokens, example, answer = tokens[0], example[0], answer[0]
    table, trunk = model.embedding_KVD[0], model.run_trunk(tokens[None])[0]

    def logits_of(state, frozen=False):
        parts = (model.norm.gain_KD[0], model.unembedding_KVD[0])
        gain, weight = (p.detach() if frozen else p for p in parts)
        return unit(state) * gain @ weight.T

    def scores(offset):
        inside = example[:, :-offset] == example[:, offset:]
        return inside & answer[:, offset:] if scored == "answer" else inside

    def nll(state, offset):
        kept = scores(offset)
        return functional.cross_entropy(
            logits_of(state)[:, :-offset][kept], tokens[:, offset:][kept]
        )

    heads, readouts, state = [nll(trunk, 1)], [], trunk
    total = heads[0]
    for k in range(1, depth + 1):
        given = torch.cat((tokens[:, k:], torch.zeros(3, k, dtype=int)), 1)
        state = moved(model.heads[k], state, functional.embedding(given, table))
        heads.append(nll(state, k + 1).detach())
        inside = example[:, :-k] == example[:, k:]
        latent = functional.smooth_l1_loss(
            unit(state)[:, :-k][inside], unit(trunk).detach()[:, k:][inside]
        )
        kept = scores(k + 1)
        divergence = functional.kl_div(
            logits_of(state, frozen=True)[:, : -k - 1][kept].log_softmax(-1),
            logits_of(trunk).detach()[:, k:-1][kept].log_softmax(-1),
            reduction="batchmean",
            log_target=True,
        )
        readouts += [latent, divergence]
        total = total + (0.5 * latent + 2 * divergence) / depth
    total.backward()
    assert torch.allclose(losses, torch.stack(heads + readouts), atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


def test_counts_are_those_of_the_model():
    objective = NextLatentConfig(depth=2)
    model, _ = build(objective)
    found = describe_model(CONFIG, objective, VOCAB, 64)
    one = describe_model(CONFIG, MultiTokenConfig(), VOCAB, 64)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    width = CONFIG.shape.width
    assert found["parameters"] - one["parameters"] == 4 * width**2 + 2 * width
    work = found["training_flops_per_token"] - one["training_flops_per_token"]
    # Each depth: its own logits forward and back to the state, those of the trunk
    # forward, and once more forward to measure the token.
    unembeddings = 2 * (2 / 3 + 1 / 3 + 1 / 3)
    assert work == pytest.approx(6 * (2 * 4 * width**2 + unembeddings * VOCAB * width))


def test_arms_name_what_differs():
    assert NextLatentConfig().arm == "latent1"
    both = NextLatentConfig(depth=2, latent_weight=0.5, distribution_weight=0)
    assert both.arm == "latent2_s0.5_d0"


def test_one_of_the_two_terms_may_be_left_out_but_not_both():
    NextLatentConfig(latent_weight=0)
    with pytest.raises(
        ValueError, match="distribution_weight must be from 0 to 100000, and above 0"
    ):
        NextLatentConfig(latent_weight=0, distribution_weight=0)

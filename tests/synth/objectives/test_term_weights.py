"""Weights of heads, their schedules, and the offsets of a leap."""

import dataclasses

import pytest
import torch

from synth.config import ModelConfig
from synth.fast.fused import fuse
from synth.fast.native import load
from synth.models.backward import loss_and_backward, token_losses
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.bag_of_words import BagOfWordsConfig
from synth.objectives.batch.targets import make_targets
from synth.objectives.chain import ChainConfig
from synth.objectives.joint import JointConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.next_latent import NextLatentConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.objectives.transfer import TransferConfig
from tests.synth.fast.test_native import needs_compiler

VOCAB = 11
WEIGHTS = (1.5, 0.0, 0.25)
OBJECTIVES = [
    MultiTokenConfig(horizon=3, head_weights=WEIGHTS),
    MultiTokenConfig(horizon=3, layout="causal", head_weights=WEIGHTS),
    MultiTokenConfig(horizon=3, layout="same", head_weights=WEIGHTS),
    MultiTokenConfig(horizon=3, stride=3, head_weights=WEIGHTS),
    MultiTokenConfig(horizon=3, scored="answer", head_weights=WEIGHTS),
    ChainConfig(depth=2, modules="shared", head_weights=WEIGHTS),
    TransferConfig(horizon=3, injection=True, head_weights=WEIGHTS),
]


def build(objective):
    model = PredictionModel(ModelConfig(scale="d16-L5-h2"), objective, VOCAB, 1)
    flat = FlatLanes(model, torch.float32)
    initialise(flat, model.initial_stds(), [0])
    stream = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, VOCAB, (1, 3, 12), generator=stream)
    example = torch.ones_like(tokens)
    answer = torch.zeros_like(tokens, dtype=torch.bool)
    answer[..., 5:] = True
    return model, flat, make_targets(tokens, example, answer, objective)


def slow_losses(model, targets):
    """All logits at once and one graph."""
    logits_NKBTV = model(targets.batch["tokens"])
    terms = zip(logits_NKBTV, targets.tokens_NKBT, targets.weights_NKBT, strict=True)
    return torch.stack(
        [
            (token_losses(logits[0].flatten(0, 1)[None], t.flatten(1)) * w.flatten(1))
            for logits, t, w in terms
        ]
    ).sum((1, 2))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: one.arm)
@pytest.mark.parametrize(
    "form", ["eager", pytest.param("native", marks=needs_compiler)]
)
@pytest.mark.parametrize("sparse_from", [1, 256])
def test_gradients_are_weighted_and_losses_are_not(
    objective, form, sparse_from, monkeypatch
):
    monkeypatch.setattr("synth.models.backward.SPARSE_VOCABULARY", sparse_from)
    model, flat, targets = build(objective)
    flat.zero_grad()
    expected = slow_losses(model, targets)
    (expected * torch.tensor(WEIGHTS)).sum().backward()
    gradient = flat.gather_grad().clone()
    flat.zero_grad()
    piece = fuse(model, load(torch.float32)) if form == "native" else None
    losses = loss_and_backward(model, targets, piece)
    assert torch.allclose(losses[:, 0], expected, atol=1e-5)
    assert torch.allclose(flat.gather_grad(), gradient, atol=1e-5)


def test_weights_in_tensors_act_as_numbers():
    """As a recorded step has them, of which one may be 0."""
    model, flat, targets = build(OBJECTIVES[0])
    flat.zero_grad()
    losses = loss_and_backward(model, targets)
    gradient = flat.gather_grad().clone()
    flat.zero_grad()
    sent = dataclasses.replace(targets, scales=torch.tensor(WEIGHTS).unbind())
    assert torch.equal(loss_and_backward(model, sent), losses)
    assert torch.equal(flat.gather_grad(), gradient)


def test_a_head_of_weight_zero_gets_no_gradient():
    model, flat, targets = build(OBJECTIVES[0])
    flat.zero_grad()
    loss_and_backward(model, targets)
    found = flat.lane(flat.gather_grad(), 0)
    for head, weight in enumerate(WEIGHTS):
        own = [grad for name, grad in found.items() if f"heads.{head}." in name]
        assert own
        assert all(bool(grad.any()) == (weight > 0) for grad in own)


@pytest.mark.parametrize(
    ("schedule", "steps", "weights"),
    [
        ("constant", 3, [(1, 1, 1)] * 3),
        ("to-zero", 4, [(1, 1, 1), (1, 0.75, 0.75), (1, 0.5, 0.5), (1, 0.25, 0.25)]),
        ("forward", 5, [(1, 0, 0)] * 2 + [(1, 1, 0)] * 2 + [(1, 1, 1)]),
        ("reverse", 5, [(1, 1, 1)] * 2 + [(1, 1, 0)] * 2 + [(1, 0, 0)]),
    ],
)
def test_schedules_worked_out_by_hand(schedule, steps, weights):
    for objective in (
        MultiTokenConfig(horizon=3, schedule=schedule),
        ChainConfig(depth=2, weight=2, schedule=schedule),
        TransferConfig(horizon=3, head_weights=(1, 1, 1), schedule=schedule),
    ):
        found = [objective.term_weights(step, steps) for step in range(steps)]
        assert found == weights
        assert objective.scheduled == (schedule != "constant")


def test_the_rest_shares_one_weight():
    assert MultiTokenConfig(horizon=4, weight=0.6).base_weights(4) == (
        *(1, 0.6 / 3, 0.6 / 3, 0.6 / 3),
    )
    assert ChainConfig(depth=3).base_weights(4) == (1, 0.3 / 3, 0.3 / 3, 0.3 / 3)
    assert TransferConfig(horizon=3).base_weights(3) == (1, 1, 1)


@pytest.mark.parametrize(
    "objective",
    [
        MultiTokenConfig(horizon=3, head_weights=WEIGHTS),
        ChainConfig(depth=2, head_weights=WEIGHTS),
        JointConfig(depth=2, head_weights=WEIGHTS),
        TransferConfig(horizon=3, head_weights=WEIGHTS),
    ],
    ids=lambda one: one.kind,
)
def test_weights_of_heads_go_by_how_far_ahead_they_predict(objective):
    found = [(head.offset, head.weight) for head in objective.heads()]
    assert found == [(1, 1.5), (2, 0.0), (3, 0.25)]


def test_a_leap_predicts_every_k_th_token():
    objective = MultiTokenConfig(horizon=4, stride=3)
    assert [head.offset for head in objective.heads()] == [1, 4, 7, 10]
    assert objective.arm == "n4_stride3"


def test_arms_name_weights_and_schedules():
    assert MultiTokenConfig(horizon=4, weight=0.3).arm == "n4_w0.3"
    assert MultiTokenConfig(horizon=2, schedule="to-zero").arm == "n2_tozero"
    assert ChainConfig(head_weights=(1, 0.5), schedule="reverse").arm == (
        "chain1_w1_0.5_reverse"
    )
    assert ChainConfig(weight=None).arm == "chain1_sum"


def test_one_head_has_no_weights():
    assert MultiTokenConfig(weight=0.5, schedule="forward", stride=2) == (
        MultiTokenConfig()
    )


@pytest.mark.parametrize("weights", [(1,), (0, 1), (1, -1), (1, 1, 1), (1, 1e6)])
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(ValueError, match="head_weights must be 2 numbers"):
        MultiTokenConfig(horizon=2, head_weights=weights)


@pytest.mark.parametrize("config", [MultiTokenConfig(horizon=2), ChainConfig()])
def test_one_weight_and_weights_of_heads_exclude_each_other(config):
    weighted = dataclasses.replace(config, head_weights=(1, 0.2))
    assert dataclasses.replace(weighted) == weighted
    with pytest.raises(ValueError, match=r"not both; got 0.5 and \(1.0, 0.2\)"):
        dataclasses.replace(weighted, weight=0.5)


@pytest.mark.parametrize(
    ("build", "fields"),
    [
        (MultiTokenConfig, {"horizon": 2, "weight": 1e6}),
        (ChainConfig, {"weight": 1e6}),
        (TokenOrderConfig, {"weight": 1e6}),
        (BagOfWordsConfig, {"weight": 1e6}),
        (NextLatentConfig, {"latent_weight": 1e6}),
        (NextLatentConfig, {"distribution_weight": 1e6}),
    ],
)
def test_weights_that_no_arm_can_name_are_refused_by_their_name(build, fields):
    *_, field = fields
    with pytest.raises(
        ValueError, match=rf"{build.__name__}\.{field} must be .* 100000"
    ):
        build(**fields)

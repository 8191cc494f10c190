"""Causality, targets, and the backward pass that holds one head's logits at a time."""

import math

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from tests.synth.objectives.conftest import random_rows

LAYOUTS = ["parallel", "causal", "anticausal", "linear"]
VOCAB, BATCH, TIME = 11, 3, 12


def build(
    layout="parallel", horizon=3, lanes=1, scale="d16-L5-h2", dtype=torch.float32
):
    config = ModelConfig(scale=scale)
    objective = MultiTokenConfig(horizon=horizon, layout=layout)
    model = PredictionModel(config, objective, VOCAB, lanes)
    flat = FlatLanes(model, dtype)
    initialise(flat, model.initial_stds(), list(range(lanes)))
    return model, flat


def batch(lanes=1, seed=0):
    return random_rows(
        (lanes, BATCH, TIME), 7, padding=2, answer=slice(4, 7), seed=seed
    )


def naive_losses(model, tokens, targets):
    """All logits at once, one graph, one backward: the form to agree with."""
    logits = model(tokens)
    losses = []
    for head in range(model.num_heads):
        nll = functional.cross_entropy(
            logits[head].flatten(0, -2),
            targets.tokens_NKBT[head].flatten(),
            reduction="none",
        )
        weighted = nll.view(tokens.shape) * targets.weights_NKBT[head]
        losses.append(weighted.sum((1, 2)))
    return torch.stack(losses)


def test_targets_of_a_ramp_are_t_plus_k():
    ramp = torch.arange(TIME).expand(1, 2, TIME)
    whole = torch.ones_like(ramp)
    objective = MultiTokenConfig(horizon=4)
    targets = make_targets(ramp, whole, whole.bool(), objective)
    for ahead in range(1, 5):
        kept = targets.weights_NKBT[ahead - 1] > 0
        assert kept[..., : TIME - ahead].all()
        assert not kept[..., TIME - ahead :].any()
        expected = (ramp + ahead)[kept]
        assert torch.equal(targets.tokens_NKBT[ahead - 1][kept], expected)


@pytest.mark.parametrize("scored", ["all", "answer"])
def test_targets_equal_a_slow_loop(scored):
    tokens, example, answer = batch(lanes=2)
    objective = MultiTokenConfig(horizon=3, scored=scored)
    targets = make_targets(tokens, example, answer, objective)
    for head in range(3):
        for lane in range(2):
            found = []
            for b in range(BATCH):
                for t in range(TIME):
                    u = t + head + 1
                    if u >= TIME or example[lane, b, t] == 0:
                        continue
                    if example[lane, b, u] != example[lane, b, t]:
                        continue
                    if scored == "answer" and not answer[lane, b, u]:
                        continue
                    found.append((b, t, int(tokens[lane, b, u])))
            weights = targets.weights_NKBT[head, lane]
            assert [[b, t] for b, t, _ in found] == weights.nonzero().tolist()
            assert weights.sum().item() == pytest.approx(1.0, abs=1e-6)
            for b, t, token in found:
                assert targets.tokens_NKBT[head, lane, b, t] == token


def test_a_head_without_targets_weighs_nothing():
    tokens, example, answer = batch()
    objective = MultiTokenConfig(horizon=3, scored="answer")
    targets = make_targets(tokens, example, torch.zeros_like(answer), objective)
    model, _ = build()
    losses = loss_and_backward(model, targets)
    assert torch.equal(losses, torch.zeros(3, 1))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_gradients_equal_the_naive_backward(layout, horizon):
    tokens, example, answer = batch(lanes=2)
    objective = MultiTokenConfig(horizon=horizon)
    targets = make_targets(tokens, example, answer, objective)
    model, flat = build(layout, horizon, lanes=2)
    flat.zero_grad()
    losses = loss_and_backward(model, targets)
    grad = flat.gather_grad().clone()
    flat.zero_grad()
    expected = naive_losses(model, tokens, targets)
    expected.sum().backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, flat.gather_grad(), rtol=1e-4, atol=1e-7)
    assert grad.abs().sum() > 0


@pytest.mark.parametrize("max_logits", [1 << 23, 1])
def test_unembedding_scored_positions_alone_changes_nothing(monkeypatch, max_logits):
    tokens, example, answer = batch(lanes=3)
    tokens, example, answer = (x.repeat(1, 40, 3) for x in (tokens, example, answer))
    answer[1, 5:] = False
    answer[2] = False  # a lane that scores nothing
    objective = MultiTokenConfig(horizon=2, scored="answer")
    targets = make_targets(tokens, example, answer, objective)
    model, flat = build(horizon=2, lanes=3)
    whole = loss_and_backward(model, targets)
    grad = flat.gather_grad().clone()
    flat.zero_grad()
    monkeypatch.setattr("synth.models.backward.SPARSE_VOCABULARY", VOCAB)
    monkeypatch.setattr("synth.models.backward.CHUNK_LOGITS", max_logits)
    seen = []
    rows = model.unembed_rows
    monkeypatch.setattr(model, "unembed_rows", lambda h: [seen.append(h), rows(h)][1])
    scored = loss_and_backward(model, targets)
    torch.testing.assert_close(scored, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(flat.gather_grad(), grad, rtol=1e-4, atol=1e-7)
    assert (
        sum(len(h) for rows in seen for h in rows) == (targets.weights_NKBT > 0).sum()
    )


def test_scored_positions_of_a_lane_are_its_own(monkeypatch):
    """A lane gives the same bits among others and alone."""
    monkeypatch.setattr("synth.models.backward.SPARSE_VOCABULARY", VOCAB)
    tokens, example, answer = batch(lanes=3)
    answer[1, 2:] = False
    objective = MultiTokenConfig(horizon=2, scored="answer")
    model, flat = build(horizon=2, lanes=3)
    loss_NK = loss_and_backward(model, make_targets(tokens, example, answer, objective))
    alone, one = build(horizon=2)
    for lane in range(3):
        one.master_KP.copy_(flat.master_KP[lane])
        one.zero_grad()
        mine = (x[lane : lane + 1] for x in (tokens, example, answer))
        found = loss_and_backward(alone, make_targets(*mine, objective))
        assert torch.equal(found[:, 0], loss_NK[:, lane])
        assert torch.equal(one.gather_grad()[0], flat.gather_grad()[lane])


def test_chunks_of_positions_change_nothing(monkeypatch):
    tokens, example, answer = batch()
    tokens, example, answer = (x.repeat(1, 20, 2) for x in (tokens, example, answer))
    objective = MultiTokenConfig(horizon=2)
    targets = make_targets(tokens, example, answer, objective)
    model, flat = build(horizon=2)
    whole = loss_and_backward(model, targets)
    grad = flat.gather_grad().clone()
    flat.zero_grad()
    monkeypatch.setattr(
        "synth.models.backward.CHUNK_LOGITS", 1
    )  # chunks of 256 positions
    parts = loss_and_backward(model, targets)
    torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(flat.gather_grad(), grad, rtol=1e-4, atol=1e-7)


def check_causality(model, tokens, at):
    """Predictions at a position depend on every position up to it, and on no later one."""
    embedded = model.embed(tokens).detach().requires_grad_()
    x = embedded
    for layer in model.trunk:
        x = layer(x)
    for state in model.head_states(x, tokens):
        logit = model.unembed(state)[:, :, at].sum()
        (grad,) = torch.autograd.grad(logit, embedded, retain_graph=True)
        assert grad[:, :, at + 1 :].abs().max() == 0.0
        assert grad[:, :, : at + 1].abs().amax(-1).min() > 0.0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_head_sees_beyond_its_position(layout):
    model, _ = build(layout, horizon=3)
    check_causality(model, batch()[0], 5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", ["10k", "100k", "1M"])
def test_loss_at_the_start_is_near_log_v(layout, scale):
    model, _ = build(layout, horizon=3, scale=scale)
    tokens, example, answer = batch()
    targets = make_targets(tokens, example, answer, MultiTokenConfig(horizon=3))
    losses = loss_and_backward(model, targets)
    assert losses.flatten().tolist() == pytest.approx([math.log(VOCAB)] * 3, abs=0.25)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_horizon_one_is_plain_next_token_prediction_bit_for_bit(layout):
    """A plain decoder written out here, on the same weights."""
    model, flat = build(layout, horizon=1)
    tokens = batch()[0]
    whole = torch.ones_like(tokens)
    targets = make_targets(tokens, whole, whole.bool(), MultiTokenConfig(horizon=1))
    loss = loss_and_backward(model, targets)
    grad = flat.gather_grad().clone()
    flat.zero_grad()

    x = functional.embedding(tokens[0], model.embedding_KVD[0])[None]
    blocks = [*model.trunk, *model.heads]
    assert len(blocks) == 5
    for block in blocks:
        x = block(x)
    x = model.norm(x)[0]
    logits = functional.linear(x, model.unembedding_KVD[0])
    nll = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[0, :, 1:].flatten(), reduction="none"
    )
    plain = nll.mean()
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-6)
    torch.testing.assert_close(grad, flat.gather_grad(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lane_equals_itself_alone_bit_for_bit(layout, dtype):
    torch.set_num_threads(1)
    horizon, lanes = 3, 3
    tokens, example, answer = batch(lanes=lanes)
    objective = MultiTokenConfig(horizon=horizon)
    model, flat = build(layout, horizon, lanes, dtype=dtype)
    targets = make_targets(tokens, example, answer, objective)
    losses = loss_and_backward(model, targets)
    grads = flat.gather_grad()
    for lane in range(lanes):
        alone, alone_flat = build(layout, horizon, 1, dtype=dtype)
        initialise(alone_flat, alone.initial_stds(), [lane])
        part = slice(lane, lane + 1)
        t = make_targets(tokens[part], example[part], answer[part], objective)
        alone_losses = loss_and_backward(alone, t)
        assert torch.equal(alone_losses[:, 0], losses[:, lane])
        assert torch.equal(alone_flat.gather_grad()[0], grads[lane])

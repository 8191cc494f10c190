"""Token order prediction: targets beside a loop, and a loss beside torch's own."""

import math

import pytest
import torch
from torch.nn import functional

from synth.models.backward import loss_and_backward
from synth.objectives.batch.targets import make_targets
from synth.objectives.token_order import TokenOrderConfig
from tests.synth.objectives.conftest import (
    VOCAB,
    build,
    losses_and_gradient,
    parameters_beside_next_token,
    random_rows,
)

TIME = 10


def batch(lanes=1):
    return random_rows((lanes, 3, TIME), 6, padding=1, answer=slice(3, 6), seed=1)


def slow_targets(tokens_T, example_T, window):
    """softmax(W - dist) of one row, by looking ahead from every position."""
    rows = []
    for t in range(len(tokens_T)):
        scores = {}
        for u in range(t + 1, min(len(tokens_T), t + window + 1)):
            if example_T[u] != example_T[t]:
                break
            scores.setdefault(tokens_T[u], math.exp(window - (u - t)))
        total = sum(scores.values())
        rows.append([scores.get(v, 0) / total if total else 0.0 for v in range(VOCAB)])
    return rows


@pytest.mark.parametrize("window", [0, 1, 3, TIME])
def test_targets_equal_a_slow_loop(window):
    tokens, example, _ = batch(2)
    found = TokenOrderConfig(window=window).rank_targets(tokens, example, VOCAB)
    for lane in range(2):
        for row in range(3):
            real = example[lane, row] > 0
            expected = slow_targets(
                tokens[lane, row].tolist(), example[lane, row].tolist(), window or TIME
            )
            assert torch.allclose(
                found[lane, row][real], torch.tensor(expected)[real], atol=1e-6
            )


def test_the_drawn_example():
    tokens = torch.tensor([[[1, 2, 1, 3, 2]]])
    found = TokenOrderConfig(window=3).rank_targets(tokens, torch.ones_like(tokens), 4)
    weights = torch.tensor([0.0, math.e, math.e**2, 1.0])
    assert torch.allclose(found[0, 0, 0], weights / weights.sum())


@pytest.mark.parametrize("scored", ["all", "answer"])
def test_losses_and_gradients_equal_one_graph(scored):
    objective = TokenOrderConfig(window=4, weight=0.5, scored=scored)
    model, flat = build(objective)
    tokens, example, answer = batch()
    losses, gradient = losses_and_gradient(model, flat, tokens, example, answer)
    state = model.run_trunk(tokens)
    state = model.heads[0](state)
    inside = (example[0, :, 1:] == example[0, :, :-1]) & (example[0, :, 1:] > 0)
    if scored == "answer":
        inside &= answer[0, :, 1:]
    next_token = functional.cross_entropy(
        model.unembed(state)[0, :, :-1][inside], tokens[0, :, 1:][inside]
    )
    logits = model.norm(state)[0] @ model.readouts["order_KVD"][0].T
    soft = objective.rank_targets(tokens, example, VOCAB)[0, :, :-1][inside]
    order = functional.cross_entropy(logits[:, :-1][inside], soft)
    (next_token + 0.5 * order).backward()
    assert torch.allclose(losses, torch.stack((next_token, order)), atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


def test_chunks_of_rows_change_nothing(monkeypatch):
    objective = TokenOrderConfig()
    model, flat = build(objective)
    targets = make_targets(*batch(), objective)
    flat.zero_grad()
    whole, gradient = loss_and_backward(model, targets), flat.gather_grad().clone()
    monkeypatch.setattr("synth.models.backward.CHUNK_LOGITS", 1)
    flat.zero_grad()
    parts = loss_and_backward(model, targets)
    assert torch.allclose(whole, parts, atol=1e-6)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-6)


def test_it_answers_with_the_parameters_of_next_token_prediction():
    own = parameters_beside_next_token(TokenOrderConfig(), batch()[0])
    assert own == ["readouts.order_KVD"]


def test_arms_name_what_differs():
    assert TokenOrderConfig().arm == "top"
    assert TokenOrderConfig(window=4).arm == "top4"
    assert TokenOrderConfig(window=4, weight=9).arm == "top4_w9"

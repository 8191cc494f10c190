"""The bag of future words: targets beside a loop, and a loss beside torch's own."""

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.bag_of_words import BagOfWordsConfig
from tests.synth.objectives.conftest import losses_and_gradient, random_rows

VOCAB, TIME = 7, 10


def batch():
    return random_rows(
        (1, 3, TIME), 6, padding=1, answer=slice(3, 6), seed=1, vocab=VOCAB
    )


def slow_bag(tokens, example, t, window):
    """The tokens of x[t+2] .. x[t+W] of the example, by looking at each."""
    last = min(len(tokens) - 1, t + (window or TIME))
    places = [u for u in range(t + 2, last + 1) if example[u] == example[t]]
    return {tokens[u] for u in places}


@pytest.mark.parametrize("window", [0, 2, 4, 2**63 - 1])
def test_bags_equal_a_slow_loop(window):
    tokens, example, _ = batch()
    found = BagOfWordsConfig(window=window).bags(tokens, example, VOCAB)
    for row in range(3):
        for t in range(TIME - 1):
            bag = set(found[0, row, t].nonzero().flatten().tolist())
            mine = (tokens[0, row].tolist(), example[0, row].tolist())
            assert bag == slow_bag(*mine, t, window)


def test_the_drawn_example():
    tokens = torch.tensor([[[1, 2, 1, 3, 2]]])
    found = BagOfWordsConfig(window=3).bags(tokens, torch.ones_like(tokens), 4)
    bags = [found[0, 0, t].nonzero().flatten().tolist() for t in range(5)]
    assert bags == [[1, 3], [2, 3], [2], [], []]


@pytest.mark.parametrize("scored", ["all", "answer"])
def test_losses_and_gradients_equal_one_graph(scored):
    objective = BagOfWordsConfig(window=4, weight=0.5, scored=scored)
    model = PredictionModel(ModelConfig(scale="d16-L4-h2"), objective, VOCAB, 1)
    flat = FlatLanes(model, torch.float32)
    initialise(flat, model.initial_stds(), [0])
    tokens, example, answer = batch()
    losses, gradient = losses_and_gradient(model, flat, tokens, example, answer)
    state = model.heads[0](model.run_trunk(tokens))[0]
    kept = {}
    for ahead in (1, 2):
        kept[ahead] = example[0, :, ahead:] == example[0, :, :-ahead]
        kept[ahead] &= example[0, :, ahead:] > 0
        if scored == "answer":
            kept[ahead] &= answer[0, :, ahead:]
    next_token = functional.cross_entropy(
        model.unembed(state[None])[0, :, :-1][kept[1]], tokens[0, :, 1:][kept[1]]
    )
    logits = model.norm(state[None])[0] @ model.readouts["bag_KVD"][0].T
    bags = torch.zeros(3, TIME, VOCAB)
    for row in range(3):
        for t in range(TIME):
            mine = (tokens[0, row].tolist(), example[0, row].tolist())
            bags[row, t, list(slow_bag(*mine, t, 4))] = 1
    bag = functional.binary_cross_entropy_with_logits(
        logits[:, :-2][kept[2]], bags[:, :-2][kept[2]]
    )
    (next_token + 0.5 * bag).backward()
    assert torch.allclose(losses, torch.stack((next_token, bag)), atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


def test_arms_name_what_differs():
    assert BagOfWordsConfig().arm == "bag"
    assert BagOfWordsConfig(window=8, weight=2).arm == "bag8_w2"


@pytest.mark.parametrize("window", [1, -1])
def test_a_window_without_a_token_after_the_next_is_refused(window):
    with pytest.raises(
        ValueError, match="window must be at least 2, or 0 for the whole"
    ):
        BagOfWordsConfig(window=window)

"""What the tests of objectives share: a small model with one, and a slow norm."""

import torch

from synth.config import ModelConfig
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.elementwise import EPSILON
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig

VOCAB = 11


def build(objective, lanes=1, dtype=torch.float32, scale="d16-L4-h2"):
    model = PredictionModel(ModelConfig(scale=scale), objective, VOCAB, lanes)
    flat = FlatLanes(model, dtype)
    initialise(flat, model.initial_stds(), list(range(lanes)))
    return model, flat


def random_rows(shape, second=None, padding=0, answer=slice(0), seed=0, vocab=VOCAB):
    """Tokens (K, B, T) of one example, or two: the second begins at `second`."""
    stream = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, vocab, shape, generator=stream)
    example = torch.ones_like(tokens)
    example[..., second or shape[-1] :] = 2
    example[..., shape[-1] - padding :] = 0
    marks = torch.zeros_like(tokens, dtype=torch.bool)
    marks[..., answer] = True
    return tokens, example, marks


def normed(x, gain):
    return x * gain / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt()


def losses_and_gradient(model, flat, tokens, example, answer):
    """One lane's loss of each term and gradient; the model's gradient is zero again."""
    targets = make_targets(tokens, example, answer, model.objective)
    flat.zero_grad()
    losses = loss_and_backward(model, targets)[:, 0]
    gradient = flat.gather_grad().clone()
    flat.zero_grad()
    return losses, gradient


def parameters_beside_next_token(objective, tokens):
    """Names of the parameters that the model of `n1` does not have.

    All others start equal, and the models answer alike.
    """
    one, flat_one = build(MultiTokenConfig())
    other, flat_other = build(objective)
    own = flat_other.lane(flat_other.master_KP, 0)
    for name, weight in flat_one.lane(flat_one.master_KP, 0).items():
        assert torch.equal(weight, own.pop(name))
    assert torch.equal(one(tokens), other(tokens))
    return list(own)

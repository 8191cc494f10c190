"""Recurrent mixers: sizes, exactness, causality, lanes, decoding."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig, RunConfig
from synth.decoding import greedy_decode
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.describe import describe_model
from synth.models.lanes import FlatLanes, initialise
from synth.models.mixers import mamba, rwkv
from synth.models.mixers.recurrence import Memory, convolve
from synth.models.weights import role_of
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.scales import SCALES
from synth.shapes.mixer_shapes import mixer_shape
from synth.tasks.polynomial import PolynomialConfig
from tests.synth.objectives.test_loss import (
    LAYOUTS,
    VOCAB,
    batch,
    check_causality,
    naive_losses,
)

RECURRENT = ["mamba2", "rwkv"]
LONG = 70
"""Longer than one chunk of either mixer, and no multiple of one."""


def build(mixer, layout="parallel", horizon=3, lanes=1, dtype=torch.float32):
    config = ModelConfig(scale="d16-L5-h2", mixer=mixer)
    model = PredictionModel(
        config, MultiTokenConfig(horizon=horizon, layout=layout), VOCAB, lanes
    )
    flat = FlatLanes(model, dtype)
    initialise(flat, model.initial_stds(), list(range(lanes)))
    return model, flat


def long_batch(lanes=1):
    return [x.repeat(1, 1, 6)[..., :LONG] for x in batch(lanes)]


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("rung", SCALES)
def test_mixers_have_the_parameters_of_attention(mixer, rung):
    shape = SCALES[rung]
    found = mixer_shape(mixer, shape)
    assert found.matrices + found.gains == pytest.approx(4 * shape.width**2, rel=0.03)


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scale", ["10k", "100k", "d16-L5-h2", "1M"])
def test_described_parameters_are_those_of_the_model(mixer, layout, scale):
    config = ModelConfig(scale=scale, mixer=mixer)
    objective = MultiTokenConfig(horizon=2, layout=layout)
    model = PredictionModel(config, objective, vocab_size=17, num_lanes=1)
    real = sum(parameter.numel() for parameter in model.parameters())
    assert describe_model(config, objective, 17, 64)["parameters"] == real
    layer = model.trunk[0]
    decayed = sum(p.numel() for p in layer.mixer.parameters() if role_of(p).decays)
    assert decayed == mixer_shape(mixer, config.shape).matrices


def test_the_mixer_is_part_of_the_identity():
    ids = {
        RunConfig(task=PolynomialConfig(), model=ModelConfig(mixer=mixer)).run_id
        for mixer in ("attention", *RECURRENT)
    }
    assert len(ids) == 3
    assert "mixer" not in ModelConfig().canonical()
    with pytest.raises(ValueError, match=r"ModelConfig\.mixer.*'mamba2'"):
        ModelConfig(mixer="mamba")


def random_inputs(mixer, time, dtype, strength):
    """Inputs of a scan, leaves of the graph; `strength` scales the log decays."""
    stream = torch.Generator().manual_seed(time)

    def draw(*size):
        return torch.randn(size, generator=stream, dtype=torch.float64)

    if mixer == "mamba2":
        decay = -strength * draw(2, time, 3).exp()
        drawn = [draw(2, time, 3, 4), decay, draw(2, time, 5), draw(2, time, 5)]
        drawn.append(draw(2, 3, 5, 4))
    else:
        decay = -rwkv.FASTEST * (draw(2, time, 3, 4) + strength).sigmoid()
        drawn = [*(draw(2, time, 3, 4) for _ in range(3)), decay, draw(2, 3, 4, 4)]
    return [x.to(dtype).requires_grad_() for x in drawn]


def step_by_step(mixer, inputs):
    """The recurrences as they are written, one position after the other."""
    *inputs, state = inputs
    outputs = []
    for now in zip(*(x.unbind(1) for x in inputs), strict=True):
        if mixer == "mamba2":
            x, log_decay, b, c = now
            added = b[:, None, :, None] * x[:, :, None]
            state = log_decay.exp()[..., None, None] * state + added
            outputs.append((c[:, None, :, None] * state).sum(-2))
        else:
            r, k, v, log_decay = now
            outputs.append((r[..., None] * state).sum(-2))
            state = log_decay.exp()[..., None] * state + k[..., None] * v[..., None, :]
    return torch.stack(outputs, 1), state


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("time", [1, 7, 16, 50])
@pytest.mark.parametrize("strength", [0.01, 5.0])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)]
)
def test_chunks_equal_the_recurrence(mixer, time, strength, dtype, tolerance):
    """Outputs, last states and gradients, relative to the largest of each."""
    module = {"mamba2": mamba, "rwkv": rwkv}[mixer]
    inputs = random_inputs(mixer, time, dtype, strength)
    found = module.scan(*inputs[:-1], 16, inputs[-1])
    expected = step_by_step(mixer, inputs)
    for chunked, plain in zip(found, expected, strict=True):
        assert chunked.dtype == dtype
        assert (chunked - plain).abs().max() <= tolerance * plain.abs().max()
    slopes = [torch.cos(torch.arange(y.numel()).view(y.shape)).to(dtype) for y in found]
    loss = [sum((y * s).sum() for y, s in zip(r, slopes, strict=True))
            for r in (found, expected)]  # fmt: skip
    for chunked, plain in zip(
        *(torch.autograd.grad(total, inputs) for total in loss), strict=True
    ):
        assert (chunked - plain).abs().max() <= 2 * tolerance * plain.abs().max()


def test_the_fastest_decay_overflows_nowhere():
    """Every log decay at its bound over whole chunks of the real length."""
    r, k, v, decay, state = random_inputs("rwkv", 96, torch.float32, 1e9)
    assert decay.min().item() == pytest.approx(-rwkv.FASTEST)
    inputs = [r, k, v, decay, state]
    found = rwkv.scan(r, k, v, decay, 32, state)
    expected = step_by_step("rwkv", inputs)
    for chunked, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(chunked, plain, rtol=1e-5, atol=1e-5)
    (grad,) = torch.autograd.grad(found[0].sum(), [decay])
    assert grad.isfinite().all()


@pytest.mark.parametrize("mixer", RECURRENT)
def test_a_layer_equals_itself_fed_token_by_token(mixer):
    """Chunks, convolution and shift against a state of one position, fp32."""
    model, _ = build(mixer, lanes=2)
    layer = model.trunk[0]
    x = torch.randn(2, 3, LONG, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = layer(x)
        memory = Memory()
        steps = [layer(x[:, :, t : t + 1], memory) for t in range(LONG)]
        parts = Memory()
        halves = [layer(x[:, :, :37], parts), layer(x[:, :, 37:], parts)]
    torch.testing.assert_close(torch.cat(steps, 2), whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(torch.cat(halves, 2), whole, rtol=1e-5, atol=1e-5)


def test_convolution_equals_torch():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 12, 5, generator=draw, dtype=torch.float64)
    weight = torch.randn(2, 5, 4, generator=draw, dtype=torch.float64)
    x.requires_grad_(), weight.requires_grad_()
    for lane in range(2):
        plain = functional.conv1d(
            x[lane].transpose(1, 2), weight[lane][:, None], groups=5
        )
        found = convolve(x, weight)[lane].transpose(1, 2)
        assert torch.allclose(found, plain, atol=1e-12)
    assert torch.autograd.gradcheck(convolve, (x, weight))


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_head_sees_beyond_its_position(mixer, layout):
    model, _ = build(mixer, layout)
    check_causality(model, long_batch()[0], 66)  # in a later chunk than the first


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("horizon", [1, 3])
def test_gradients_equal_the_naive_backward(mixer, layout, horizon):
    tokens, example, answer = long_batch(lanes=2)
    objective = MultiTokenConfig(horizon=horizon)
    targets = make_targets(tokens, example, answer, objective)
    model, flat = build(mixer, layout, horizon, lanes=2)
    flat.zero_grad()
    losses = loss_and_backward(model, targets)
    grad = flat.gather_grad().clone()
    flat.zero_grad()
    expected = naive_losses(model, tokens, targets)
    expected.sum().backward()
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, flat.gather_grad(), rtol=1e-4, atol=1e-6)
    for name, part in flat.lane(grad, 0).items():
        assert part.abs().sum() > 0, name


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lane_equals_itself_alone_bit_for_bit(mixer, layout, dtype):
    horizon, lanes = 3, 3
    tokens, example, answer = long_batch(lanes=lanes)
    objective = MultiTokenConfig(horizon=horizon)
    model, flat = build(mixer, layout, horizon, lanes, dtype=dtype)
    targets = make_targets(tokens, example, answer, objective)
    losses = loss_and_backward(model, targets)
    grads = flat.gather_grad()
    for lane in range(lanes):
        alone, alone_flat = build(mixer, layout, horizon, 1, dtype=dtype)
        initialise(alone_flat, alone.initial_stds(), [lane])
        part = slice(lane, lane + 1)
        t = make_targets(tokens[part], example[part], answer[part], objective)
        alone_losses = loss_and_backward(alone, t)
        assert torch.equal(alone_losses[:, 0], losses[:, lane])
        assert torch.equal(alone_flat.gather_grad()[0], grads[lane])


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("scale", ["10k", "100k", "1M"])
def test_loss_at_the_start_is_near_log_v(mixer, scale):
    model = PredictionModel(
        ModelConfig(scale=scale, mixer=mixer), MultiTokenConfig(horizon=3), VOCAB, 1
    )
    initialise(FlatLanes(model, torch.float32), model.initial_stds(), [0])
    tokens, example, answer = batch()
    targets = make_targets(tokens, example, answer, MultiTokenConfig(horizon=3))
    losses = loss_and_backward(model, targets)
    expected = [float(np.log(VOCAB))] * 3
    assert losses.flatten().tolist() == pytest.approx(expected, abs=0.25)


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_cached_decoding_equals_decoding_from_scratch(mixer, layout):
    config = ModelConfig(scale="d16-L4-h2", mixer=mixer)
    objective = MultiTokenConfig(horizon=2, layout=layout)
    task = PolynomialConfig(
        modulus=3, degree=2, max_operations=2, max_evaluated=3
    ).build()
    model = PredictionModel(config, objective, len(task.vocabulary), 2)
    stds = model.initial_stds()
    stds["unembedding_KVD"] *= 30.0
    initialise(FlatLanes(model, torch.float32), stds, [0, 1])
    rows = task.evaluation_sets(3)[0].rows
    decoded = greedy_decode(model, rows, torch.device("cpu"))
    for row in range(len(rows)):
        length = int(rows.example_RT[row].sum())
        start = int(rows.answer_RT[row].argmax())
        tokens = torch.from_numpy(rows.tokens_RT[row, :start].astype(np.int64))
        tokens = tokens.expand(2, 1, -1)
        for _ in range(start, length):
            new = model(tokens)[0, :, :, -1:].argmax(-1)
            tokens = torch.cat((tokens, new), -1)
        assert decoded[:, row, :length].tolist() == tokens[:, 0].tolist()

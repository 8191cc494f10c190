"""Registers: beside rows with interleaved registers, a mask, and positions of their own."""

import dataclasses

import pytest
import torch
from torch.nn import functional

from synth.config import ModelConfig, RunConfig
from synth.fast.fused import fuse
from synth.fast.native import load
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.describe import describe_model
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.batch.targets import make_targets
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.registers import RegistersConfig
from synth.tasks.repeats import RepeatsConfig
from tests.conftest import tiny_run
from tests.synth.fast.test_native import NATIVE, far, needs_compiler
from tests.synth.objectives.conftest import (
    VOCAB,
    build,
    normed,
    parameters_beside_next_token,
    random_rows,
)
from tests.synth.test_training import trained

TIME = 9
CONFIG = ModelConfig(scale="d16-L4-h2")


def batch():
    return random_rows((1, 4, TIME), 6, answer=slice(2, 6))


def turned(x_SHC, place_S):
    """Rotary positions: channel pairs (c, c + C/2) as complex numbers."""
    half = x_SHC.shape[-1] // 2
    angle = place_S[:, None] * 10_000.0 ** -(torch.arange(half) / half)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]
    pairs = torch.complex(x_SHC[..., :half], x_SHC[..., half:]) * turn
    return torch.cat((pairs.real, pairs.imag), -1)


def slow_layer(layer, x_SD, place_S, seen_SS):
    """Attention and MLP of one row, written out."""
    attention, mlp = layer.mixer, layer.mlp
    qkv = normed(x_SD, attention.norm.gain_KD[0]) @ attention.qkv_KED[0].T
    q, k, v = qkv.view(len(x_SD), 3, attention.heads, -1).unbind(1)
    q, k = turned(q, place_S), turned(k, place_S)
    scores = torch.einsum("shc,uhc->hsu", q, k) / q.shape[-1] ** 0.5
    weight = scores.masked_fill(~seen_SS, -torch.inf).softmax(-1)
    mixed = torch.einsum("hsu,uhc->shc", weight, v).flatten(1)
    x_SD = x_SD + mixed @ attention.out_KDD[0].T
    gate, up = (normed(x_SD, mlp.norm.gain_KD[0]) @ mlp.gate_up_KMD[0].T).chunk(2, -1)
    return x_SD + (functional.silu(gate) * up) @ mlp.down_KDM[0].T


def slow_row(model, tokens_T, ahead):
    """States of tokens and registers of one row x0 r0 x1 r1 ..., each (T, D)."""
    embedded = functional.embedding(tokens_T, model.embedding_KVD[0])
    registers = model.register_K1D[0].expand_as(embedded)
    x = torch.stack((embedded, registers), 1).flatten(0, 1)
    at = torch.arange(len(tokens_T))
    place = torch.stack((at, at + ahead - 1), 1).flatten()
    index = torch.arange(len(x))
    is_token = index % 2 == 0
    seen = (index <= index[:, None]) & is_token | (index == index[:, None])
    for layer in (*model.trunk, model.heads[0]):
        x = slow_layer(layer, x, place, seen)
    return x[0::2], x[1::2]


@pytest.mark.parametrize("scored", ["all", "answer"])
@pytest.mark.parametrize(
    "form", ["eager", pytest.param("native", marks=needs_compiler)]
)
def test_losses_and_gradients_equal_interleaved_rows(scored, form):
    objective = RegistersConfig(furthest=3, weight=0.4, scored=scored)
    model, flat = build(objective)
    tokens, example, answer = batch()
    targets = make_targets(tokens, example, answer, objective)
    offsets = targets.registers.ahead_KB[0].tolist()
    assert len(set(offsets)) > 1
    flat.zero_grad()
    piece = fuse(model, load(torch.float32)) if form == "native" else None
    losses = loss_and_backward(model, targets, piece)[:, 0]
    gradient = flat.gather_grad().clone()

    flat.zero_grad()
    found = {"next": [], "register": []}
    for row, ahead in enumerate(offsets):
        states = slow_row(model, tokens[0, row], ahead)
        for name, state, offset in zip(found, states, (1, ahead), strict=True):
            logits = normed(state, model.norm.gain_KD[0]) @ model.unembedding_KVD[0].T
            for t in range(TIME - offset):
                if example[0, row, t] != example[0, row, t + offset]:
                    continue
                inside = answer[0, row, t + 1] and answer[0, row, t + offset]
                if scored == "all" or inside:
                    target = tokens[0, row, t + offset]
                    found[name].append(functional.cross_entropy(logits[t], target))
    expected = torch.stack([torch.stack(part).mean() for part in found.values()])
    (0.6 * expected[0] + 0.4 * expected[1]).backward()
    assert torch.allclose(losses, expected, atol=1e-5)
    assert torch.allclose(gradient, flat.gather_grad(), atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("time", [40, 70])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_long_rows_of_lanes_are_those_of_eager_mode(time, dtype):
    objective = RegistersConfig(furthest=7)
    stream = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, VOCAB, (2, 3, time), generator=stream)
    rows = (tokens, torch.ones_like(tokens), torch.zeros_like(tokens).bool())
    targets = make_targets(*rows, objective)
    gradients = []
    for form, kind in (("eager", torch.float32), ("native", dtype)):
        model = PredictionModel(CONFIG, objective, VOCAB, 2)
        flat = FlatLanes(model, kind)
        initialise(flat, model.initial_stds(), [0, 1])
        flat.zero_grad()
        loss_and_backward(
            model, targets, fuse(model, load(kind)) if form == "native" else None
        )
        flat.gather_grad()
        gradients.append(flat.lane(flat.grad_KP, 1))
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for name, gradient in gradients[0].items():
        assert far(gradients[1][name], gradient) < tolerance, name


@needs_compiler
def test_a_native_run_in_a_pack_equals_itself_alone_bit_for_bit(tmp_path):
    runs = [
        dataclasses.replace(tiny_run(seed=seed), objective=RegistersConfig())
        for seed in (0, 1, 2)
    ]
    together = trained(tmp_path / "pack", *runs, execution=NATIVE)
    assert [
        trained(tmp_path / "alone", r, execution=NATIVE)[0] for r in runs
    ] == together


def test_without_registers_it_is_the_model_of_next_token_prediction():
    own = parameters_beside_next_token(RegistersConfig(), batch()[0])
    assert own == ["register_K1D"]


def test_the_tokens_of_a_row_decide_its_offset():
    stream = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, VOCAB, (1, 4000, TIME), generator=stream)
    rows = (tokens, torch.ones_like(tokens), torch.zeros_like(tokens).bool())
    registers = make_targets(*rows, RegistersConfig(furthest=4)).registers
    counts = registers.ahead_KB.flatten().bincount().tolist()
    assert counts[0] == 0
    assert all(900 < count < 1100 for count in counts[1:])
    part = [values[:, 7:9] for values in rows]
    alone = make_targets(*part, RegistersConfig(furthest=4)).registers
    assert torch.equal(alone.ahead_KB, registers.ahead_KB[:, 7:9])


def test_counts_are_those_of_the_model():
    objective = RegistersConfig()
    model, _ = build(objective)
    found = describe_model(CONFIG, objective, VOCAB, 64)
    one = describe_model(CONFIG, MultiTokenConfig(), VOCAB, 64)
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    assert found["parameters"] == one["parameters"] + CONFIG.shape.width
    assert found["training_flops_per_token"] == 2 * one["training_flops_per_token"]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"mixer": "mamba2"}, "mixer 'mamba2'"),
        ({"positions": "learned"}, "positions 'learned'"),
    ],
)
def test_models_without_a_form_are_refused(part, words):
    with pytest.raises(ValueError, match=words):
        RunConfig(
            task=RepeatsConfig(),
            model=ModelConfig(scale="d16-L4-h2", **part),
            objective=RegistersConfig(),
        )


def test_arms_name_what_differs():
    assert RegistersConfig().arm == "registers4"
    assert RegistersConfig(furthest=2, weight=0.5).arm == "registers2_w0.5"

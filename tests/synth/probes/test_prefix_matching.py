"""Prefix matching: the pattern against the kernel, and a model that has learnt it."""

import pytest
import torch

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.models.decoder import PredictionModel
from synth.models.lanes import FlatLanes, initialise
from synth.models.mixers.attention import Attention
from synth.objectives.multi_token import MultiTokenConfig
from synth.probes.prefix_matching import (
    prefix_matching,
    prefix_scores,
)
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.tasks.repeats import RepeatsConfig
from synth.trained.loading import load
from synth.training import train


def test_weights_give_what_the_fused_kernel_gives():
    torch.manual_seed(0)
    attention = Attention(2, ModelConfig(scale="d16-L1-h4"))
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x_KBTD = torch.randn(2, 3, 10, 16)
    weights = attention.weights(x_KBTD)
    assert weights.shape == (2, 3, 4, 10, 10)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 4, 10))
    assert weights.triu(1).abs().max() == 0
    # Values mixed by these weights and sent through the output map.
    normed = attention.norm(x_KBTD)
    qkv = torch.einsum("kbtd,ked->kbte", normed, attention.qkv_KED)
    values = qkv[..., 32:].view(2, 3, 10, 4, 4).permute(0, 1, 3, 2, 4)
    mixed = (weights @ values).permute(0, 1, 3, 2, 4).reshape(2, 3, 10, 16)
    expected = torch.einsum("kbtd,ked->kbte", mixed, attention.out_KDD)
    assert torch.allclose(attention(x_KBTD), expected, atol=1e-5)


def test_a_new_model_spreads_its_attention():
    model = PredictionModel(ModelConfig(scale="d16-L2-h2"), MultiTokenConfig(), 64, 2)
    initialise(FlatLanes(model, torch.float32), model.initial_stds(), [0, 1])
    scores_KLH = prefix_matching(model)
    assert scores_KLH.shape == (2, 2, 2)
    assert scores_KLH.max() < 0.06  # about one position in 24 to 72


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [1, 2])
def test_induction_forms_and_some_head_does_it(horizon, tmp_path):
    config = RunConfig(
        task=RepeatsConfig(symbols=32, min_period=6, max_period=16),
        model=ModelConfig(scale="d48-L3-h2"),
        objective=MultiTokenConfig(horizon=horizon, scored="answer"),
        training=TrainingConfig(
            steps=400,
            batch_rows=16,
            context=48,
            learning_rate=6e-3,
            warmup_steps=20,
            evaluate_every_steps=200,
            evaluation_examples=64,
            final_examples=128,
        ),
    )
    (outcome,) = train([config], tmp_path, Execution())
    assert outcome.state == "done", outcome.message
    folder = RunFolder(tmp_path, config.run_id)
    lines = folder.metrics_path.read_text().splitlines()
    found = [line for line in lines if '"accuracy", "slice": ""' in line]
    accuracy = [float(line.split('"value": ')[1].split(",")[0]) for line in found]
    assert accuracy[0] < 0.2
    assert accuracy[-1] > 0.9
    model = load(tmp_path / config.run_id).model
    best = prefix_scores(model)[-1]
    assert best.slice == "best"
    assert best.value > 0.3

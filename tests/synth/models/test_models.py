"""Sizes, names, initial values, decoding caches and what `describe` claims."""

import itertools

import pytest
import torch
from torch import nn

from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.models.decoder import PredictionModel
from synth.models.describe import describe_model, describe_run, unembeddings_per_token
from synth.models.lanes import FlatLanes, initialise, lane_embedding, lane_linear
from synth.models.mixers.attention import Rotary
from synth.models.weights import gain, matrix
from synth.objectives.batch.targets import make_targets
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.registers import RegistersConfig
from synth.optimizer import LaneOptimizer
from synth.tasks.polynomial import PolynomialConfig

LAYOUTS = ["parallel", "causal", "anticausal", "linear"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("budget", ["moved", "added"])
@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_described_parameters_are_those_of_the_model(layout, budget, horizon):
    config = ModelConfig(scale="100k")
    objective = MultiTokenConfig(horizon=horizon, layout=layout, budget=budget)
    model = PredictionModel(config, objective, vocab_size=17, num_lanes=1)
    real = sum(parameter.numel() for parameter in model.parameters())
    assert describe_model(config, objective, 17, 64)["parameters"] == real


@pytest.mark.parametrize("layout", ["parallel", "causal", "anticausal"])
def test_moved_heads_keep_the_size_exactly(layout):
    config = ModelConfig(scale="1M")
    arms = [MultiTokenConfig(horizon=n, layout=layout) for n in (1, 2, 3, 4)]
    sizes = {describe_model(config, arm, 32, 64)["parameters"] for arm in arms}
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("layout", "depths"),
    [("parallel", [5, 4, 2]), ("causal", [5, 4, 2]), ("anticausal", [5, 5, 5])],
)
def test_depth_to_head_1(layout, depths):
    """Appendix B: L - n + 1, but L where near heads stand on far ones."""
    config = ModelConfig(scale="1M")
    arms = [MultiTokenConfig(horizon=n, layout=layout) for n in (1, 2, 4)]
    found = [describe_model(config, arm, 32, 64)["depth_to_head_1"] for arm in arms]
    assert found == depths


def test_layers_of_one_name_start_equal_across_horizons_and_lanes():
    config = ModelConfig(scale="d16-L5-h2")
    weights = []
    for horizon, lanes in ((1, 1), (3, 2)):
        model = PredictionModel(config, MultiTokenConfig(horizon=horizon), 11, lanes)
        flat = FlatLanes(model, torch.float32)
        initialise(flat, model.initial_stds(), [7, 8][:lanes])
        weights.append(flat.lane(flat.master_KP, 0))
    shared = weights[0].keys() & weights[1].keys()
    assert "trunk.0.attention.qkv_KED" in shared
    for name in shared:
        assert torch.equal(weights[0][name], weights[1][name])
    first, second = (
        weights[1]["heads.0.mlp.down_KDM"],
        weights[1]["heads.1.mlp.down_KDM"],
    )
    assert not torch.equal(first, second)


def test_different_seeds_start_differently():
    model = PredictionModel(ModelConfig(scale="d16-L4-h2"), MultiTokenConfig(), 11, 2)
    flat = FlatLanes(model, torch.float32)
    initialise(flat, model.initial_stds(), [0, 1])
    for name, weight in flat.lane(flat.master_KP, 0).items():
        other = flat.lane(flat.master_KP, 1)[name]
        assert torch.equal(weight, other) == name.endswith("gain_KD")


def test_gains_are_exempt_from_decay_and_nothing_else():
    model = PredictionModel(
        ModelConfig(scale="d16-L4-h2"), MultiTokenConfig(horizon=2), 11, 1
    )
    flat = FlatLanes(model, torch.float32)
    decayed = [
        n
        for n, (_, stop) in zip(flat.names, flat.spans, strict=True)
        if stop <= flat.num_decayed
    ]
    exempt = [n for n in flat.names if n not in decayed]
    assert exempt
    assert all(name.endswith("gain_KD") for name in exempt)
    assert not any(name.endswith("gain_KD") for name in decayed)


def test_roles_decide_about_decay_and_axes_do_not():
    model = nn.ParameterDict(
        {"table_KDD": gain(1, 3, 3), "bias_KD": matrix(1, 4), "gain_KD": gain(1, 2)}
    )
    flat = FlatLanes(model, torch.float32)
    assert flat.names == ["bias_KD", "gain_KD", "table_KDD"]
    assert flat.num_decayed == 4
    initialise(flat, {"bias_KD": 0.5}, [0])
    training = TrainingConfig(
        steps=2, warmup_steps=0, learning_rate=0.1, weight_decay=0.5
    )
    before = {
        name: value.clone() for name, value in flat.lane(flat.master_KP, 0).items()
    }
    optimizer = LaneOptimizer(flat, [training])
    optimizer.schedule(0)
    optimizer.update(optimizer.norms())  # gradients are 0: decay alone acts
    for name, value in flat.lane(flat.master_KP, 0).items():
        kept = 1 - 0.1 * 0.5 if name == "bias_KD" else 1.0
        torch.testing.assert_close(value, before[name] * kept)


def test_parameters_without_a_role_are_refused():
    with pytest.raises(TypeError, match="has no role"):
        FlatLanes(nn.Linear(2, 2), torch.float32)


def test_matrices_that_are_summed_share_their_variance():
    """Both halves of a merge, and the 2 L parts that write to the residual stream."""
    model = PredictionModel(ModelConfig(scale="d16-L4-h2"), ChainConfig(depth=1), 11, 1)
    stds = model.initial_stds()
    assert stds["trunk.0.attention.qkv_KED"] == 1 / 4
    assert stds["trunk.0.attention.out_KDD"] == pytest.approx(1 / 4 / 8**0.5)
    (merged,) = {std for name, std in stds.items() if ".merge." in name}
    assert merged == pytest.approx(1 / 32**0.5)
    assert stds["embedding_KVD"] == 1.0
    assert stds["unembedding_KVD"] == 1 / 16
    assert not any(name.endswith("gain_KD") for name in stds)


def test_plain_and_stacked_products_agree_bit_for_bit():
    torch.manual_seed(0)
    for lanes, rows, inputs, outputs in itertools.product(
        (1, 3), (64,), (12, 40), (24, 64)
    ):
        x = torch.randn(lanes, rows, inputs)
        weight = torch.randn(lanes, outputs, inputs)
        stacked = lane_linear(x, weight)
        for lane in range(lanes):
            assert torch.equal(stacked[lane], x[lane] @ weight[lane].T)


def test_each_lane_reads_its_own_table():
    table = torch.randn(3, 7, 4)
    tokens = torch.randint(0, 7, (3, 2, 5))
    found = lane_embedding(tokens, table)
    for lane in range(3):
        assert torch.equal(found[lane], table[lane][tokens[lane]])


def test_rotary_positions_are_relative():
    rotary = Rotary(8)
    q, k = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def product(i, j):
        return (rotary(q, i) * rotary(k, j)).sum().item()

    assert product(5, 3) == pytest.approx(product(9, 7), abs=1e-5)
    assert product(5, 3) != pytest.approx(product(5, 4), abs=1e-3)
    assert rotary(q, 11).norm().item() == pytest.approx(q.norm().item(), rel=1e-5)


def test_the_paper_models_can_be_described_and_the_impossible_refused():
    for scale in ("30M", "100M", "300M", "1B"):
        for horizon in (1, 2, 4):
            config = RunConfig(
                task=PolynomialConfig(),
                model=ModelConfig(scale=scale),
                objective=MultiTokenConfig(horizon=horizon),
            )
            assert config.objective.trunk_layers(config.model.shape.layers) >= 6
    with pytest.raises(ValueError, match=r"width, layers and .* at least 1"):
        ModelConfig(scale="d8-L0-h1")
    with pytest.raises(ValueError, match="multiple of twice the number"):
        ModelConfig(scale="d8-L1-h3")
    with pytest.raises(ValueError, match="no trunk"):
        RunConfig(
            task=PolynomialConfig(),
            model=ModelConfig(scale="3M"),
            objective=MultiTokenConfig(horizon=4),
        )


@pytest.mark.parametrize("horizon", [1, 3])
def test_unembeddings_are_the_positions_that_training_scores(monkeypatch, horizon):
    task = PolynomialConfig(modulus=2, degree=2, max_operations=2, max_evaluated=2)
    objective = MultiTokenConfig(horizon=horizon, scored="answer")
    config = RunConfig(
        task=task,
        model=ModelConfig(scale="10k"),
        objective=objective,
        training=TrainingConfig(steps=4, batch_rows=2, context=64, warmup_steps=1),
    )
    whole = describe_run(config)
    assert unembeddings_per_token(task.build(), objective, 64) == horizon
    monkeypatch.setattr("synth.models.describe.SPARSE_VOCABULARY", 1)
    rows = task.build().train_rows(0, 0, 64)
    arrays = (rows.tokens_RT, rows.example_RT, rows.answer_RT)
    targets = make_targets(*(torch.tensor(x[None]) for x in arrays), objective)
    share = (targets.weights_NKBT > 0).sum().item() / rows.tokens_RT.size
    assert unembeddings_per_token(task.build(), objective, 64) == share
    assert 0.05 < share < 0.6 * horizon
    sparse = describe_run(config)
    weights = 6 * whole["vocabulary"] * whole["width"]
    saved = whole["training_flops_per_token"] - sparse["training_flops_per_token"]
    assert saved == pytest.approx((horizon - share) * weights)
    every = MultiTokenConfig(horizon=horizon, scored="all")
    assert unembeddings_per_token(task.build(), every, 64) == horizon


def test_unembeddings_of_registers_are_those_of_offsets_that_rows_draw(monkeypatch):
    monkeypatch.setattr("synth.models.describe.SPARSE_VOCABULARY", 1)
    task = PolynomialConfig(modulus=2, degree=2, max_operations=2).build()
    rows = task.train_rows(0, 0, 64)
    arrays = (rows.tokens_RT, rows.example_RT, rows.answer_RT)
    objective = RegistersConfig(furthest=3, scored="answer")
    targets = make_targets(*(torch.tensor(x[None]) for x in arrays), objective)
    scored = (targets.weights_NKBT > 0).sum() + (
        targets.registers.weights_KBT > 0
    ).sum()
    share = scored.item() / rows.tokens_RT.size
    assert unembeddings_per_token(task, objective, 64) == pytest.approx(share, rel=0.02)

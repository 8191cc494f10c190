"""Tied embeddings and learned positions, against the plain model and slow references."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from synth.config import ModelConfig, RunConfig
from synth.decoding import greedy_decode
from synth.evaluation import score_tokens
from synth.families.family import members
from synth.fast import native
from synth.fast.fused import fuse
from synth.models.backward import loss_and_backward
from synth.models.decoder import PredictionModel
from synth.models.describe import as_text, describe_model
from synth.models.lanes import FlatLanes, initialise
from synth.objectives.batch.targets import make_targets
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.token_order import TokenOrderConfig
from synth.tasks.polynomial import Polynomial, PolynomialConfig
from synth.tasks.task import EvaluationSet, Rows
from synth.training import train
from tests.conftest import tiny_run
from tests.synth.fast.test_native import needs_compiler
from tests.synth.test_training import trained, trained_with_a_cut

MIXERS = ("attention", "mamba2", "rwkv")
OBJECTIVES = [
    config()
    for config in members("objective").values()
    if "synth." in config.__module__
]
VOCAB, TIME = 11, 24
FORMS = ["eager", pytest.param("native", marks=needs_compiler)]


def build(objective, lanes=1, dtype=torch.float32, scale="d16-L6-h2", **how):
    """A model with gains that differ from 1, on flat lanes."""
    config = ModelConfig(scale=scale, **how)
    model = PredictionModel(config, objective, VOCAB, lanes, context=TIME)
    flat = FlatLanes(model, dtype)
    fill(model, flat, range(lanes))
    return model, flat


def fill(model, flat, seeds):
    initialise(flat, model.initial_stds(), list(seeds))
    with torch.no_grad():
        for name, view in zip(flat.names, flat.views(flat.master_KP), strict=True):
            if name.endswith("gain_KD"):
                view.add_(torch.linspace(-0.3, 0.4, view.shape[1]))
    flat.refresh()


def batch(objective, lanes=1, rows=3):
    stream = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, VOCAB, (lanes, rows, TIME), generator=stream)
    example = torch.ones_like(tokens)
    example[:, :, TIME // 2 :] = 2
    answer = torch.rand(tokens.shape, generator=stream) < 0.4
    return make_targets(tokens, example, answer, objective)


def accelerated(model, form, dtype=torch.float32):
    return fuse(model, native.load(dtype)) if form == "native" else None


PAIRS = [(mixer, one) for one in OBJECTIVES for mixer in one.mixers]


@pytest.mark.parametrize(
    ("mixer", "objective"), PAIRS, ids=lambda one: getattr(one, "arm", one)
)
def test_described_parameters_are_those_of_the_model(mixer, objective):
    found = set()
    for embeddings, positions in itertools.product(
        ("untied", "tied"), ("rotary", "learned")
    ):
        config = ModelConfig(
            scale="d16-L6-h2", mixer=mixer, embeddings=embeddings, positions=positions
        )
        with torch.device("meta"):
            model = PredictionModel(config, objective, 17, 1, context=29)
        real = sum(parameter.numel() for parameter in model.parameters())
        described = describe_model(config, objective, 17, 29)
        assert described["parameters"] == real
        found.add((real, described["training_flops_per_token"]))
    (most, flops), *fewer = sorted(found, reverse=True)
    assert fewer == [
        (most - 17 * 16, flops),  # tied
        (most - 29 * 16, flops),  # rotary
        (most - 46 * 16, flops),
    ]


def test_describe_names_what_is_used():
    for mixer, positions, used in [
        ("attention", "rotary", "rotary"),
        ("rwkv", "rotary", "none"),
        ("rwkv", "learned", "learned"),
    ]:
        config = ModelConfig(mixer=mixer, positions=positions, embeddings="tied")
        found = describe_model(config, MultiTokenConfig(), 17, 64)
        assert found["positions"] == used
        assert f"tied embedding and unembedding, {used} positions" in as_text(found)


def test_ids_change_with_the_parts_and_not_with_their_defaults():
    task = PolynomialConfig()
    parts = [{}, {"embeddings": "tied"}, {"positions": "learned"}]
    runs = [RunConfig(task=task, model=ModelConfig(**part)) for part in parts]
    assert len({run.run_id for run in runs}) == 3
    assert runs[0].canonical()["model"].keys() == {"version", "scale"}
    stored = runs[0].to_dict()
    del stored["model"]["embeddings"], stored["model"]["positions"]
    assert RunConfig.from_dict(stored) == runs[0]


ARMS = [
    MultiTokenConfig(horizon=2),
    MultiTokenConfig(horizon=2, scored="answer"),
    ChainConfig(),
    TokenOrderConfig(window=4),
]
KINDS = {type(one) for one in ARMS}
EVERY_KIND = [*ARMS, *(one for one in OBJECTIVES if type(one) not in KINDS)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "objective", EVERY_KIND, ids=lambda one: f"{one.arm}-{one.scored}"
)
def test_a_tied_matrix_is_both_matrices_scaled(objective, form, monkeypatch):
    """Losses, and gradients by the chain rule, are those of an untied model."""
    monkeypatch.setattr(
        "synth.models.backward.SPARSE_VOCABULARY", 1
    )  # unembed scored ones alone
    tied, flat = build(objective, embeddings="tied")
    plain, plain_flat = build(objective)
    root = math.sqrt(16)
    mine, theirs = (f.lane(f.master_KP, 0) for f in (flat, plain_flat))
    table = mine["embedding_KVD"]
    for name, value in theirs.items():
        scale = {"embedding_KVD": root, "unembedding_KVD": 1 / root}.get(name)
        value.copy_(mine[name] if scale is None else table * scale)
    targets = batch(objective)
    expected = loss_and_backward(plain, targets)
    losses = loss_and_backward(tied, targets, accelerated(tied, form))
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    wanted = plain_flat.lane(plain_flat.gather_grad(), 0)
    read, written = wanted["embedding_KVD"] * root, wanted["unembedding_KVD"] / root
    assert read.norm() > 0
    assert written.norm() > 0
    for name, gradient in flat.lane(flat.gather_grad(), 0).items():
        right = read + written if name == "embedding_KVD" else wanted[name]
        torch.testing.assert_close(
            gradient, right, rtol=1e-3, atol=1e-5 * right.abs().max().item(), msg=name
        )


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("scale", ["10k", "100k"])
def test_the_first_loss_is_near_log_v(mixer, scale):
    objective = MultiTokenConfig(horizon=3)
    model, flat = build(
        objective, scale=scale, mixer=mixer, embeddings="tied", positions="learned"
    )
    initialise(flat, model.initial_stds(), [0])
    losses = loss_and_backward(model, batch(objective)).flatten().tolist()
    assert losses == pytest.approx([math.log(VOCAB)] * 3, abs=0.25)


@pytest.mark.parametrize("embeddings", ["untied", "tied"])
def test_learned_positions_are_added_to_the_embedding(embeddings):
    model, _ = build(
        MultiTokenConfig(), lanes=2, positions="learned", embeddings=embeddings
    )
    tokens = torch.randint(0, VOCAB, (2, 3, TIME))
    found = model.trunk_states(tokens)[0]
    scale = 4.0 if embeddings == "tied" else 1.0
    for lane, row, at in itertools.product(range(2), range(3), range(TIME)):
        token = model.embedding_KVD[lane, tokens[lane, row, at]] * scale
        right = token + model.positions_KTD[lane, at]
        torch.testing.assert_close(found[lane, row, at], right)


@pytest.mark.parametrize("form", FORMS)
def test_attention_knows_no_order_but_by_learned_positions(form):
    """One layer over permuted predecessors: equal logits where the table is 0."""
    model, flat = build(MultiTokenConfig(), scale="d16-L1-h2", positions="learned")
    model.trunk.append(model.heads[0])  # its only layer stands as a head
    model.trunk = model.trunk[-1:]
    accelerated(model, form)
    tokens = torch.randint(0, VOCAB, (1, 1, TIME))
    other = tokens.clone()
    other[..., : TIME - 1] = other[..., : TIME - 1].flip(-1)

    def last(given):
        return model.unembed(model.run_trunk(given)[:, :, -1])

    assert (last(tokens) - last(other)).abs().max() > 1e-3
    flat.lane(flat.master_KP, 0)["positions_KTD"].zero_()
    torch.testing.assert_close(last(tokens), last(other), rtol=1e-4, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("objective", ARMS[1:], ids=lambda one: one.arm)
def test_native_passes_agree_with_eager_mode(objective):
    model, flat = build(objective, lanes=2, embeddings="tied", positions="learned")
    targets = batch(objective, lanes=2)
    expected = loss_and_backward(model, targets)
    gradients = {n: g.clone() for n, g in flat.lane(flat.grad_KP, 1).items()}
    flat.zero_grad()
    losses = loss_and_backward(model, targets, accelerated(model, "native"))
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)
    for name, gradient in flat.lane(flat.grad_KP, 1).items():
        size = gradients[name].abs().max().item()
        assert size > 0, name
        torch.testing.assert_close(
            gradient, gradients[name], rtol=1e-3, atol=3e-6 * size, msg=name
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("width", [12, 16])
def test_a_lane_equals_itself_alone_bit_for_bit(width, dtype, form):
    objective = TokenOrderConfig(window=4)
    how = {"scale": f"d{width}-L3-h2", "embeddings": "tied", "positions": "learned"}
    model, flat = build(objective, 3, dtype, **how)
    targets = batch(objective, lanes=3)
    losses = loss_and_backward(model, targets, accelerated(model, form, dtype))
    grads = flat.gather_grad()
    for lane in range(3):
        alone, alone_flat = build(objective, 1, dtype, **how)
        fill(alone, alone_flat, [lane])
        part = slice(lane, lane + 1)
        own = make_targets(*(x[part] for x in targets.batch.values()), objective)
        found = loss_and_backward(alone, own, accelerated(alone, form, dtype))
        assert torch.equal(found[:, 0], losses[:, lane])
        assert torch.equal(alone_flat.gather_grad()[0], grads[lane])


@pytest.mark.parametrize("mixer", ["attention", "rwkv"])
def test_cached_decoding_equals_decoding_from_scratch(mixer):
    model, _ = build(
        MultiTokenConfig(horizon=2),
        2,
        mixer=mixer,
        positions="learned",
        embeddings="tied",
    )
    tokens = np.random.default_rng(0).integers(1, VOCAB, (3, TIME))
    answer = np.zeros(tokens.shape, bool)
    answer[:, TIME // 2 :] = True
    rows = Rows(tokens, np.ones(tokens.shape, np.int32), answer)
    decoded = greedy_decode(model, rows, torch.device("cpu"))
    for row in range(3):
        known = torch.from_numpy(tokens[row, : TIME // 2]).expand(2, 1, -1)
        while known.shape[-1] < TIME:
            new = model(known)[0, :, :, -1:].argmax(-1)
            known = torch.cat((known, new), -1)
        assert decoded[:, row].tolist() == known[:, 0].tolist()


def altered(config, **parts):
    return dataclasses.replace(config, model=dataclasses.replace(config.model, **parts))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision")
def test_runs_in_a_pack_and_resumed_equal_themselves(precision, tmp_path, monkeypatch):
    runs = [
        altered(
            tiny_run(2, seed, precision=precision),
            embeddings="tied",
            positions="learned",
        )
        for seed in (0, 1)
    ]
    together = trained(tmp_path / "pack", *runs)
    assert trained(tmp_path / "alone", runs[1]) == together[1:]
    cut = trained_with_a_cut(tmp_path / "cut", runs[0], monkeypatch)
    assert cut == together[:1]


def test_rows_beyond_the_learned_positions_are_refused(tmp_path):
    short = tiny_run(context=24)
    with pytest.raises(
        ValueError, match=r"longer than the 24 positions .* at least 29"
    ):
        train([altered(short, positions="learned")], tmp_path)
    assert not list(tmp_path.iterdir())
    (outcome,) = train([short], tmp_path)
    assert outcome.state == "done"


def test_sets_that_were_checked_are_those_that_are_scored(tmp_path, monkeypatch):
    generated, plain = [], Polynomial.evaluation_sets

    def counted(self, examples):
        generated.append(examples)
        return plain(self, examples)

    monkeypatch.setattr(Polynomial, "evaluation_sets", counted)
    trained(tmp_path, altered(tiny_run(), positions="learned"))
    assert generated == [8, 4]


def test_evaluation_beyond_the_learned_positions_is_refused():
    model, _ = build(MultiTokenConfig(), positions="learned")
    ones = np.ones((1, TIME + 1), np.int64)
    long = EvaluationSet("test", Rows(ones, ones.astype(np.int32), ones > 1))
    with pytest.raises(ValueError, match="A row of 25 tokens is longer than the 24"):
        score_tokens(model, long, torch.device("cpu"))


def test_learned_positions_need_a_context():
    with pytest.raises(ValueError, match="needs a context"):
        PredictionModel(ModelConfig(positions="learned"), MultiTokenConfig(), VOCAB, 1)

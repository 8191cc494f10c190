"""The law on models: targets, rules of normalisation, paths, language models."""

import itertools
import json

import numpy as np
import pytest
import torch

from synth.config import ModelConfig
from synth.models.decoder import PredictionModel
from synth.objectives.batch.ahead import shifted
from synth.objectives.chain import ChainConfig
from synth.objectives.joint import JointConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.next_latent import NextLatentConfig
from synth.objectives.transfer import TransferConfig
from synth.probes.law import (
    LawOptions,
    measure_law,
    positions,
    residual_floor,
)
from synth.probes.layer_states import RunStates, StateBatch, task_rows
from synth.tasks.sources import SourcesConfig
from synth.trained.loading import load
from tests.synth.probes.test_prediction_law import in_sample_residuals

OBJECTIVES = [
    (MultiTokenConfig(horizon=3), [3, 3, 3]),
    (MultiTokenConfig(horizon=3, layout="causal"), [3, 4, 5]),
    (MultiTokenConfig(horizon=3, layout="anticausal"), [5, 4, 3]),
    (MultiTokenConfig(horizon=3, layout="linear"), [5, 6, 6]),
    (MultiTokenConfig(horizon=3, layout="same"), [5, 5, 5]),
    (ChainConfig(depth=2), [3, 4, 5]),
    (ChainConfig(depth=2, modules="shared"), [4, 5, 6]),
    (JointConfig(depth=3), [5, 6, 6]),
    (NextLatentConfig(depth=3), [5, 6, 7]),
    (TransferConfig(horizon=3, depth=2, injection=True), [5, 7, 7]),
    (TransferConfig(horizon=3, depth=0), [5, 6, 6]),
]
"""Layers on the way to heads 1 to 3 of a model of five."""


class GivenStates:
    """A source of states written down beforehand."""

    def __init__(self, tokens_BT, states, size):
        self.tokens_BT, self.states = torch.as_tensor(tokens_BT), states
        self.paths = {"stack": list(states)}
        self.width = next(iter(states.values())).shape[-1]
        self.token_counts = np.bincount(np.ravel(tokens_BT), minlength=size)

    def batches(self):
        for start in range(0, len(self.tokens_BT), 7):
            part = slice(start, start + 7)
            yield StateBatch(
                self.tokens_BT[part],
                torch.ones_like(self.tokens_BT[part]),
                {name: x[part] for name, x in self.states.items()},
                lambda name, part=part: self.states[name][part] @ torch.ones(
                    self.width, 11, dtype=torch.float64),
            )  # fmt: skip


@pytest.fixture
def given():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.randint(11, (40, 12), generator=draw)
    states = {
        name: torch.randn(40, 12, 5, generator=draw, dtype=torch.float64)
        for name in ("embedding", "layer 1", "layer 2")
    }
    states["layer 2"][:, :-1, 0] += tokens[:, 1:]
    return GivenStates(tokens, states, 11)


def test_residuals_are_those_of_the_plain_function_on_shifted_tokens(given):
    report = measure_law(given, LawOptions(permutations=2, folds=3))
    ids = given.tokens_BT[:, 1:].reshape(-1)
    for name, states in given.states.items():
        expected = in_sample_residuals([states[:, :-1].reshape(-1, 5)], ids)[0]
        assert report.layers[name].values["residual"]["t+1"] == pytest.approx(expected)
    assert report.layers["layer 1"].count == 40 * 11
    fit = report.fits["stack"]["residual"]["t+1"]
    assert fit.layers == 2
    assert fit.slope < -0.1


def test_one_sequence_has_nothing_to_hold_out(given):
    given.tokens_BT = given.tokens_BT[:1]
    given.states = {name: x[:1] for name, x in given.states.items()}
    report = measure_law(given, LawOptions())
    assert "residual" in report.layers["layer 1"].values
    assert "held_out" not in report.layers["layer 1"].values
    assert report.fits["stack"]["held_out"] == {}
    with pytest.raises(ValueError, match="folds must be at most 100; got 101"):
        LawOptions(folds=101)


def test_targets_share_the_positions_that_have_them_all(given):
    report = measure_law(given, LawOptions(offsets=(-1, 0, 1, 3), permutations=0))
    layer = report.layers["layer 2"]
    assert layer.count == 40 * (12 - 1 - 3)
    x = given.states["layer 2"][:, 1:-3].reshape(-1, 5)
    for offset in (-1, 0, 1, 3):
        ids = given.tokens_BT[:, 1 + offset : 9 + offset].reshape(-1)
        expected = in_sample_residuals([x], ids)[0]
        found = layer.values["residual"][f"t{offset:+d}"]
        assert found == pytest.approx(expected, rel=1e-9)


def test_positions_never_cross_examples():
    example = torch.tensor([[1, 1, 1, 2, 2, 0]])
    assert positions(example, (1,)).tolist() == [
        [True, True, False, True, False, False]
    ]
    assert positions(example, (1, 2)).sum() == 1
    assert shifted(torch.tensor([[1, 2, 3]]), -1).tolist() == [[0, 1, 2]]


def test_lens_of_a_head_is_its_loss(run_folder):
    """The last state of head 2 predicts t+2 as head 2 does."""
    run = load(run_folder)
    model, rows = run.model, task_rows(run.task, "test", 30, 48)
    report = measure_law(RunStates(model, rows), LawOptions(offsets=(1, 2)))
    tokens = torch.from_numpy(rows[0].tokens_RT).long()
    logits = model(tokens[None])[1, 0, :, :-2]
    expected = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, 2:].flatten()
    )
    found = report.layers["head 2 (last)"].values["lens_loss"]["t+2"]
    assert found == pytest.approx(expected.item(), rel=1e-5)


def test_lens_loss_is_the_cross_entropy(given):
    report = measure_law(given, LawOptions())
    # Equal logits for all 11 tokens: log 11.
    assert report.layers["layer 1"].values["lens_loss"]["t+1"] == pytest.approx(
        np.log(11)
    )


@pytest.mark.parametrize(
    ("objective", "depth"), OBJECTIVES, ids=lambda one: getattr(one, "arm", None)
)
def test_paths_end_in_what_the_head_unembeds(objective, depth):
    """On the way each state differs from the one before."""
    torch.manual_seed(0)
    model = PredictionModel(ModelConfig(scale="d16-L5-h2"), objective, 11, 1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    tokens = torch.randint(1, 11, (4, 9))
    from synth.tasks.task import Rows

    ones = np.ones(tokens.shape, np.int32)
    source = RunStates(model, [Rows(tokens.numpy(), ones, ones > 0)], "none", "same")
    (batch,) = source.batches()
    for path in source.paths.values():
        for before, after in itertools.pairwise(path):
            assert not torch.allclose(batch.states[before], batch.states[after])
    source = RunStates(model, [Rows(tokens.numpy(), ones, ones > 0)])
    (batch,) = source.batches()
    logits = model(tokens[None])
    for head in (1, 2, 3):
        path = source.paths[f"head {head}"]
        assert torch.allclose(batch.logits(path[-1]), logits[head - 1, 0], atol=1e-5)
        unembedded = batch.states[path[-1]] @ model.unembedding_KVD[0].T
        assert torch.allclose(unembedded, logits[head - 1, 0], atol=1e-5)
        assert len(path) == 1 + depth[head - 1]
        middle = batch.states[path[1]]
        assert torch.allclose(middle.square().mean(-1), torch.ones(()), atol=1e-3)


def test_rules_of_normalisation(run_folder):
    run = load(run_folder)
    assert run.step == 6
    model, rows = run.model, task_rows(run.task, "test", 4, 48)

    def state(name, **rule):
        return next(iter(RunStates(model, rows, **rule).batches())).states[name]

    raw = model.trunk_states(torch.from_numpy(rows[0].tokens_RT).long()[None])[1][0]
    assert torch.equal(state("trunk 1", norm="none"), raw)
    standard = state("trunk 1", norm="standardised")
    assert torch.allclose(standard.mean(-1), torch.zeros(()), atol=1e-5)
    same = state("head 1 (last)", last="same")
    assert torch.allclose(same.square().mean(-1), torch.ones(()), atol=1e-3)
    trained = state("head 1 (last)")
    assert torch.allclose(trained, same * model.norm.gain_KD[0], atol=1e-6)


def test_a_run_is_measured_along_every_head(run_folder):
    run = load(run_folder, step=3)
    model, rows = run.model, task_rows(run.task, "test", 60, 48)
    report = measure_law(RunStates(model, rows), LawOptions(offsets=(0, 1, 2)))
    assert list(report.paths) == ["head 1", "head 2", "head 3"]
    assert set(report.fits["head 2"]["residual"]) == {
        "t+0", "t+1", "t+2", "t+1 permuted",
    }  # fmt: skip
    scores = report.scores()
    assert len({(s.metric, s.slice) for s in scores}) == len(scores)
    json.dumps(report.to_dict(), allow_nan=False)


def test_floor_is_what_the_best_state_leaves():
    """States that hold the exact mean reach it; nothing linear in them goes below."""
    task = SourcesConfig(symbols=4, concentration=0.3, length=40).build()
    rows = task.evaluation_sets(600)[0].rows
    floor = residual_floor(task, [rows])
    p_RTV = task.distributions(rows, 1)[:, :-1]
    best = (p_RTV @ np.arange(len(task.vocabulary))).reshape(-1, 1)
    found = in_sample_residuals([best], rows.tokens_RT[:, 1:].ravel())[0]
    assert found == pytest.approx(floor, rel=0.02)
    assert 0.2 < floor < 0.95


def test_probing_rows_of_training_come_from_a_seed_of_their_own(run_folder):
    task = load(run_folder).task
    rows = task_rows(task, "train", 700, 48)
    assert sum(map(len, rows)) == 700
    assert not np.array_equal(
        rows[0].tokens_RT[:5], task.train_rows(0, 0, 48).tokens_RT[:5]
    )


def test_missing_checkpoints_are_named(run_folder, tmp_path):
    with pytest.raises(ValueError, match="no checkpoint at step 5"):
        assert load(run_folder, step=5).model
    with pytest.raises(ValueError, match="nothing does not exist"):
        load(tmp_path / "nothing")


@pytest.mark.parametrize("offsets", [(2,), (1, 1)])
def test_offsets_without_the_next_token_are_refused(offsets):
    with pytest.raises(ValueError, match="must hold 1"):
        LawOptions(offsets=offsets)

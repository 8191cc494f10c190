"""Runs with recurrent mixers: training, resuming, packs, probes, the command line."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from synth.config import ModelConfig, RunConfig
from synth.models.describe import describe_model
from synth.objectives.multi_token import MultiTokenConfig
from synth.probes.law import LawOptions, measure_law
from synth.probes.layer_states import RunStates
from synth.probes.prefix_matching import prefix_matching
from synth.tasks.task import Rows
from synth.trained.loading import load
from tests.conftest import tiny_run
from tests.synth.cli.test_commands import TINY, run
from tests.synth.models.test_mixers import RECURRENT, build
from tests.synth.objectives.test_loss import VOCAB
from tests.synth.test_training import metrics, trained, trained_with_a_cut


def recurrent_run(mixer, **settings):
    config = tiny_run(**settings)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, mixer=mixer)
    )


@pytest.mark.parametrize("mixer", RECURRENT)
def test_a_run_trains_stops_and_goes_on_as_if_it_had_not(mixer, tmp_path, monkeypatch):
    config = recurrent_run(mixer, horizon=2)
    whole = trained(tmp_path / "whole", config)
    assert trained_with_a_cut(tmp_path / "cut", config, monkeypatch) == whole
    run = load(tmp_path / "whole" / config.run_id)
    assert (run.config, run.step) == (config, 12)


@pytest.mark.parametrize("mixer", RECURRENT)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision")
def test_a_run_in_a_pack_equals_itself_alone_bit_for_bit(mixer, precision, tmp_path):
    runs = [recurrent_run(mixer, seed=seed, precision=precision) for seed in (0, 1)]
    together = trained(tmp_path / "pack", *runs)
    alone = [trained(tmp_path / "alone", config)[0] for config in runs]
    assert together == alone


@pytest.mark.parametrize("mixer", RECURRENT)
def test_training_learns(mixer, tmp_path):
    config = recurrent_run(mixer, steps=100, batch_rows=8, evaluate_every_steps=25)
    trained(tmp_path, config)
    rows = metrics(tmp_path, config)
    losses = [r.value for r in rows if (r.suite, r.metric) == ("train", "loss")]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("mixer", RECURRENT)
def test_the_law_is_measured_along_every_head(mixer):
    model, _ = build(mixer, "causal")
    tokens = torch.randint(
        1, VOCAB, (40, 12), generator=torch.Generator().manual_seed(0)
    )
    ones = np.ones(tokens.shape, np.int32)
    source = RunStates(
        model.requires_grad_(False), [Rows(tokens.numpy(), ones, ones > 0)]
    )
    report = measure_law(source, LawOptions(permutations=0))
    assert list(report.paths) == ["head 1", "head 2", "head 3"]
    assert report.paths["head 3"][1:3] == ["trunk 1", "trunk 2"]
    values = [layer.values["residual"]["t+1"] for layer in report.layers.values()]
    assert all(0 < value <= 1 for value in values)
    assert len(set(values)) > 4


@pytest.mark.parametrize("mixer", RECURRENT)
def test_the_mixer_is_an_option_of_describe_and_train(mixer, tmp_path, capsys):
    status, out, _ = run(capsys, *f"describe --mixer {mixer} --json".split())
    assert status == 0
    expected = describe_model(
        ModelConfig(scale="1M", mixer=mixer), MultiTokenConfig(), 19, 1024
    )
    assert expected.items() <= json.loads(out).items()
    words = ["train", "polynomial", *TINY, "--mixer", mixer, "--steps", 3]
    status, out, _ = run(capsys, *words, "--runs", tmp_path, "--json")
    assert status == 0
    (folder,) = tmp_path.glob("polynomial-*")
    saved = json.loads((folder / "config.json").read_text())
    assert RunConfig.from_dict(saved["config"]).model.mixer == mixer


def test_prefix_matching_needs_attention():
    model, _ = build("rwkv")
    with pytest.raises(ValueError, match=r"ModelConfig\.mixer is 'rwkv'"):
        prefix_matching(model)

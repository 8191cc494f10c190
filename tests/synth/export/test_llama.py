"""Exported runs: `transformers` computes and writes what the run does."""

import json
import os
import shlex
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from synth.__main__ import main, parse
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.decoding import continue_greedily
from synth.export.llama import export, why_not_llama
from synth.export.train_command import train_command
from synth.objectives.bag_of_words import BagOfWordsConfig
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.teacherless import TeacherlessConfig
from synth.tasks.graph_paths import GraphPathsConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.text.names import NameConfig
from synth.tasks.text.story_draws import StoryConfig
from synth.tasks.text.vocabularies import TokenizerConfig
from tests.conftest import tiny_run
from tests.synth.run.test_full_disk import files_of_at_most
from tests.synth.trained.test_loading import quietly, text_run

CASES = {
    "anticausal": lambda folder: tiny_run(2, layout="anticausal"),
    "linear": lambda folder: text_run(
        folder, MultiTokenConfig(horizon=2, layout="linear")
    ),
    "tied bpe": lambda folder: tied(text_run(folder, tokens="bpe", vocab_size=300)),
    "paths": lambda folder: path_run(),
}


def tied(config):
    return replace(config, model=replace(config.model, embeddings="tied"))


def path_run():
    return RunConfig(
        task=GraphPathsConfig(),
        model=ModelConfig(scale="d16-L3-h2"),
        objective=BagOfWordsConfig(),
        training=TrainingConfig(
            steps=4, batch_rows=8, context=32, warmup_steps=1, final_examples=4,
            evaluate_every_steps=4, evaluation_examples=2,
        ),
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_copy_computes_writes_and_reads_text_as_the_run(case, tmp_path):
    transformers = pytest.importorskip("transformers")
    run = quietly(CASES[case](tmp_path), tmp_path)
    folder = tmp_path / "copy"
    export(run, folder)
    assert str(tmp_path) not in (folder / "README.md").read_text()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "LlamaForCausalLM"

    generator = torch.Generator().manual_seed(0)
    tokens_BT = torch.randint(1, len(run.tokenizer), (3, 20), generator=generator)
    with torch.no_grad():
        said = model(tokens_BT, output_attentions=True, output_hidden_states=True)
    assert torch.allclose(said.logits, run.logits(tokens_BT), atol=1e-4)
    assert said.logits.std() > 0.01  # an empty model would agree as well
    states = list(run.hidden(tokens_BT).values())
    for theirs, ours in zip(said.hidden_states[:-1], states, strict=False):
        assert torch.allclose(theirs, ours, atol=1e-4)

    end = run.tokenizer.end
    new_KBC = continue_greedily(run.model, tokens_BT[None], 12, end).tokens_KBC
    theirs_BT = model.generate(
        tokens_BT,
        attention_mask=torch.ones_like(tokens_BT),
        max_new_tokens=12,
        do_sample=False,
    )
    ours_BC = new_KBC[0, :, : theirs_BT.shape[1] - 20]
    assert torch.equal(theirs_BT[:, 20:], ours_BC)

    text = run.text(tokens_BT[0, tokens_BT[0] > 1])
    assert tokenizer(text)["input_ids"] == run.tokenizer.encode(text)
    assert tokenizer.decode(run.tokenizer.encode(text)) == text


def test_the_card_says_what_was_trained_how_and_how_well(tmp_path):
    run = quietly(tiny_run(2), tmp_path)
    words = ["export", str(run.path), str(tmp_path / "copy"), "--to", "transformers"]
    assert main(words) == 0
    card = (tmp_path / "copy/README.md").read_text()
    last = run.metrics.filter(step=run.step, suite="in_domain", metric="exact_match")
    assert f"{last['value'][0]:.4f}" in card
    for word in (
        "`polynomial`",
        "`n2`",
        "Left out: horizon=2",
        run.run_id,
        "**Commit**",
    ):
        assert word in card
    (command,) = [line for line in card.splitlines() if line.startswith("python -m")]
    parsed = parse(shlex.split(command)[3:])
    again = {name: getattr(parsed, name) for name in ("task", "model", "objective")}
    assert again == {name: getattr(run.config, name) for name in again}
    # What lies there stays, and nothing half-written is left.
    assert main(words) == 2
    assert sorted(os.listdir(tmp_path)) == ["copy", "runs"]
    assert json.loads((tmp_path / "copy/config.json").read_text())["vocab_size"] == 15


CONFIGS = [
    tiny_run(3, layout="causal", beta2=0.9),
    replace(path_run(), seed=4, data_seed=2),
    replace(tiny_run(), objective=ChainConfig(depth=2, modules="shared")),
    replace(tiny_run(), split="validation"),
    RunConfig(
        task=StoriesConfig(
            story=StoryConfig(profile="book", characters=4, min_characters=2),
            names=NameConfig(),
            tokenizer=TokenizerConfig(vocab_size=1024),
        )
    ),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda one: one.run_id)
def test_the_command_of_a_run_is_that_run(config):
    parsed = parse(shlex.split(train_command(config))[3:])
    names = [field.name for field in fields(RunConfig)]
    again = RunConfig(**{name: getattr(parsed, name) for name in names})
    assert again.run_id == config.run_id


def test_the_command_of_a_text_overrides_its_own_defaults(tmp_path):
    config = text_run(tmp_path, tokens="bpe", vocab_size=300)
    parsed = parse(shlex.split(train_command(config))[3:])
    assert parsed.task == config.task


def test_what_has_no_counterpart_is_refused(tmp_path):
    config = tiny_run()
    others = [
        (replace(config, model=replace(config.model, mixer="rwkv")), "mixer 'rwkv'"),
        (
            replace(config, model=replace(config.model, positions="learned")),
            "'learned'",
        ),
        (replace(config, objective=TeacherlessConfig()), "in one pass"),
    ]
    for other, reason in others:
        assert reason in why_not_llama(other)
    assert not why_not_llama(config)
    run = quietly(others[0][0], tmp_path)
    with pytest.raises(ValueError, match=r"cannot become a LlamaForCausalLM: .*'rwkv'"):
        export(run, tmp_path / "copy")
    assert not Path(tmp_path / "copy").exists()


def test_a_run_without_a_recorded_session_is_exported(tmp_path):
    run = quietly(tiny_run(2), tmp_path)
    run.folder.write_json("environment.json", {"sessions": []})
    export(run, tmp_path / "copy")
    card = (tmp_path / "copy/README.md").read_text()
    assert "- **Commit**: unknown" in card


def test_a_failure_leaves_nothing(tmp_path):
    run = quietly(tiny_run(2), tmp_path)
    with pytest.raises(ValueError, match="runs exists"):
        export(run, str(tmp_path / "runs"))
    refused = pytest.raises(OSError, match=r"model\.safetensors cannot be written: ")
    with refused, files_of_at_most(10_000):
        export(run, tmp_path / "copy")
    assert os.listdir(tmp_path) == ["runs"]


def test_a_damaged_run_is_refused(tmp_path):
    run = quietly(tiny_run(), tmp_path)
    path = run.folder.metrics_path
    path.write_text(path.read_text().replace('"count": ', '"count": 1'))
    with pytest.raises(
        ValueError, match=r"metrics\.jsonl was changed or cut: .*Restore"
    ):
        export(run, tmp_path / "copy")
    assert os.listdir(tmp_path) == ["runs"]

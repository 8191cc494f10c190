"""A run read from its folder: found by any name, whole without its corpus."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import synth
from synth.config import ModelConfig
from synth.families.family import members
from synth.metrics import SCHEMA
from synth.objectives.chain import ChainConfig
from synth.objectives.multi_token import MultiTokenConfig
from synth.objectives.transfer import TransferConfig
from synth.probes.probe_files import steps_to_measure
from synth.run import vocabulary_file
from synth.run.finding import find_run
from synth.tasks.repeats import RepeatsConfig
from synth.tasks.running_text import TextConfig
from synth.tasks.stream import RowStream
from synth.tasks.symbols import Symbols
from synth.tasks.text.vocabularies import TokenizerConfig
from synth.trained.loading import load
from synth.trained.scoring import evaluate_folder
from tests.conftest import tiny_run, two_steps

TEXT = "".join(f"{i} in the hall sat Marlo, and Petra ran.\n" for i in range(200))


def text_run(
    folder, objective=None, mixer="attention", positions="rotary", **tokenizer
):
    corpus = folder / "tale.txt"
    corpus.write_text(TEXT)
    settings = {"tokens": "characters"} | tokenizer
    task = TextConfig(
        corpus=str(corpus),
        tokenizer=TokenizerConfig(**settings),
        evaluation_length=16,
    )
    model = ModelConfig(scale="d16-L4-h2", mixer=mixer, positions=positions)
    return two_steps(task, model, objective, context=24)


def quietly(config, folder):
    return synth.train(config, runs=folder / "runs", progress=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run with two heads."""
    return quietly(tiny_run(2), tmp_path_factory.mktemp("tiny"))


def test_importing_the_library_is_cheap():
    code = "import synth, sys; print(*{'torch', 'numpy', 'polars'} & set(sys.modules));"
    code += "print(sum(name.startswith('synth') for name in sys.modules), dir(synth))"
    words = [sys.executable, "-c", code]
    out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    first, second = out.splitlines()
    assert first == ""
    assert second.startswith("1 ")
    assert all(repr(name) in second for name in synth.__all__)


def test_what_the_library_offers_exists():
    for name in synth.__all__:
        assert getattr(synth, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        synth.lod  # noqa: B018


def test_a_run_is_found_by_id_beginning_path_and_pattern(run, tmp_path, monkeypatch):
    monkeypatch.chdir(run.path.parent.parent)
    for name in (run.run_id, run.run_id[:14], run.path, "poly*", "r*/poly*"):
        assert find_run(name).resolve() == run.path
    assert load(run.run_id).run_id == run.run_id
    other = shutil.copytree(run.path, run.path.parent / "deeper/polynomial-else")
    assert find_run("polynomial-else").resolve() == other
    assert find_run(run.run_id).resolve() == run.path
    with pytest.raises(
        ValueError, match=r"'poly' fits 2 runs below runs: .*Give a whole run id"
    ):
        find_run("poly")
    with pytest.raises(ValueError, match=r"folder \(runs=FOLDER searches another one"):
        load("nowhere")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="device 'cuda': torch finds no GPU here"):
            load(run.run_id, device="cuda")
    for device in ("gpu", "mps"):
        with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda'; got"):
            load(run.run_id, device=device)
    with pytest.raises(ValueError, match=r"fits no run below runs\. There are .*/poly"):
        find_run("maze*")
    with pytest.raises(ValueError, match="is no run folder"):
        find_run(tmp_path)
    shutil.rmtree("runs/deeper")


def test_the_rows_of_a_step_are_drawn_again(tmp_path, monkeypatch):
    taken, take = [], RowStream.take

    def noted(stream, count):
        taken.append(take(stream, count))
        return taken[-1]

    monkeypatch.setattr("synth.pack.RowStream.take", noted)
    config = replace(tiny_run(2), data_seed=7)
    found = quietly(config, tmp_path)
    monkeypatch.undo()
    steps = config.training.steps
    assert len(taken) == steps
    for step in (1, 2, steps):
        rows, trained = found.batch(step), taken[step - 1]
        for name in ("tokens_RT", "example_RT", "answer_RT"):
            assert np.array_equal(getattr(rows, name), getattr(trained, name))
    for step in (0, -1, steps + 1):
        with pytest.raises(ValueError, match=f"step must be 1 to {steps}; got {step}"):
            found.batch(step)


def test_metrics_are_a_table_and_a_torn_line_is_left_out(run):
    assert run.metrics.schema.names() == list(SCHEMA)
    path = run.folder.metrics_path
    whole = path.read_bytes()
    assert len(run.metrics) == whole.count(b"\n") > 10
    try:
        path.write_bytes(whole[:-9])
        assert len(load(run.path).metrics) == len(run.metrics) - 1
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("line", ["garbage", "[]", '{"run_id": "other"}'])
def test_metrics_with_a_damaged_line_are_refused_by_name(run, line, tmp_path):
    copy = load(shutil.copytree(run.path, tmp_path / run.run_id))
    with copy.folder.metrics_path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=r"metrics\.jsonl holds a line .*Restore"):
        _ = copy.metrics


def test_metrics_that_are_no_file_are_refused_at_once(run, tmp_path):
    copy = load(shutil.copytree(run.path, tmp_path / run.run_id))
    copy.folder.metrics_path.unlink()
    os.mkfifo(copy.folder.metrics_path)
    with pytest.raises(ValueError, match=r"metrics\.jsonl must be a regular file"):
        _ = copy.metrics


def test_changed_metrics_are_named(run, tmp_path, capsys):
    assert len(run.metrics)
    assert capsys.readouterr().err == ""
    copy = load(shutil.copytree(run.path, tmp_path / run.run_id))
    path = copy.folder.metrics_path
    whole = path.read_text()
    path.write_text(whole.replace('"count": ', '"count": 1'))
    assert len(copy.metrics) == len(run.metrics)
    assert capsys.readouterr().err.startswith(f"warning: {path} was changed or cut: ")
    renamed = load(copy.path.rename(tmp_path / "else"))
    renamed.folder.metrics_path.write_text(whole)
    assert len(renamed.metrics) == len(run.metrics)
    assert f"the result of {run.run_id}, another run. Give" in capsys.readouterr().err


@pytest.mark.parametrize(
    "objective",
    [
        MultiTokenConfig(horizon=3, layout="causal"),
        MultiTokenConfig(horizon=2, layout="linear"),
        ChainConfig(depth=2),
        TransferConfig(depth=2),
    ],
    ids=lambda one: one.arm,
)
def test_logits_states_and_attention_are_those_of_the_model(objective, tmp_path):
    config = text_run(tmp_path, objective)
    run = quietly(config, tmp_path)
    tokens_BT = torch.cat([run.tokens("the hall"), run.tokens("Petra sa")])
    everything = run.model(tokens_BT[None])[:, 0]
    for head in range(1, len(objective.heads()) + 1):
        assert torch.equal(run.logits(tokens_BT, head), everything[head - 1])
        states, weights = run.hidden(tokens_BT, head), run.attention(tokens_BT, head)
        last = list(states.values())[-1]
        assert torch.equal(run.model.unembed(last[None])[0], everything[head - 1])
        assert list(states)[:2] == ["embedding", "trunk 1"]
        assert "trunk 1" in weights
        assert weights.keys() <= states.keys()
        for weights_BHTT in weights.values():
            assert weights_BHTT.shape == (2, 2, 8, 8)
            assert torch.allclose(weights_BHTT.sum(-1), torch.ones(()), atol=1e-6)
            assert not weights_BHTT.triu(1).any()
    with pytest.raises(ValueError, match="head must be from 1 to"):
        run.logits(tokens_BT, 9)
    with pytest.raises(ValueError, match=r"of shape \(B, T\), as run\.tokens\(text\)"):
        run.logits("the hall")
    with pytest.raises(ValueError, match=r"of shape \(B, T\)"):
        run.hidden(tokens_BT[0])
    for ids in (tokens_BT + 500, tokens_BT - 500):
        for use in (run.attention, run.text):
            with pytest.raises(ValueError, match="token ids must be from 0 to"):
                use(ids)


def test_a_mixer_without_attention_says_so(tmp_path):
    run = quietly(text_run(tmp_path, mixer="rwkv"), tmp_path)
    tokens_BT = run.tokens("Marlo")
    assert run.logits(tokens_BT).shape == (1, 5, len(run.tokenizer))
    with pytest.raises(ValueError, match="'rwkv' have no attention weights"):
        run.attention(tokens_BT)


@pytest.mark.parametrize("tokens", ["characters", "bpe"])
def test_a_run_loads_without_its_corpus(tokens, tmp_path):
    size = {"vocab_size": 300} if tokens == "bpe" else {}
    run = quietly(text_run(tmp_path, tokens=tokens, **size), tmp_path)
    tokens_BT, tokenizer = run.tokens("Marlo ran"), run.task.tokenizer
    logits = run.logits(tokens_BT)
    (tmp_path / "tale.txt").unlink()
    shutil.move(run.path, tmp_path / run.run_id)
    moved = load(tmp_path / run.run_id)
    assert moved.tokenizer == tokenizer
    assert moved.text(moved.tokens("Marlo ran")) == "Marlo ran"
    assert torch.equal(moved.logits(tokens_BT), logits)
    with pytest.raises(ValueError, match=r"does not exist here.*--corpus PATH"):
        evaluate_folder(moved.path, 4, None, False, "cpu")
    # As a folder of older code, it needs the corpus; what was changed is refused.
    file = moved.path / vocabulary_file.NAME
    whole = file.read_text()
    file.unlink()
    with pytest.raises(ValueError, match=r"older code.*--corpus PATH"):
        assert load(moved.path).model
    (tmp_path / "tale.txt").write_text(TEXT)
    assert torch.equal(load(moved.path).logits(tokens_BT), logits)
    changed = json.loads(whole) | {"kind": "symbols"}
    file.write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="was changed after it was written"):
        assert load(moved.path).tokenizer
    if tokens == "bpe":
        file.write_text(whole)
        (moved.path / vocabulary_file.TOKENIZER).write_text("{}")
        with pytest.raises(ValueError, match="was changed after it was written"):
            assert load(moved.path).tokenizer
        (moved.path / vocabulary_file.TOKENIZER).unlink()
        with pytest.raises(ValueError, match="is missing"):
            assert load(moved.path).tokenizer


def test_a_second_training_does_not_write_the_vocabulary_again(tmp_path):
    config = tiny_run()
    run = quietly(config, tmp_path)
    file = run.path / vocabulary_file.NAME
    before = file.stat().st_mtime_ns
    vocabulary_file.keep(run.folder, run.task)
    assert file.stat().st_mtime_ns == before
    file.unlink()
    vocabulary_file.keep(run.folder, run.task)
    assert load(run.path).tokenizer.vocabulary == tuple(run.task.vocabulary)


def test_training_takes_a_configuration(tmp_path):
    with pytest.raises(ValueError, match="config must be a RunConfig; got 'repeats'"):
        synth.train("repeats", runs=tmp_path)


def test_a_run_that_did_not_end_raises(tmp_path):
    class Stop(Exception):
        pass

    def stop(event):
        if event.kind == "begin":
            raise Stop

    with pytest.raises(RuntimeError, match=r"is failed: Stop"):
        synth.train(tiny_run(), runs=tmp_path, progress=stop)


def test_a_run_without_a_checkpoint_says_its_state(tmp_path):
    config = tiny_run(learning_rate=1e30, clip_norm=1e30)
    with pytest.raises(RuntimeError, match="not finite"):
        quietly(config, tmp_path)
    folder = tmp_path / "runs" / config.run_id
    said = pytest.raises(
        ValueError, match="has no checkpoint; the run's state is failed"
    )
    with said:
        load(folder).model  # noqa: B018
    with said:
        steps_to_measure(folder, None, every=True)


def test_the_symbols_of_every_task_read_back():
    for kind, config in members("task").items():
        if kind in ("stories", "text"):
            continue
        task = config().build()
        symbols = Symbols(task.vocabulary)
        ids = list(range(len(symbols)))
        assert symbols.encode(symbols.decode(ids)) == ids, kind


def test_symbols_may_stand_side_by_side_but_numbers_are_whole():
    polynomial = Symbols(tiny_run().task.build().vocabulary)
    assert polynomial.decode(polynomial.encode("([12]+-[01])=")) == (
        "( [ 1 2 ] + - [ 0 1 ] ) ="
    )
    repeats = Symbols(RepeatsConfig().build().vocabulary)
    assert len(repeats.encode("s12s3 s40")) == 3
    with pytest.raises(
        ValueError, match=r"begins at 's70' in 's1 s70'\. Its symbols: _"
    ):
        repeats.encode("s1 s70")

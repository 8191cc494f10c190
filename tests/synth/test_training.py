"""The loop: lanes, interruption, divergence, data, and what lies in the folder."""

import dataclasses
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from synth.config import RunConfig
from synth.metrics import SCHEMA, Score, from_line
from synth.optimizer import rate_at
from synth.pack import Pack
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.tasks.running_text import TextConfig
from synth.tasks.stories import StoriesConfig
from synth.tasks.stream import RowStream
from synth.tasks.text.vocabularies import TokenizerConfig
from synth.training import train
from tests.conftest import PATIENCE_S, Brake, tiny_run, with_training

ROOT = Path(__file__).resolve().parents[2]
OFTEN = Execution(checkpoint_every_seconds=0.0)


def content(root, config):
    """Everything that must be reproducible: metrics and weights, as bytes."""
    folder = root / config.run_id
    steps = config.training.steps
    weights = folder / f"checkpoint/step-{steps:09d}/weights.safetensors"
    return (folder / "metrics.jsonl").read_bytes(), weights.read_bytes()


def metrics(root, config):
    text = (root / config.run_id / "metrics.jsonl").read_text()
    return [from_line(line) for line in text.splitlines()]


def trained(root, *configs, execution=None):
    outcomes = train(configs, root, execution)
    assert [outcome.state for outcome in outcomes] == ["done"] * len(configs), outcomes
    return [content(root, config) for config in configs]


def trained_with_a_cut(root, config, monkeypatch):
    """`trained` for one run, whose process fails at step 7 and is started again."""
    plain = Pack.train_step

    def fails_once(self, clock):
        if self.step == 7:
            monkeypatch.setattr(Pack, "train_step", plain)
            raise RuntimeError("power cut")
        return plain(self, clock)

    monkeypatch.setattr(Pack, "train_step", fails_once)
    (cut,) = train([config], root, OFTEN)
    assert cut.state == "failed"
    return trained(root, config, execution=OFTEN)


@pytest.mark.parametrize("horizon", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.filterwarnings("ignore:TrainingConfig.precision")
def test_a_run_in_a_pack_equals_itself_alone_bit_for_bit(tmp_path, horizon, precision):
    base = [tiny_run(horizon, seed=seed, precision=precision) for seed in (0, 1, 2)]
    base[1] = with_training(base[1], learning_rate=1e-3, weight_decay=0.5)
    base[2] = dataclasses.replace(base[2], data_seed=0)
    together = trained(tmp_path / "pack", *base)
    alone = [trained(tmp_path / "alone", config)[0] for config in base]
    assert together == alone
    assert len({weights for _, weights in alone}) == 3


def test_training_learns(tmp_path):
    config = tiny_run(steps=150, batch_rows=8, evaluate_every_steps=50)
    trained(tmp_path, config)
    rows = metrics(tmp_path, config)
    losses = [r.value for r in rows if (r.suite, r.metric) == ("train", "loss")]
    assert losses[-1] < 0.8 * losses[0]


def test_stories_leave_counts_by_story_beside_the_metrics(tmp_path):
    runs = [
        dataclasses.replace(
            tiny_run(steps=2, warmup_steps=1, evaluate_every_steps=2, seed=seed),
            task=StoriesConfig(evaluation_length=128),
        )
        for seed in (0, 1)
    ]
    trained(tmp_path, *runs)
    for config in runs:
        folder = RunFolder(tmp_path, config.run_id)
        text = (folder.path / "items.jsonl").read_text()
        counts = [json.loads(line) for line in text.splitlines()]
        last = {
            (r.suite, r.metric, r.slice): r
            for r in metrics(tmp_path, config)
            if r.step == config.training.steps
        }
        assert {c["suite"] for c in counts} >= {"test", "test_seen"}
        for one in counts:
            row = last[one["suite"], one["metric"], one["slice"]]
            assert one["step"] == config.training.steps
            assert sum(one["number"]) == row.count
            assert sum(one["right"]) / sum(one["number"]) == row.value
        vocabulary = folder.read_json("result.json")["vocabulary"]
        assert vocabulary == len(config.task.build().vocabulary)


def test_single_scored_items_leave_no_counts(tmp_path):
    config = tiny_run()
    trained(tmp_path, config)
    folder = RunFolder(tmp_path, config.run_id)
    assert not (folder.path / "items.jsonl").exists()
    assert folder.read_json("result.json")["vocabulary"] > 3


def test_the_result_of_a_run_on_text_has_its_scores(tmp_path):
    corpus = tmp_path / "a.txt"
    corpus.write_text("the cat sat on the mat. " * 400)
    task = TextConfig(
        corpus=str(corpus),
        tokenizer=TokenizerConfig(tokens="characters"),
        evaluation_length=32,
    )
    config = dataclasses.replace(tiny_run(), task=task)
    trained(tmp_path, config)
    result = RunFolder(tmp_path, config.run_id).read_json("result.json")
    last = {r.name: r.value for r in metrics(tmp_path, config)}
    for name in ("test/loss/horizon=1", "test/accuracy/horizon=1"):
        assert result["headline"][name] == last[name]


def test_a_diverged_lane_leaves_its_neighbours_alone(tmp_path, monkeypatch):
    good, bad = tiny_run(seed=0), tiny_run(seed=1)
    bad = with_training(bad, learning_rate=1e30)
    (expected,) = trained(tmp_path / "alone", good)
    outcomes = train([bad, good], tmp_path / "pack", OFTEN)
    assert [outcome.state for outcome in outcomes] == ["failed", "done"]
    assert content(tmp_path / "pack", good) == expected
    failure = RunFolder(tmp_path / "pack", bad.run_id).read_json("failure.json")
    assert "not finite at step" in failure["message"]
    assert "1e+30" in failure["message"]
    assert failure["step"] >= 2
    assert failure["last_checkpoint_step"] == failure["step"] - 1
    assert RunFolder(tmp_path / "pack", bad.run_id).state() == "failed"
    last = failure["last_checkpoint_step"]
    kept = tmp_path / "pack" / bad.run_id / f"checkpoint/step-{last:09d}"
    for weight in load_file(kept / "weights.safetensors").values():
        assert weight.isfinite().all()


CHILD = """
import sys, json
from pathlib import Path
from synth.config import RunConfig
from synth.run.execution import Execution
from synth.training import train
configs = [RunConfig.from_dict(c) for c in json.loads(sys.argv[2])]
outcomes = train(configs, Path(sys.argv[1]), Execution(checkpoint_every_seconds=0.0))
sys.exit(0 if all(o.state == "done" for o in outcomes) else 75)
"""


def child(root, configs, brake):
    given = json.dumps([config.to_dict() for config in configs])
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(root), given],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | brake.variables(),
    )


def wait_for_checkpoint(root, config, process, least=1, session=1):
    """Until the process has begun its session and so many checkpoints lie there."""
    folder = RunFolder(root, config.run_id)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        known = folder.read_json("environment.json") or {"sessions": []}
        begun = len(known["sessions"]) >= session
        if begun and len(list(folder.checkpoints.glob("step-*"))) >= least:
            return
        if process.poll() is not None:
            return
        time.sleep(0.01)
    pytest.fail("no checkpoint appeared")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR2])
def test_a_killed_run_resumes_bit_for_bit(tmp_path, number):
    """Killed at a moment of the kernel's choosing, twice, then left to finish."""
    configs = [
        tiny_run(2, seed=s, steps=150, warmup_steps=5, evaluate_every_steps=40)
        for s in (0, 1)
    ]
    expected = trained(tmp_path / "calm", *configs)
    root = tmp_path / "killed"
    rng = np.random.default_rng()
    # Ten milliseconds a step: checkpoints still are most of the time, hence of the kills.
    brake = Brake(tmp_path / "brake", step_seconds=0.01)
    for session in (1, 2):
        process = child(root, configs, brake)
        wait_for_checkpoint(root, configs[-1], process, session=session)
        time.sleep(float(rng.uniform(0, 0.25)))
        process.send_signal(number)
        status = process.wait(PATIENCE_S)
        if status == 0 or (status == -number and number != signal.SIGKILL):
            assert all(RunFolder(root, c.run_id).state() == "done" for c in configs)
        else:
            assert status == (-9 if number == signal.SIGKILL else 75)
    outcomes = train(configs, root)
    assert all(o.state == "done" for o in outcomes), outcomes
    assert [content(root, config) for config in configs] == expected


def test_a_pack_may_be_regrouped_on_resume(tmp_path, brake):
    configs = [tiny_run(seed=s, steps=60, warmup_steps=5) for s in (0, 1, 2)]
    expected = trained(tmp_path / "calm", *configs)
    root = tmp_path / "regrouped"
    process = child(root, configs[:2], brake)
    wait_for_checkpoint(root, configs[1], process)
    process.kill()
    process.wait()
    assert [o.state for o in train(configs[1:], root)] == ["done"] * 2
    assert [o.state for o in train(configs, root)] == ["done"] * 3
    assert [content(root, config) for config in configs] == expected


def test_a_run_stopped_before_its_first_step_has_its_first_row_once(tmp_path):
    config = tiny_run()
    (expected,) = trained(tmp_path / "calm", config)

    def stop(event):
        if event.kind == "evaluation":
            signal.raise_signal(signal.SIGTERM)

    (outcome,) = train([config], tmp_path, progress=stop)
    assert outcome.state == "stopped"
    assert list((tmp_path / config.run_id / "checkpoint").glob("step-*0"))
    assert trained(tmp_path, config) == [expected]


def test_a_torn_last_line_is_repaired_on_resume(tmp_path, brake):
    config = tiny_run(steps=60, warmup_steps=5)
    (expected,) = trained(tmp_path / "calm", config)
    process = child(tmp_path, [config], brake)
    wait_for_checkpoint(tmp_path, config, process)
    process.kill()
    process.wait()
    with (tmp_path / config.run_id / "metrics.jsonl").open("a") as file:
        file.write('{"run_id": "torn')
    assert trained(tmp_path, config) == [expected]


def test_done_runs_are_left_alone(tmp_path):
    config = tiny_run()
    trained(tmp_path, config)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    (outcome,) = train([config], tmp_path)
    assert (outcome.state, outcome.message) == ("done", "was done before")
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert before == after


def test_two_processes_never_train_one_run(tmp_path):
    config = tiny_run()
    with RunFolder(tmp_path, config.run_id).claim():
        (outcome,) = train([config], tmp_path)
        assert outcome.state == "running"
        assert f"process {os.getpid()}" in outcome.message
    assert trained(tmp_path, config)


def test_the_folder_of_a_done_run(tmp_path):
    config = tiny_run(2)
    trained(tmp_path, config)
    folder = RunFolder(tmp_path, config.run_id)
    assert folder.state() == "done"
    assert folder.config() == config
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        "claim",
        "config.json",
        "environment.json",
        "metrics.jsonl",
        "checkpoint",
        "result.json",
        "vocabulary.json",
    }
    (session,) = folder.read_json("environment.json")["sessions"]
    assert session["packages"]["torch"]
    assert session["threads"] == 1
    assert session["deterministic_algorithms"] is True
    result = folder.read_json("result.json")
    assert result["tokens"] == 12 * 4 * 48
    rows = metrics(tmp_path, config)
    assert {row.step for row in rows} == {0, 5, 10, 12}
    assert {row.run_id for row in rows} == {config.run_id}
    suites = {(row.suite, row.metric, row.slice) for row in rows}
    assert ("train", "loss", "horizon=2") in suites
    assert ("out_of_domain", "exact_match", "operations=3") in suites
    assert list(vars(rows[0])) == list(SCHEMA)
    digest = hashlib.sha256(folder.metrics_path.read_bytes()).hexdigest()
    assert result["metrics_sha256"] == digest
    (last,) = (folder.path / "checkpoint").iterdir()
    assert {path.name for path in last.iterdir()} == {
        "weights.safetensors",
        "place.json",
    }


def test_kept_checkpoints(tmp_path):
    config = tiny_run()
    execution = Execution(keep_checkpoints_every_steps=5)
    expected = trained(tmp_path / "plain", config)
    assert trained(tmp_path / "kept", config, execution=execution) == expected
    folder = tmp_path / "kept" / config.run_id / "checkpoint"
    steps = sorted(int(path.name[5:]) for path in folder.iterdir())
    assert steps == [0, 5, 10, 12]
    for path in folder.iterdir():
        assert not (path / "moments.safetensors").exists()


def test_the_data_are_the_same_whatever_learns_from_them():
    """Model, objective, batch size and precision cannot change the rows."""

    def digest(config: RunConfig, takes: list[int]) -> str:
        training = config.training
        stream = RowStream(
            config.task.build(), config.resolved_data_seed, training.context
        )
        hashes = hashlib.sha256()
        for count in takes:
            rows = stream.take(count)
            for row in zip(
                rows.tokens_RT, rows.example_RT, rows.answer_RT, strict=True
            ):
                for array in row:
                    hashes.update(array.astype(np.int64).tobytes())
        return hashes.hexdigest()

    base = digest(tiny_run(), [8] * 500)
    assert digest(tiny_run(2, scale="d24-L5-h2", precision="bf16"), [8] * 500) == base
    assert digest(tiny_run(), [4000]) == base
    assert digest(tiny_run(), [1] * 3000 + [1000]) == base
    assert digest(tiny_run(seed=1), [8] * 500) != base


def test_a_stream_goes_on_at_its_cursor():
    task = tiny_run().task.build()
    whole = RowStream(task, 3, 48)
    whole.take(3000)
    rest = RowStream(task, 3, 48, *whole.cursor)
    assert np.array_equal(whole.take(700).tokens_RT, rest.take(700).tokens_RT)


def test_the_schedule_ends_where_it_should():
    training = tiny_run(steps=100, warmup_steps=10, learning_rate=1.0).training
    rates = [rate_at(training, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[10] == pytest.approx(1.0)
    assert rates[99] == pytest.approx(0.03)
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert rates[54] == pytest.approx(0.03 + 0.97 / 2, abs=0.01)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path, brake):
    config = tiny_run(steps=60, warmup_steps=5)
    (expected,) = trained(tmp_path / "calm", config)
    process = child(tmp_path, [config], brake)
    wait_for_checkpoint(tmp_path, config, process, least=2)
    process.kill()
    process.wait()
    newest = sorted((tmp_path / config.run_id / "checkpoint").glob("step-*"))[-1]
    damaged = newest / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-8] + b"12345678")
    assert trained(tmp_path, config) == [expected]


def test_only_damaged_checkpoints_are_a_clear_failure(tmp_path, brake):
    config = tiny_run(steps=60, warmup_steps=5)
    process = child(tmp_path, [config], brake)
    wait_for_checkpoint(tmp_path, config, process)
    process.kill()
    process.wait()
    for path in (tmp_path / config.run_id / "checkpoint").glob("step-*"):
        (path / "place.json").write_text("{")
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "failed"
    assert "place.json cannot be read" in outcome.message
    assert "Remove" in outcome.message


def test_an_edited_configuration_is_noticed(tmp_path):
    config = tiny_run()
    trained(tmp_path, config)
    path = tmp_path / config.run_id / "config.json"
    (tmp_path / config.run_id / "result.json").unlink()
    path.write_text(path.read_text().replace('"steps": 12', '"steps": 13'))
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "failed"
    assert "does not describe run" in outcome.message


def test_packs_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot train beside"):
        train([tiny_run(), tiny_run(2)], tmp_path)
    with pytest.raises(ValueError, match="once"):
        train([tiny_run(), tiny_run()], tmp_path)
    with pytest.raises(ValueError, match="at least one"):
        train([], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_error_in_training_is_recorded_not_raised(tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError("no more of this")

    monkeypatch.setattr("synth.pack.loss_and_backward", broken)
    config = tiny_run()
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "failed"
    failure = RunFolder(tmp_path, config.run_id).read_json("failure.json")
    assert "no more of this" in failure["message"]
    assert "Traceback" in failure["traceback"]
    monkeypatch.undo()
    assert trained(tmp_path, config)
    assert not (tmp_path / config.run_id / "failure.json").exists()


def test_a_head_beyond_every_example_ends_the_run_at_its_first_losses(tmp_path):
    config = tiny_run(horizon=42, layout="linear")
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "failed"
    assert "In the first 5 steps the loss has nothing to predict" in outcome.message


def test_a_score_that_is_not_finite_ends_the_run(tmp_path, monkeypatch):
    config = tiny_run()
    monkeypatch.setattr(
        type(config.build_task()),
        "score",
        lambda _, chosen, __: [
            Score(chosen.suite, "accuracy", "horizon=1", float("nan"), 3)
        ],
    )
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "failed"
    assert "at step 0: in_domain/accuracy/horizon=1" in outcome.message


def test_a_full_disk_fails_in_words_and_can_go_on(tmp_path, monkeypatch):
    config = tiny_run()
    (expected,) = trained(tmp_path / "calm", config)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synth.run.checkpoint.save_file", full)
    (outcome,) = train([config], tmp_path)
    assert outcome.state == "failed"
    assert "No space left" in outcome.message
    assert not list((tmp_path / config.run_id / "checkpoint").iterdir())
    monkeypatch.undo()
    assert trained(tmp_path, config) == [expected]


@pytest.mark.filterwarnings("ignore")  # torch warns of itself
def test_compiled_layers_give_the_same_losses(tmp_path, monkeypatch):
    """Traced and differentiated ahead of time; code generation itself is torch's."""
    compile_module = torch.nn.Module.compile
    seen = []

    def traced(module):
        seen.append(module)
        compile_module(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    config = tiny_run(2)
    ((eager, _),) = trained(tmp_path / "eager", config)
    ((compiled, _),) = trained(
        tmp_path / "compiled", config, execution=Execution(compile="on", threads=2)
    )
    assert len(seen) == 4
    pairs = zip(eager.splitlines(), compiled.splitlines(), strict=True)
    for one, other in pairs:
        first, second = from_line(one.decode()), from_line(other.decode())
        if first.metric == "loss":
            assert second.value == pytest.approx(first.value, rel=1e-4)

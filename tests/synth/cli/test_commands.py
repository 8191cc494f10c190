"""What a person types: commands, JSON, refusals with status 2, import time."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from synth.__main__ import main
from synth.cli.commands import Evaluate
from synth.families.family import members
from synth.metrics import Score
from synth.trained import scoring
from tests.conftest import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]
TINY = (
    "--modulus 3 --degree 2 --max-operations 2 --max-evaluated 3 --scale d16-L4-h2 "
    "--batch-rows 4 --context 48 --warmup-steps 2 --evaluate-every-steps 5 "
    "--evaluation-examples 4 --final-examples 8"
).split()


def run(capsys, *words):
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_sample_prints_one_object_a_line(capsys):
    words = "sample polynomial --operations 3 --count 5 --seed 0 --json".split()
    status, out, _ = run(capsys, *words)
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(records) == 5
    for record in records:
        assert list(record) == ["operations", "expression", "answer", "tokens", "split"]
        assert record["operations"] == 3
        assert len(record["answer"]) == 5
        assert "".join(record["tokens"]) == record["expression"].replace(" ", "") + (
            "=" + "".join(map(str, record["answer"])) + "."
        )
    assert run(capsys, *words)[1] == out


def test_sample_draws_targets_below_tokens(capsys):
    _, out, _ = run(capsys, "sample", "polynomial", "--count", 1, "--horizon", 2)
    title, tokens, answer, head1, head2 = (
        line.rstrip() for line in out.splitlines()[:5]
    )
    assert title.startswith("operations ")
    assert (
        tokens.split()[2:] == head1.split()[2:-1]
    )  # shifted by one, a dash at the end
    assert head2.split()[-2:] == ["-", "-"]
    assert answer.split() == ["answer"] + ["x"] * 6


@pytest.mark.parametrize("kind", ["polynomial", "maze", "choice-points", "sources"])
def test_every_task_has_samples(capsys, kind):
    status, out, _ = run(capsys, "sample", kind, "--count", 3, "--json")
    assert status == 0
    assert all(json.loads(line)["tokens"] for line in out.splitlines())
    assert len(out.splitlines()) == 3


def test_sample_induction_marks_names_and_scored_tokens(capsys):
    words = "sample induction --count 3 --json".split()
    status, out, _ = run(capsys, *words)
    records = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert len(records) == 3
    for record in records:
        assert list(record) == ["text", "tokens", "roles", "names", "split"]
        assert len(record["tokens"]) == len(record["roles"])
        assert set(record["roles"]) == {0, 1, 2, 3, 4}
    assert run(capsys, *"sample stories --count 3 --json".split())[1] == out
    _, drawn, _ = run(capsys, *"sample induction --count 1".split())
    assert drawn.count("*]") == records[0]["roles"].count(4)
    assert all(f"[{name}]" in drawn for name in records[0]["names"])


def test_sample_of_a_users_text(capsys, tmp_path):
    line = (
        "In the hall sat Marlo, and Marlo said to Petra, come; so Petra and Marlo ran."
    )
    path = tmp_path / "my.txt"
    path.write_text("\n<|endoftext|>\n".join(f"{i} {line}" for i in range(200)))
    words = ["sample", "induction", "--corpus", path, "--count", 2, "--json"]
    status, out, err = run(capsys, *words)
    assert status == 0, err
    for record in map(json.loads, out.splitlines()):
        assert len(record["names"]) == 2
        assert record["roles"].count(4) == 3
        assert "Marlo" not in record["text"]
    status, out, _ = run(capsys, *words[:4], "--report")
    assert status == 0
    assert "leakage" in out
    assert "share" in out


def test_reports_are_for_programs_too(capsys):
    status, out, _ = run(capsys, *"sample repeats --report --json".split())
    assert status == 0
    assert json.loads(out) == {"vocabulary": 65}


def test_describe(capsys):
    status, out, _ = run(
        capsys, *["describe", "--scale", "1M", "--horizon", "4", "--json"]
    )
    found = json.loads(out)
    assert status == 0
    assert (found["trunk_layers"], found["head_layers"]) == (1, 4)
    assert found["depth_to_head_1"] == 2
    _, text, _ = run(
        capsys, *["describe", "--scale", "1M", "--horizon", "2", "--vocabulary", "4096"]
    )
    assert "trunk 3 layers" in text
    assert f"{2 * 4096 * 128:,}" in text
    assert "2 predictions: 2 layers; 4 layers deep" in text
    _, text, _ = run(capsys, "describe", "--scale", "1M")
    assert "1 prediction: 1 layer; 5 layers deep" in text
    assert run(capsys, "describe", "--context", "300000")[0] == 0  # it has no batch
    assert "polynomial" not in text  # no task is named, so no run either


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "describe --scale 3M --horizon 4",
            ["leaves no trunk", "horizon 3", "'added'"],
        ),
        ("describe --scale 3m", ["'3m'", "3M"]),
        ("describe --context 1", ["TrainingConfig.context", "got 1"]),
        ("sample polynomial --count 0", ["--count", "at least 1"]),
        ("sample polynomial --count 99999999", ["--count must be at most 1048576"]),
        ("sample polynomials", ["'polynomials'", "'polynomial'?", "--plugin FILE"]),
        ("train zzz --steps 3", ["No task is called 'zzz'", "maze", "--plugin FILE"]),
        ("sample maze --operations 2", ["--operations", "'maze'"]),
        ("evaluate nowhere", ["nowhere' fits no run below runs"]),
        ("train polynomial --modulus 4", ["Config.modulus", "a prime from 2 to 97"]),
        ("train polynomial --scale x", ["ModelConfig.scale", "'x'", "Known: 10k"]),
        ("train polynomial --threads 0", ["Execution.threads", "at least 1; got 0"]),
        ("train text", ["TextConfig.corpus is empty"]),
    ],
)
def test_mistakes_are_one_message_and_status_2(capsys, words, expected):
    status, _, err = run(capsys, *words.split())
    assert status == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    for word in expected:
        assert word in err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("train polynomial --learning-rat 1", "--learning-rate"),
        ("train polynomial --steps 1e6", "a whole number; got '1e6'. Write 1000000."),
        ("train polynomial --seed 1.5", "must be a whole number; got '1.5'."),
        ("train polynomial --data-seed x", "must be a whole number; got 'x'."),
        ("train polynomial --learning-rate x", "must be a number; got 'x'."),
        ("train polynomial --layout serial", "anticausal"),
    ],
)
def test_misspelt_words_name_the_right_ones(capsys, words, expected):
    assert main(words.split()) == 2
    assert expected in capsys.readouterr().err


def test_a_score_of_nothing_is_null(capsys, monkeypatch):
    scores = [Score.mean("test", "whole", "x", []), Score("test", "n", "", 1.0, 1)]
    monkeypatch.setattr(scoring, "evaluate_folder", lambda *_: scores)
    monkeypatch.setattr(Evaluate, "find", lambda _: "")
    status, out, _ = run(capsys, "evaluate", "a-run", "--json")
    rows = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    assert (status, [row["value"] for row in rows]) == (0, [None, 1.0])


def test_train_then_again_then_evaluate(capsys, tmp_path):
    words = ["train", "polynomial", *TINY, "--steps", 12, "--runs", tmp_path]
    status, out, _ = run(capsys, *words, "--horizon", 2)
    assert status == 0
    assert "done" in out
    (folder,) = tmp_path.iterdir()
    status, out, _ = run(capsys, *words, "--horizon", 2, "--json")
    assert json.loads(out)["message"] == "was done before"
    status, out, _ = run(capsys, "evaluate", folder, "--examples", 5, "--json")
    assert status == 0
    scores = [json.loads(line) for line in out.splitlines()]
    assert {score["suite"] for score in scores} == {"in_domain", "out_of_domain"}
    status, out, _ = run(capsys, "evaluate", folder, "--examples", 5, "--free-running")
    assert "answer_token=1" in out


def test_a_training_command_stopped_by_a_signal_says_how_to_go_on(tmp_path):
    words = ["train", "polynomial", *TINY, "--steps", "20000", "--runs", str(tmp_path)]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "synth",
            *words,
            "--log-every-seconds",
            "0.1",
            "--compile",
            "off",
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "tokens/s" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait(PATIENCE_S) == 75
    assert "stopped by SIGTERM at step" in rest
    assert "run the same command to go on" in rest
    assert "Traceback" not in rest


def test_commands_without_torch_start_quickly():
    """In processor time, which a busy machine stretches far less than the clock."""
    code = (
        "import sys, time, synth.__main__;"
        "print('torch' in sys.modules, time.process_time())"
    )
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
        )
        has_torch, seconds = done.stdout.split()
        assert has_torch == "False"
        times.append(float(seconds))
    assert min(times) < 1.5


def test_families_are_listed_a_line_each(capsys):
    for family in ("task", "objective"):
        status, out, _ = run(capsys, f"{family}s")
        assert status == 0
        assert [line.split()[0] for line in out.splitlines()] == list(members(family))
        status, out, _ = run(capsys, f"{family}s", "--json")
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["kind"] for row in rows] == list(members(family))
        assert all(row["purpose"].endswith(".") for row in rows)


def test_another_objective_brings_its_own_options(capsys):
    words = "describe --scale 100k --objective chain --depth 2 --json".split()
    status, out, _ = run(capsys, *words)
    assert (status, json.loads(out)["arm"]) == (0, "chain2")
    status, _, err = run(capsys, "describe", "--objective=chian")
    assert (status, "Did you mean 'chain'?" in err) == (2, True)
    status, _, err = run(capsys, "describe", "--objective", "chain", "--horizon", "2")
    assert (status, "no option --horizon" in err) == (2, True)


def test_of_two_objectives_the_last_one_counts(capsys):
    words = "describe --scale 100k --objective chian --objective=chain --depth 2 --json"
    status, out, _ = run(capsys, *words.split())
    assert (status, json.loads(out)["arm"]) == (0, "chain2")
    status, _, err = run(
        capsys, "describe", "--objective", "chain", "--objective=chian"
    )
    assert (status, "Did you mean 'chain'?" in err) == (2, True)


@pytest.mark.parametrize("kind", ["polynomial", "star", "sources", "text"])
@pytest.mark.parametrize("split", ["test", "validation"])
def test_sample_of_a_held_out_split(capsys, tmp_path, kind, split):
    corpus = tmp_path / "a.txt"
    corpus.write_text("the cat sat on the mat. " * 400)
    text = ["--corpus", str(corpus), "--tokens", "characters"]
    words = ["sample", kind, "--split", split, "--count", "3", "--json"]
    assert main(words + (text if kind == "text" else [])) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(records) == 3
    assert {record["split"] for record in records} == {split}
    if kind == "polynomial":  # spread over the sets, not their beginning alone
        assert len({record["operations"] for record in records}) == 3

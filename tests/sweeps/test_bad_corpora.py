"""A corpus that cannot be trained on stops a sweep before it starts, and costs nothing."""

import pytest

from sweeps.survey import survey
from sweeps.sweep_lookup import find_sweep
from tests.sweeps.conftest import call

SWEEP = '''
from sweeps.sweep import sweep
from synth.config import ModelConfig, RunConfig, TrainingConfig
from synth.tasks.running_text import TextConfig


@sweep(scales=("quick",), metric="test/loss/horizon=1")
def texts(scale):
    """Two texts, two seeds."""
    for corpus in ("good.txt", "other.txt"):
        for seed in range(2):
            yield RunConfig(
                task=TextConfig(corpus=corpus),
                model=ModelConfig(scale="d16-L2-h1"),
                training=TrainingConfig(
                    steps=2,
                    batch_rows=2,
                    context=65,
                    warmup_steps=1,
                    evaluation_examples=2,
                    final_examples=4,
                ),
                seed=seed,
            )
'''
CONTENTS = {"empty": b"", "short": b"abc def\n", "latin": b"caf\xe9 " * 400}


@pytest.mark.parametrize("content", CONTENTS)
def test_it_is_named_once_and_finished_runs_stay(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, other = tmp_path / "texts.py", tmp_path / "other.txt"
    path.write_text(SWEEP)
    (tmp_path / "good.txt").write_text("Some words and more.\n" * 100)
    other.write_bytes(CONTENTS[content])
    for word in ("plan", "run", "tune"):
        said = call(word, path, cwd=tmp_path, status=2)
        assert said.count(str(other)) == 1, said
        assert said.count("\n") == 1, said
        assert not (tmp_path / "runs").exists()

    other.write_text("Other words and more.\n" * 100)
    call("run", path, "--workers", 0, cwd=tmp_path)
    root = tmp_path / "runs" / "texts"
    before = {p: p.stat().st_mtime_ns for p in root.glob("*/*.json*")}
    other.write_bytes(CONTENTS[content])
    assert "other.txt" in call("run", path, "--workers", 1, cwd=tmp_path, status=2)
    assert survey(root, find_sweep(str(path))("quick")).counts == {"new": 2, "done": 2}
    assert before == {p: p.stat().st_mtime_ns for p in root.glob("*/*.json*")}

"""What is in the digest of the code that defines a run, and what follows from it."""

import importlib.util
import signal
import sys
from dataclasses import dataclass, replace

import pytest

from synth.__main__ import main
from synth.run.defining_code import (
    ROOT,
    code_of,
    code_state,
    digest_of_package,
    outside_files,
    refuse_other_code,
)
from synth.run.execution import Execution
from synth.run.store import RunFolder
from synth.tasks.repeats import RepeatsConfig
from synth.training import train
from tests.conftest import tiny_run

TASK = """
from dataclasses import dataclass
import json
import numpy
from helper import answer
from synth.tasks.repeats import RepeatsConfig

@dataclass(frozen=True, kw_only=True)
class StarConfig(RepeatsConfig):
    def build(self):
        from lazily import later
        return super().build()
"""


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A run whose task lies in a person's file, beside two that it imports."""
    (tmp_path / "star_graph.py").write_text(TASK)
    (tmp_path / "helper.py").write_text("from deeper import base\nanswer = 1\n")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "__init__.py").write_text("from .inner import base\n")
    (tmp_path / "deeper" / "inner.py").write_text("base = 2\n")
    (tmp_path / "lazily.py").write_text("later = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = importlib.util.spec_from_file_location("_own", tmp_path / "star_graph.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "_own", module)
    spec.loader.exec_module(module)
    yield replace(tiny_run(), task=module.StarConfig(symbols=64))
    for name in ("helper", "deeper", "deeper.inner"):
        sys.modules.pop(name, None)


def test_a_shipped_task_has_no_code_outside():
    assert outside_files(tiny_run()) == {}
    assert code_of(tiny_run())["synth_sha256"] == digest_of_package(ROOT / "synth")


def test_every_file_behind_an_outside_task_counts(outside, tmp_path):
    found = [path.removeprefix(f"{tmp_path}/") for path in outside_files(outside)]
    assert found == ["deeper/__init__.py", "deeper/inner.py", "helper.py", "lazily.py",
                     "star_graph.py"]  # fmt: skip
    assert code_of(outside)["outside"] == outside_files(outside)


def test_data_of_the_package_count_and_caches_and_prose_do_not(tmp_path):
    package = tmp_path / "synth"
    (package / "data").mkdir(parents=True)
    (package / "a.py").write_text("")
    (package / "data" / "words.txt").write_text("a")
    before = digest_of_package(package)
    for name in ("a.py~", ".a.py.swp", "a.pyc", "README.md"):
        (package / name).write_text("x")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "a.cpython-311.pyc").write_text("x")
    assert digest_of_package(package) == before
    (package / "data" / "words.txt").write_text("b")
    assert digest_of_package(package) != before


def begin(root, config, code):
    folder = RunFolder(root, config.run_id)
    (folder.checkpoints / "step-00000002").mkdir(parents=True, exist_ok=True)
    folder.open(config)
    folder.write_json("environment.json", {"sessions": [{"code": code}]})
    return folder


def test_a_changed_outside_file_is_told(outside, tmp_path):
    code = code_of(outside)
    begin(tmp_path / "runs", outside, code)
    refuse_other_code(tmp_path / "runs", [outside])
    # As if the file had another content when the run began.
    path = str(tmp_path / "helper.py")
    old = code | {"outside": code["outside"] | {path: "0"}}
    begin(tmp_path / "runs", outside, old)
    with pytest.raises(ValueError, match=r"with another version of .*helper\.py\)"):
        refuse_other_code(tmp_path / "runs", [outside])
    moved = {f"/elsewhere{path}": value for path, value in code["outside"].items()}
    begin(tmp_path / "runs", outside, code | {"outside": moved})
    refuse_other_code(tmp_path / "runs", [outside])


def test_a_run_without_checkpoint_starts_afresh(tmp_path):
    config = tiny_run()
    folder = begin(tmp_path, config, {"synth_sha256": "other", "commit": "c0ffee"})
    with pytest.raises(ValueError, match="at commit c0ffee"):
        refuse_other_code(tmp_path, [config])
    (folder.checkpoints / "step-00000002").rmdir()
    refuse_other_code(tmp_path, [config])


def stop_at_five(event):
    """Send this process a signal in the middle of a run."""
    if event.kind == "evaluation" and event.step == 5:
        signal.raise_signal(signal.SIGTERM)


def test_training_itself_does_not_go_on_unawares(tmp_path):
    """Whoever calls it: a sweep, a search, a job, a program of one's own."""
    config, fresh = tiny_run(), tiny_run(seed=1)
    (stopped,) = train([config], tmp_path, progress=stop_at_five)
    assert stopped.state == "stopped"
    run = RunFolder(tmp_path, config.run_id)
    stored = run.read_json("environment.json")
    stored["sessions"][0]["code"]["synth_sha256"] = "other"
    run.write_json("environment.json", stored)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*.json*")}
    with pytest.raises(ValueError, match="accept it with --accept-code-change"):
        train([fresh, config], tmp_path)
    assert before == {p: p.stat().st_mtime_ns for p in run.path.rglob("*.json*")}
    assert run.state() == "stopped"
    (went_on,) = train([config], tmp_path, Execution(accept_code_change=True))
    assert went_on.state == "done"
    assert len(run.read_json("environment.json")["sessions"]) == 2


def test_train_does_not_go_on_unawares(tmp_path, capsys):
    words = (
        "train repeats --scale d16-L2-h1 --steps 2 --warmup-steps 1 --batch-rows 2 "
        "--context 64 --final-examples 2 --evaluation-examples 2 --learning-rate 1e-3 "
        "--evaluate-every-steps 1 --runs"
    ).split()
    words.append(str(tmp_path))
    assert main(words) == 0
    (folder,) = tmp_path.iterdir()
    (folder / "result.json").unlink()
    run = RunFolder(tmp_path, folder.name)
    stored = run.read_json("environment.json")
    assert stored["sessions"][0]["code"]["synth_sha256"] == code_state()["synth_sha256"]
    stored["sessions"][0]["code"]["synth_sha256"] = "other"
    run.write_json("environment.json", stored)
    assert main(words) == 2
    assert "accept it with --accept-code-change" in capsys.readouterr().err
    assert main([*words, "--accept-code-change"]) != 2


@dataclass(frozen=True, kw_only=True)
class Here(RepeatsConfig):
    """A task of this test."""


def test_a_task_in_a_room_that_is_not_synth_counts():
    found = outside_files(replace(tiny_run(), task=Here(symbols=64)))
    assert str(ROOT / "tests/synth/run/test_defining_code.py") in found

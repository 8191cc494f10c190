"""Plugins: what is recorded, what is imported, and whom it is believed."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from synth.config import RunConfig
from synth.export.train_command import train_command
from synth.families import family, plugins
from synth.run import resume
from synth.run.defining_code import ROOT
from synth.run.store import RunFolder
from tests.conftest import tiny_run

TASK = """
from dataclasses import dataclass
from typing import ClassVar
from helper_of_tiny import SYMBOLS
from synth.tasks.repeats import RepeatsConfig

@dataclass(frozen=True, kw_only=True)
class TinyConfig(RepeatsConfig):
    kind: ClassVar[str] = "tiny"
    symbols_ignored = SYMBOLS
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of a task in a file, recorded in a folder."""
    (tmp_path / "tiny.py").write_text(TASK)
    (tmp_path / "helper_of_tiny.py").write_text("SYMBOLS = 64\n")
    known = dict(family.members("task"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = plugins.load(tmp_path / "tiny.py")
    config = replace(tiny_run(), task=module.TinyConfig())
    RunFolder(tmp_path / "runs", config.run_id).open(config)
    yield config
    family._MEMBERS["task"].clear()
    family._MEMBERS["task"].update(known)
    sys.modules.pop("helper_of_tiny", None)


READ = """
import sys
from pathlib import Path
from synth.run.store import RunFolder
path = Path(sys.argv[1])
try:
    print("read", RunFolder(path.parent, path.name).config().run_id)
except ValueError as error:
    print(error)
print("torch" in sys.modules)
"""


def read(tmp_path, run):
    """What a fresh interpreter says of the run."""
    folder = tmp_path / "runs" / run.run_id
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", READ, str(folder)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("False\n")  # torch is not needed for it
    return done.stdout


def test_a_run_of_this_package_records_no_plugin():
    assert "plugins" not in tiny_run().to_dict()


def test_the_record_holds_helpers_and_is_no_part_of_the_identity(run, tmp_path):
    recorded = run.to_dict()["plugins"]
    assert [one.get("module") for one in recorded] == [None, "helper_of_tiny"]
    assert RunConfig.from_dict(run.to_dict()).run_id == run.run_id
    without = {k: v for k, v in run.to_dict().items() if k != "plugins"}
    assert RunConfig.from_dict(without).run_id == run.run_id
    copies = list((tmp_path / "runs" / run.run_id / "plugins").iterdir())
    names = {path.name.partition("-")[2] for path in copies}
    assert names == {"tiny.py", "helper_of_tiny.py"}
    assert {path.stat().st_mode & 0o022 for path in copies} == {0}


def test_a_finished_run_says_that_its_files_have_changed(run, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "runs", run.run_id)
    assert not folder.has_other_plugins(run)
    moved = [one | {"path": "/elsewhere.py"} for one in plugins.recorded(run)]
    monkeypatch.setattr(plugins, "recorded", lambda config: moved)
    assert not folder.has_other_plugins(run)
    moved[0]["sha256"] = "0" * 64
    assert folder.has_other_plugins(run)
    folder.write_json("result.json", {})
    with contextlib.ExitStack() as claims:
        _, outcomes = resume.claim_unfinished([run], tmp_path / "runs", claims)
    outcome = outcomes[run.run_id]
    assert outcome.state == "done"
    assert "was done before, with other files of your own" in outcome.message
    assert "raise `version`" in outcome.message


def test_the_original_serves_or_else_the_copies(run, tmp_path):
    assert f"read {run.run_id}" in read(tmp_path, run)
    (tmp_path / "tiny.py").unlink()
    (tmp_path / "helper_of_tiny.py").write_text("raise SystemExit\n")
    assert f"read {run.run_id}" in read(tmp_path, run)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_copies_and_records_of_others_are_not_believed(run, tmp_path):
    folder = tmp_path / "runs" / run.run_id
    (tmp_path / "tiny.py").unlink()
    (copy,) = folder.glob("plugins/*-tiny.py")
    os.chown(copy, 12345, -1)
    assert "belongs to user 12345, who is neither you nor root" in read(tmp_path, run)
    os.chown(copy, 0, -1)
    assert f"read {run.run_id}" in read(tmp_path, run)
    record = folder / "config.json"
    record.chmod(0o646)
    assert "which names it, is data and no more" in read(tmp_path, run)
    record.chmod(0o644)
    os.chown(record, 12345, -1)
    assert "which names it, is data and no more" in read(tmp_path, run)


def test_a_damaged_record_is_told(run):
    for plugin in (3, [3], [{"path": "x"}], [{"path": "x", "sha256": 3}]):
        with pytest.raises(ValueError, match="list of objects with path and sha256"):
            RunConfig.from_dict(run.to_dict() | {"plugins": plugin})


def test_two_tasks_of_one_kind_are_refused(run, tmp_path):
    other = TASK.replace("TinyConfig", "OtherConfig")
    (tmp_path / "other.py").write_text(other)
    said = (
        f"Two tasks are called 'tiny': TinyConfig in {tmp_path / 'tiny.py'} and "
        f"OtherConfig in {tmp_path / 'other.py'}. Give one"
    )
    with pytest.raises(ValueError, match=re.escape(said)):
        plugins.load(tmp_path / "other.py")


def test_a_kind_that_names_no_folder_is_refused(run, tmp_path):
    (tmp_path / "other.py").write_text(TASK.replace('"tiny"', '"ti/ny"'))
    with pytest.raises(ValueError, match=r"TinyConfig\.kind must be a word .*'ti/ny'"):
        plugins.load(tmp_path / "other.py")


def test_the_option_is_taken_off_the_words(run, tmp_path):
    file = str(tmp_path / "tiny.py")
    words = ["train", "--plugin", file, "tiny", f"--plugin={file}"]
    assert plugins.take_options(words) == ["train", "tiny"]
    assert plugins.given == [file, file]
    assert plugins.take_options([]) == []
    assert plugins.given == []
    with pytest.raises(ValueError, match="--plugin needs a file"):
        plugins.take_options(["--plugin"])
    with pytest.raises(ValueError, match="There is no file"):
        plugins.take_options(["--plugin", "nowhere.py"])


def test_the_command_of_a_run_names_the_file_that_defines_its_task(run, tmp_path):
    recorded = [Path(one["path"]).name for one in run.to_dict()["plugins"]]
    assert sorted(recorded) == ["helper_of_tiny.py", "tiny.py"]
    words = shlex.split(train_command(run))
    assert [file for file in words if file.endswith(".py")] == [
        str(tmp_path / "tiny.py")
    ]
    assert "--plugin" not in plugins.take_options(words)


def test_a_plugin_that_defines_nothing_is_refused(run, tmp_path):
    empty, by_import = tmp_path / "empty.py", tmp_path / "by_import.py"
    empty.write_text("from synth.tasks.maze import MazeConfig\nHELPER = [1]\n")
    by_import.write_text("from tiny import TinyConfig\n")
    with pytest.raises(ValueError, match=r"empty\.py defines no task and no objective"):
        plugins.take_options(["--plugin", str(empty)])
    assert plugins.take_options(["--plugin", str(by_import)]) == []


def test_installed_packages_register_by_entry_points(tmp_path):
    """A fresh interpreter finds the task of a package, and imports only what it needs."""
    package = tmp_path / "site-packages" / "mine"
    package.mkdir(parents=True)
    text = TASK.replace("from helper_of_tiny import SYMBOLS", "SYMBOLS = 1")
    (package / "__init__.py").write_text(text)
    about = package.parent / "mine-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[synth.plugins]\ntiny = mine\n")
    code = (
        "import sys, json; from synth.families.family import member;"
        "member('task', {'kind': 'repeats'}, '');"
        "lazy = 'synth.tasks.maze' not in sys.modules and 'mine' not in sys.modules;"
        "found = member('task', {'kind': 'tiny'}, '');"
        "from dataclasses import replace; from synth.config import RunConfig;"
        "print(json.dumps([lazy, found.kind, RunConfig(task=found).to_dict()]))"
    )
    path = os.pathsep.join([str(ROOT), str(package.parent)])
    environment = os.environ | {"PYTHONPATH": path}
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lazy, kind, config = json.loads(done.stdout)
    assert lazy
    assert kind == "tiny"
    assert "plugins" not in config

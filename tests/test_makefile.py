"""Setting up over what an earlier attempt left, and what the targets of sweeps call."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from sweeps.__main__ import parse

ROOT = Path(__file__).resolve().parents[1]
PYTHON = """#!/bin/sh
echo "$0 $*" >> {log}
case "$1" in
  -c) exit {old} ;;
  --version) echo Python 3.{minor}.0 ;;
esac
case "$2" in
  venv) mkdir -p {venv}/bin
    for name in python pip; do printf '#!/bin/sh\\n' > {venv}/bin/$name; done
    chmod +x {venv}/bin/* ;;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """Call `make setup` with a stand-in for Python; what it printed, and its status."""

    def call(minor):
        python = tmp_path / f"python3.{minor}"
        text = PYTHON.format(
            log=tmp_path / "log",
            venv=tmp_path / "venv",
            minor=minor,
            old=int(minor < 11),
        )
        python.write_text(text)
        python.chmod(0o755)
        words = ["make", "setup", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    return call


def test_an_old_python_is_refused_and_heals(setup, tmp_path):
    status, said = setup(10)
    assert status != 0
    assert "Python 3.11 or newer is needed" in said
    assert "is Python 3.10.0." in said
    assert not (tmp_path / "venv").exists()
    # What an earlier attempt with the old one had left.
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    old = tmp_path / "venv" / "bin" / "python"
    old.write_text("#!/bin/sh\n[ $1 != -c ]\n")
    old.chmod(0o755)
    assert setup(10)[0] != 0
    assert setup(12)[0] == 0
    assert f"-m venv --clear {tmp_path / 'venv'}" in (tmp_path / "log").read_text()
    assert (tmp_path / "venv" / ".ready").exists()


def test_a_folder_that_is_no_environment_is_left_alone(setup, tmp_path):
    (tmp_path / "venv").mkdir()
    assert setup(12)[0] == 0  # an empty folder is used
    (tmp_path / "venv" / ".ready").unlink()
    (tmp_path / "venv" / "bin" / "python").unlink()
    (tmp_path / "venv" / "thesis.txt").write_text("data")
    status, said = setup(12)
    assert status != 0
    assert "holds files and is not a Python environment" in said
    assert (tmp_path / "venv" / "thesis.txt").read_text() == "data"


def test_a_good_environment_is_kept(setup, tmp_path):
    assert setup(11)[0] == 0
    (tmp_path / "venv" / ".ready").unlink()
    (tmp_path / "log").unlink()
    assert setup(11)[0] == 0
    assert not (tmp_path / "log").exists()


def dry_run(*words):
    """What make would run, or why it refuses; as typed, even if `make test` asks."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES")
    return subprocess.run(
        ["make", "--dry-run", *words],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
    )


def called(*words):
    """The command of `python -m sweeps` that make would run, parsed."""
    printed = dry_run(*words).stdout
    (line,) = [line for line in printed.splitlines() if " -m sweeps " in line]
    return parse(shlex.split(line.split(" -m sweeps ")[1]))


@pytest.mark.parametrize("words", [[], ["WHERE=degree=2 answers=forward", "SEEDS=2"]])
@pytest.mark.parametrize("on", ["local", "slurm"])
@pytest.mark.parametrize("target", ["sweep", "plan", "status", "retry", "tune"])
def test_targets_of_sweeps_call_what_the_command_line_accepts(target, on, words):
    command = called(target, "SWEEP=star", f"ON={on}", *words)
    where = [] if not words else ["degree=2", "answers=forward"]
    assert list(command.where) == where
    assert getattr(command, "on", on) == on


def test_values_with_spaces_and_switches_mean_what_they_say():
    given = ("SWEEP=my sweep.py", "TUNED=a.json b.json", "ARMS=n1 n2")
    placed = ("ON=slurm", "PROFILE=my site.toml")
    command = called("sweep", *given, "UNSETTLED=1", *placed)
    assert command.sweep == "my sweep.py"
    assert [str(table) for table in command.tuned] == ["a.json", "b.json"]
    assert list(command.arms) == ["n1", "n2"]
    assert command.profile == "my site.toml"
    assert command.unsettled
    assert not called("plan", *given, "UNSETTLED=0").unsettled


@pytest.mark.parametrize("variable", ["ARM=n1", "SEED=2", "sweep=star"])
def test_a_mistyped_variable_is_refused_before_anything_is_trained(variable):
    refused = dry_run("sweep", "SWEEP=star", variable)
    assert refused.returncode == 2
    assert f"No variable is called {variable.partition('=')[0]}." in refused.stderr
    assert " ARMS " in refused.stderr
    assert not refused.stdout


def test_a_variable_of_the_environment_may_be_given():
    assert dry_run("sweep", "SWEEP=characters", "SYNTH_TEXT=a.txt").returncode == 0


def test_figures_draws_the_pictures_of_the_page_about_results():
    """Their captions name the commands."""
    page = (ROOT / "analysis" / "README.md").read_text()
    picture = r"!\[[^]]*\]\(results/(\S+)\.png\)\n\n\*(.+?)\*\n"
    captions = re.findall(picture, page, re.DOTALL)
    commands = {
        name: re.findall(r"`python -m analysis ([^`]+)`", " ".join(text.split()))
        for name, text in captions
    }
    assert {"best-horizon", "repeats-depth", "cross"} <= commands.keys()
    drawn = dry_run("figures").stdout
    for name, typed in commands.items():
        assert len(typed) == 1, name
        assert f" -m analysis {typed[0]}\n" in drawn

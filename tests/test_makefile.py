"""Setting up over what an earlier attempt left, and what the targets of sweeps call."""

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
    old = tmp_path / "venv" / "bin" / "python"
    old.write_text("#!/bin/sh\n[ $1 != -c ]\n")
    old.chmod(0o755)
    assert setup(10)[0] != 0
    assert setup(12)[0] == 0
    assert f"-m venv --clear {tmp_path / 'venv'}" in (tmp_path / "log").read_text()
    assert (tmp_path / "venv" / ".ready").exists()


def test_a_good_environment_is_kept(setup, tmp_path):
    assert setup(11)[0] == 0
    (tmp_path / "venv" / ".ready").unlink()
    (tmp_path / "log").unlink()
    assert setup(11)[0] == 0
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize("words", [[], ["WHERE=degree=2 answers=forward", "SEEDS=2"]])
@pytest.mark.parametrize("on", ["local", "slurm"])
@pytest.mark.parametrize("target", ["sweep", "plan", "status", "retry", "tune"])
def test_targets_of_sweeps_call_what_the_command_line_accepts(target, on, words):
    printed = subprocess.run(
        ["make", "--dry-run", target, "SWEEP=star", f"ON={on}", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (called,) = [line for line in printed.splitlines() if " -m sweeps " in line]
    command = parse(called.split(" -m sweeps ")[1].split())
    where = [] if not words else ["degree=2", "answers=forward"]
    assert list(command.where) == where
    assert getattr(command, "on", on) == on

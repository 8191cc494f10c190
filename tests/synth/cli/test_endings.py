"""Commands on streams that are closed, full or narrow, and under Ctrl-C."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]
DESCRIBE = "synth describe"


def shell(command, redirection, **environment):
    words = f"{shlex.quote(sys.executable)} -m {command} {redirection}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", words],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


@pytest.mark.parametrize(
    ("redirection", "status"),
    [
        (">&-", 0),
        ("2>&-", 0),
        ("<&- >&- 2>&-", 0),
        (">/dev/full", 2),
        (">/dev/full 2>&1", 2),
        ("| true", {0, 141}),
    ],
)
def test_streams_that_take_nothing(redirection, status):
    done = shell(DESCRIBE, redirection)
    assert done.returncode in (status if isinstance(status, set) else {status})
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if redirection == ">/dev/full":
        assert "No space left on device" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_latin_1_terminal_shows_what_it_can():
    words = "synth sample stories --count 1 --seed 3"
    done = shell(words, "", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("columns", ["0", "1", "5", "39", "many", "100000"])
def test_help_fits_any_terminal(columns, monkeypatch, capsys):
    from synth.__main__ import main

    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit) as caught:
        main(["train", "--help"])
    assert caught.value.code == 0
    assert "usage" in capsys.readouterr().out
    assert os.environ["COLUMNS"] == columns


def test_a_file_of_the_current_folder_shadows_no_library(tmp_path):
    for name in ("json", "dataclasses", "inspect"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('shadowed')\n")
    done = subprocess.run(
        [sys.executable, "-m", "synth", "describe", "--json"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_during_imports_leaves_no_traceback():
    """At each of some modules that the command imports."""
    code = (
        "import os, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == sys.argv[1]: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from synth.__main__ import main\n"
        "sys.exit(main(['describe']))"
    )
    for module in ("tyro", "synth.cli.commands", "numpy", "synth.tasks.stories"):
        done = subprocess.run(
            [sys.executable, "-c", code, module],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == -signal.SIGINT, module
        assert done.stderr == ""

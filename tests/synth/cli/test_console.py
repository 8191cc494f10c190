"""The console command: every room below it, whatever files lie in the current folder."""

import os
import subprocess
import sys
import tomllib

import pytest

from synth.cli import console
from synth.run.code_copy import HERE

SCRIPT = "import sys\nfrom synth.cli.console import main\nsys.exit(main())\n"


@pytest.mark.parametrize(
    ("words", "begin"),
    [
        (["tasks"], "polynomial"),
        (["sweeps", "list"], "quick"),
        (["sweep", "list"], "quick"),
        (["slurm", "profiles", "cpu"], "name"),
    ],
)
def test_each_room_is_below_it(words, begin, capsys):
    assert console.main(words) == 0
    assert any(x.startswith(begin) for x in capsys.readouterr().out.splitlines())


def test_it_is_the_script_that_a_wheel_installs():
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"synth": f"{console.__name__}:main"}


@pytest.mark.parametrize(
    ("words", "usage"),
    [(["--help"], "usage: synth "), (["analysis", "--help"], "usage: synth analysis ")],
)
def test_files_of_the_current_folder_do_no_harm(words, usage, tmp_path):
    script = tmp_path / "bin" / "synth"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    here = tmp_path / "mine"
    here.mkdir()
    for name in ("analysis", "sweeps", "slurm", "typing", "json", "torch"):
        (here / f"{name}.py").write_text("raise SystemExit('MY file was imported')\n")
    done = subprocess.run(
        [sys.executable, str(script), *words],
        cwd=here,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(usage)
    assert "{None}" not in done.stdout

"""The console command: every room below it, whatever files lie in the current folder."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

from synth.cli import console
from synth.run.code_copy import HERE

ROOMS = ("sweeps", "slurm", "analysis")
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


@pytest.mark.parametrize(
    ("room", "flags"),
    [("synth", []), ("sweeps", []), *((r, ["-P"]) for r in ("synth", *ROOMS))],
)
def test_modules_of_the_current_folder_do_no_harm_to_python_m(room, flags, tmp_path):
    """`-m` runs a file that is called like the room itself, `-P -m` does not."""
    for name in ("json", "numpy", "torch", "tyro", "polars", *(flags and ROOMS)):
        (tmp_path / f"{name}.py").write_text(
            "raise SystemExit('MY file was imported')\n"
        )
    done = subprocess.run(
        [sys.executable, *flags, "-m", room, "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m {room}")


@pytest.mark.skipif(shutil.which("bash") is None, reason="NO BASH: completion")
def test_bash_completes_the_commands_of_every_room(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["synth"])
    with pytest.raises(SystemExit):
        console.main(["--tyro-print-completion", "bash"])
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    lines = [f"source {script}", "complete -p synth"]
    for words in ("synth ''", "synth sweeps ''", "synth analysis compare --at ''"):
        count = len(words.split()) - 1
        lines += [f"COMP_WORDS=({words}); COMP_CWORD={count}; COMPREPLY=()"]
        lines += ["_tyro_synth", 'echo "${COMPREPLY[*]}"']
    bash = ["bash", "--norc", "-c", "\n".join(lines)]
    done = subprocess.run(bash, capture_output=True, text=True)
    assert not done.stderr
    registered, rooms, sweeps, choices = done.stdout.splitlines()
    assert registered == "complete -F _tyro_synth synth"
    assert {"train", "generate", "sweeps", "analysis"} <= set(rooms.split())
    assert {"run", "status", "tune"} <= set(sweeps.split())
    assert {"tokens", "flops"} <= set(choices.split())

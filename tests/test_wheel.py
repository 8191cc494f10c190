"""The wheel works from any folder: it is built, installed beside nothing, and called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from synth.run.code_copy import HERE

TRAIN = "train repeats --scale d16-L4-h2 --steps 2 --warmup-steps 1 --batch-rows 2"
TRAIN += " --context 64 --final-examples 4 --evaluation-examples 4"


def call(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the installed wheel and nothing else."""
    pytest.importorskip("hatchling")
    pytest.importorskip("pip")
    folder = tmp_path_factory.mktemp("wheel") / "site"
    words = (
        "-m pip install -q --disable-pip-version-check --no-build-isolation --no-deps"
    )
    pip = (sys.executable, *words.split(), "--no-index", "--no-compile")
    call(*pip, "--target", str(folder), str(HERE))
    return folder


@pytest.mark.slow
def test_commands_of_the_wheel_beside_files_of_the_same_names(site, tmp_path):
    for name in ("analysis", "json", "sweeps", "slurm", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('MY file')\n")
    here = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(site)}}
    synth = str(site / "bin" / "synth")
    code = "import synth, sweeps, slurm, analysis as a; print(a.__path__[0])"
    shown = call(sys.executable, "-P", "-c", code, **here)
    assert Path(shown.strip()).parent == site, "not those of the clone"

    assert ": done" in call(synth, *TRAIN.split(), **here)
    assert "C1 " in call(synth, "analysis", "claims", **here)
    assert call(synth, "sample", "stories", "--count", "1", **here).count("\n") > 2

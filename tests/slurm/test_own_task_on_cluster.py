"""A sweep file that defines its own task and objective, on the private cluster."""

import os
import subprocess
import sys

import pytest

from slurm.sandbox.cluster import why_unavailable
from synth.run.defining_code import ROOT
from tests.conftest import PATIENCE_S
from tests.slurm.conftest import until
from tests.slurm.test_sweep_on_cluster import PROFILE
from tests.sweeps.test_own_task import blocks


@pytest.mark.cluster
@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "")
def test_jobs_train_a_task_of_the_sweeps_own_file(site, tmp_path):
    task, objective, sweep = blocks("python")
    imports = ("from leap import LeapConfig\n", "from reversal import ReversalConfig\n")
    for line in imports:
        sweep = sweep.replace(line, "")
    file, profile = tmp_path / "backwards.py", tmp_path / "mine.toml"
    file.write_text("\n".join([task, objective, sweep]))
    profile.write_text(PROFILE)
    words = ["run", str(file), "--on", "slurm", "--profile", str(profile)]

    def call(*words):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", *words]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "job " in call("sweeps", *words)
    # What was queued is what runs, whatever becomes of the file meanwhile.
    kept = file.rename(tmp_path / "moved.py")
    root = tmp_path / "runs" / "backwards"
    assert until(lambda: len(list(root.glob("*/result.json"))) == 4), call(
        "slurm", "status", str(root)
    )
    kept.rename(file)
    assert "4 runs, all done before" in call("sweeps", *words)
    file.unlink()
    run = next(root.glob("reversal-leap3-*"))
    assert "horizon=3" in call("synth", "evaluate", str(run), "--examples", "16")

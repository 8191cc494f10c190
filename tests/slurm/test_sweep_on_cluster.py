"""What a person types for a cluster: a sweep of their own, through the command line."""

import pytest

from slurm.__main__ import main as slurm
from slurm.job_record import read_record
from slurm.sandbox.cluster import why_unavailable
from slurm.status import read_status
from sweeps.__main__ import main
from tests.slurm.conftest import tiny, until
from tests.synth.run.test_tracking import scalars

SWEEP = '''
from sweeps.sweep import sweep
from tests.slurm.conftest import tiny


@sweep(scales=("quick",), name="own")
def own(scale):
    """Two tiny runs."""
    return [tiny(0), tiny(1)]
'''
PROFILE = """
partition = "low"
time = 20
memory_gb = 0.5
lanes = 2
[environment]
OMP_NUM_THREADS = "1"
"""


@pytest.mark.cluster
@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "")
def test_a_sweep_goes_to_the_cluster_and_comes_back(
    site, tmp_path, capsys, assert_undisturbed
):
    sweep, profile = tmp_path / "own.py", tmp_path / "mine.toml"
    sweep.write_text(SWEEP)
    profile.write_text(PROFILE)
    words = ["run", str(sweep), "--runs", str(tmp_path), "--on", "slurm"]
    words += ["--profile", str(profile), "--track", "tensorboard"]
    site.root = tmp_path / "own"

    assert main([*words, "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "2 runs in 1 jobs to send" in out
    assert "#SBATCH" in out
    assert not list(site.root.glob("polynomial-*/slurm.json"))

    assert main(words) == 0
    assert "2 queued, in " in capsys.readouterr().out
    assert main(["status", str(sweep), "--runs", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert tiny(0).run_id in shown
    assert f"--on slurm --profile {profile}" not in shown  # nothing to type: it is sent
    assert until(
        lambda: [r.state for r in read_status(site.root).runs] == ["done", "done"]
    ), read_status(site.root)
    assert_undisturbed(site, tiny(0), tiny(1))
    for config in (tiny(0), tiny(1)):  # curves, as far as the run went
        steps = [step for step, _ in scalars(site.root / config.run_id)["tokens"]]
        assert steps[-1] == config.training.steps
    assert main(words) == 0
    assert "2 runs, all done before" in capsys.readouterr().out


@pytest.mark.cluster
@pytest.mark.skipif(bool(why_unavailable()), reason=why_unavailable() or "")
def test_runs_are_named_in_three_ways(site, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    site.root = tmp_path / "runs" / "own"
    configs = [tiny(seed) for seed in range(3)]
    site.submit(*([config] for config in configs), braked=True)
    first, second, third = (config.run_id for config in configs)
    for name in (first, f"runs/own/{first}", f"*{first[-8:]}"):
        assert slurm(["logs", name]) == 0
        log = read_record(site.root, first).log(site.root / first)
        assert capsys.readouterr().out.startswith(str(log))
    for name, run_id in (
        (first, first),
        (f"runs/own/{second}", second),
        (f"*{third[-8:]}", third),
    ):
        assert slurm(["cancel", name]) == 0
        assert f"cancelled  {run_id}" in capsys.readouterr().out

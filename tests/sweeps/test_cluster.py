"""A sweep on SLURM: which runs, in which packs, reach the submission."""

import pytest

from slurm import submission
from slurm.submission import Sending
from sweeps import cluster
from synth.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run


def test_missing_runs_go_in_packs_of_the_profile(tmp_path, monkeypatch, capsys):
    configs = [tiny_run(seed=seed) for seed in range(4)]
    train(configs[:1], tmp_path / "mine")
    failed = RunFolder(tmp_path / "mine", configs[1].run_id)
    failed.open(configs[1])
    failed.write_json("failure.json", {"message": "it broke"})
    sent = []

    def submit(packs, root, profile, label, dry_run):
        sent.append([[config.seed for config in pack] for pack in packs])
        assert not dry_run
        assert (root, profile.name, label) == (tmp_path / "mine", "cpu", "mine")
        return Sending([], [], [], [], [], [])

    monkeypatch.setattr(submission, "submit", submit)
    for retry in (False, True):
        cluster.send(configs, tmp_path / "mine", "mine", "cpu", retry)
    assert sent == [[[2, 3]], [[1, 2, 3]]]
    assert "0 runs in 0 jobs to send" in capsys.readouterr().out


def test_a_profile_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"--on slurm needs a --profile: .*cpu"):
        cluster.send([tiny_run()], tmp_path, "mine", None)

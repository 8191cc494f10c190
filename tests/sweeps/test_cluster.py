"""A sweep on SLURM: which runs, in which packs, reach the submission."""

import json
import re

import pytest

from slurm import submission
from slurm.submission import Sending
from sweeps import cluster
from sweeps.__main__ import main
from synth.run.defining_code import refuse_other_code
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run


def test_missing_runs_go_in_packs_of_the_profile(tmp_path, monkeypatch, capsys):
    configs = [tiny_run(seed=seed) for seed in range(4)]
    train(configs[:1], tmp_path / "mine")
    failed = RunFolder(tmp_path / "mine", configs[1].run_id)
    failed.open(configs[1])
    failed.write_json("failure.json", {"message": "it broke"})
    sent = []

    def submit(packs, root, profile, label, execution, dry_run):
        if not execution.accept_code_change:
            refuse_other_code(root, [config for pack in packs for config in pack])
        sent.append([[config.seed for config in pack] for pack in packs])
        assert not dry_run
        assert (root, profile.name, label) == (tmp_path / "mine", "cpu", "mine")
        return Sending([], [], [], [], [], [])

    monkeypatch.setattr(submission, "submit", submit)
    place = (configs, tmp_path / "mine", "mine", "cpu")
    for retry in (False, True):
        cluster.send(*place, retry=retry)
        shown = capsys.readouterr().out
        assert "0 runs in 0 jobs to send" in shown
        assert ("1 runs have failed before" in shown) == (not retry)
    cluster.send(*place, lanes=1, as_json=True)
    assert sent == [[[2, 3]], [[1, 2, 3]], [[2], [3]]]
    assert json.loads(capsys.readouterr().out)["failed"] == 1

    # A run that other code began is sent only if that is accepted.
    begun = {"sessions": [{"code": {"synth_sha256": "other", "commit": "c0ffee"}}]}
    failed.write_json("environment.json", begun)
    (failed.checkpoints / "step-00000001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"begun by other code .* at commit c0ffee\)"):
        cluster.send(*place, retry=True)
    cluster.send(*place, retry=True, accept_code_change=True)
    assert len(sent) == 4


def test_a_profile_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"--on slurm needs a --profile: .*cpu"):
        cluster.send([tiny_run()], tmp_path, "mine", None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--on slurm --profile cpu --workers 4", "--workers cannot .* max_running"),
        ("--on slurm --profile cpu --fail-fast", "--fail-fast cannot be given"),
        (
            "--on slurm --profile cpu --threads 2",
            r"the profile's \[execution\] says it",
        ),
        ("--on slurm --profile cpu --lanes 0", "--lanes must be at least 1; got 0"),
        ("--profile cpu", "--profile must be given with --on slurm; got 'cpu'"),
        ("--dry-run", "for this machine: python -m sweeps plan quick"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(words, message, capsys):
    assert main(["run", "quick", *words.split()]) == 2
    assert re.search(message, capsys.readouterr().err)

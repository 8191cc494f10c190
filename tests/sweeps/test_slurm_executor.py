"""SLURM as an executor: what reaches the submission, and what a person is told."""

import json
import re

import pytest

from slurm.arrays import ArrayPlan
from slurm.clients import QueueUnavailable, ask
from slurm.ledger import SubmittedArray
from slurm.queue import QueueEntry
from slurm.submission import Submission
from sweeps import slurm_executor
from sweeps.__main__ import main
from sweeps.provenance import commands_of
from sweeps.sharing import link_shared, mark_shared
from sweeps.survey import survey
from synth.run.store import RunFolder
from synth.training import train
from tests.conftest import tiny_run

QUEUED = "PENDING"


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """Four runs of a folder: done, failed, and two that have begun; and what is sent."""
    root = tmp_path / "mine"
    configs = [tiny_run(seed=seed) for seed in range(4)]
    train(configs[:1], root)
    for config in configs[1:]:
        RunFolder(root, config.run_id).open(config)
    failed = RunFolder(root, configs[1].run_id)
    failed.write_json("failure.json", {"message": "it broke"})
    sent = []

    def submit(packs, at, profile, label, execution, dry_run):
        sent.append([sorted(config.seed for config in pack) for pack in packs])
        assert (at, profile.name, label) == (root, "cpu", "mine")
        arrays = [ArrayPlan(list(packs), 1)]
        if dry_run:
            return Submission(arrays, ["#SBATCH"], [], [], [], [])
        launch = SubmittedArray.create(root, label, "cpu", packs).record_job(root, "12")
        return Submission(arrays, ["#SBATCH"], [launch], [], [], [])

    monkeypatch.setattr(slurm_executor, "submit", submit)
    return root, configs, sent


def retry(root, *more, verb="retry", status=0):
    words = [verb, str(root), "--on", "slurm", "--profile", "cpu", *more]
    assert main(words) == status


@pytest.fixture
def queue(monkeypatch):
    """The controller's answer: entries that a test fills in."""
    entries = {}
    monkeypatch.setattr("slurm.queue.read_queue", lambda *_: entries)
    monkeypatch.setattr("slurm.queue.read_history", lambda *_: {})
    return entries


def test_missing_runs_go_in_packs_of_the_profile(mine, queue, capsys):
    root, _, sent = mine
    retry(root, "--lanes", "1", "--dry-run", "--json")
    assert json.loads(capsys.readouterr().out) == ["#SBATCH"]
    assert commands_of(root) == []
    retry(root, verb="run", status=1)  # one has failed, and stays out
    shown = capsys.readouterr().out
    assert "2 runs in 1 jobs to send" in shown
    assert "2 queued, in" in shown
    assert "1 failed before" in shown
    assert f"python -m sweeps retry {root} --on slurm --profile cpu" in shown
    assert sent == [[[1], [2], [3]], [[2, 3]]]


def test_a_run_that_is_named_twice_is_sent_once(mine, queue, capsys):
    root, configs, sent = mine
    retry(
        root, "--only", configs[2].run_id, configs[2].run_id, "--lanes", "1", "--json"
    )
    assert len(json.loads(capsys.readouterr().out)) == 1
    assert sent == [[[2]]]


def test_runs_in_the_queue_are_shown_and_not_sent_again(mine, queue, capsys):
    root, configs, sent = mine
    retry(root, "--only", configs[2].run_id, "--json")
    (outcome,) = json.loads(capsys.readouterr().out)
    assert (outcome["state"], outcome["message"]) == ("queued", "job 12")
    (launch,) = [path for path in (root / ".slurm").iterdir() if path.is_dir()]
    queue["12"] = QueueEntry("12", QUEUED, "Resources", "", launch.name)
    assert main(["status", str(root)]) == 0
    shown = capsys.readouterr().out
    assert "1 queued, 1 stopped, 1 done, 1 failed" in shown
    assert f"queued     {configs[2].run_id}  job 12  Resources" in shown
    assert main(["status", str(root), "--json"]) == 0
    (block,) = json.loads(capsys.readouterr().out)
    assert [job["job_id"] for job in block["jobs"]] == ["12"]
    assert block["next"].startswith("python -m sweeps retry ")
    retry(root)
    assert sent == [[[2]], [[1, 3]]]


def test_a_run_with_a_job_of_another_sweep_is_not_sent_again(mine, queue, capsys):
    """Whether this sweep links to it already or not."""
    root, configs, sent = mine
    run = configs[2]
    retry(root, "--only", run.run_id)
    (launch,) = [path for path in (root / ".slurm").iterdir() if path.is_dir()]
    queue["12"] = QueueEntry("12", QUEUED, "Resources", "", launch.name)
    other = root.parent / "other"
    found = mark_shared(survey(other, [run], ask=ask), [run], ask)
    assert found.counts == {"queued": 1}
    assert link_shared([run], other) == 1
    assert survey(other, [run], ask=ask).counts == {"queued": 1}
    capsys.readouterr()
    retry(other, verb="run")
    assert f"1 queued, in {other}" in capsys.readouterr().out
    assert sent == [[[2]]]


def test_suspects_of_a_pack_are_sent_in_halves_apart(mine, queue):
    root, _, sent = mine
    retry(root)
    queue.clear()  # the job of three is gone without a word
    retry(root)
    retry(root, "--states", "failed", "stopped", status=75)  # all are lost
    assert sent == [[[1, 2, 3]], [[1], [2], [3]]]


def test_a_silent_controller_is_not_an_empty_queue(mine, monkeypatch, capsys):
    root, _, sent = mine
    (root / ".slurm").mkdir()  # a launch that was refused before anything was sent

    def silent(*_):
        raise QueueUnavailable("squeue gave no answer")

    monkeypatch.setattr("slurm.queue.read_queue", silent)
    assert main(["status", str(root)]) == 0
    assert "squeue" not in capsys.readouterr().out
    (root / ".slurm" / "20261129-120000-mine-3f9a").mkdir()
    assert main(["status", str(root)]) == 0
    assert "squeue gave no answer" in capsys.readouterr().out
    retry(root, status=2)
    assert "squeue gave no answer" in capsys.readouterr().err
    assert sent == []


def test_a_run_of_other_code_is_sent_only_if_that_is_accepted(mine, queue, capsys):
    root, configs, sent = mine
    failed = RunFolder(root, configs[1].run_id)
    begun = {"sessions": [{"code": {"synth_sha256": "other", "commit": "c0ffee"}}]}
    failed.write_json("environment.json", begun)
    (failed.checkpoints / "step-00000001").mkdir(parents=True)
    retry(root, status=2)
    said = capsys.readouterr().err
    assert re.search(r"begun by other code .* at commit c0ffee\)", said)
    assert sent == []
    retry(root, "--accept-code-change")
    assert sent == [[[1, 2, 3]]]


def test_a_tracker_is_named_at_the_launch_or_in_the_profile(mine, queue, monkeypatch):
    root, _, sent = mine
    submit, tracks = slurm_executor.submit, []

    def seen(*what, execution, **how):
        tracks.append(execution.track)
        return submit(*what, execution=execution, **how)

    monkeypatch.setattr(slurm_executor, "submit", seen)
    retry(root, "--track", "wandb", "--dry-run")
    retry(root, "--dry-run")
    assert tracks == ["wandb", "none"]
    assert sent == [[[1, 2, 3]]] * 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--on slurm", "--on slurm needs a --profile: .*cpu"),
        ("--on slurm --profile cpu --workers 4", "--workers cannot .* max_running"),
        ("--on slurm --profile cpu --fail-fast", "--fail-fast cannot be given"),
        (
            "--on slurm --profile cpu --threads 2",
            r"set \[execution\] in the profile",
        ),
        ("--on slurm --profile cpu --lanes 0", "--lanes must be at least 1; got 0"),
        ("--profile cpu", "--profile must be given with --on slurm; got 'cpu'"),
    ],
)
def test_options_that_would_be_passed_over_are_refused(words, message, capsys):
    assert main(["run", "quick", *words.split()]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_folder_stands_for_the_runs_in_it(tmp_path, capsys):
    """Also on this machine: what is there is trained, as far as it can be read."""
    configs = [tiny_run(seed=seed) for seed in range(2)]
    for config in configs:
        RunFolder(tmp_path, config.run_id).open(config)
    (tmp_path / configs[1].run_id / "config.json").write_text("{}")
    for words, said in (
        (["retry", "--only", configs[0].run_id], "1 done, in "),
        (["run"], "1 runs, all done before, in "),
        (["retry"], "1 runs, all done before, in "),
    ):
        verb, *rest = words
        status = 0 if rest else 1
        assert main([verb, str(tmp_path), *rest, "--workers", "0"]) == status
        captured = capsys.readouterr()
        assert f"{configs[1].run_id} is left out: " in captured.err
        assert "move the run's folder away to train it afresh" in captured.err
        note = "" if rest else "; 1 left out, named above"
        assert f"{said}{tmp_path}{note}\n" in captured.out
    for words, message in (
        (["retry", str(tmp_path), "--scale", "quick"], "must be left out for a folder"),
        (["retry", str(tmp_path), "--only", "x"], "--only must be runs of"),
        (["retry", str(tmp_path), "--states", "done"], "--states must be of runs to"),
        (
            ["run", str(tmp_path / configs[0].run_id)],
            "is one run, not a folder of runs: ",
        ),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err

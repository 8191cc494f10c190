"""Folders and queue merged, with a queue of our own making."""

import dataclasses
import json
import os
import subprocess
import time

import pytest

from slurm.__main__ import main
from slurm.ledger import FOLDER, Launch, launches, launching, read_record, settle
from slurm.ledger import write_record as write
from slurm.queue import QueueEntry, QueueUnavailable
from slurm.status import cancel, read_status
from slurm.submission import live_runs, refuse_inside_job
from synth.store import RunFolder

from .conftest import tiny

RUN = tiny(0)


class Fake:
    """A scheduler that answers from tables."""

    def __init__(self, queue="", history=None):
        self.queue, self.history, self.commands = queue, history, []

    def __call__(self, *command, timeout_s=0.0):
        self.commands.append(command)
        if command[0] == "squeue":
            if self.queue is None:
                raise QueueUnavailable("squeue gave no answer")
            return subprocess.CompletedProcess(command, 0, self.queue, "")
        if command[0] == "sacct":
            code = self.history is None
            return subprocess.CompletedProcess(command, code, self.history or "", "")
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def sent(tmp_path):
    """A run that was sent as job 12_0 of a launch, and its folder."""
    launch = Launch.create(tmp_path, "test", "cpu", [[RUN], [tiny(1)]])
    launch = launch.accepted(tmp_path, "12")
    return tmp_path, launch, RunFolder(tmp_path, RUN.run_id)


def state(root, fake):
    return read_status(root, [RUN.run_id], fake).runs[0].state


def line(launch, word, reason="None", job="12_0"):
    return f"{job}|{word}|{reason}|n1|{launch.name}\n"


@pytest.mark.parametrize(
    ("word", "reason", "expected"),
    [
        ("PENDING", "Resources", "queued"),
        ("PENDING", "BeginTime", "queued"),
        ("RUNNING", "None", "running"),
        ("COMPLETING", "None", "running"),
        ("PENDING", "launch failed requeued held", "held"),
        ("CANCELLED", "None", "cancelled"),
        ("TIMEOUT", "TimeLimit", "timed out"),
        ("FAILED", "NonZeroExitCode", "lost"),
        ("NODE_FAIL", "None", "lost"),
        ("PREEMPTED", "None", "lost"),
        ("COMPLETED", "None", "stopped"),
    ],
)
def test_without_result_the_queue_decides(sent, word, reason, expected):
    root, launch, _ = sent
    assert state(root, Fake(line(launch, word, reason))) == expected


def test_a_job_out_of_time_says_what_to_change(sent, capsys, monkeypatch):
    """Loading alone can take longer than a short limit: the folder knows nothing."""
    root, launch, _ = sent
    fake = Fake(line(launch, "TIMEOUT", "TimeLimit"))
    found = read_status(root, [RUN.run_id], fake).runs[0]
    assert found.detail.startswith("SLURM says TIMEOUT, TimeLimit: the limit came ")
    assert "before the run was begun, while Python and torch" in found.detail
    assert "raise `time` in the profile, then retry" in found.detail
    record = read_record(root, RUN.run_id)
    write(root, RUN.run_id, dataclasses.replace(record, started=time.time()))
    found = read_status(root, [RUN.run_id], fake).runs[0]
    assert "raise `signal_delay_s` or `time`" in found.detail
    monkeypatch.setattr(
        "slurm.commands.read_status", lambda at: read_status(at, None, fake)
    )
    RunFolder(root, RUN.run_id).open(RUN)
    assert main(["status", str(root)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-3:] == [
        "1 timed out, 1 lost",
        f"what they printed: python -m slurm logs {root} RUN",
        f"send again: python -m slurm retry {root} --profile PROFILE",
    ]


def test_squeue_comes_before_sacct(sent):
    """After a node failure sacct says NODE_FAIL while the job waits for its restart."""
    root, launch, _ = sent
    history = f"12_0|NODE_FAIL|0:0|n1|{launch.name}\n"
    assert state(root, Fake(line(launch, "PENDING"), history)) == "queued"
    assert state(root, Fake("", history)) == "lost"
    cancelled = f"12_0|CANCELLED by 0|0:0|n1|{launch.name}\n"
    assert state(root, Fake("", cancelled)) == "cancelled"
    assert state(root, Fake("")) == "lost"  # no accounting, long gone


def test_an_id_that_was_used_again_is_not_ours(sent):
    root, launch, _ = sent
    other = dataclasses.replace(launch, name="another")
    assert state(root, Fake(line(other, "RUNNING"))) == "lost"
    assert state(root, Fake("", "12_0|TIMEOUT|0:0|n1|another\n")) == "lost"
    queue = {"12_0": QueueEntry("12_0", "RUNNING", "None", "n1", "another")}
    assert live_runs(root, [RUN.run_id], queue) == {}


def test_a_result_beats_every_scheduler(sent):
    root, launch, folder = sent
    folder.write_json("result.json", {})
    for word in ("RUNNING", "FAILED", "CANCELLED"):
        assert state(root, Fake(line(launch, word))) == "done"
    held = read_status(
        root, [RUN.run_id], Fake(line(launch, "PENDING", "job requeued in held state"))
    ).runs[0]
    assert (held.state, "held" in held.detail) == ("done", True)


def test_a_failure_counts_for_the_attempt_that_wrote_it(sent):
    root, launch, folder = sent
    folder.write_json("failure.json", {"message": "boom"})
    old = launch.created - 100
    os.utime(folder.path / "failure.json", (old, old))
    assert state(root, Fake(line(launch, "PENDING"))) == "queued"
    assert state(root, Fake(line(launch, "RUNNING"))) == "running"
    os.utime(folder.path / "failure.json")
    found = read_status(root, [RUN.run_id], Fake(line(launch, "FAILED"))).runs[0]
    assert (found.state, found.detail) == ("failed", "boom")
    # Its neighbours still train in the same job.
    assert state(root, Fake(line(launch, "RUNNING"))) == "failed"


def test_a_silent_controller_is_not_an_empty_queue(sent):
    root, _, folder = sent
    found = read_status(root, [RUN.run_id], Fake(None))
    assert (found.queue_known, found.runs[0].state) == (False, "unknown")
    assert "no answer" in found.news[0]
    with folder.claim():
        assert state(root, Fake(None)) == "running"
    folder.write_json("result.json", {})
    assert state(root, Fake(None)) == "done"


def test_cancel_marks_first_and_takes_the_whole_pack(tmp_path):
    launch = Launch.create(tmp_path, "test", "cpu", [[RUN, tiny(1)], [tiny(2)]])
    launch = launch.accepted(tmp_path, "12")
    both = line(launch, "RUNNING") + line(launch, "PENDING", job="12_1")
    fake = Fake(both)
    ended = cancel(tmp_path, [RUN.run_id], ask=fake)
    assert {run.run_id for run in ended} == {RUN.run_id, tiny(1).run_id}
    assert ("scancel", "12_0") in fake.commands
    assert read_record(tmp_path, tiny(1).run_id).cancelled
    assert not read_record(tmp_path, tiny(2).run_id).cancelled
    fake = Fake(both)
    cancel(tmp_path, states=["queued"], ask=fake)
    assert fake.commands[-1] == ("scancel", "12_1")
    assert cancel(tmp_path, states=["held"], ask=Fake(both)) == []
    with pytest.raises(QueueUnavailable):
        cancel(tmp_path, ask=Fake(None))


def test_records_of_a_later_launch_stay(sent):
    root, launch, _ = sent
    record = read_record(root, RUN.run_id)
    later = dataclasses.replace(record, launch="later", submitted=time.time() + 5)
    write(root, RUN.run_id, later)
    launch.accepted(root, "12")
    assert read_record(root, RUN.run_id) == later
    assert read_record(root, tiny(1).run_id).job_id == "12_1"


def test_settling_finds_and_forgets(tmp_path):
    ran = Launch.create(tmp_path, "ran", "cpu", [[tiny(1)], [tiny(2)]])
    (ran.folder / "77_1_0_log.out").touch()
    queued = Launch.create(tmp_path, "queued", "cpu", [[tiny(3)]])
    never = Launch.create(tmp_path, "never", "cpu", [[tiny(4)]])
    entry = QueueEntry("80", "PENDING", "None", "", queued.name)
    refused = QueueEntry("81", "FAILED", "BadConstraints", "", never.name)
    news = settle(tmp_path, {"80": entry, "81": refused})
    assert len(news) == 3
    assert {launch.name for launch in launches(tmp_path)} == {ran.name, queued.name}
    assert read_record(tmp_path, tiny(2).run_id).job_id == "77_1"
    assert read_record(tmp_path, tiny(3).run_id).job_id == "80"
    assert read_record(tmp_path, tiny(4).run_id) is None
    assert settle(tmp_path, {}) == []


def test_one_launcher_at_a_time(tmp_path):
    with launching(tmp_path), pytest.raises(ValueError, match="Another launcher"):  # noqa: SIM117
        with launching(tmp_path):
            pass
    unsettled = Launch.create(tmp_path, "busy", "cpu", [[RUN]])
    with launching(tmp_path):  # a status meanwhile leaves its launch alone
        read_status(tmp_path, [], Fake(""))
    assert unsettled.folder.exists()
    read_status(tmp_path, [], Fake(""))
    assert not unsettled.folder.exists()


@pytest.mark.parametrize("name", ["SUBMITIT_EXECUTOR", "SLURM_ARRAY_JOB_ID"])
def test_no_launch_from_inside_a_job(name):
    refuse_inside_job({"SLURM_CONF": "x"})
    with pytest.raises(ValueError, match=f"{name} is set"):
        refuse_inside_job({name: "1"})


def test_records_of_other_versions_can_be_read(sent):
    root, _, folder = sent
    values = json.loads((folder.path / "slurm.json").read_text()) | {"novel": 1}
    (folder.path / "slurm.json").write_text(json.dumps(values))
    assert read_record(root, RUN.run_id).job_id == "12_0"
    assert (root / FOLDER).is_dir()


@pytest.mark.parametrize(
    "words", ["status {}", "logs {} x", "cancel {}", "retry {} --profile cpu"]
)
def test_a_folder_that_is_not_there_is_no_empty_one(tmp_path, words, capsys):
    assert main(words.format(tmp_path / "typo").split()) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: There is no folder {tmp_path / 'typo'}. Give that")

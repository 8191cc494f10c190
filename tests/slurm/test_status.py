"""Folders and queue merged, with a queue of our own making."""

import argparse
import dataclasses
import json
import os
import pickle
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from slurm.__main__ import main
from slurm.clients import QueueUnavailable
from slurm.job_record import FOLDER, read_record
from slurm.job_record import write_record as write
from slurm.ledger import SubmittedArray, lock_launches, read_launches, reconcile
from slurm.profile import Profile
from slurm.progress_guard import claim_runs
from slurm.queue import QueueEntry, parse_squeue
from slurm.status import cancel, read_status
from slurm.submission import SubmissionRefused, live_jobs, refuse_inside_job, submit
from slurm.submitted_runs import smaller_packs, stored_config
from slurm.worker import PendingSignals, Worker
from synth.run.store import RunFolder

from .conftest import tiny

RUN = tiny(0)


class Fake:
    """A scheduler that answers from tables."""

    def __init__(self, queue="", history=None):
        self.queue, self.history, self.commands = queue, history, []

    def __call__(self, *command, timeout_s=0.0, text=None):
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
    launch = SubmittedArray.create(tmp_path, "test", "cpu", [[RUN], [tiny(1)]])
    launch = launch.record_job(tmp_path, "12")
    return tmp_path, launch, RunFolder(tmp_path, RUN.run_id)


def state(root, fake):
    return read_status(root, [RUN.run_id], fake).runs[0].state


def line(launch, word, reason="None", job="12_0"):
    return "\x1f".join([job, word, reason, "n1", "0", launch.name]) + "\n"


def history_line(word, name, job="12_0"):
    return "\x1f".join([job, word, "0:0", "n1", name]) + "\n"


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


def test_a_job_out_of_time_says_what_to_change(sent):
    """Loading alone can take longer than a short limit: the folder knows nothing."""
    root, launch, _ = sent
    fake = Fake(line(launch, "TIMEOUT", "TimeLimit"))
    found = read_status(root, [RUN.run_id], fake).runs[0]
    assert found.detail.startswith(
        "SLURM says TIMEOUT, TimeLimit: the limit was reached "
    )
    assert "before the run started, while Python and torch" in found.detail
    assert "raise `time` in the profile, then retry" in found.detail
    record = read_record(root, RUN.run_id)
    write(root, RUN.run_id, dataclasses.replace(record, started=time.time()))
    found = read_status(root, [RUN.run_id], fake).runs[0]
    assert "raise `signal_delay_s` or `time`" in found.detail
    assert "timed out" in found.line()
    assert "job 12_0" in found.line()


def test_no_step_of_an_earlier_attempt_is_shown(sent):
    """Cancelled at step 480 and sent again: the new job has not said anything yet."""
    root, launch, folder = sent
    folder.open(RUN)
    record = dataclasses.replace(read_record(root, RUN.run_id), started=time.time())
    write(root, RUN.run_id, record)
    folder.write_json("progress.json", {"step": 480, "steps": 500})

    def shown(launch):
        return read_status(root, [RUN.run_id], Fake(line(launch, "RUNNING"))).runs[0]

    assert shown(launch).detail == "step 480 of 500"
    again = SubmittedArray.create(root, "again", "cpu", [[RUN], [tiny(1)]])
    again = again.record_job(root, "12")
    assert (shown(again).state, shown(again).detail) == ("running", "")
    assert claim_runs(root, again, 0, [RUN]) == [RUN]
    assert (shown(again).state, shown(again).detail) == ("running", "")
    folder.write_json("progress.json", {"step": 20, "steps": 500})
    assert shown(again).detail == "step 20 of 500"


@pytest.fixture
def linked(sent):
    """A begun run of a launched sweep, and the folder of a sweep that links to it."""
    root, launch, folder = sent
    folder.open(RUN)
    other = root / "other"
    other.mkdir()
    (other / RUN.run_id).symlink_to(Path("..", RUN.run_id))
    return root, launch, other


def test_a_linked_run_has_the_job_of_the_sweep_in_whose_folder_it_lies(linked):
    _, launch, other = linked
    shown = line(launch, "PENDING", "Resources")
    (run,) = read_status(other, [RUN.run_id], Fake(shown)).runs
    assert (run.state, run.job_id) == ("queued", "12_0")
    assert run.log.parent == launch.folder
    assert live_jobs(other, [RUN.run_id], parse_squeue(shown)) == {RUN.run_id: "12_0"}
    assert smaller_packs(other, [RUN.run_id]) == {RUN.run_id: 1}


def test_a_run_has_the_job_of_a_sweep_that_links_to_it(linked, capsys):
    """Its own sweep's job has ended; the other sweep sent it, in a pack."""
    root, first, other = linked
    launch = SubmittedArray.create(other, "other", "cpu", [[RUN, tiny(2)], [tiny(3)]])
    launch.record_job(other, "13")
    shown = line(launch, "RUNNING", job="13_0")
    for folder in (root, other):
        (run,) = read_status(folder, [RUN.run_id], Fake(shown)).runs
        assert (run.state, run.job_id) == ("running", "13_0")
        assert run.log.parent == launch.folder
        queue = parse_squeue(shown)
        assert live_jobs(folder, [RUN.run_id], queue) == {RUN.run_id: "13_0"}
        assert main(["logs", str(folder / RUN.run_id)]) == 0
        assert capsys.readouterr().out.splitlines()[0] == str(run.log)
    fake = Fake(shown)
    ended = cancel(root, [RUN.run_id], ask=fake)
    assert {run.run_id for run in ended} == {RUN.run_id, tiny(2).run_id}
    assert ("scancel", "13_0") in fake.commands
    assert read_record(root, RUN.run_id).cancelled
    assert read_record(other, tiny(2).run_id).cancelled
    assert first.name != launch.name


def test_squeue_comes_before_sacct(sent):
    """After a node failure sacct says NODE_FAIL while the job waits for its restart."""
    root, launch, _ = sent
    history = history_line("NODE_FAIL", launch.name)
    assert state(root, Fake(line(launch, "PENDING"), history)) == "queued"
    assert state(root, Fake("", history)) == "lost"
    cancelled = history_line("CANCELLED by 0", launch.name)
    assert state(root, Fake("", cancelled)) == "cancelled"
    assert state(root, Fake("")) == "lost"  # no accounting, long gone


def test_an_id_that_was_used_again_is_not_ours(sent):
    root, launch, _ = sent
    other = dataclasses.replace(launch, name="another")
    assert state(root, Fake(line(other, "RUNNING"))) == "lost"
    assert state(root, Fake("", history_line("TIMEOUT", "another"))) == "lost"
    queue = {"12_0": QueueEntry("12_0", "RUNNING", "None", "n1", "another")}
    assert live_jobs(root, [RUN.run_id], queue) == {}


def test_a_result_beats_every_scheduler(sent):
    root, launch, folder = sent
    folder.open(RUN)
    folder.write_json("result.json", {})
    for word in ("RUNNING", "FAILED", "CANCELLED"):
        assert state(root, Fake(line(launch, word))) == "done"
    held = read_status(
        root, [RUN.run_id], Fake(line(launch, "PENDING", "job requeued in held state"))
    ).runs[0]
    assert (held.state, "held" in held.detail) == ("done", True)


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_a_failure_counts_for_the_attempt_that_wrote_it(tmp_path, ahead):
    """Whatever the clocks of the machines say that launch, train and keep the files."""
    folder = RunFolder(tmp_path, RUN.run_id)

    def fail(message):
        folder.open(RUN)
        folder.write_json("failure.json", {"message": message})
        written = time.time() + ahead
        os.utime(folder.path / "failure.json", (written, written))

    fail("an old one")
    launch = SubmittedArray.create(tmp_path, "test", "cpu", [[RUN], [tiny(1)]])
    launch = launch.record_job(tmp_path, "12")
    assert state(tmp_path, Fake(line(launch, "PENDING"))) == "queued"
    assert state(tmp_path, Fake(line(launch, "RUNNING"))) == "running"
    fail("boom")
    fake = Fake(line(launch, "FAILED"))
    found = read_status(tmp_path, [RUN.run_id], fake).runs[0]
    assert (found.state, found.detail) == ("failed", "boom")
    (folder.path / "config.json").unlink()
    assert state(tmp_path, fake) == "failed"
    # Its neighbours still train in the same job.
    assert state(tmp_path, Fake(line(launch, "RUNNING"))) == "failed"


def test_a_silent_controller_is_not_an_empty_queue(sent):
    root, _, folder = sent
    found = read_status(root, [RUN.run_id], Fake(None))
    assert (found.queue_known, found.runs[0].state) == (False, "unknown")
    assert "no answer" in found.news[0]
    folder.open(RUN)
    with folder.claim():
        assert state(root, Fake(None)) == "running"
    folder.write_json("result.json", {})
    assert state(root, Fake(None)) == "done"


def test_cancel_marks_first_and_takes_the_whole_pack(tmp_path):
    launch = SubmittedArray.create(tmp_path, "test", "cpu", [[RUN, tiny(1)], [tiny(2)]])
    launch = launch.record_job(tmp_path, "12")
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


def test_a_run_that_trains_without_a_job_has_none_to_cancel(sent):
    """Its old job left the queue; it went on here, outside SLURM."""
    root, launch, folder = sent
    folder.open(RUN)
    with folder.claim():
        for queue in ("", line(launch, "TIMEOUT")):
            fake = Fake(queue)
            (found,) = read_status(root, [RUN.run_id], fake).runs
            assert (found.state, found.job_id) == ("running", "")
            assert cancel(root, [RUN.run_id], ask=fake) == []
            assert "scancel" not in {command[0] for command in fake.commands}


def test_records_of_a_later_launch_stay(sent):
    root, launch, _ = sent
    record = read_record(root, RUN.run_id)
    # Sent from a machine whose clock is behind.
    later = dataclasses.replace(record, launch="later", generation=2, submitted=0.0)
    write(root, RUN.run_id, later)
    launch.record_job(root, "12")
    assert read_record(root, RUN.run_id) == later
    assert read_record(root, tiny(1).run_id).job_id == "12_1"


def test_settling_finds_and_forgets(tmp_path):
    ran = SubmittedArray.create(tmp_path, "ran", "cpu", [[tiny(1)], [tiny(2)]])
    (ran.folder / "77_1_0_log.out").touch()
    queued = SubmittedArray.create(tmp_path, "queued", "cpu", [[tiny(3)]])
    never = SubmittedArray.create(tmp_path, "never", "cpu", [[tiny(4)]])
    entry = QueueEntry("80", "PENDING", "None", "", queued.name)
    refused = QueueEntry("81", "FAILED", "BadConstraints", "", never.name)
    news = reconcile(tmp_path, {"80": entry, "81": refused})
    assert len(news) == 3
    assert {launch.name for launch in read_launches(tmp_path)} == {
        ran.name,
        queued.name,
    }
    assert read_record(tmp_path, tiny(2).run_id).job_id == "77_1"
    assert read_record(tmp_path, tiny(3).run_id).job_id == "80"
    assert read_record(tmp_path, tiny(4).run_id) is None
    assert reconcile(tmp_path, {}) == []


def test_launches_are_numbered_whatever_the_clock_says(tmp_path, monkeypatch):
    """One clock is an hour ahead; and someone has removed the launch folders."""
    monkeypatch.setattr(time, "time", lambda: 9e9)
    first = SubmittedArray.create(tmp_path, "a", "cpu", [[RUN]]).record_job(
        tmp_path, "12"
    )
    monkeypatch.undo()
    second = SubmittedArray.create(tmp_path, "b", "cpu", [[RUN]]).record_job(
        tmp_path, "13"
    )
    assert (first.generation, second.generation) == (1, 2)
    assert read_record(tmp_path, RUN.run_id).launch == second.name
    shutil.rmtree(tmp_path / FOLDER)
    third = SubmittedArray.create(tmp_path, "c", "cpu", [[tiny(5)], [RUN]])
    assert third.generation == 3


def test_the_launches_of_a_group_are_asked_for(sent, monkeypatch):
    root, launch, _ = sent
    fake = Fake(line(launch, "RUNNING"))
    os.chown(launch.folder, 12345678, -1)  # known to nobody here: squeue would refuse
    assert state(root, fake) == "running"
    assert fake.commands[-1][6] == str(os.getuid())
    found = []
    monkeypatch.setattr(
        "pwd.getpwuid", lambda uid: found.append(uid) or argparse.Namespace(pw_uid=uid)
    )
    read_status(root, [], fake)
    assert fake.commands[-1][6] == f"{os.getuid()},12345678"
    # What a colleague has left half-done is not ours to remove.
    dataclasses.replace(launch, job_id=None, recorded=False).save()
    assert read_status(root, [], Fake("")).news == []
    assert launch.folder.exists()


class Bomb:
    """Unpickled, it runs code."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_pickle_is_read(sent, tmp_path_factory):
    """Whoever may write to the runs folder leaves pickles wherever one was ever read."""
    root, launch, _ = sent
    mark = tmp_path_factory.mktemp("mark") / "ran"
    dataclasses.replace(launch, job_id=None, recorded=False).save()
    for name in ("a" * 32, "12_0_submitted", "12_submitted", "12_0_0_result"):
        (launch.folder / f"{name}.pkl").write_bytes(pickle.dumps(Bomb(mark)))
    queue = line(launch, "RUNNING")
    for _ in range(2):
        assert state(root, Fake(queue)) == "running"
    cancel(root, ask=Fake(queue))
    reconcile(root, {})
    config = stored_config(root, RUN.run_id)
    assert smaller_packs(root, [RUN.run_id]) == {RUN.run_id: 1}
    with pytest.raises(SubmissionRefused):  # the stand-in knows no sbatch
        submit([[config]], root, Profile(name="test"), ask=Fake(""))
    with pytest.raises(RuntimeError, match="not the code"):
        Worker.read(
            dataclasses.replace(launch, code="/nowhere").record_job(root, "12").folder,
            0,
        )(PendingSignals.__new__(PendingSignals))
    assert not mark.exists()
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.exists()


ODD = [
    "",
    "{",
    "null",
    "[]",
    '"x"',
    "7",
    "{}",
    '{"launch": 3}',
    "\x00\xff",
    "[" * 99999,
]


@pytest.mark.parametrize("content", ODD)
@pytest.mark.parametrize("name", ["slurm.json", "failure.json", "progress.json"])
def test_one_damaged_file_hides_no_other_run(sent, name, content):
    root, launch, folder = sent
    RunFolder(root, tiny(1).run_id).open(tiny(1))
    folder.open(RUN)
    (folder.path / name).write_text(content)
    shown = line(launch, "RUNNING") + line(launch, "RUNNING", job="12_1")
    found = {run.run_id: run for run in read_status(root, None, Fake(shown)).runs}
    assert found[tiny(1).run_id].state == "running"
    mine = found[RUN.run_id]
    if name == "slurm.json":
        assert mine.state == "unreadable"
        assert str(folder.path / name) in mine.detail
        assert "Remove it" in mine.detail
        # It is not sent twice, for its launch knows it; and heals when that is repeated.
        queue = parse_squeue(shown)
        assert live_jobs(root, [RUN.run_id], queue) == {RUN.run_id: "12_0"}
        launch.record_job(root, "12")
        assert read_record(root, RUN.run_id).job_id == "12_0"
    elif name == "progress.json":
        assert mine.state == "running"


@pytest.mark.parametrize("content", [*ODD, '{"name": "../x"}', "launch of another"])
def test_a_damaged_launch_is_named_and_its_runs_are_not_sent_twice(sent, content):
    root, launch, _ = sent
    text = (launch.folder / "launch.json").read_text()
    if content == "launch of another":
        content = text.replace(launch.name, "another")
    (launch.folder / "launch.json").write_text(content)
    shown = line(launch, "RUNNING")
    found = read_status(root, None, Fake(shown))
    assert [f"{launch.folder / 'launch.json'} cannot be read" in w for w in found.news]
    assert found.runs[0].state == "running"
    queue = parse_squeue(shown)
    assert live_jobs(root, [RUN.run_id], queue) == {RUN.run_id: "12_0"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("job_id", "-u root"),
        ("job_id", "12; rm"),
        ("launch", "../../elsewhere"),
        ("launch", ""),
        ("generation", "1"),
        ("cancelled", 1),
        ("restarts", None),
        ("node", {}),
    ],
)
def test_words_of_a_record_are_checked(sent, key, value):
    """They stand on command lines and in paths."""
    root, _, folder = sent
    values = folder.read_json("slurm.json") | {key: value}
    folder.write_json("slurm.json", values)
    with pytest.raises(ValueError, match=rf"slurm.json is not a job record \({key}"):
        read_record(root, RUN.run_id)


def test_runs_of_a_launch_are_names(sent):
    _, launch, _ = sent
    path = launch.folder / "launch.json"
    values = json.loads(path.read_text())
    for bad in ("../x", "a/b", ".slurm", "", 7):
        path.write_text(json.dumps(values | {"packs": [[bad]]}))
        with pytest.raises(ValueError, match=r"launch.json cannot be read"):
            SubmittedArray.read(launch.folder)


def test_a_folder_that_cannot_be_read_is_shown(sent, monkeypatch):
    root, _, folder = sent
    folder.open(RUN)
    genuine = os.listdir

    def refusing(path):
        if path == folder.path:
            raise PermissionError(13, "Permission denied", str(path))
        return genuine(path)

    monkeypatch.setattr(os, "listdir", refusing)
    monkeypatch.setattr(
        "slurm.status.read_record",
        lambda root, run_id: refusing(root / run_id) and read_record(root, run_id),
    )
    found = {run.run_id: run for run in read_status(root, None, Fake("")).runs}
    assert found[RUN.run_id].state == "unreadable"
    assert "Permission denied" in found[RUN.run_id].detail
    assert found[tiny(1).run_id].state == "lost"
    # A run whose configuration is gone is a run still.
    monkeypatch.undo()
    (folder.path / "config.json").unlink()
    assert RUN.run_id in {run.run_id for run in read_status(root, None, Fake("")).runs}


def test_modes_follow_the_umask(tmp_path):
    """In a folder of a group, the others can launch, cancel and mark too."""
    for umask in (0o002, 0o027):
        root = tmp_path / oct(umask)
        before = os.umask(umask)
        try:
            with lock_launches(root):
                launch = SubmittedArray.create(root, "a", "cpu", [[RUN]])
                launch.record_job(root, "12")
        finally:
            os.umask(before)
        found = [p for p in root.rglob("*") if p.is_file()]
        assert len(found) >= 4
        assert {p.stat().st_mode & 0o777 for p in found} == {0o666 & ~umask}
        folders = [p for p in root.rglob("*") if p.is_dir()]
        assert {p.stat().st_mode & 0o777 for p in folders} == {0o777 & ~umask}


def test_a_refusal_of_scancel_counts_while_jobs_live(sent):
    root, launch, _ = sent
    answers = [line(launch, "RUNNING")] * 3

    def fake(*command, timeout_s=0.0, text=None):
        if command[0] == "squeue":
            return subprocess.CompletedProcess(command, 0, answers.pop(0), "")
        code = int(command[0] == "scancel")
        return subprocess.CompletedProcess(command, code, "", "Access denied")

    with pytest.raises(QueueUnavailable, match="scancel failed: Access denied"):
        cancel(root, [RUN.run_id], ask=fake)
    answers += [line(launch, "RUNNING")] * 2 + [line(launch, "COMPLETED")]
    assert len(cancel(root, ask=fake)) == 1


def test_what_was_sent_last_is_known_where_a_run_never_began(tmp_path):
    runs = [tiny(seed) for seed in range(9)]
    launch = SubmittedArray.create(
        tmp_path, "x", "cpu", [runs[:4], runs[4:7], runs[7:]]
    )
    launch.record_job(tmp_path, "12")
    RunFolder(tmp_path, runs[4].run_id).open(runs[4])  # the only one that has begun
    assert [stored_config(tmp_path, run.run_id) for run in runs] == runs
    ids = [runs[place].run_id for place in (0, 4, 8)]
    assert smaller_packs(tmp_path, ids) == dict(zip(ids, (2, 1, 1), strict=True))
    config = tmp_path / runs[7].run_id / "config.json"
    config.write_text(json.dumps({"run_id": "x", "config": {}}))
    with pytest.raises(ValueError, match=r"RunConfig.task must be an object"):
        stored_config(tmp_path, runs[7].run_id)
    record = tmp_path / runs[6].run_id / "slurm.json"
    record.write_text("[]")
    with pytest.raises(ValueError, match=r"slurm.json is not a job record"):
        stored_config(tmp_path, runs[6].run_id)
    assert smaller_packs(tmp_path, [runs[6].run_id, "unheard-of"]) == {}


def test_one_launcher_at_a_time(tmp_path):
    with lock_launches(tmp_path), pytest.raises(ValueError, match="Another launcher"):  # noqa: SIM117
        with lock_launches(tmp_path):
            pass
    unsettled = SubmittedArray.create(tmp_path, "busy", "cpu", [[RUN]])
    with lock_launches(tmp_path):  # a status meanwhile leaves its launch alone
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


@pytest.mark.parametrize("words", ["logs {}", "cancel {}"])
def test_a_run_that_is_not_there_is_named(tmp_path, words, capsys):
    assert main(words.format(tmp_path / "typo").split()) == 2
    err = capsys.readouterr().err
    assert err == f"error: The folder {tmp_path / 'typo'} does not exist.\n"

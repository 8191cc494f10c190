"""The worker outside of a cluster: signals, requeue, records, what it refuses."""

import dataclasses
import json
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from slurm import progress_guard, worker
from slurm.job_record import FOLDER, JobRecord, failure_stamp, read_record, write_record
from slurm.ledger import SubmittedArray
from slurm.own_job import own_job_id, requeue
from slurm.worker import PackFailed, Worker
from synth.run.code_copy import HERE, take
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.store import RunFolder
from synth.run.trackers import TRACKERS
from synth.training import train

from .conftest import tiny


class Make:
    """A worker outside of a cluster, as its launch would have it."""

    def __init__(self, root, *configs, generation=1, name="mine", **how):
        how.setdefault("max_idle_restarts", 3)
        how.setdefault("execution", dataclasses.asdict(Execution()))
        ids = [[config.run_id for config in configs]]
        folder = root / FOLDER / name
        launch = SubmittedArray(
            name, folder, "test", 1000.0, generation, ids, **how, job_id="12"
        )
        folder.mkdir(parents=True, exist_ok=True)
        launch.save()
        packs = json.dumps([config.to_dict() for config in configs]) + "\n"
        (folder / "packs.jsonl").write_text(packs)
        self.worker = Worker.read(folder, 0)

    def __call__(self):
        self.worker(worker.PendingSignals())


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    """No job's environment, and the handlers of this process put back."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    before = {number: signal.getsignal(number) for number in worker.SIGNALS}
    before[signal.SIGCONT] = signal.getsignal(signal.SIGCONT)
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def scheduler(tmp_path, monkeypatch):
    """Stand-ins for squeue and scontrol that write down what they are asked."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def install(name, answer="", code=0, error=""):
        path = folder / name
        path.write_text(
            f"#!/bin/sh\necho {name} $* >> {tmp_path}/asked\n"
            f"printf '%s' '{answer}'\nprintf '%s' '{error}' >&2\nexit {code}\n"
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    install("squeue", "RUNNING")
    install("scontrol")
    install.asked = lambda: (tmp_path / "asked").read_text().splitlines()
    return install


def test_the_worker_loads_nothing_before_it_hears_signals():
    """A signal while a slow module loads would be late: nothing slow may load."""
    script = """
        import sys
        import slurm.worker
        slow = {"torch", "numpy", "submitit", "synth", "json"} & set(sys.modules)
        assert not slow, slow
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    subprocess.run(command, check=True, cwd=HERE)


def test_a_pack_is_trained_and_recorded(tmp_path, capsys):
    runs = [tiny(0, 6), tiny(1, 6)]
    Make(tmp_path, *runs)()
    assert {RunFolder(tmp_path, run.run_id).state() for run in runs} == {"done"}
    record = read_record(tmp_path, runs[1].run_id)
    assert (record.launch, record.job_id, record.restarts) == ("mine", "12", 0)
    Make(tmp_path, *runs)()
    assert "nothing left to do" in capsys.readouterr().out


def test_a_job_is_followed_by_a_tracker(tmp_path, monkeypatch):
    """The worker says nothing of trackers: the execution that was sent names one."""
    logged = []

    class Tracker:
        rewinds, buffers = False, False

        def __init__(self, folder, config, after):
            self.log = lambda step, values: logged.append((folder.name, step))
            self.flush = self.close = lambda: None

    monkeypatch.setitem(TRACKERS, "trackio", Tracker)
    monkeypatch.setattr("synth.run.tracking.missing_package", lambda name: None)
    run = tiny(0, 6)
    execution = dataclasses.asdict(Execution(track="trackio"))
    Make(tmp_path, run, execution=execution)()
    assert logged[-1] == (run.run_id, 6)


def test_failures_are_raised_after_the_others_are_done(tmp_path):
    good, bad = tiny(0, 6), tiny(1, 6)
    folder = RunFolder(tmp_path, bad.run_id)
    folder.open(bad)
    (folder.checkpoints / "step-000000002").mkdir(parents=True)
    (folder.checkpoints / "step-000000002" / "moments.safetensors").touch()
    with pytest.raises(PackFailed, match=bad.run_id):
        Make(tmp_path, good, bad)()
    assert RunFolder(tmp_path, good.run_id).state() == "done"


def test_a_folder_of_another_run_spoils_no_neighbour(tmp_path):
    good, bad = tiny(0, 6), tiny(1, 6)
    folder = RunFolder(tmp_path, bad.run_id)
    folder.path.mkdir(parents=True)
    folder.write_json("config.json", {"run_id": "x", "config": {}})
    with pytest.raises(PackFailed, match="does not describe run"):
        Make(tmp_path, good, bad)()
    assert RunFolder(tmp_path, good.run_id).state() == "done"


def damage_record(folder):
    (folder.path / "slurm.json").write_text("[]")


def damage_config(folder):
    (folder.path / "config.json").write_text("{")


def remove_folder(folder):
    shutil.rmtree(folder.path)


def put_a_file_there(folder):
    shutil.rmtree(folder.path)
    folder.path.touch()


def put_a_folder_where_metrics_go(folder):
    folder.metrics_path.unlink(missing_ok=True)
    folder.metrics_path.mkdir()


@pytest.mark.parametrize(
    ("damage", "ends"),
    [
        (damage_record, "done"),
        (remove_folder, "done"),
        (damage_config, "failed"),
        (put_a_file_there, "failed"),
        (put_a_folder_where_metrics_go, "failed"),
    ],
)
def test_one_damaged_folder_ends_no_other_run(tmp_path, damage, ends):
    runs = [tiny(seed, 6) for seed in range(3)]
    bad = RunFolder(tmp_path, runs[1].run_id)
    bad.open(runs[1])
    damage(bad)
    make = Make(tmp_path, *runs)
    if ends == "done":
        make()
        assert bad.state() == "done"
    else:
        with pytest.raises(PackFailed, match=bad.run_id) as failed:
            make()
        assert runs[0].run_id not in str(failed.value)
    for run in (runs[0], runs[2]):
        assert RunFolder(tmp_path, run.run_id).state() == "done"


def test_a_failure_without_training_is_written_down(tmp_path):
    """An older failure.json says nothing of this attempt: status passes it over."""
    good, bad = tiny(0, 6), tiny(1, 6)
    folder = RunFolder(tmp_path, bad.run_id)
    folder.open(bad)
    damage_config(folder)
    folder.write_json("failure.json", {"message": "an old one"})
    with pytest.raises(PackFailed):
        Make(tmp_path, good, bad)()
    assert "config.json" in folder.read_json("failure.json")["message"]
    assert failure_stamp(tmp_path, bad.run_id) != (
        read_record(tmp_path, bad.run_id).old_failure
    )


def test_lanes_that_failed_alike_are_tried_alone(tmp_path, monkeypatch):
    """What ends a whole pack may be the trouble of one of its lanes."""
    runs = [tiny(seed, 6) for seed in range(3)]
    tried = []

    def fragile(configs, root, *rest, **how):
        tried.append([config.seed for config in configs])
        if runs[1] in configs:
            return [Outcome(c.run_id, "failed", "a lane is bad") for c in configs]
        return train(configs, root, *rest, **how)

    monkeypatch.setattr("synth.training.train", fragile)
    with pytest.raises(PackFailed) as failed:
        Make(tmp_path, *runs)()
    assert tried == [[0, 1, 2], [0], [1], [2]]
    assert str(failed.value) == f"{runs[1].run_id}: a lane is bad"
    assert RunFolder(tmp_path, runs[1].run_id).state() == "failed"
    assert RunFolder(tmp_path, runs[2].run_id).state() == "done"


@pytest.mark.parametrize("content", ["", "{}", "null\n", "[1]\n", "[[]]\n"])
def test_a_launch_without_its_packs_says_so(tmp_path, content):
    make = Make(tmp_path, tiny(0, 6))
    (make.worker.launch.folder / "packs.jsonl").write_text(content)
    with pytest.raises(
        ValueError, match=r"packs.jsonl, line 1, is not a list of config"
    ):
        Worker.read(make.worker.launch.folder, 0)
    with pytest.raises(ValueError, match="line 8"):
        Worker.read(make.worker.launch.folder, 7)


def test_no_pickle_of_the_launch_folder_is_read(tmp_path):
    """As a process of its own, the way srun starts it."""
    run, mark = tiny(0, 6), tmp_path / "ran"
    folder = Make(tmp_path, run).worker.launch.folder
    bomb = b"cos\nmkdir\n(S'" + str(mark).encode() + b"'\ntR."
    for name in ("12_submitted", "12_0_submitted", "12_0_0_result", "f" * 32):
        (folder / f"{name}.pkl").write_bytes(bomb)
    command = [sys.executable, "-m", "slurm.worker", str(folder)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path, run.run_id).state() == "done"
    assert not mark.exists()
    pickle.loads(bomb)
    assert mark.exists()


def test_another_code_than_submitted_is_refused(tmp_path):
    run = tiny(0, 6)
    with pytest.raises(RuntimeError, match="not the code that it was submitted with"):
        Make(tmp_path, run, code=str(tmp_path / "code"))()
    failure = RunFolder(tmp_path, run.run_id).read_json("failure.json")
    assert "PYTHONPATH" in failure["message"]
    assert "Traceback" in failure["traceback"]


def test_runs_of_later_launches_and_cancelled_ones_are_left(tmp_path):
    later, cancelled, mine = tiny(0), tiny(1), tiny(2)
    # The clocks of the machines that launched disagree with the order of launches.
    record = JobRecord("later", 0, "99", "test", 500.0, generation=6)
    mark = JobRecord("mine", 0, "12", "test", 1000.0, generation=5, cancelled=True)
    older = JobRecord("older", 4, "7_4", "test", 9e9, generation=4, cancelled=True)
    for config, known in ((later, record), (cancelled, mark), (mine, older)):
        RunFolder(tmp_path, config.run_id).open(config)
        write_record(tmp_path, config.run_id, known)
    runs = [later, cancelled, mine]
    own = Make(tmp_path, *runs, generation=5)
    assert own.worker.claim(runs) == [mine]
    assert read_record(tmp_path, later.run_id) == record
    taken = read_record(tmp_path, mine.run_id)
    assert (taken.launch, taken.job_id, taken.cancelled) == ("mine", "12", False)


def test_restarts_without_progress_come_to_an_end(tmp_path, monkeypatch):
    run = tiny(0)
    folder = RunFolder(tmp_path, run.run_id)
    own = Make(tmp_path, run).worker

    def restart(number: int) -> int:
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(number))
        own.claim([run])
        return read_record(tmp_path, run.run_id).idle_restarts

    assert [restart(n) for n in (0, 1, 2)] == [0, 1, 2]
    step = folder.checkpoints / "step-000000005"
    step.mkdir(parents=True)
    (step / "moments.safetensors").touch()
    assert [restart(n) for n in (3, 4, 5)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="3 times in a row without a new checkpoint"):
        restart(6)


@pytest.mark.parametrize(
    ("number", "shown", "requeued"),
    [
        (signal.SIGUSR2, "RUNNING", True),
        (signal.SIGTERM, "RUNNING", True),  # preemption, as a site without USR2 does it
        (signal.SIGTERM, "CANCELLED", False),  # scancel
    ],
)
def test_signals_checkpoint_and_requeue(
    tmp_path, monkeypatch, scheduler, number, shown, requeued
):
    scheduler("squeue", shown)
    run = tiny(0, 20_000)

    def train_for_a_while(configs, root, execution, progress):
        os.kill(os.getpid(), number)  # before training listens: it must not be lost
        return train(configs, root, execution, progress)

    monkeypatch.setattr("synth.training.train", train_for_a_while)
    with pytest.raises(SystemExit):
        Make(tmp_path, run)()
    folder = RunFolder(tmp_path, run.run_id)
    assert folder.state() == "stopped"
    assert max(progress_guard.saved_steps(folder)) < 20_000
    assert ("scontrol requeue 12" in scheduler.asked()) == requeued


def test_requeue_tolerates_what_slurm_did_already(scheduler, capsys):
    scheduler("scontrol", code=1, error="Job is pending execution")
    scheduler("squeue", "PENDING")
    requeue()
    assert "requeued by SLURM" in capsys.readouterr().out
    scheduler("scontrol", code=1, error="Access/permission denied")
    scheduler("squeue", "COMPLETING")
    requeue()
    scheduler("squeue", "RUNNING")
    with pytest.raises(RuntimeError, match=r"denied.*launch the sweep again"):
        requeue()


def test_an_element_names_itself(monkeypatch):
    """SLURM_JOB_ID of the last element is the id of the whole array."""
    assert own_job_id() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert own_job_id() == "12_3"


def test_snapshots_are_shared_and_complete(tmp_path):
    first = take(tmp_path, ".slurm")
    assert take(tmp_path, ".slurm") == first
    for package in ("synth", "slurm"):
        names = {p.relative_to(HERE) for p in (HERE / package).rglob("*.py")}
        assert names == {p.relative_to(first) for p in (first / package).rglob("*.py")}
    checkout = tmp_path / "checkout"
    for package in ("synth", "slurm"):
        subprocess.run(["mkdir", "-p", checkout], check=True)
        subprocess.run(["cp", "-r", HERE / package, checkout], check=True)
    assert take(tmp_path, ".slurm", checkout) == first
    (checkout / "synth" / "novel.py").touch()
    assert take(tmp_path, ".slurm", checkout) != first
    script = (
        "from synth.run.defining_code import code_state; print(code_state()['commit'])"
    )
    shown = subprocess.check_output(
        [sys.executable, "-c", script], cwd=first, text=True
    )
    assert shown == subprocess.check_output(
        [sys.executable, "-c", script], cwd=HERE, text=True
    )

"""A worker process: what it imports on the way to the outcomes of a pack."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict

import pytest

from sweeps.executor import Work
from sweeps.launch_display import Display
from sweeps.launch_progress import ActivePack, LaunchProgress
from sweeps.pool import Launch, LocalPool
from sweeps.process import SOURCE, WorkerProcess, environment_for
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.store import RunFolder
from tests.conftest import PATIENCE_S, tiny_run, wait_until
from tests.synth.test_optimizer import HEAVY

WORKER = """
import json, sys
from sweeps import pool_worker

send = pool_worker.send_event

def send_modules(channel, event, **content):
    send(channel, event, **content, modules=list(sys.modules))

pool_worker.send_event = send_modules
sys.exit(pool_worker.main())
"""


def test_a_worker_imports_what_training_needs_alone(tmp_path):
    runs = [tiny_run(2, seed=seed).to_dict() for seed in (0, 1)]
    order = {"runs": runs, "root": str(tmp_path), "execution": asdict(Execution())}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        events = {}
        for line in process.stdout:
            event = json.loads(line)
            events[event["event"]] = event
            if event["event"] == "outcomes":
                break
        process.kill()
    assert [outcome["state"] for outcome in events["outcomes"]["outcomes"]] == [
        "done",
        "done",
    ]
    assert "torch" in events["ready"]["modules"]
    assert set(HEAVY) & set(events["outcomes"]["modules"]) == set()


TRACKIO = """
import json, pathlib

class Run:
    def log(self, values, step):
        line = json.dumps([step, values["tokens"]])
        with pathlib.Path("{file}").open("a") as file:
            print(line, file=file)

    def finish(self):
        pass

def init(**_):
    return Run()
"""
"""A package of that name that keeps what it is told in a file."""


def test_runs_of_a_sweep_are_followed_by_a_tracker(tmp_path, monkeypatch):
    logged = tmp_path / "logged"
    package = tmp_path / "path" / "trackio.py"
    package.parent.mkdir()
    package.write_text(TRACKIO.replace("{file}", str(logged)))
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    config, how = tiny_run(), Execution(track="trackio")
    worker = WorkerProcess(0, tmp_path / "log", how, SOURCE)
    try:
        worker.assign((config,), tmp_path / "runs")
        folder = RunFolder(tmp_path / "runs", config.run_id)
        wait_until(lambda: folder.state() == "done", process=worker.process)
    finally:
        worker.stop()
        worker.close()
    steps = [json.loads(line)[0] for line in logged.read_text().splitlines()]
    assert steps == [0, 5, 10, 12]


@pytest.mark.parametrize("last", [b"", b'{"runs": [{"task"', b"no order at all\n"])
def test_whatever_ends_its_input_a_worker_checkpoints_and_ends(tmp_path, last):
    """The launcher may be killed while it writes an order."""
    config = tiny_run(steps=10**6)
    order = {
        "runs": [config.to_dict()],
        "root": str(tmp_path),
        "execution": asdict(Execution(log_every_seconds=0)),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "sweeps.pool_worker"],
        env=environment_for(1),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        for line in process.stdout:
            if json.loads(line).get("news", {}).get("kind") == "training":
                break
        process.stdin.write(last)
        process.stdin.close()
        process.stdout.read()
        process.wait(PATIENCE_S)
    folder = RunFolder(tmp_path, config.run_id)
    assert folder.state() == "stopped"
    assert list(folder.checkpoints.glob("step-*"))


STOPPED = """
import sys, types
from synth.run.progress import Outcome

training = types.ModuleType("synth.training")
training.train = lambda runs, *_: [Outcome(run.run_id, "stopped", "") for run in runs]
sys.modules["synth.training"] = training
from sweeps import pool_worker

sys.exit(pool_worker.main())
"""
"""A worker in which every run is stopped by a signal."""


def test_a_stopped_worker_ends_cleanly_though_its_input_is_open(tmp_path):
    order = {"runs": [tiny_run().to_dict()], "root": "", "execution": {}}
    with subprocess.Popen(
        [sys.executable, "-c", STOPPED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdin.write(json.dumps(order).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(PATIENCE_S) == 0, process.stderr.read()
        assert process.stderr.read() == b""
        events = [json.loads(line) for line in process.stdout]
    assert events[-1]["outcomes"][0]["state"] == "stopped"


@pytest.mark.parametrize("state", ["stopped", "done"])
def test_a_worker_that_ends_gets_no_more_packs(tmp_path, state):
    """It was stopped; or told to stop, which came after the end of its pack."""
    first, second = tiny_run(seed=0), tiny_run(seed=1)
    progress = LaunchProgress(2, 0, "in_domain/exact_match", {})
    display = Display(quiet=True)
    work = Work(
        packs=[(second,)],
        root=tmp_path,
        execution=Execution(),
        progress=progress,
        display=display,
    )
    launch = Launch(LocalPool(1), work)
    worker = WorkerProcess(0, tmp_path / "log", Execution(), SOURCE)
    try:
        launch.workers.append(worker)
        worker.active = ActivePack((first,))
        if state == "done":
            worker.stop()
        outcome = vars(Outcome(first.run_id, state, ""))
        launch._handle_event(worker, {"event": "outcomes", "outcomes": [outcome]})
        launch._assign_packs()
        assert worker.active is None
        assert launch.workers == [worker]  # another one follows when it has ended
        assert (second,) in launch.queue
        assert worker.process.stdin.closed
    finally:
        worker.kill()
        worker.close()


def test_an_order_to_a_worker_that_is_stopped_holds_nobody_up(tmp_path):
    worker = WorkerProcess(0, tmp_path / "log", Execution(), SOURCE)
    try:
        worker.process.send_signal(signal.SIGSTOP)
        pack = tuple(tiny_run(seed=seed, steps=3) for seed in range(300))
        worker.assign(pack, tmp_path)
        assert worker._unsent  # more than a pipe holds
    finally:
        worker.kill()
        worker.close()

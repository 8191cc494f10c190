"""One array element: take a pack up, train it, leave in good order.

This module is imported while submitit loads its pickle, before any signal is handled:
it must stay light, so torch and `synth` are imported inside the call. Whether a run is
done is read from its folder, whatever signals came or did not come.

Signals, as SLURM sends them to every process of the job:

    USR2            time limit or preemption is near: checkpoint, requeue
    TERM            preemption where no USR2 is configured: the same, if the job still
                    counts as running; scancel, if it does not: checkpoint, exit
    (none)          kill, node failure, scontrol requeue: go on from the last checkpoint
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synth.config import RunConfig
    from synth.training import Outcome

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
BUSY_PATIENCE_S = 60.0
"""How long to wait for a run that another process (a dying predecessor) holds."""


class PackFailed(RuntimeError):
    """Some runs of the pack failed; each folder holds its traceback."""


class Notices:
    """Remembers the signals that came; repeats them until somebody acts on them.

    `synth.training` puts handlers of its own in place while it trains. A signal that
    comes before that is sent again each second, so that it is not lost between the two.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._repeating = True
        # Python writes the number of every signal here, whoever handles it.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._again)
        signal.signal(signal.SIGCONT, signal.SIG_IGN)
        self._seen: set[int] = set()

    def _again(self, number: int, frame: object) -> None:
        if self._repeating:
            timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()

    def received(self) -> set[int]:
        """Every signal so far that asks to stop."""
        while True:
            try:
                self._seen.update(os.read(self._read, 4096))
            except BlockingIOError:
                return self._seen & set(SIGNALS)

    def ignore(self) -> None:
        """From now on signals change nothing: the worker is on its way out."""
        self._repeating = False
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class Worker:
    """What an element of an array runs: the pack, as plain data."""

    def __init__(
        self,
        root: str,
        launch: str,
        element: int,
        configs: list[dict[str, Any]],
        execution: dict[str, Any],
        max_idle_restarts: int,
        profile: str,
        submitted: float,
        code: str,
    ) -> None:
        self.root, self.launch, self.element = root, launch, element
        self.configs, self.execution = configs, execution
        self.max_idle_restarts = max_idle_restarts
        self.profile, self.submitted, self.code = profile, submitted, code

    def checkpoint(self) -> Any:
        """Restart from the same pickle: all state is in the run folders."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def __call__(self) -> dict[str, str]:
        """Train what is left of the pack; returns the state of each run.

        Raises
        ------
        PackFailed
            Names each run that failed, and why; SLURM shows the job as failed.
        """
        notices = Notices()
        print(f"{_now()} {self.launch} element {self.element}: job {own_job_id()} on "
              f"{socket.gethostname()}, restart {_restarts()}", flush=True)  # fmt: skip
        try:
            self._check_code()
            from slurm import data_parallel, progress_guard
            from synth.config import RunConfig

            configs = [RunConfig.from_dict(values) for values in self.configs]
            if data_parallel.place().world > 1:
                return self._train_together(configs, notices)
            configs = progress_guard.take_up(self, configs)
            if not configs:
                print("nothing left to do", flush=True)
                return {}
            outcomes = [] if notices.received() else self._train(configs, notices)
        except Exception as error:
            self._record_failure(error)
            raise
        return self._leave(notices, outcomes)

    def _train(
        self, configs: Sequence["RunConfig"], notices: Notices
    ) -> list["Outcome"]:
        """Train, and again those that a dying predecessor still held."""
        from synth.execution import Execution
        from synth.progress import Lines
        from synth.training import train

        root, execution = Path(self.root), Execution(**self.execution)
        deadline = time.monotonic() + BUSY_PATIENCE_S
        found = {o.run_id: o for o in train(configs, root, execution, Lines())}
        while not notices.received() and time.monotonic() < deadline:
            held = [c for c in configs if found[c.run_id].state == "busy"]
            if not held:
                break
            time.sleep(2.0)
            found |= {o.run_id: o for o in train(held, root, execution, Lines())}
        return list(found.values())

    def _train_together(
        self, configs: list["RunConfig"], notices: Notices
    ) -> dict[str, str]:
        """Data-parallel: rank 0 leads and speaks, the others share its steps."""
        from slurm import data_parallel, progress_guard
        from synth.execution import Execution
        from synth.progress import Lines
        from synth.training import train

        place, execution = data_parallel.place(), Execution(**self.execution)
        meeting = Path(self.root) / ".slurm" / self.launch
        name = f"{own_job_id()}_{_restarts()}"
        if place.rank > 0:
            notices.ignore()  # the leader decides when to stop
            with data_parallel.joined(meeting / name, place, execution):
                data_parallel.follow(Path(self.root), execution)
            return {}
        outcomes: list[Outcome] = []
        with data_parallel.joined(meeting / name, place, execution):
            mine = progress_guard.take_up(self, configs)
            if mine and not notices.received():
                root, build = Path(self.root), data_parallel.LeaderPack
                outcomes = train(mine, root, execution, Lines(), build)
        return self._leave(notices, outcomes) if mine else {}

    def _check_code(self) -> None:
        if self.code and not Path(__file__).is_relative_to(self.code):
            raise RuntimeError(
                f"The job runs {Path(__file__).parent}, not the code that it was "
                f"submitted with ({self.code}): something sets PYTHONPATH after the "
                "profile's set-up lines."
            )

    def _leave(self, notices: Notices, outcomes: list["Outcome"]) -> dict[str, str]:
        """Requeue if there is more to do, complain about failures, or just end."""
        stopped = [o for o in outcomes if o.state == "stopped"] or not outcomes
        received = notices.received()
        notices.ignore()
        for outcome in outcomes:
            print(f"{outcome.run_id}: {outcome.state}, {outcome.message}", flush=True)
        if stopped and received:
            names = ", ".join(signal.Signals(number).name for number in received)
            print(f"{_now()} stopped by {names}", flush=True)
            if signal.SIGUSR2 in received or own_state() == "RUNNING":
                requeue()
            sys.exit(1)  # no result: SLURM knows what becomes of the job
        bad = [o for o in outcomes if o.state in ("failed", "busy")]
        if bad:
            raise PackFailed("; ".join(f"{o.run_id}: {o.message}" for o in bad))
        return {outcome.run_id: outcome.state for outcome in outcomes}

    def _record_failure(self, error: Exception) -> None:
        """Leave the traceback in every run that has neither result nor holder."""
        from synth.config import RunConfig
        from synth.store import RunFolder

        for values in self.configs:
            try:
                folder = RunFolder(Path(self.root), RunConfig.from_dict(values).run_id)
                if folder.state() not in ("done", "running"):
                    folder.path.mkdir(parents=True, exist_ok=True)
                    folder.write_json("failure.json", _failure(folder.run_id, error))
            except Exception:  # the first error is the one worth raising
                traceback.print_exc()


def _failure(run_id: str, error: Exception) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "message": f"{type(error).__name__}: {error}",
        "step": None,
        "last_checkpoint_step": None,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "traceback": "".join(traceback.format_exception(error)),
    }


def own_job_id() -> str:
    """This job's id, of the form that names one element.

    SLURM_JOB_ID will not do: that of an array's last element is the whole array's.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "none")


def own_state() -> str:
    """What the scheduler says of this job; empty when it does not answer."""
    command = ["squeue", "-h", "-r", "-t", "all", "-j", own_job_id(), "-o", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def requeue() -> None:
    """Put this job back into the queue, unless SLURM has done so already.

    Raises
    ------
    RuntimeError
        When it was refused for another reason: then the next launch goes on.
    """
    # SLURM may send TERM to every process of the step meanwhile; an ignored signal is
    # inherited by the child, a handler would not be.
    command = ["scontrol", "requeue", own_job_id()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode == 0 or "pending" in done.stderr.lower():
        print(f"{_now()} requeued", flush=True)
    elif own_state() in ("RUNNING", ""):
        raise RuntimeError(
            f"Job {own_job_id()} could not requeue itself ({done.stderr.strip()}); its "
            "runs have checkpoints, launch the sweep again to go on."
        )


def _restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")

"""One array element: claims its pack, trains it, and requeues itself if need be.

    python -m slurm.worker RUNS/.slurm/LAUNCH

SLURM's environment says which element it is, the launch's folder what to train. Torch
and `synth` are imported once signals are handled, so this module must not import them.
Whether a run is done is read from its folder, not from the signals that came.

Signals, as SLURM sends them to every process of the job:

    USR2            time limit or preemption is near: checkpoint, requeue
    TERM            preemption where no USR2 is configured: the same, if the job still
                    counts as running; scancel, if it does not: checkpoint, exit
    (none)          kill, node failure, scontrol requeue: go on from the last checkpoint
"""

import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm.clients import QueueUnavailable, ask

if TYPE_CHECKING:
    from slurm.ledger import SentArray
    from synth.config import RunConfig
    from synth.run.progress import Outcome

    Train = Callable[[Sequence[RunConfig]], list[Outcome]]

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
BUSY_PATIENCE_S = 60.0
"""How long to wait for a run that another process (a dying predecessor) holds."""


class PackFailed(RuntimeError):
    """Some runs of the pack failed; each folder holds its traceback."""


class Notices:
    """Remembers the signals received, and repeats them until training handles them.

    `synth.training` installs handlers of its own while it trains. A signal that comes
    before that is sent again each second, so that it is not lost in between.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._repeating = True
        # Python writes the number of every signal here, whatever the handler.
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
        """Ignore signals from now on: the worker is about to end."""
        self._repeating = False
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class Worker:
    """What an element of an array runs: one pack of a launch."""

    def __init__(
        self,
        root: Path,
        launch: "SentArray",
        element: int,
        configs: Sequence[dict[str, Any]],
    ) -> None:
        self.root, self.launch, self.element = root, launch, element
        self.configs = configs

    @classmethod
    def read(cls, folder: Path, element: int) -> "Worker":
        """The worker of an element, from the folder of its launch.

        Raises
        ------
        ValueError
            Names a file that cannot be read.
        """
        from slurm.ledger import SentArray

        launch = SentArray.read(folder)
        return cls(folder.parent.parent, launch, element, launch.configs(element))

    def __call__(self, notices: Notices) -> None:
        """Train what is left of the pack.

        Raises
        ------
        PackFailed
            Names each run that failed, and why; SLURM shows the job as failed.
        """
        print(f"{_now()} {self.launch.name} element {self.element}: job "
              f"{own_job_id()} on {socket.gethostname()}, restart {_restarts()}",
              flush=True)  # fmt: skip
        try:
            self._check_code()
            from slurm import data_parallel, progress_guard
            from slurm.ledger import PACKS
            from synth.config import RunConfig

            record = self.launch.folder / PACKS
            configs = [RunConfig.from_dict(one, record) for one in self.configs]
            if data_parallel.place().world > 1:
                self._train_together(configs, notices)
                return
            configs = progress_guard.take_up(self, configs)
            if not configs:
                print("nothing left to do", flush=True)
                return
            outcomes = [] if notices.received() else self._train(configs, notices)
        except Exception as error:
            self._record_failure(error)
            raise
        self._leave(notices, outcomes)

    def _train(
        self, configs: Sequence["RunConfig"], notices: Notices, **how: Any
    ) -> list["Outcome"]:
        """Train; try again runs that another process held or that failed as a group."""
        from synth.run.execution import Execution
        from synth.run.progress import Screen, shown_on
        from synth.training import train

        execution = Execution(**self.launch.execution)
        progress = shown_on(Screen())

        def attempt(runs: Sequence["RunConfig"]) -> list["Outcome"]:
            return train(runs, self.root, execution, progress, **how)

        deadline = time.monotonic() + BUSY_PATIENCE_S
        outcomes = {o.run_id: o for o in attempt(configs)}
        while not notices.received() and time.monotonic() < deadline:
            held = [c for c in configs if outcomes[c.run_id].state == "running"]
            if not held:
                break
            time.sleep(2.0)
            outcomes |= {o.run_id: o for o in attempt(held)}
        for config in _failed_alike(configs, list(outcomes.values())):
            if notices.received():
                break
            print(f"{config.run_id}: tried alone", flush=True)
            outcomes |= {o.run_id: o for o in attempt([config])}
        return [outcomes[config.run_id] for config in configs]

    def _train_together(self, configs: list["RunConfig"], notices: Notices) -> None:
        """Data-parallel training: rank 0 leads and reports, the others follow."""
        from slurm import data_parallel, progress_guard
        from synth.run.execution import Execution

        place, execution = data_parallel.place(), Execution(**self.launch.execution)
        meeting = self.launch.folder / f"{own_job_id()}_{_restarts()}"
        if place.rank > 0:
            notices.ignore()  # the leader decides when to stop
            with data_parallel.process_group(meeting, place, execution):
                data_parallel.follow(self.root, execution)
            return
        outcomes: list[Outcome] = []
        with data_parallel.process_group(meeting, place, execution):
            mine = progress_guard.take_up(self, configs)
            if mine and not notices.received():
                build = data_parallel.LeaderPack
                outcomes = self._train(mine, notices, build=build)
        if mine:
            self._leave(notices, outcomes)

    def _check_code(self) -> None:
        code = self.launch.code
        if code and not Path(__file__).is_relative_to(code):
            raise RuntimeError(
                f"The job runs {Path(__file__).parent}, not the code that it was "
                f"submitted with ({code}): something sets PYTHONPATH after the "
                "profile's set-up lines."
            )

    def _leave(self, notices: Notices, outcomes: list["Outcome"]) -> None:
        """Requeue if there is more to do; raise if runs failed; otherwise end."""
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
            sys.exit(1)  # SLURM decides what becomes of the job
        bad = [o for o in outcomes if o.state in ("failed", "running")]
        for outcome in bad:
            if outcome.state == "failed":
                self._note_failure(outcome)
        if bad:
            raise PackFailed("; ".join(f"{o.run_id}: {o.message}" for o in bad))

    def _note_failure(self, outcome: "Outcome") -> None:
        """Write down why a run failed before it could train."""
        from slurm.job_record import failure_stamp, read_record
        from synth.run.store import RunFolder

        run_id = outcome.run_id
        try:
            record = read_record(self.root, run_id)
            old = record.old_failure if record else None
            if failure_stamp(self.root, run_id) in (None, old):
                RunFolder(self.root, run_id).write_failure(outcome.message)
        except (OSError, ValueError) as error:
            print(f"{run_id}: {error}", flush=True)

    def _record_failure(self, error: Exception) -> None:
        """Leave the traceback in every run that has neither result nor holder."""
        from synth.run.store import RunFolder

        for run_id in self.launch.packs[self.element]:
            try:
                folder = RunFolder(self.root, run_id)
                if folder.state() not in ("done", "running"):
                    folder.path.mkdir(parents=True, exist_ok=True)
                    folder.write_failure(error)
            except Exception:  # the first error is the one worth raising
                traceback.print_exc()


def _failed_alike(
    configs: Sequence["RunConfig"], outcomes: Sequence["Outcome"]
) -> list["RunConfig"]:
    """Runs with equal failure messages: one of them may have ended the others."""
    by_message: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.state == "failed":
            by_message[outcome.message].append(outcome.run_id)
    alike = {name for ids in by_message.values() if len(ids) > 1 for name in ids}
    return [config for config in configs if config.run_id in alike]


def own_job_id() -> str:
    """This job's id, of the form that names one element.

    SLURM_JOB_ID will not do: that of an array's last element is the whole array's.
    """
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    if array:
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID", "none")


def own_state() -> str:
    """The scheduler's state of this job; empty when it does not answer."""
    try:
        asked = ("squeue", "-h", "-r", "-t", "all", "-j", own_job_id(), "-o", "%T")
        return ask(*asked).stdout.strip()
    except QueueUnavailable:
        return ""


def requeue() -> None:
    """Put this job back into the queue, unless SLURM has done so already.

    Raises
    ------
    RuntimeError
        When that was refused for another reason; the next launch goes on.
    """
    # SLURM may send TERM to every process of the step meanwhile; an ignored signal is
    # inherited by the child, a handler would not be.
    try:
        done = ask("scontrol", "requeue", own_job_id(), timeout_s=60.0)
        refusal = done.stderr.strip() if done.returncode else None
    except QueueUnavailable as error:
        refusal = str(error)
    if refusal is None:
        print(f"{_now()} requeued", flush=True)
    elif own_state() in ("RUNNING", ""):
        raise RuntimeError(
            f"Job {own_job_id()} could not requeue itself ({refusal}); its "
            "runs have checkpoints, launch the sweep again to go on."
        )
    else:
        print(f"{_now()} requeued by SLURM", flush=True)


def _restarts() -> int:
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def main(arguments: Sequence[str]) -> int:
    """Train this job's element; when it fails, the job fails."""
    notices = Notices()
    element = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    Worker.read(Path(arguments[0]), element)(notices)
    return 0


if __name__ == "__main__":
    # Under its own name, which is the one that other modules import it by.
    from slurm.worker import main as main_of_module

    sys.exit(main_of_module(sys.argv[1:]))

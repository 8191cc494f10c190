"""The program of an array element: claims a pack, trains it, requeues the job if needed.

    python -m slurm.worker RUNS/.slurm/LAUNCH

SLURM's environment gives the element, the launch's folder the runs to train. Torch and
`synth` are imported after signal handlers are installed, so this module must not import
them. Only its folder decides whether a run is done.

Signals that SLURM sends to every process of the job:

    USR2            time limit or preemption is near: checkpoint, requeue
    TERM            preemption without USR2 (the job still counts as running): checkpoint,
                    requeue; scancel (it does not): checkpoint, exit
    (none)          kill, node failure, scontrol requeue: continue from the last checkpoint
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

from slurm.own_job import now, own_job_id, own_state, requeue, restarts

if TYPE_CHECKING:
    from slurm.ledger import SubmittedArray
    from synth.config import RunConfig
    from synth.run.progress import Outcome

    Train = Callable[[Sequence[RunConfig]], list[Outcome]]

SIGNALS = (signal.SIGTERM, signal.SIGUSR2)
BUSY_PATIENCE_S = 60.0
"""Maximum wait for a run that another process, such as a dying predecessor, has claimed."""


class PackFailed(RuntimeError):
    """Some runs of the pack failed; their folders have the tracebacks."""


class PendingSignals:
    """Records received signals, and repeats them until training handles them.

    `synth.training` installs its own handlers while it trains. A signal that arrives
    before is sent again every second, so that it is not lost.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._repeating = True
        # Python writes the number of every signal here, whatever the handler.
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, self._repeat)
        signal.signal(signal.SIGCONT, signal.SIG_IGN)
        self._received: set[int] = set()

    def _repeat(self, number: int, frame: object) -> None:
        if self._repeating:
            timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()

    def received(self) -> set[int]:
        """The stop signals received so far."""
        while True:
            try:
                self._received.update(os.read(self._read, 4096))
            except BlockingIOError:
                return self._received & set(SIGNALS)

    def ignore(self) -> None:
        """Ignore all further signals, because the worker is about to end."""
        self._repeating = False
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class Worker:
    """Trains one pack of a launch, as an element of its array."""

    def __init__(
        self,
        root: Path,
        launch: "SubmittedArray",
        element: int,
        configs: Sequence[dict[str, Any]],
    ) -> None:
        self.root, self.launch, self.element = root, launch, element
        self.configs = configs

    @classmethod
    def read(cls, folder: Path, element: int) -> "Worker":
        """Build the worker of an element from the folder of its launch.

        Raises `ValueError`, naming a file that cannot be read.
        """
        from slurm.ledger import SubmittedArray

        launch = SubmittedArray.read(folder)
        return cls(folder.parent.parent, launch, element, launch.configs(element))

    def __call__(self, signals: PendingSignals) -> None:
        """Train the unfinished runs of the pack.

        Raises `PackFailed`, naming each failed run with its error; SLURM shows the job
        as failed.
        """
        print(f"{now()} {self.launch.name} element {self.element}: job "
              f"{own_job_id()} on {socket.gethostname()}, restart {restarts()}",
              flush=True)  # fmt: skip
        try:
            self._check_code()
            from slurm import data_parallel
            from slurm.ledger import PACKS
            from synth.config import RunConfig

            record = self.launch.folder / PACKS
            configs = [RunConfig.from_dict(one, record) for one in self.configs]
            if data_parallel.process_rank().world > 1:
                self._train_data_parallel(configs, signals)
                return
            configs = self.claim(configs)
            if not configs:
                print("nothing left to do", flush=True)
                return
            outcomes = [] if signals.received() else self._train(configs, signals)
        except Exception as error:
            self._write_pack_failure(error)
            raise
        self._finish(signals, outcomes)

    def claim(self, configs: Sequence["RunConfig"]) -> list["RunConfig"]:
        """The runs that this job should train; see `claim_runs`."""
        from slurm.progress_guard import claim_runs

        return claim_runs(self.root, self.launch, self.element, configs)

    def _train(
        self, configs: Sequence["RunConfig"], signals: PendingSignals, **how: Any
    ) -> list["Outcome"]:
        """Train, and retry runs that another process had claimed or that failed alike."""
        from synth.run.execution import Execution
        from synth.run.progress import Screen, shown_on
        from synth.training import train

        execution = Execution(**self.launch.execution)
        progress = shown_on(Screen())

        def attempt(runs: Sequence["RunConfig"]) -> list["Outcome"]:
            return train(runs, self.root, execution, progress, **how)

        deadline = time.monotonic() + BUSY_PATIENCE_S
        outcomes = {o.run_id: o for o in attempt(configs)}
        while not signals.received() and time.monotonic() < deadline:
            held = [c for c in configs if outcomes[c.run_id].state == "running"]
            if not held:
                break
            time.sleep(2.0)
            outcomes |= {o.run_id: o for o in attempt(held)}
        for config in _same_failures(configs, list(outcomes.values())):
            if signals.received():
                break
            print(f"{config.run_id}: tried alone", flush=True)
            outcomes |= {o.run_id: o for o in attempt([config])}
        return [outcomes[config.run_id] for config in configs]

    def _train_data_parallel(
        self, configs: list["RunConfig"], signals: PendingSignals
    ) -> None:
        """Data-parallel training: rank 0 leads and reports, the others follow."""
        from slurm import data_parallel
        from synth.run.execution import Execution

        rank, execution = (
            data_parallel.process_rank(),
            Execution(**self.launch.execution),
        )
        rendezvous = self.launch.folder / f"{own_job_id()}_{restarts()}"
        if rank.rank > 0:
            signals.ignore()  # the leader decides when to stop
            with data_parallel.process_group(rendezvous, rank, execution):
                data_parallel.follow_leader(self.root, execution)
            return
        outcomes: list[Outcome] = []
        with data_parallel.process_group(rendezvous, rank, execution):
            claimed = self.claim(configs)
            if claimed and not signals.received():
                build = data_parallel.LeaderPack
                outcomes = self._train(claimed, signals, build=build)
        if claimed:
            self._finish(signals, outcomes)

    def _check_code(self) -> None:
        code = self.launch.code
        if code and not Path(__file__).is_relative_to(code):
            raise RuntimeError(
                f"The job runs {Path(__file__).parent}, not the code that it was "
                f"submitted with ({code}): something sets PYTHONPATH after the "
                "profile's set-up lines."
            )

    def _finish(self, signals: PendingSignals, outcomes: list["Outcome"]) -> None:
        """Requeue the job if a signal stopped it; raise if runs failed."""
        stopped = [o for o in outcomes if o.state == "stopped"] or not outcomes
        received = signals.received()
        signals.ignore()
        for outcome in outcomes:
            print(f"{outcome.run_id}: {outcome.state}, {outcome.message}", flush=True)
        if stopped and received:
            names = ", ".join(signal.Signals(number).name for number in received)
            print(f"{now()} stopped by {names}", flush=True)
            if signal.SIGUSR2 in received or own_state() == "RUNNING":
                requeue()
            sys.exit(1)  # SLURM requeues or ends the job
        unfinished = [o for o in outcomes if o.state in ("failed", "running")]
        for outcome in unfinished:
            if outcome.state == "failed":
                self._write_failure(outcome)
        if unfinished:
            raise PackFailed("; ".join(f"{o.run_id}: {o.message}" for o in unfinished))

    def _write_failure(self, outcome: "Outcome") -> None:
        """Write why a run failed, if it failed before training could do so."""
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

    def _write_pack_failure(self, error: Exception) -> None:
        """Write the traceback into every run that is neither done nor claimed."""
        from synth.run.store import RunFolder

        for run_id in self.launch.packs[self.element]:
            try:
                folder = RunFolder(self.root, run_id)
                if folder.state() not in ("done", "running"):
                    folder.path.mkdir(parents=True, exist_ok=True)
                    folder.write_failure(error)
            except Exception:  # the caller raises the first error
                traceback.print_exc()


def _same_failures(
    configs: Sequence["RunConfig"], outcomes: Sequence["Outcome"]
) -> list["RunConfig"]:
    """Runs with equal failure messages, since one may have caused the others."""
    ids_by_message: dict[str, list[str]] = defaultdict(list)
    for outcome in outcomes:
        if outcome.state == "failed":
            ids_by_message[outcome.message].append(outcome.run_id)
    shared = {name for ids in ids_by_message.values() if len(ids) > 1 for name in ids}
    return [config for config in configs if config.run_id in shared]


def main(arguments: Sequence[str]) -> int:
    """Train this job's element; an error fails the job."""
    signals = PendingSignals()
    element = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    Worker.read(Path(arguments[0]), element)(signals)
    return 0


if __name__ == "__main__":
    # Imported under its own name, so that other modules import the same module.
    from slurm.worker import main as main_of_module

    sys.exit(main_of_module(sys.argv[1:]))

"""Local execution: a bounded pool of worker processes with one queue of packs.

Claims on run folders decide which process trains a run, so several launches may train one
sweep at the same time: a run that another launch has claimed waits here until it is done,
or until the claim is free because that launch's processes have died.
"""

import contextlib
import selectors
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from sweeps import provenance
from sweeps.executor import Executor, Work, check_folder, failed_as_a_pack
from sweeps.launch_progress import ActivePack
from sweeps.packs import PackRuns
from sweeps.process import WorkerProcess
from synth.config import RunConfig
from synth.run import code_copy as snapshot
from synth.run.claim import RunBusy
from synth.run.progress import Event, Outcome
from synth.run.store import RunFolder

TICK_SECONDS = 0.1
RECHECK_SECONDS = 0.5
"""Pause between two checks of runs that another launch has claimed."""


class LocalPool(Executor):
    """At most `slots` worker processes on this machine."""

    def __init__(self, slots: int, fail_fast: bool = False) -> None:
        if slots < 1:
            raise ValueError(f"--workers must be at least 1; got {slots}.")
        self.slots, self.fail_fast = slots, fail_fast

    def carry_out(self, work: Work) -> list[Outcome]:
        launch = Launch(self, work)
        with counting_signals(launch):
            launch.train()
        return list(work.progress.outcomes.values())


class Launch:
    """One call of the pool: its queue, its workers, the outcomes of its runs."""

    def __init__(
        self, pool: LocalPool, work: Work, examples: Sequence[RunConfig] = ()
    ) -> None:
        self.pool, self.root, self.execution = pool, work.root, work.execution
        configs = [*examples, *(config for pack in work.packs for config in pack)]
        self.code = provenance.copy_code(self.root, configs)
        self.progress, self.display = work.progress, work.display
        self.queue: deque[PackRuns] = deque(work.packs)
        self.held: dict[str, RunConfig] = {}
        self.crashed: set[str] = set()
        self.workers: list[WorkerProcess] = []
        self.selector = selectors.DefaultSelector()
        self.signals = 0
        self.stopping = False
        self.checked_at = 0.0
        self.began = time.time()
        self.refusal: str | None = None

    def train(self) -> None:
        """Train until every run has ended, or a signal has stopped the workers.

        Raises `ValueError` when a worker cannot train at all, for instance without the
        requested GPU.
        """
        try:
            while self._has_packs() or self.held or any(w.active for w in self.workers):
                self._handle_signals()
                if self.stopping and not self.workers:
                    break
                self._assign_packs()
                for worker in self.workers:
                    worker.flush()
                self._check_held()
                for key, _ in self.selector.select(TICK_SECONDS):
                    self._read_events(key.data)
                if self.refusal is not None:
                    raise ValueError(self.refusal)
                self._refresh()
        finally:
            for worker in self.workers:
                if worker.active:
                    worker.kill()
                worker.close()
            self.selector.close()
        left = [c for pack in self.queue for c in pack] + list(self.held.values())
        for config in left:
            message = "not begun; run the same command to go on"
            self.record(Outcome(config.run_id, "stopped", message))
        self.progress.active = []

    def _has_packs(self) -> bool:
        """Whether packs wait; a search adds new ones here."""
        return bool(self.queue)

    def _update(self, worker: WorkerProcess, active: ActivePack, event: Event) -> None:
        """Update the progress of a worker's pack from a training event."""
        self.progress.update(active, event)

    def _stop_requested(self, config: RunConfig) -> bool:
        """Whether this launch asked the run's worker to stop."""
        return self.stopping

    def _handle_signals(self) -> None:
        """One Ctrl-C: workers write checkpoints and stop; a second one kills them."""
        if self.signals and not self.stopping:
            self.display.say(
                "stopping: workers write checkpoints (again: stop at once)"
            )
            self._stop()
        if self.signals > 1:
            for worker in self.workers:
                worker.kill()

    def _stop(self) -> None:
        self.stopping = True
        for worker in self.workers:
            worker.stop()

    def _assign_packs(self) -> None:
        if self.stopping:
            return
        idle = [w for w in self.workers if w.active is None and not w.ending]
        while self.queue and (idle or len(self.workers) < self.pool.slots):
            worker = idle.pop() if idle else self._new_worker()
            worker.assign(self.queue.popleft(), self.root)

    def _new_worker(self) -> WorkerProcess:
        taken = {worker.number for worker in self.workers}
        number = next(n for n in range(self.pool.slots) if n not in taken)
        log = self.root / provenance.FOLDER / f"worker-{number}.log"
        snapshot.check(self.code)
        worker = WorkerProcess(number, log, self.execution, self.code)
        self.workers.append(worker)
        self.selector.register(worker, selectors.EVENT_READ, worker)
        return worker

    def _read_events(self, worker: WorkerProcess) -> None:
        events, gone = worker.events()
        for event in events:
            self._handle_event(worker, event)
        if gone:
            self.selector.unregister(worker)
            self.workers.remove(worker)
            status = worker.close()
            if worker.active:
                self._handle_crash(worker, status)

    def _handle_event(self, worker: WorkerProcess, event: dict[str, Any]) -> None:
        active = worker.active
        if active is None:
            return
        if event["event"] == "progress":
            self._update(worker, active, Event(**event["news"]))
        elif event["event"] == "refused":
            self.refusal, worker.active = event["message"], None
        elif event["event"] == "outcomes":
            configs = {config.run_id: config for config in active.pack}
            worker.active = None
            outcomes = [Outcome(**values) for values in event["outcomes"]]
            stopped = any(outcome.state == "stopped" for outcome in outcomes)
            if stopped or worker.ending:  # or a pack that ended before the word came
                worker.close_input()
            if failed_as_a_pack(outcomes):
                self.display.say(f"a pack of {len(outcomes)} failed: tried one by one")
                self.queue.extend((config,) for config in active.pack)
                return
            for outcome in outcomes:
                outcome = check_folder(self.root, outcome)
                config = configs[outcome.run_id]
                if outcome.state == "running":
                    self.held[outcome.run_id] = config
                elif outcome.state == "stopped" and not self._stop_requested(config):
                    self.queue.append((config,))  # the worker was stopped from outside
                else:
                    self.record(outcome)

    def _handle_crash(self, worker: WorkerProcess, status: int) -> None:
        """A worker died: retry a run alone once, then record it as failed."""
        assert worker.active is not None
        pack, worker.active = worker.active.pack, None
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        message = f"Its worker process ended by {how}; see {worker.log}."
        if self.stopping:
            for config in pack:
                if RunFolder(self.root, config.run_id).state() == "done":
                    self.record(Outcome(config.run_id, "done", "done"))
                    continue
                text = "stopped; run the same command to go on"
                self.record(Outcome(config.run_id, "stopped", text))
        elif len(pack) > 1:
            self.display.say(f"{message} Its {len(pack)} runs are tried one by one.")
            self.queue.extend((config,) for config in pack)
        elif pack[0].run_id not in self.crashed:
            self.crashed.add(pack[0].run_id)
            self.display.say(f"{message} {pack[0].run_id} is tried once more.")
            self.queue.append(pack)
        else:
            self.record(_write_crash(self.root, pack[0], message))

    def _check_held(self) -> None:
        """Check runs that another launch claimed: done, failed, or free again."""
        now = time.monotonic()
        if self.stopping or now - self.checked_at < RECHECK_SECONDS:
            return
        self.checked_at = now
        for run_id, config in list(self.held.items()):
            folder = RunFolder(self.root, run_id)
            state = folder.state()
            if state == "running":
                continue
            del self.held[run_id]
            message = self._recent_failure(folder) if state == "failed" else None
            if state == "done":
                self.record(Outcome(run_id, "done", "done by another launch"))
            elif message is not None:
                text = f"failed in another launch: {message}"
                self.record(Outcome(run_id, "failed", text))
            else:
                self.queue.append((config,))

    def _recent_failure(self, folder: RunFolder) -> str | None:
        """The failure of a run, if it was written after this launch began."""
        try:
            written = (folder.path / "failure.json").stat().st_mtime
            return folder.failure() if written >= self.began else None
        except (OSError, ValueError):
            return None  # a new attempt has removed it

    def record(self, outcome: Outcome) -> None:
        """Record and report the outcome of a run."""
        self.progress.outcomes[outcome.run_id] = outcome
        self._refresh()
        self.display.report_end(outcome, self.progress)
        if outcome.state == "failed" and self.pool.fail_fast and not self.stopping:
            self.display.say("stopping at the first failure (--fail-fast)")
            self._stop()

    def _refresh(self) -> None:
        self.progress.active = [w.active for w in self.workers if w.active]
        self.progress.elsewhere = len(self.held)
        self.display.refresh(self.progress)


def _write_crash(root: Path, config: RunConfig, message: str) -> Outcome:
    """Write into the run's folder that it crashes its process."""
    folder = RunFolder(root, config.run_id)
    try:
        with folder.claim():
            folder.open(config)
            folder.write_failure(message)
    except (RunBusy, OSError, ValueError) as error:
        message = f"{message} It could not be recorded: {error}"
    return Outcome(config.run_id, "failed", message)


@contextlib.contextmanager
def counting_signals(launch: Launch) -> Iterator[None]:
    """Count SIGINT and SIGTERM in `launch.signals` instead of ending the process."""

    def count(number: int, frame: FrameType | None) -> None:
        launch.signals += 1

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, count) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

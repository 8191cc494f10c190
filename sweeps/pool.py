"""Local execution: a bounded pool of worker processes that share a queue of packs.

Claims on run folders decide who trains what, so any number of launches may work on one
sweep at once: runs that another launch holds wait here until they are done there, or
until its processes have died and the claim is free again.
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
from sweeps.board import Active
from sweeps.executor import Executor, Work, one_may_have_ended_all, present
from sweeps.packs import PackRuns
from sweeps.process import WorkerProcess
from synth.config import RunConfig
from synth.run import code_copy as snapshot
from synth.run.progress import Event, Outcome
from synth.run.store import RunBusy, RunFolder

TICK_SECONDS = 0.1
LOOK_AGAIN_SECONDS = 0.5
"""Pause between two looks at runs that another launch holds."""


class LocalPool(Executor):
    """At most `slots` worker processes on this machine."""

    def __init__(self, slots: int, fail_fast: bool = False) -> None:
        if slots < 1:
            raise ValueError(f"--workers must be at least 1; got {slots}.")
        self.slots, self.fail_fast = slots, fail_fast

    def carry_out(self, work: Work) -> list[Outcome]:
        """Train the packs in worker processes."""
        launch = Launch(self, work)
        with counting_signals(launch):
            launch.train()
        return list(work.board.outcomes.values())


class Launch:
    """One call of the pool: its queue, its workers, and what became of the runs."""

    def __init__(
        self, pool: LocalPool, work: Work, examples: Sequence[RunConfig] = ()
    ) -> None:
        self.pool, self.root, self.execution = pool, work.root, work.execution
        coming = [*examples, *(config for pack in work.packs for config in pack)]
        self.code = provenance.take_copy(self.root, coming)
        self.board, self.display = work.board, work.display
        self.queue: deque[PackRuns] = deque(work.packs)
        self.held: dict[str, RunConfig] = {}
        self.crashed: set[str] = set()
        self.workers: list[WorkerProcess] = []
        self.selector = selectors.DefaultSelector()
        self.signals = 0
        self.stopping = False
        self.looked = 0.0
        self.began = time.time()
        self.refused: str | None = None

    def train(self) -> None:
        """Until every run has ended, or a signal has been obeyed.

        Raises
        ------
        ValueError
            When workers refuse to train here at all (no GPU where one is asked for).
        """
        try:
            while self._more() or self.held or any(w.active for w in self.workers):
                self._obey()
                if self.stopping and not self.workers:
                    break
                self._hand_out()
                for worker in self.workers:
                    worker.push()
                self._look_at_held()
                for key, _ in self.selector.select(TICK_SECONDS):
                    self._hear(key.data)
                if self.refused is not None:
                    raise ValueError(self.refused)
                self._show()
        finally:
            for worker in self.workers:
                if worker.active:
                    worker.kill()
                worker.close()
            self.selector.close()
        left = [c for pack in self.queue for c in pack] + list(self.held.values())
        for config in left:
            message = "not begun; run the same command to go on"
            self.end(Outcome(config.run_id, "stopped", message))
        self.board.active = []

    def _more(self) -> bool:
        """Whether packs wait; a search thinks of new ones here."""
        return bool(self.queue)

    def _progress(self, worker: WorkerProcess, active: Active, news: Event) -> None:
        """What the training of a worker's pack reports."""
        active.update(news, self.board.metric)

    def _asked_to_stop(self, config: RunConfig) -> bool:
        """Whether this launch told the worker of a run to stop."""
        return self.stopping

    def _obey(self) -> None:
        """React to Ctrl-C: once, checkpoint and stop; twice, stop at once."""
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

    def _hand_out(self) -> None:
        if self.stopping:
            return
        idle = [worker for worker in self.workers if worker.active is None]
        while self.queue and (idle or len(self.workers) < self.pool.slots):
            worker = idle.pop() if idle else self._new_worker()
            worker.order(self.queue.popleft(), self.root)

    def _new_worker(self) -> WorkerProcess:
        taken = {worker.number for worker in self.workers}
        number = next(n for n in range(self.pool.slots) if n not in taken)
        log = self.root / provenance.FOLDER / f"worker-{number}.log"
        snapshot.check(self.code)
        worker = WorkerProcess(number, log, self.execution, self.code)
        self.workers.append(worker)
        self.selector.register(worker, selectors.EVENT_READ, worker)
        return worker

    def _hear(self, worker: WorkerProcess) -> None:
        events, gone = worker.events()
        for event in events:
            self._take(worker, event)
        if gone:
            self.selector.unregister(worker)
            self.workers.remove(worker)
            status = worker.close()
            if worker.active:
                self._bury(worker, status)

    def _take(self, worker: WorkerProcess, event: dict[str, Any]) -> None:
        active = worker.active
        if active is None:
            return
        if event["event"] == "progress":
            self._progress(worker, active, Event(**event["news"]))
        elif event["event"] == "refused":
            self.refused, worker.active = event["message"], None
        elif event["event"] == "outcomes":
            configs = {config.run_id: config for config in active.pack}
            worker.active = None
            outcomes = [Outcome(**values) for values in event["outcomes"]]
            if one_may_have_ended_all(outcomes):
                self.display.say(f"a pack of {len(outcomes)} failed: tried one by one")
                self.queue.extend((config,) for config in active.pack)
                return
            for outcome in map(present(self.root), outcomes):
                config = configs[outcome.run_id]
                if outcome.state == "running":
                    self.held[outcome.run_id] = config
                elif outcome.state == "stopped" and not self._asked_to_stop(config):
                    self.queue.append((config,))  # somebody else ended the worker
                else:
                    self.end(outcome)

    def _bury(self, worker: WorkerProcess, status: int) -> None:
        """A worker died under its pack: blame a single run, or try each alone."""
        assert worker.active is not None
        pack, worker.active = worker.active.pack, None
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        message = f"Its worker process ended by {how}; see {worker.log}."
        if self.stopping:
            for config in pack:
                if RunFolder(self.root, config.run_id).state() == "done":
                    self.end(Outcome(config.run_id, "done", "done"))
                    continue
                text = "stopped; run the same command to go on"
                self.end(Outcome(config.run_id, "stopped", text))
        elif len(pack) > 1:
            self.display.say(f"{message} Its {len(pack)} runs are tried one by one.")
            self.queue.extend((config,) for config in pack)
        elif pack[0].run_id not in self.crashed:
            self.crashed.add(pack[0].run_id)
            self.display.say(f"{message} {pack[0].run_id} is tried once more.")
            self.queue.append(pack)
        else:
            self.end(_crash(self.root, pack[0], message))

    def _look_at_held(self) -> None:
        """Runs of another launch: done there, failed there, or free again."""
        now = time.monotonic()
        if self.stopping or now - self.looked < LOOK_AGAIN_SECONDS:
            return
        self.looked = now
        for run_id, config in list(self.held.items()):
            folder = RunFolder(self.root, run_id)
            state = folder.state()
            if state == "running":
                continue
            del self.held[run_id]
            message = self._failed_meanwhile(folder) if state == "failed" else None
            if state == "done":
                self.end(Outcome(run_id, "done", "done by another launch"))
            elif message is not None:
                text = f"failed in another launch: {message}"
                self.end(Outcome(run_id, "failed", text))
            else:
                self.queue.append((config,))

    def _failed_meanwhile(self, folder: RunFolder) -> str | None:
        """The failure of a run, if it was written since this launch began."""
        try:
            written = (folder.path / "failure.json").stat().st_mtime
            return folder.failure() if written >= self.began else None
        except (OSError, ValueError):
            return None  # removed meanwhile, by a new attempt: see what becomes of it

    def end(self, outcome: Outcome) -> None:
        """Note how a run ended."""
        self.board.outcomes[outcome.run_id] = outcome
        self._show()
        self.display.ended(outcome, self.board)
        if outcome.state == "failed" and self.pool.fail_fast and not self.stopping:
            self.display.say("stopping at the first failure (--fail-fast)")
            self._stop()

    def _show(self) -> None:
        self.board.active = [w.active for w in self.workers if w.active]
        self.board.elsewhere = len(self.held)
        self.display.refresh(self.board)


def _crash(root: Path, config: RunConfig, message: str) -> Outcome:
    """Record in the folder of a run that it takes its process down with it."""
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
    """Count Ctrl-C and SIGTERM instead of dying from them."""

    def count(number: int, frame: FrameType | None) -> None:
        launch.signals += 1

    chosen = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, count) for number in chosen}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

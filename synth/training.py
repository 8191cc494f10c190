"""The loop: packs of runs train as lanes, are evaluated, checkpointed and closed.

`train` is the one entry for a laptop, a sweep's worker process and a cluster job. It may
be killed at any instant; called again, it goes on from the last checkpoint.
"""

import contextlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from synth.config import RunConfig, require_one_pack
from synth.fast.numerics import numerics
from synth.metrics import HEADLINE_SLICES
from synth.pack import Pack
from synth.run import checkpoint as checkpoints
from synth.run import vocabulary_file
from synth.run.bad_numbers import not_finite, require_usable
from synth.run.checkpoint import Checkpoint
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.interruption import Interruption
from synth.run.metrics_file import RunGone
from synth.run.progress import Event, Kind, Outcome, Progress
from synth.run.resume import by_step, claim_unfinished
from synth.run.spans import span
from synth.run.store import RunFolder, failure_message
from synth.run.tracking import followed
from synth.tasks.task import EvaluationSet

BuildPack = Callable[
    [Sequence[RunConfig], Execution, Sequence[Checkpoint] | None], Pack
]


def train(
    configs: Sequence[RunConfig],
    root: Path,
    execution: Execution | None = None,
    progress: Progress | None = None,
    build: BuildPack = Pack,
) -> list[Outcome]:
    """Train runs of one shape side by side, each in its folder below `root`.

    Runs that are done are left alone; runs that another process trains are reported as
    busy; the others go on from their last checkpoint. Failures are recorded in the run's
    folder and in the outcome, never raised. `build` makes the program that trains them
    (data-parallel training has one of its own).

    Raises `ValueError` when the runs cannot share a pack, a run is given twice, their
    evaluation rows are longer than the learned positions, or one would go on from a
    checkpoint of other code and `execution.accept_code_change` is not set.
    """
    execution = execution or Execution()
    progress = followed(progress, root, execution.track)
    require_one_pack(configs)
    sets = configs[0].require_evaluation()
    with contextlib.ExitStack() as stack:
        stack.enter_context(numerics(execution))
        mine, outcomes = claim_unfinished(configs, root, stack)
        if not execution.accept_code_change:
            refuse_other_code(root, [config for config, _ in mine])
        for config, folder in mine:
            folder.keep_plugins(config)
        interruption = stack.enter_context(Interruption())
        for step, group in by_step(mine, outcomes).items():
            session = _Session(group, step, execution, progress, build, sets)
            for outcome in session.run(interruption):
                outcomes[outcome.run_id] = outcome
    return [outcomes[config.run_id] for config in configs]


class _Session:
    """Trains one group of runs that stand at the same step, from there to the end."""

    def __init__(
        self,
        group: list[tuple[RunConfig, RunFolder]],
        step: int | None,
        execution: Execution,
        progress: Progress | None,
        build: BuildPack,
        sets: Mapping[int, list[EvaluationSet]],
    ) -> None:
        self.build, self.sets = build, sets
        self.configs = [config for config, _ in group]
        self.folders = [folder for _, folder in group]
        self.start = step
        self.execution, self.progress = execution, progress
        self.training = self.configs[0].training
        self.failed: dict[int, str] = {}
        self.outcomes: list[Outcome] = []
        """Of runs that left the group before it was built."""
        self.saved: int | None = step
        self.clock: dict[str, float] = defaultdict(float)
        self.headline: list[dict[str, float | None]] = []
        """Each lane's numbers of `HEADLINE_SLICES`, and of the parts that its task judges
        by, at the last row of metrics, by name."""
        self._built: Pack | None = None

    @property
    def pack(self) -> Pack:
        """The pack; there is none yet while checkpoints are read."""
        assert self._built is not None, "the pack is not built yet"
        return self._built

    def run(self, interruption: Interruption) -> list[Outcome]:
        """Train to the end, a failure of all, or a signal."""
        message = "done"
        try:
            restored = self._load()
            if not self.configs:
                return self.outcomes
            self._prepare(restored)
            self._loop(interruption)
            if interruption.received:
                message = (
                    f"stopped by {interruption.received} at step {self.pack.step}; "
                    "run the same command to go on"
                )
            else:
                self._close()
        except Exception as error:
            for lane in self._alive():
                self._fail(lane, error)
        finally:
            if self._built is not None:
                self._built.close()
        failures = (f"{self.configs[k].run_id}: {m}" for k, m in self.failed.items())
        self._tell("end", message="; ".join(failures) or message)
        lanes = range(len(self.configs))
        return self.outcomes + [self._outcome(lane, message) for lane in lanes]

    def _load(self) -> list[Checkpoint] | None:
        """The checkpoints to go on from; runs without a readable one leave the group."""
        if self.start is None:
            return None
        restored: dict[int, Checkpoint] = {}
        for lane in self._alive():
            with self._failing_alone(lane):
                restored[lane] = checkpoints.load(self.folders[lane], self.start)
        self.outcomes = [self._outcome(lane, "") for lane in self.failed]
        self.configs = [self.configs[lane] for lane in restored]
        self.folders = [self.folders[lane] for lane in restored]
        self.failed.clear()
        return list(restored.values())

    def _prepare(self, restored: list[Checkpoint] | None) -> None:
        """Build the pack, and bring each folder back to where its run goes on."""
        with span("start-up", whole=True):
            self._built = self.build(self.configs, self.execution, restored)
            self._built.evaluation_sets.update(self.sets)
        environment = self.pack.environment()
        for lane, folder in enumerate(self.folders):
            with self._failing_alone(lane):
                folder.require_present()
                folder.remove("failure.json")
                folder.drop_progress()
                checkpoints.discard_after(folder, self.start)
                folder.metrics.cut(
                    restored[lane].place.metrics_bytes if restored else 0
                )
                folder.add_session(environment)
                vocabulary_file.keep(folder, self.pack.task)
        self._tell("begin")

    @contextlib.contextmanager
    def _failing_alone(self, lane: int) -> Iterator[None]:
        """A damaged folder, a full disk or an unusable number fails this lane alone."""
        try:
            yield
        except (OSError, ValueError, RunGone) as error:
            self._fail(lane, error)

    def _loop(self, interruption: Interruption) -> None:
        pack, every = self.pack, self.training.evaluate_every_steps
        keep = self.execution.keep_checkpoints_every_steps
        last_save = last_log = time.monotonic()
        first_step, begun = pack.step, last_log
        if self.start is None:  # a checkpoint of step 0 counts its metrics
            self._record(self.training.evaluation_examples)
            if keep:
                self._save()
        while pack.step < self.training.steps and self._alive():
            if interruption.received:
                self._settle()
                self._save()
                return
            pack.train_step(self.clock)
            if pack.must_check():
                self._settle()
            step, now = pack.step, time.monotonic()
            if step % every == 0 and step < self.training.steps:
                self._settle()
                self._record(self.training.evaluation_examples)
            late = now - last_save >= self.execution.checkpoint_every_seconds
            if late or (keep and step % keep == 0) or step == self.training.steps:
                self._settle()
                self._save()
                last_save = time.monotonic()
            due = now - last_log >= self.execution.log_every_seconds
            if due and pack.has_losses():
                last_log = now
                self._report((now - begun) / (step - first_step))

    def _close(self) -> None:
        """The last evaluation, then the marker that the run is done."""
        if not self._alive():
            return
        self._record(self.training.final_examples)
        unembeddings = self.pack.unembeddings_per_token()
        keep = self.execution.keep_checkpoints_every_steps
        for lane in self._alive():
            with self._failing_alone(lane):
                self._write_result(lane, unembeddings)
                with contextlib.suppress(OSError):  # the run is done all the same
                    checkpoints.drop_moments(self.folders[lane], keep)

    def _write_result(self, lane: int, unembeddings: float) -> None:
        folder, step = self.folders[lane], self.pack.step
        folder.write_items(step, self.pack.items[lane])
        folder.write_result(
            {
                "run_id": self.configs[lane].run_id,
                "steps": step,
                "tokens": self.pack.tokens,
                "vocabulary": len(self.pack.task.vocabulary),
                "unembeddings_per_token": unembeddings,
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
                "seconds": self._seconds(lane),
                "lanes": len(self.configs),
                "headline": self.headline[lane],
                "weights": f"checkpoint/{checkpoints.path_at(folder, step).name}",
            }
        )

    def _record(self, examples: int) -> None:
        """Append a row of training losses and, with examples, an evaluation."""
        began = time.monotonic()
        with span("evaluation"):
            alive = self._alive()
            rows = self.pack.training_rows()
            if examples:
                for lane, scored in enumerate(self.pack.evaluate(examples)):
                    rows[lane] += scored
            parts = {metric.part for metric in self.configs[0].task.metrics}
            shown = {*HEADLINE_SLICES, *parts}
            self.headline = [
                {r.name: r.value for r in lane_rows if r.slice in shown}
                for lane_rows in rows
            ]
            first = 0 < self.pack.step <= self.training.evaluate_every_steps
            for lane in alive:
                with self._failing_alone(lane):
                    self.folders[lane].append_metrics(rows[lane])
                    require_usable(rows[lane], first)
            values = {
                self.configs[lane].run_id: {row.name: row.value for row in rows[lane]}
                for lane in alive
            }
            self._tell("evaluation", values=values)
        self.clock["evaluation"] += time.monotonic() - began

    def _save(self) -> None:
        began = time.monotonic()
        with span("checkpoint"):
            keep = self.execution.keep_checkpoints_every_steps
            for lane in self._alive():
                with self._failing_alone(lane):
                    folder = self.folders[lane]
                    folder.require_present()
                    length, sha256 = folder.metrics.sync()
                    saved = self.pack.checkpoint(lane, length, self._seconds(lane))
                    place = replace(saved.place, metrics_sha256=sha256)
                    checkpoints.save(folder, replace(saved, place=place), keep)
            self.saved = self.pack.step
        self.clock["checkpoint"] += time.monotonic() - began

    def _settle(self) -> None:
        """Read the losses since the last call; stop lanes whose loss is NaN or infinite."""
        for lane, step, losses, norm in self.pack.settle(self._alive()):
            words = not_finite(self.configs[lane], step, losses, norm)
            self._fail(lane, words, step)

    def _fail(self, lane: int, cause: str | Exception, step: int | None = None) -> None:
        message = self.failed[lane] = failure_message(cause)
        step = self._step() if step is None else step
        try:
            self.folders[lane].require_present()
            self.folders[lane].write_failure(cause, step, self.saved)
        except RunGone:  # nothing to write it into
            pass
        except OSError as error:  # a full disk: the outcome still names the failure
            self.failed[lane] = f"{message} (and failure.json: {error})"

    def _tell(self, kind: Kind, **content: Any) -> None:
        if self.progress is not None:
            ids = [config.run_id for config in self.configs]
            step, steps = self._step() or 0, self.training.steps
            self.progress(
                Event(kind=kind, run_ids=ids, step=step, steps=steps, **content)
            )

    def _step(self) -> int | None:
        return self.start if self._built is None else self._built.step

    def _alive(self) -> list[int]:
        return [lane for lane in range(len(self.configs)) if lane not in self.failed]

    def _seconds(self, lane: int) -> dict[str, float]:
        before = self.pack.seconds_before[lane]
        names = before.keys() | self.clock.keys()
        return {n: before.get(n, 0.0) + self.clock.get(n, 0.0) for n in sorted(names)}

    def _report(self, seconds_per_step: float) -> None:
        pack, training = self.pack, self.training
        speed = training.tokens_per_step * len(self.configs) / seconds_per_step
        seconds_left = seconds_per_step * (training.steps - pack.step)
        self._tell(
            "training",
            losses=pack.recent_losses(self._alive()),
            tokens_per_second=speed,
            seconds_left=seconds_left,
        )
        for lane in self._alive():
            losses = pack.recent_losses([lane])
            news: dict[str, Any] = {
                "step": pack.step,
                "steps": training.steps,
                # Right after a row of metrics there is no loss to report: null.
                "losses": [loss if math.isfinite(loss) else None for loss in losses],
                "tokens_per_second": speed / len(self.configs),
                "seconds_left": seconds_left,
                "time": time.time(),
            }
            with contextlib.suppress(OSError):  # for people; nothing depends on it
                self.folders[lane].write_json("progress.json", news)

    def _outcome(self, lane: int, message: str) -> Outcome:
        run_id = self.configs[lane].run_id
        if lane in self.failed:
            return Outcome(run_id, "failed", self.failed[lane])
        return Outcome(run_id, "done" if message == "done" else "stopped", message)

"""The progress of a launch: executors update it, the display reads it."""

import time
from collections import Counter
from dataclasses import dataclass, field

from sweeps.packs import PackRuns
from sweeps.sweep_metric import measured_metric, split_mean, value_of
from synth.run.progress import Event, Outcome


@dataclass
class ActivePack:
    """A pack that is training."""

    pack: PackRuns
    step: int = 0
    latest: Event | None = None
    """Its losses and speed at the last log interval."""
    score: float | None = None
    """The sweep's metric at the last evaluation, a mean over the lanes."""

    @property
    def steps(self) -> int:
        """Training steps of each run."""
        return self.pack[0].training.steps

    @property
    def title(self) -> str:
        """The first run, and the number of other runs in the pack."""
        more = f" +{len(self.pack) - 1}" if len(self.pack) > 1 else ""
        return self.pack[0].run_id + more

    def update(self, event: Event, metric: str) -> None:
        """Update step, losses and score from a training event."""
        self.step = event.step
        if event.kind == "training":
            self.latest = event
        elif event.kind == "evaluation":
            _, name = split_mean(measured_metric(metric, self.pack[0]))
            scores = [value_of(each, name) for each in event.values.values()]
            finite = [score for score in scores if score is not None]
            self.score = sum(finite) / len(finite) if finite else None


@dataclass
class LaunchProgress:
    """One launch; `work` is the cost of each run in any unit, to estimate the time left."""

    total: int
    done_before: int
    metric: str
    """The sweep's metric; if empty, each task's default."""
    work: dict[str, float]
    active: list[ActivePack] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    elsewhere: int = 0
    """Runs that another launch is training."""
    left_alone: int = 0
    """Unfinished runs that this launch does not train: they failed before, say."""
    began: float = field(default_factory=time.monotonic)
    trained_before: dict[str, float] = field(default_factory=dict)
    """The share of each begun run that earlier launches had trained."""

    def update(self, active: ActivePack, event: Event) -> None:
        """Update a pack; its first event is of the step where this launch took it up."""
        active.update(event, self.metric)
        for config in active.pack:
            self.trained_before.setdefault(config.run_id, event.step / active.steps)

    @property
    def counts(self) -> Counter[str]:
        """Runs by state, those done before this launch included."""
        counts: Counter[str] = Counter(o.state for o in self.outcomes.values())
        counts["done"] += self.done_before
        counts["training"] = sum(len(active.pack) for active in self.active)
        counts["elsewhere"] = self.elsewhere
        counts["left alone"] = self.left_alone
        counts["waiting"] = max(0, self.total - sum(counts.values()))
        return counts

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the share of this launch's work done; `None` below 2 %."""
        before = self.trained_before
        work = {name: (1 - before.get(name, 0.0)) * w for name, w in self.work.items()}
        everything = sum(work.values())
        ended = sum(work.get(run_id, 0.0) for run_id in self.outcomes)
        for active in self.active:
            share = active.step / active.steps
            for name in (config.run_id for config in active.pack):
                ended += (share - before.get(name, 0.0)) * self.work.get(name, 0.0)
        if not everything or ended < 0.02 * everything:
            return None
        return (time.monotonic() - self.began) * (everything / ended - 1)

"""Where a launch stands: what an executor writes and the display reads."""

import time
from collections import Counter
from dataclasses import dataclass, field

from sweeps.packs import PackRuns
from sweeps.sweep_metric import default_metric, value_of
from synth.run.progress import Event, Outcome


@dataclass
class Active:
    """A pack in training."""

    pack: PackRuns
    step: int = 0
    latest: Event | None = None
    """Its losses and speed at the last log interval."""
    score: float | None = None
    """The sweep's metric at the last evaluation, a mean over the lanes."""

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.pack[0].training.steps

    @property
    def title(self) -> str:
        """The first run, and how many train with it."""
        more = f" +{len(self.pack) - 1}" if len(self.pack) > 1 else ""
        return self.pack[0].run_id + more

    def update(self, event: Event, metric: str) -> None:
        """Take in what the training reports."""
        self.step = event.step
        if event.kind == "training":
            self.latest = event
        elif event.kind == "evaluation":
            name = metric or default_metric(self.pack[0].task)
            scores = [value_of(each, name) for each in event.headlines.values()]
            known = [score for score in scores if score is not None]
            self.score = sum(known) / len(known) if known else None


@dataclass
class Board:
    """One launch: `work` is what each run costs, in any unit, to tell the time left."""

    total: int
    done_before: int
    metric: str
    """Of the sweep; if empty, each task's own."""
    work: dict[str, float]
    active: list[Active] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    elsewhere: int = 0
    """Runs that another launch trains right now."""
    began: float = field(default_factory=time.monotonic)

    @property
    def counts(self) -> Counter[str]:
        """Runs by state, those done before this launch included."""
        counts: Counter[str] = Counter(o.state for o in self.outcomes.values())
        counts["done"] += self.done_before
        counts["training"] = sum(len(active.pack) for active in self.active)
        counts["elsewhere"] = self.elsewhere
        counts["waiting"] = max(0, self.total - sum(counts.values()))
        return counts

    @property
    def seconds_left(self) -> float | None:
        """From the share of this launch's work that is done; `None` at the start."""
        everything = sum(self.work.values())
        ended = sum(self.work.get(run_id, 0.0) for run_id in self.outcomes)
        for active in self.active:
            share = active.step / active.steps
            ended += share * sum(self.work.get(c.run_id, 0.0) for c in active.pack)
        if not everything or ended < 0.02 * everything:
            return None
        return (time.monotonic() - self.began) * (everything / ended - 1)

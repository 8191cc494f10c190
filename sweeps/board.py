"""Where a launch stands: what the pool writes and the displays read."""

import time
from collections import Counter
from dataclasses import dataclass, field

from sweeps.packs import PackRuns
from synth.run.progress import Headlines, Moment, Outcome


@dataclass
class Active:
    """A pack in training."""

    pack: PackRuns
    step: int = 0
    losses: list[float] = field(default_factory=list)
    """Training loss per horizon, a mean over the lanes."""
    score: float | None = None
    """The sweep's metric at the last evaluation, a mean over the lanes."""
    tokens_per_second: float | None = None
    seconds_left: float | None = None

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.pack[0].training.steps

    @property
    def title(self) -> str:
        """The first run, and how many go with it."""
        more = f" +{len(self.pack) - 1}" if len(self.pack) > 1 else ""
        return self.pack[0].run_id + more

    def update(self, moment: Moment) -> None:
        """Training goes on."""
        self.step, self.losses = moment.step, list(moment.losses)
        self.tokens_per_second = moment.tokens_per_second
        self.seconds_left = moment.seconds_left

    def measured(self, step: int, headlines: Headlines, metric: str) -> None:
        """An evaluation: the mean of the metric over the lanes that have it."""
        self.step = step
        found = [numbers.get(metric) for numbers in headlines.values()]
        values = [value for value in found if value is not None]
        self.score = sum(values) / len(values) if values else None


@dataclass
class Board:
    """One launch: `work` is what each run costs, in any unit, to tell the time left."""

    total: int
    done_before: int
    metric: str
    work: dict[str, float]
    active: list[Active] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    elsewhere: int = 0
    """Runs that another launch trains right now."""
    began: float = field(default_factory=time.monotonic)

    @property
    def counts(self) -> Counter[str]:
        """Runs by state, those done before this launch included."""
        found: Counter[str] = Counter(o.state for o in self.outcomes.values())
        found["done"] += self.done_before
        found["training"] = sum(len(active.pack) for active in self.active)
        found["elsewhere"] = self.elsewhere
        known = sum(found.values())
        found["waiting"] = max(0, self.total - known)
        return found

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


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds as h:mm:ss or m:ss; a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"

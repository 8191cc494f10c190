"""The commands about learning as an event, about noise, and about scaling."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from analysis.answers import Asked
from analysis.events import IN_A_ROW, Better
from analysis.measures import Measure


@dataclass(frozen=True, kw_only=True)
class Study(Asked):
    """A question to all evaluations of one metric of a sweep."""

    def measured(self) -> tuple[pl.DataFrame, Measure, list[str]]:
        """The evaluations, what they measure, and what is to be known of them."""
        from analysis.loading import load_sweep
        from analysis.views import select

        assert self.form  # two forms are refused before anything is read
        runs = select(load_sweep(self.sweep, self.results), self.query)
        measure = runs.measure(self.query, [])
        return measure.rows(runs.done), measure, runs.notes


@dataclass(frozen=True, kw_only=True)
class Events(Study):
    """When runs reach a level: P(learned), median tokens, log-rank against n = 1."""

    level: float | None = None
    """The level; the one that the task declares if not given."""
    in_a_row: int = IN_A_ROW
    """Evaluations in a row that must be at the level."""

    def run(self) -> int:
        """Count, compare and print."""
        from analysis.trajectories import event_rows, learned_level, timed_runs

        rows, measure, notes = self.measured()
        level = self.level
        if level is None:
            level = learned_level(rows, measure.metric)
        higher = measure.higher_is_better
        if higher is None:
            raise ValueError(
                f"No task says which direction of {measure.metric} is better."
            )
        better: Better = "higher" if higher else "lower"
        times = timed_runs(rows, level, better, self.in_a_row)
        table = event_rows(times, ["setting", "parameters", "scale"])
        word = "at least" if higher else "at most"
        title = (
            f"{measure.title} {word} {level:g}, {self.in_a_row} evaluations in a row"
        )
        notes.append(
            "low, high: 95 % interval of P(learned) (Wilson). tokens: by which half of the "
            "runs had learned it. p: log-rank against n = 1, over arrangements of runs."
        )
        self.show(table.drop("parameters"), title, notes)
        return 0


@dataclass(frozen=True, kw_only=True)
class Noise(Study):
    """The difference between arms that means nothing, and what sizes predict."""

    baseline: str = "n1"
    """The arm that is compared with itself."""
    decisions: bool = False
    """In its place: how often a smaller size orders two arms as a larger one does."""

    def run(self) -> int:
        """Measure and print."""
        from analysis.noise import decision_table, noise_table

        rows, measure, notes = self.measured()
        if self.decisions:
            title = f"{measure.title}: pairs of arms with the same sign at two sizes"
            self.show(decision_table(rows), title, notes)
            return 0
        notes.append(
            "band: two means of one arm differ by less in 95 % of cases. halves: first "
            "half of the seeds minus second. ratio: signal over spread over seeds."
        )
        table = noise_table(rows, self.baseline)
        self.show(table, f"{measure.title}: {self.baseline} against itself", notes)
        return 0


@dataclass(frozen=True, kw_only=True)
class Scaling(Study):
    """Power laws of a metric, arm by arm, where there are five sizes or more."""

    x: Literal["parameters", "tokens", "flops"] = "parameters"
    """What the law is in."""
    offset: bool = True
    """Whether the law has an offset: what remains at infinite size."""

    def run(self) -> int:
        """Fit and print; say what is refused, and why."""
        from analysis.scaling import scaling_table

        rows, measure, notes = self.measured()
        ceiling = measure.meant.ceiling if measure.meant else None
        if measure.higher_is_better and not isinstance(ceiling, float):
            raise ValueError(
                f"The task gives {measure.metric} no ceiling to fall short of."
            )
        known = float(ceiling) if isinstance(ceiling, float) else None
        top = known if measure.higher_is_better else None
        table, refused = scaling_table(rows, self.x, self.offset, top)
        what = f"{top:g} - {measure.title}" if top is not None else measure.title
        title = f"{what} = offset + factor * {self.x}^-exponent, 95 % over seeds"
        self.show(table, title, [*notes, *refused])
        return 0

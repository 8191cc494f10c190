"""Which checkpoints a probe measures, and the files that its numbers go to."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.config import RunConfig
from synth.disk.files import write_atomically
from synth.metrics import Measurement, Score, to_lines
from synth.run.checkpoint import saved_steps
from synth.run.finding import find_run
from synth.run.store import RunFolder


def steps_to_measure(folder: Path, step: int | None, every: bool) -> list[int | None]:
    """The chosen checkpoint of a run (None: its newest whole one), or all in order.

    Raises `ValueError` when the folder holds no run or no checkpoint.
    """
    folder = find_run(folder).resolve()
    run = RunFolder(folder.parent, folder.name)
    run.config()  # refuses what is no run folder
    saved = saved_steps(run)
    if not saved:
        raise ValueError(
            f"{folder} has no checkpoint; the run's state is {run.state()}."
        )
    return [*saved] if every else [step]


@dataclass(frozen=True)
class ProbedStep:
    """A checkpoint of a run that is measured."""

    folder: Path
    config: RunConfig
    step: int

    def rows(self, scores: Sequence[Score]) -> list[Measurement]:
        """Scores in the long form."""
        tokens = self.step * self.config.training.tokens_per_step
        run_id = self.folder.name
        return [Measurement.of(score, run_id, self.step, tokens) for score in scores]


def save(probe: str, folder: Path, rows: Sequence[Measurement]) -> None:
    """Write one file into a run's folder, replacing that of an earlier call."""
    write_atomically(folder / f"probe-{probe}.jsonl", to_lines(rows).encode())


def as_text(rows: list[Measurement]) -> str:
    """The numbers of one checkpoint: a heading, then one line each."""
    lines = [f"{rows[0].run_id} step {rows[0].step}"]
    for r in rows:
        name = f"{r.suite:<16}{r.metric:<26}{r.slice:<42}"
        value = "-" if r.value is None else f"{r.value:.5f}"
        lines.append(f"{name}{value:>12}  n={r.count}")
    return "\n".join(lines)

"""What a probe measures: at which checkpoints, and where the numbers go."""

from pathlib import Path

from synth.config import RunConfig
from synth.metrics import Measurement, Score, to_lines
from synth.run.checkpoint import saved_steps
from synth.run.store import RunFolder, write_atomically


def steps_to_measure(folder: Path, step: int | None, every: bool) -> list[int | None]:
    """The chosen checkpoint of a run (None: its newest whole one), or all in order.

    Raises
    ------
    ValueError
        When the folder holds no run or no checkpoint, or when both are asked for.
    """
    if every and step is not None:
        raise ValueError("Give either --step or --every-step.")
    folder = folder.resolve()
    known = RunFolder(folder.parent, folder.name)
    known.config()  # refuses what is no run folder
    saved = saved_steps(known)
    if not saved:
        raise ValueError(f"{folder} has no checkpoint yet.")
    return [*saved] if every else [step]


class Findings:
    """Measured numbers on their way to run folders."""

    def __init__(self, probe: str) -> None:
        self._file = f"probe-{probe}.jsonl"
        self._rows: dict[Path, list[Measurement]] = {}
        self._place: tuple[Path, int, int] | None = None

    def at(self, folder: Path, config: RunConfig, step: int) -> None:
        """What comes next was measured on this run at this step."""
        tokens = step * config.training.tokens_per_step
        self._place = folder.resolve(), step, tokens

    def add(self, scores: list[Score]) -> list[Measurement]:
        """Keep the scores of a run in the long form; those of other models are not."""
        if self._place is None:
            return []
        folder, step, tokens = self._place
        rows = [Measurement.of(score, folder.name, step, tokens) for score in scores]
        self._rows.setdefault(folder, []).extend(rows)
        return rows

    def save(self) -> None:
        """Write one file into each run's folder, replacing that of an earlier call."""
        for folder, rows in self._rows.items():
            write_atomically(folder / self._file, to_lines(rows).encode())


def as_text(rows: list[Measurement]) -> str:
    """The numbers of one checkpoint: a heading, then a line a number."""
    lines = [f"{rows[0].run_id} step {rows[0].step}"]
    for r in rows:
        name = f"{r.suite:<16}{r.metric:<26}{r.slice:<42}"
        lines.append(f"{name}{r.value:>12.5f}  n={r.count}")
    return "\n".join(lines)

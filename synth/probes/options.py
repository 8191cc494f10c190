"""What all probes of `python -m synth probe` have in common: which checkpoints, and where
the numbers go."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from synth.cli.command_line import mistake
from synth.cli.moved import MovedFiles
from synth.config import check_examples
from synth.identity import require
from synth.metrics import Measurement
from synth.run.environment import require_device


@dataclass(frozen=True, kw_only=True)
class Options(MovedFiles):
    """Options of all probes: which checkpoints, and where the numbers go."""

    counts: ClassVar[tuple[str, ...]] = ()
    """Options that are numbers of examples: at least one."""

    step: int | None = None
    """Checkpoint step of a run; the newest if not given."""
    every_step: bool = False
    """All checkpoints, one after another."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where to measure."""
    save: bool = False
    """Also write the numbers to probe-*.jsonl in each run's folder."""
    quiet: bool = False
    """With --save: print nothing."""

    def check(self) -> None:
        """Refuse impossible options before anything is loaded."""
        require(self.save or not self.quiet, "--quiet", "with --save", self.quiet)
        if self.every_step and self.step is not None:
            raise ValueError("Give either --step or --every-step.")
        for name in self.counts:
            check_examples(f"--{name.replace('_', '-')}", getattr(self, name))
        require_device(self.device)

    def measure_each(
        self,
        probe: str,
        folders: Sequence[Path],
        measure: Callable[[Path, int | None], list[Measurement]],
    ) -> int:
        """Measure the checkpoints of each run, and save the numbers run by run.

        A run that cannot be measured does not stop the others: it is named at the end,
        nothing of it is saved, and the status is 2.
        """
        from synth.probes import probe_files

        errors: list[str] = []
        for folder in folders:
            try:
                steps = probe_files.steps_to_measure(folder, self.step, self.every_step)
                rows = [row for step in steps for row in measure(folder, step)]
                if self.save:
                    probe_files.save(probe, folder, rows)
            except Exception as error:
                said = mistake(error)
                if said is None:
                    raise
                errors.append(said if folder.name in said else f"{folder}: {said}")
        for words in errors:
            print(f"error: {words}", file=sys.stderr)
        return 2 if errors else 0

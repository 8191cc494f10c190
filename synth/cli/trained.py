"""Commands on a trained run: what it writes, and a copy for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run as a folder that another library loads."""

    run_name: tyro.conf.Positional[str]
    """A run: an id, its beginning, a folder, or a pattern."""
    folder: tyro.conf.Positional[Path]
    """The folder to write; nothing may lie there."""
    to: Literal["transformers"] = "transformers"
    """A LlamaForCausalLM with its tokeniser and a model card, for `from_pretrained`."""
    step: int | None = None
    """Checkpoint step; the newest one if not given."""
    runs: Path = Path("runs")
    """Where run folders lie."""

    def run(self) -> int:
        """Write and say where."""
        from synth.export.llama import export
        from synth.run.loading import load

        run = load(self.run_name, step=self.step, runs=self.runs)
        export(run, self.folder)
        print(f"{run.run_id} at step {run.step}: {self.folder}")
        return 0

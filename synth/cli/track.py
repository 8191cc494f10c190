"""`python -m synth track`: curves of runs that are there already, in another tool."""

import sys
from dataclasses import dataclass
from typing import Literal

from synth.cli.run_names import SomeRuns
from synth.run.claim import RunBusy
from synth.run.store import RunFolder
from synth.run.trackers import missing_package
from synth.run.tracking import Curve


@dataclass(frozen=True, kw_only=True)
class Track(SomeRuns):
    """Show the curves of runs in another tool; runs that it has are brought up to date."""

    to: Literal["tensorboard", "trackio", "wandb"]
    """The tool."""

    def run(self) -> int:
        """0, or 1 when runs were left out: in training, damaged, or the tool failed."""
        if missing := missing_package(self.to):
            raise ValueError(missing)
        left_out = 0
        for path in self.find():
            folder = RunFolder(path.parent, path.name)
            try:
                with folder.claim():
                    if damage := folder.damage():
                        raise ValueError(" ".join(damage))
                    curve = Curve(path.parent, path.name, self.to)
                    curve.close()
                up_to = f"in {self.to} up to step {curve.sent}"
                none = "nothing is measured yet"
                print(f"{path.name}: {up_to if curve.sent >= 0 else none}")
            except RunBusy as error:  # whoever trains it may follow it
                left_out += 1
                print(f"{path.name}: left out. {error}")
            except Exception as error:  # of the tool or this run; others may do
                left_out += 1
                print(f"{path.name}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1 if left_out else 0

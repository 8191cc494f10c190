"""The commands of `python -m sweeps`, each a dataclass whose fields are its options."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from sweeps.sweep import Sweep
from synth.execution import Execution
from synth.identity import nearest

STOPPED = 75
"""Exit status after a signal: call again to go on (EX_TEMPFAIL)."""

Name = Annotated[str, tyro.conf.Positional]


def find(name: str) -> Sweep:
    """The sweep of a name."""
    from sweeps.catalogue import CATALOGUE

    if name not in CATALOGUE:
        raise ValueError(f"No sweep is called {name!r}. {nearest(name, CATALOGUE)}")
    return CATALOGUE[name]


@dataclass(frozen=True, kw_only=True)
class List:
    """List the sweeps of the catalogue."""

    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print a line a sweep."""
        from sweeps.catalogue import CATALOGUE

        for name, sweep in CATALOGUE.items():
            if self.json:
                found = {
                    "name": name,
                    "about": sweep.about,
                    "figure": sweep.figure,
                    "claims": sweep.claims,
                    "scales": {scale: len(sweep(scale)) for scale in sweep.scales},
                }
                print(json.dumps(found))
            else:
                print(f"{name:<20} {sweep.about}")
        return 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """Train what is missing of a sweep; calling again goes on where it stopped."""

    sweep: Name
    """A sweep of the catalogue."""
    scale: str | None = None
    """quick, small or paper; the sweep's first scale if not given."""
    workers: int = 2
    """Worker processes at a time."""
    lanes: int = 4
    """Most runs that train side by side in one process."""
    fail_fast: bool = False
    """Stop at the first failing run."""
    execution: Execution = field(default_factory=Execution)
    runs: Path = Path("runs")
    """Where run folders lie."""
    json: bool = False
    """Print the outcomes as JSON, and no progress."""

    def run(self) -> int:
        """0: all done; 1: some failed; 75: stopped by a signal."""
        from sweeps.display import for_terminal
        from sweeps.launch import launch
        from sweeps.pool import LocalPool

        sweep = find(self.sweep)
        scale = self.scale or sweep.scales[0]
        configs, root = sweep(scale), sweep.root(self.runs, scale)
        outcomes = launch(
            configs,
            root,
            LocalPool(self.workers, self.fail_fast),
            self.execution,
            for_terminal(self.json),
            sweep.metric,
            self.lanes,
        )
        counts = Counter(outcome.state for outcome in outcomes)
        if self.json:
            print(json.dumps([vars(outcome) for outcome in outcomes]))
        elif not outcomes:
            print(f"{len(configs)} runs, all done before, in {root}")
        else:
            words = ", ".join(f"{count} {state}" for state, count in counts.items())
            print(f"{words}, in {root}")
        return 1 if counts["failed"] else STOPPED if counts["stopped"] else 0

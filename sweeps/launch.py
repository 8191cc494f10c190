"""One launch of a sweep: what is missing, in packs, through an executor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.board import Board
from sweeps.display import Display
from sweeps.executor import Executor
from sweeps.packs import Pack, cut
from synth.config import RunConfig
from synth.describe import describe_run
from synth.execution import Execution
from synth.progress import Outcome
from synth.store import RunFolder, State


@dataclass(frozen=True)
class Survey:
    """The runs of a sweep by the state of their folders."""

    runs: dict[RunConfig, State]

    def having(self, *states: State) -> list[RunConfig]:
        """The runs in one of the states, in the order of the sweep."""
        return [config for config, state in self.runs.items() if state in states]


def survey(configs: Sequence[RunConfig], root: Path) -> Survey:
    """Look at the folder of every run."""
    return Survey({c: RunFolder(root, c.run_id).state() for c in configs})


def launch(
    configs: Sequence[RunConfig],
    root: Path,
    executor: Executor,
    execution: Execution,
    display: Display,
    metric: str,
    lanes: int,
    retry: bool = False,
) -> list[Outcome]:
    """Train what is missing; failed runs too if `retry`."""
    found = survey(configs, root)
    wanted: list[State] = ["new", "stopped", "running"]
    if retry:
        wanted.append("failed")
    missing = found.having(*wanted)
    if not missing:
        return []
    packs = longest_first(cut(missing, lanes))
    board = Board(
        total=len(configs),
        done_before=len(found.having("done")),
        metric=metric,
        work={config.run_id: flops(config) for config in missing},
    )
    display.say(
        f"{len(configs)} runs, {board.done_before} done; {len(missing)} to train in "
        f"{len(packs)} packs, {executor.slots} at a time, in {root}"
    )
    try:
        return executor.carry_out(packs, root, execution, board, display)
    finally:
        display.close()


def flops(config: RunConfig) -> float:
    """Training cost of a run."""
    return float(describe_run(config)["training_flops"])


def longest_first(packs: Sequence[Pack]) -> list[Pack]:
    """The costly packs first, so that no long one is left for the end."""
    return sorted(packs, key=lambda pack: -sum(map(flops, pack)))

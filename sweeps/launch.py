"""One launch of a sweep: what is missing, in packs, through an executor."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps import costs, provenance
from sweeps.board import Board
from sweeps.display import Display
from sweeps.executor import Executor
from sweeps.plan import plan
from sweeps.sharing import link_shared
from sweeps.survey import survey
from synth.config import RunConfig
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.progress import Outcome


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a launch is to be carried out."""

    execution: Execution
    lanes: int | None = None
    """Most runs in a pack; by size if not given, see `packs.usual_lanes`."""
    retry: bool = False
    """Train failed runs again."""
    typed: provenance.Typed | None = None
    """What the person typed, to be remembered beside the runs."""


def launch(
    title: str,
    configs: Sequence[RunConfig],
    root: Path,
    executor: Executor,
    wishes: Wishes,
    display: Display,
    metric: str,
) -> list[Outcome]:
    """Train what is missing; failed runs too if asked for.

    Raises
    ------
    ValueError
        When unfinished runs were begun by other code, unless that is accepted.
    """
    linked = link_shared(configs, root)
    found = survey(root, configs)
    execution, slots = wishes.execution, executor.slots
    planned = plan(
        title,
        configs,
        found,
        execution,
        slots,
        lanes=wishes.lanes,
        retry=wishes.retry,
    )
    if not planned.packs:
        return []
    begun = found.ids("stopped", "failed") if wishes.retry else found.ids("stopped")
    if not execution.accept_code_change:  # before any other is trained
        ours = [config for config in configs if config.run_id in begun]
        refuse_other_code(root, sorted(ours, key=lambda config: config.run_id))
    if wishes.typed is not None:
        wishes.typed.remember(root)
    missing = [config for pack in planned.packs for config in pack]
    board = Board(
        total=len(configs),
        done_before=found.counts["done"],
        metric=metric,
        work={config.run_id: costs.flops(config) for config in missing},
    )

    shared = f" ({linked} shared with other sweeps)" if linked else ""
    display.say(
        f"{len(configs)} runs, {board.done_before} done{shared}; {len(missing)} to "
        f"train in {len(planned.packs)} packs, {slots} at a time, in {root}"
    )
    try:
        return executor.carry_out(planned.packs, root, execution, board, display)
    finally:
        display.close()

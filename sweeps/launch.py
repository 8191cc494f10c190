"""One launch of a sweep: what is missing, in packs, through an executor."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps import costs, provenance
from sweeps.board import Board
from sweeps.display import Display
from sweeps.executor import Executor, Work
from sweeps.plan import plan
from sweeps.sharing import link_shared
from sweeps.survey import survey
from synth.config import RunConfig
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.states import LIVE, UNTRIED, State, counted


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a launch is to be carried out."""

    execution: Execution
    lanes: int | None = None
    """Most runs in a pack; by size if not given, see `packs.usual_lanes`."""
    states: Collection[State] = UNTRIED
    """Runs in these states are trained."""
    typed: provenance.Typed | None = None
    """What the person typed, to be remembered beside the runs."""
    dry_run: bool = False
    """Write nothing here."""


def launch(
    title: str,
    configs: Sequence[RunConfig],
    root: Path,
    executor: Executor,
    wishes: Wishes,
    display: Display,
    metric: str,
) -> list[Outcome]:
    """Train what is missing, or hand it to a queue.

    Raises
    ------
    ValueError
        When unfinished runs were begun by other code, unless that is accepted; when
        nobody knows what is queued; or when an executor refuses to begin.
    """
    linked = 0 if wishes.dry_run else link_shared(configs, root)
    found = survey(root, configs, queue=executor.remote)
    if not found.queue_known:
        raise ValueError(found.news[-1])
    for sentence in found.news:
        display.say(sentence)
    # Here another launch may die and leave its runs to this one; a queue keeps them.
    elsewhere = LIVE if executor.remote else ()
    states = [state for state in wishes.states if state not in elsewhere]
    execution, slots = wishes.execution, executor.slots
    most = {}
    if executor.remote:
        from slurm.sent import smaller_packs

        most = smaller_packs(root, found.ids("failed", "lost"))
    planned = plan(
        title,
        configs,
        found,
        execution,
        slots,
        lanes=wishes.lanes,
        states=states,
        most=most,
    )
    if not planned.packs:
        return []
    missing = [config for pack in planned.packs for config in pack]
    if not (execution.accept_code_change or wishes.dry_run):  # before any is trained
        others = found.ids("new", *LIVE)
        begun = [config for config in missing if config.run_id not in others]
        refuse_other_code(root, sorted(begun, key=lambda config: config.run_id))
    if wishes.typed is not None and not wishes.dry_run:
        wishes.typed.remember(root)
    board = Board(
        total=len(configs),
        done_before=found.counts["done"],
        metric=metric,
        work={config.run_id: costs.flops(config) for config in missing},
    )

    shared = f" ({linked} shared with other sweeps)" if linked else ""
    abreast = "" if executor.remote else f", {slots} at a time"
    display.say(
        f"{len(configs)} runs: {counted(found.counts)}{shared}; {len(missing)} to "
        f"train in {len(planned.packs)} packs{abreast}, in {root}"
    )
    try:
        return executor.carry_out(
            Work(
                packs=planned.packs,
                root=root,
                execution=execution,
                board=board,
                display=display,
            )
        )
    finally:
        display.close()

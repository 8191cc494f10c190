"""One launch of a sweep: what is missing, in packs, through an executor."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps import costs, provenance
from sweeps.board import Board
from sweeps.display import Display
from sweeps.executor import Executor, Work
from sweeps.plan import Plan, plan
from sweeps.sharing import link_shared
from sweeps.survey import survey
from synth.config import RunConfig
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.standing import Standing, Survey
from synth.run.states import LIVE, UNTRIED, State, counted
from synth.run.trackers import missing_package


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
    tables: Path | None = None
    """A folder of tables whose runs are done, if they have no folder here."""


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
    found = survey(root, configs, queue=executor.remote, tables=wishes.tables)
    if not found.queue_known:
        raise ValueError(found.news[-1])
    planned = _planned(title, configs, found, executor, wishes)
    missing = [config for pack in planned.packs for config in pack]
    if missing and not wishes.dry_run:
        _prepare(missing, found, wishes)
    board = Board(
        total=len(configs),
        done_before=found.counts["done"],
        metric=metric,
        work={config.run_id: costs.flops(config) for config in missing},
    )
    try:
        for sentence in found.news:
            display.say(sentence)
        if missing and (package := missing_package(wishes.execution.track)):
            display.say(f"{package}; the runs are trained without it")
        if not missing:
            return []
        shared = f" ({linked} shared with other sweeps)" if linked else ""
        abreast = "" if executor.remote else f", {executor.slots} at a time"
        display.say(
            f"{len(configs)} runs: {counted(found.counts)}{shared}; {len(missing)} to "
            f"train in {len(planned.packs)} packs{abreast}, in {root}"
        )
        return executor.carry_out(
            Work(
                packs=planned.packs,
                root=root,
                execution=wishes.execution,
                board=board,
                display=display,
            )
        )
    finally:
        display.close()


def _planned(
    title: str,
    configs: Sequence[RunConfig],
    found: Survey[Standing],
    executor: Executor,
    wishes: Wishes,
) -> Plan:
    """The packs of the runs in the states that are wanted."""
    most = {}
    if executor.remote:
        from slurm.sent import smaller_packs

        most = smaller_packs(found.root, found.ids("failed", "lost"))
    # Here another launch may die and leave its runs to this one; a queue keeps them.
    elsewhere = LIVE if executor.remote else ()
    return plan(
        title,
        configs,
        found,
        wishes.execution,
        executor.slots,
        lanes=wishes.lanes,
        states=[state for state in wishes.states if state not in elsewhere],
        most=most,
    )


def _prepare(
    missing: Sequence[RunConfig], found: Survey[Standing], wishes: Wishes
) -> None:
    """Refuse runs that other code began, before any is trained; note what was typed."""
    if not wishes.execution.accept_code_change:
        others = found.ids("new", *LIVE)
        begun = [config for config in missing if config.run_id not in others]
        refuse_other_code(found.root, sorted(begun, key=lambda config: config.run_id))
    if wishes.typed is not None:
        wishes.typed.remember(found.root)

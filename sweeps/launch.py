"""One launch of a sweep: plan packs of the missing runs, hand them to an executor."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm.clients import ask
from sweeps import costs, provenance
from sweeps.executor import Executor, Work
from sweeps.launch_display import Display
from sweeps.launch_progress import LaunchProgress
from sweeps.packs import PackRuns
from sweeps.plan import plan
from sweeps.sharing import link_shared, mark_shared
from sweeps.survey import survey
from synth.config import RunConfig
from synth.run.defining_code import refuse_other_code
from synth.run.execution import Execution
from synth.run.progress import Outcome
from synth.run.standing import Standing, Survey
from synth.run.states import LIVE, UNTRIED, State, format_counts
from synth.run.trackers import missing_package


@dataclass(frozen=True, kw_only=True)
class LaunchOptions:
    """How to carry out a launch."""

    execution: Execution
    lanes: int | None = None
    """At most this many runs in a pack; by size if not given (`packs.default_lanes`)."""
    states: Collection[State] = UNTRIED
    """States of the runs that are trained."""
    typed: provenance.TypedCommand | None = None
    """The command to store beside the runs."""
    dry_run: bool = False
    """Write nothing."""
    tables: Path | None = None
    """A folder of tables; their runs count as done if they have no folder here."""


def launch(
    title: str,
    configs: Sequence[RunConfig],
    root: Path,
    executor: Executor,
    options: LaunchOptions,
    display: Display,
    metric: str,
) -> list[Outcome]:
    """Train the missing runs, or queue them.

    `metric` (`[SUITE/]METRIC[/SLICE]`) is displayed while they train; if empty, the first
    that each task declares.

    Raises `ValueError` when another version of the code began unfinished runs and that
    is not accepted, when the queue cannot be read, or when an executor refuses to
    start.
    """
    linked = 0 if options.dry_run else link_shared(configs, root)
    scheduler = ask if executor.remote else None
    standings = survey(root, configs, ask=scheduler, tables=options.tables)
    if options.dry_run:
        standings = mark_shared(standings, configs, scheduler)
    if not standings.queue_known:
        raise ValueError(standings.news[-1])
    packs = _plan_packs(title, configs, standings, executor, options)
    missing = [config for pack in packs for config in pack]
    if missing and not options.dry_run:
        _prepare(missing, standings, options)
    progress = LaunchProgress(
        total=len(configs),
        done_before=standings.counts["done"],
        metric=metric,
        work={config.run_id: costs.flops(config) for config in missing},
        left_alone=len(configs) - standings.counts["done"] - len(missing),
    )
    try:
        for sentence in standings.news:
            display.say(sentence)
        if missing and (package := missing_package(options.execution.track)):
            display.say(f"{package}; the runs are trained without it")
        if not missing:
            return []
        shared = f" ({linked} shared with other sweeps)" if linked else ""
        at_a_time = "" if executor.remote else f", {executor.slots} at a time"
        display.say(
            f"{len(configs)} runs: {format_counts(standings.counts)}{shared}; "
            f"{len(missing)} to train in {len(packs)} packs{at_a_time}, in {root}"
        )
        return executor.carry_out(
            Work(
                packs=packs,
                root=root,
                execution=options.execution,
                progress=progress,
                display=display,
            )
        )
    finally:
        display.close()


def _plan_packs(
    title: str,
    configs: Sequence[RunConfig],
    standings: Survey[Standing],
    executor: Executor,
    options: LaunchOptions,
) -> list[PackRuns]:
    """The packs of the runs in the requested states."""
    most_lanes = {}
    if executor.remote:
        from slurm.submitted_runs import smaller_packs

        most_lanes = smaller_packs(standings.root, standings.ids("failed", "lost"))
    # Another local launch may die and leave its runs to this one; a queue keeps its runs.
    left_to_queue = LIVE if executor.remote else ()
    return plan(
        title,
        configs,
        standings,
        options.execution,
        executor.slots,
        lanes=options.lanes,
        states=[state for state in options.states if state not in left_to_queue],
        most=most_lanes,
    ).packs


def _prepare(
    missing: Sequence[RunConfig], standings: Survey[Standing], options: LaunchOptions
) -> None:
    """Refuse runs begun by another version of the code; store the typed command."""
    if not options.execution.accept_code_change:
        not_begun = standings.ids("new", *LIVE)
        begun = [config for config in missing if config.run_id not in not_begun]
        refuse_other_code(
            standings.root, sorted(begun, key=lambda config: config.run_id)
        )
    if options.typed is not None:
        options.typed.save(standings.root)

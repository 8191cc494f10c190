"""The commands run, retry and plan."""

import json
import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps.collected_runs import TABLES
from sweeps.selected_runs import SelectedRuns, SweepSelection, options_given
from synth.command_words import as_typed
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import tell
from synth.run.states import (
    LIVE,
    NOT_DONE,
    STOPPED_STATUS,
    TROUBLED,
    UNTRIED,
    State,
    format_counts,
)

if TYPE_CHECKING:
    from sweeps.executor import Executor
    from sweeps.provenance import TypedCommand
    from sweeps.slurm_executor import OnCluster
    from synth.run.progress import Outcome
    from synth.run.standing import Standing, Survey

HOW = ("on", "profile", "again", "workers", "lanes", "fail_fast")
"""How a launch trains, besides its execution."""


@dataclass(frozen=True)
class LaunchResult:
    """The result of a launch."""

    outcomes: "list[Outcome]"
    standings: "Survey[Standing]"
    """All runs after the launch."""
    left: int
    """Runs that are neither done nor, on a cluster, queued."""


@dataclass(frozen=True, kw_only=True)
class RunCommand(SweepSelection):
    """Train what is missing of a sweep; a second call continues where it stopped."""

    json: bool = False
    """Print JSON for programs."""
    again: bool = False
    """Also train runs that a table in analysis/results has and that have no folder here."""
    workers: int = 2
    """Worker processes at a time (locally); 0 trains in this process, for debuggers."""
    lanes: int | None = None
    """At most this many runs train together in one process; by size if not given."""
    fail_fast: bool = False
    """Stop at the first failing run."""
    on: Literal["local", "slurm"] = "local"
    """Where to train."""
    profile: str | None = None
    """Cluster profile for --on slurm: a name, or a TOML file (`slurm profiles`)."""
    dry_run: bool = False
    """Print the plan, and with --on slurm the sbatch text; train and submit nothing."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """0: all done or queued; 1: some failed or are damaged; 75: some are left."""
        return self.train(self.resolve(), UNTRIED)

    @property
    def tables(self) -> Path | None:
        """The folder of tables whose runs count as done."""
        return None if self.again else TABLES

    def train(self, selected: SelectedRuns, states: Collection[State]) -> int:
        """Launch the runs in some states and print the result."""
        from sweeps.provenance import TypedCommand

        typed = TypedCommand("run", self.words()) if selected.whole else None
        result = self.launch(selected, states, typed)
        if result is None:
            return 0
        outcomes, now = result.outcomes, result.standings.counts
        counts: Counter[State] = Counter(outcome.state for outcome in outcomes)
        if self.json:
            tell(json.dumps([vars(outcome) for outcome in outcomes]))
        else:
            tell(self._summarize(selected, counts, now, result.left))
        if selected.left_out or any(now[s] or counts[s] for s in TROUBLED):
            return 1
        return STOPPED_STATUS if result.left else 0

    def launch(
        self,
        selected: SelectedRuns,
        states: Collection[State],
        typed: "TypedCommand | None",
    ) -> "LaunchResult | None":
        """Train or queue the runs in some states; a dry run prints and returns None."""
        from slurm.clients import ask
        from sweeps.launch import LaunchOptions, launch
        from sweeps.launch_display import Display
        from sweeps.survey import survey

        if self.dry_run and self.on == "local":
            slots = replace(self, workers=self.workers or 1)  # 0 is this process
            tell(format_plan(slots, selected, states))
            return None
        cluster = self._cluster(selected.title) if self.on == "slurm" else None
        executor = cluster or self._executor()
        execution, lanes = self.execution, self.lanes
        if cluster is not None:
            execution = cluster.profile.build_execution()
            execution = replace(execution, **self._execution_overrides())
            lanes = cluster.profile.lanes if lanes is None else lanes
        outcomes = launch(
            selected.title,
            selected.configs,
            selected.root,
            executor,
            LaunchOptions(
                execution=execution,
                lanes=lanes,
                states=states,
                typed=typed,
                dry_run=self.dry_run,
                tables=self.tables,
            ),
            Display(quiet=self.json),
            selected.metric,
        )
        if cluster is not None and self.dry_run:
            scripts = cluster.scripts
            tell(json.dumps(scripts) if self.json else "\n".join(scripts))
            return None
        standings = survey(
            selected.root,
            selected.configs,
            ask=ask if executor.remote else None,
            tables=self.tables,
        )
        settled = standings.ids("done")
        if executor.remote:
            settled |= standings.ids(*LIVE)
            settled |= {o.run_id for o in outcomes if o.state == "queued"}
        return LaunchResult(outcomes, standings, len(selected.configs) - len(settled))

    def words(self) -> str:
        """The arguments that launch the same runs again, in the same way."""
        how = options_given(self, HOW) + options_given(self.execution)
        return f"{super().words()} {shlex.join(how)}".rstrip()

    def _cluster(self, title: str) -> "OnCluster":
        """The executor for SLURM; refuses options that have no effect there."""
        from sweeps.slurm_executor import OnCluster, profile_named

        self._refuse_local_options()
        return OnCluster(profile_named(self.profile), title, self.dry_run)

    def _refuse_local_options(self) -> None:
        """Refuse options that have no effect on a cluster."""
        for name, default, key in (
            ("workers", 2, "max_running"),
            ("fail_fast", False, None),
            ("execution", Execution(**self._execution_overrides()), "[execution]"),
        ):
            if getattr(self, name) != default:
                instead = f"; set {key} in the profile" if key else ""
                what = (
                    "settings of the execution" if name == "execution" else f"--{name}"
                )
                raise ValueError(
                    f"{what.replace('_', '-')} cannot be given with --on slurm{instead}."
                )

    def _execution_overrides(self) -> dict[str, Any]:
        """Settings of the execution that may be given with --on slurm too."""
        default = Execution()
        names = ("accept_code_change", "track")
        given = {name: getattr(self.execution, name) for name in names}
        return {k: v for k, v in given.items() if v != getattr(default, k)}

    def _executor(self) -> "Executor":
        """The executor for this machine: a pool of workers, or this process."""
        from sweeps.inline import InThisProcess
        from sweeps.pool import LocalPool

        require(
            self.profile is None, "--profile", "given with --on slurm", self.profile
        )
        allowed = "at least 1, or 0 to train in this process"
        require(self.workers >= 0, "--workers", allowed, self.workers)
        if self.workers == 0:
            return InThisProcess(self.fail_fast)
        return LocalPool(self.workers, self.fail_fast)

    def _summarize(
        self,
        selected: SelectedRuns,
        counts: "Counter[State]",
        now: "Counter[State]",
        left: int,
    ) -> str:
        """The last lines: counts by state, and the next command."""
        left_out = f"; {n} left out, named above" if (n := selected.left_out) else ""
        if not counts and now["done"] == len(selected.configs):
            return f"{now['done']} runs, all done before, in {selected.root}{left_out}"
        line = f"{format_counts(counts or now)}, in {selected.root}{left_out}"
        failed, before = (sum(n[s] for s in TROUBLED) for n in (now, counts))
        if counts and failed > before:
            line += f"; {failed - before} failed before"
        if failed:
            line += f"\nfailed runs again: {as_typed('sweeps retry')} {self.words()}"
        elif left:
            line += f"\nto go on: {as_typed('sweeps run')} {self.words()}"
        if self.on == "slurm":
            line += f"\nhow they stand: {as_typed('sweeps status', selected.root)}"
        return line


@dataclass(frozen=True, kw_only=True)
class Retry(RunCommand):
    """Train failed runs again from their last checkpoint, and what is missing."""

    only: tuple[str, ...] = ()
    """Only these runs; all by default."""
    states: tuple[State, ...] = NOT_DONE
    """Only runs in these states."""

    def run(self) -> int:
        """As `RunCommand.run`, for the named runs and states."""
        require("done" not in self.states, "--states", "of runs to train", self.states)
        selected = self.resolve()
        by_id = {config.run_id: config for config in selected.configs}
        for run_id in self.only:
            require(run_id in by_id, "--only", f"runs of {selected.title}", run_id)
        if self.only:
            configs = [by_id[run_id] for run_id in dict.fromkeys(self.only)]
            selected = replace(selected, configs=configs, left_out=0)
        self._require_launched(selected)
        return self.train(selected, self.states)

    def _require_launched(self, selected: SelectedRuns) -> None:
        """Refuse runs of which none was ever launched: there is nothing to retry."""
        from slurm.ledger import launch_folders
        from sweeps.sharing import mark_shared
        from sweeps.survey import survey

        configs = selected.configs
        standings = mark_shared(survey(selected.root, configs), configs)
        if standings.begun().runs or launch_folders(selected.root):
            return
        raise ValueError(
            f"There is nothing to retry: none of the {len(selected.configs)} runs was "
            f"launched in {selected.root}. To launch: {as_typed('sweeps run')} "
            f"{self.words()}"
        )


@dataclass(frozen=True, kw_only=True)
class PlanCommand(SweepSelection):
    """Print what a launch would do: states, sizes, packs, time. Trains nothing."""

    json: bool = False
    """Print JSON for programs."""
    again: bool = False
    """Plan to train also runs that a table in analysis/results has."""
    workers: int = 2
    """Worker processes (or GPUs) at a time."""
    lanes: int | None = None
    """At most this many runs train together in one process; by size if not given."""
    flops_per_second: float | None = None
    """Estimate times with this sustained rate of a worker or GPU, for instance 4e14."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """Print the plan."""
        print(format_plan(self, self.resolve(), UNTRIED, self.flops_per_second))
        return 0


def format_plan(
    command: RunCommand | PlanCommand,
    selected: SelectedRuns,
    states: Collection[State],
    flops_per_second: float | None = None,
) -> str:
    """The plan of a launch, as text or JSON."""
    from sweeps.plan import plan
    from sweeps.sharing import mark_shared
    from sweeps.survey import survey

    tables = None if command.again else TABLES
    standings = survey(selected.root, selected.configs, tables=tables)
    launch_plan = plan(
        selected.title,
        selected.configs,
        mark_shared(standings, selected.configs),
        command.execution,
        command.workers,
        lanes=command.lanes,
        states=states,
        flops_per_second=flops_per_second,
    )
    return launch_plan.to_json() if command.json else launch_plan.as_text()

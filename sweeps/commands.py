"""The commands of `python -m sweeps` that train or plan: run, retry, plan."""

import json
import shlex
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sweeps.chosen import Chosen, Resolved
from sweeps.collected import TABLES
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import tell
from synth.run.states import LIVE, NOT_DONE, TROUBLED, UNTRIED, State, counted

if TYPE_CHECKING:
    from sweeps.cluster import OnCluster
    from sweeps.executor import Executor
    from sweeps.provenance import Typed
    from synth.run.progress import Outcome
    from synth.run.standing import Standing, Survey

STOPPED = 75
"""Exit status after a signal: call again to go on (EX_TEMPFAIL)."""


@dataclass(frozen=True)
class Trained:
    """What a launch came to."""

    outcomes: "list[Outcome]"
    found: "Survey[Standing]"
    """The runs as they stand afterwards."""
    left: int
    """Runs that are neither done nor, on a cluster, queued."""


@dataclass(frozen=True, kw_only=True)
class Run(Chosen):
    """Train what is missing of a sweep; calling again goes on where it stopped."""

    json: bool = False
    """Print JSON for programs."""
    again: bool = False
    """Train runs anew that a table in analysis/results has, and no folder here."""
    workers: int = 2
    """Worker processes at a time (locally); 0 trains in this one, for debuggers."""
    lanes: int | None = None
    """Most runs side by side in one process; by size if not given."""
    fail_fast: bool = False
    """Stop at the first failing run."""
    on: Literal["local", "slurm"] = "local"
    """Where to train."""
    profile: str | None = None
    """Cluster profile, for --on slurm."""
    dry_run: bool = False
    """Print the plan, and with --on slurm the sbatch text; train and submit nothing."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """0: all is done or queued; 1: some failed; 75: some are left (a signal)."""
        return self.train(self.resolve(), UNTRIED)

    @property
    def tables(self) -> Path | None:
        """Where tables lie whose runs are done."""
        return None if self.again else TABLES

    def train(self, chosen: Resolved, states: Collection[State]) -> int:
        """Launch, and say how it ended."""
        from sweeps.provenance import Typed

        typed = Typed("run", self.words()) if chosen.whole else None
        trained = self.launch(chosen, states, typed)
        if trained is None:
            return 0
        outcomes, now = trained.outcomes, trained.found.counts
        counts: Counter[State] = Counter(outcome.state for outcome in outcomes)
        if self.json:
            tell(json.dumps([vars(outcome) for outcome in outcomes]))
        else:
            tell(self._closing(chosen, counts, now, trained.left))
        if any(now[state] or counts[state] for state in TROUBLED):
            return 1
        return STOPPED if trained.left else 0

    def launch(
        self, chosen: Resolved, states: Collection[State], typed: "Typed | None"
    ) -> "Trained | None":
        """Train runs in some states, or queue them; None for a dry run, which prints."""
        from sweeps.display import Display
        from sweeps.launch import Wishes, launch
        from sweeps.survey import survey

        if self.dry_run and self.on == "local":
            here = replace(self, workers=self.workers or 1)  # 0 is this process
            tell(planned(here, chosen, states))
            return None
        cluster = self._cluster(chosen.title) if self.on == "slurm" else None
        executor = cluster or self._executor()
        execution, lanes = self.execution, self.lanes
        if cluster is not None:
            execution = cluster.profile.build_execution()
            execution = replace(execution, **self._said_here())
            lanes = cluster.profile.lanes if lanes is None else lanes
        outcomes = launch(
            chosen.title,
            chosen.configs,
            chosen.root,
            executor,
            Wishes(
                execution=execution,
                lanes=lanes,
                states=states,
                typed=typed,
                dry_run=self.dry_run,
                tables=self.tables,
            ),
            Display(quiet=self.json),
            chosen.metric,
        )
        if cluster is not None and self.dry_run:
            scripts = cluster.scripts
            tell(json.dumps(scripts) if self.json else "\n".join(scripts))
            return None
        found = survey(
            chosen.root, chosen.configs, queue=executor.remote, tables=self.tables
        )
        over = found.ids("done")
        if executor.remote:
            sent = {o.run_id for o in outcomes if o.state == "queued"}
            over |= found.ids(*LIVE) | sent
        return Trained(outcomes, found, len(chosen.configs) - len(over))

    def words(self) -> str:
        """The arguments that launch the same runs again, at the same place."""
        if self.on == "local":
            return super().words()
        place = ["--on", "slurm", "--profile", str(self.profile)]
        return f"{super().words()} {shlex.join(place)}"

    def _cluster(self, title: str) -> "OnCluster":
        """SLURM, by the profile; refuses options that would be passed over there."""
        from sweeps.cluster import OnCluster, profile_named

        self._refuse_what_profiles_say()
        return OnCluster(profile_named(self.profile), title, self.dry_run)

    def _refuse_what_profiles_say(self) -> None:
        """On a cluster some options would be passed over in silence."""
        for name, default, key in (
            ("workers", 2, "max_running"),
            ("fail_fast", False, None),
            ("execution", Execution(**self._said_here()), "[execution]"),
        ):
            if getattr(self, name) != default:
                instead = f"; the profile's {key} says it there" if key else ""
                what = (
                    "settings of the execution" if name == "execution" else f"--{name}"
                )
                raise ValueError(
                    f"{what.replace('_', '-')} cannot be given with --on slurm{instead}."
                )

    def _said_here(self) -> dict[str, Any]:
        """Settings of the execution that are said for a launch on a cluster too."""
        usual = Execution()
        names = ("accept_code_change", "track")
        given = {name: getattr(self.execution, name) for name in names}
        return {k: v for k, v in given.items() if v != getattr(usual, k)}

    def _executor(self) -> "Executor":
        """This machine: a pool of workers, or this process."""
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

    def _closing(
        self,
        chosen: Resolved,
        counts: "Counter[State]",
        now: "Counter[State]",
        left: int,
    ) -> str:
        """The last lines: what ended how, and what to type next."""
        if not counts and now["done"] == len(chosen.configs):
            return f"{now['done']} runs, all done before, in {chosen.root}"
        line = f"{counted(counts or now)}, in {chosen.root}"
        failed, before = (sum(n[s] for s in TROUBLED) for n in (now, counts))
        if counts and failed > before:
            line += f"; {failed - before} failed before"
        if failed:
            line += f"\nfailed runs again: python -m sweeps retry {self.words()}"
        elif left:
            line += f"\nto go on: python -m sweeps run {self.words()}"
        if self.on == "slurm":
            line += f"\nhow they stand: python -m sweeps status {chosen.root}"
        return line


@dataclass(frozen=True, kw_only=True)
class Retry(Run):
    """Train failed runs again, from their last checkpoint, and what is missing."""

    only: tuple[str, ...] = ()
    """These runs; all by default."""
    states: tuple[State, ...] = NOT_DONE
    """Runs in these states."""

    def run(self) -> int:
        """As `run`, for the runs that were asked for."""
        require("done" not in self.states, "--states", "of runs to train", self.states)
        chosen = self.resolve()
        known = {config.run_id: config for config in chosen.configs}
        for run_id in self.only:
            require(run_id in known, "--only", f"runs of {chosen.title}", run_id)
        if self.only:
            mine = [known[run_id] for run_id in self.only]
            chosen = replace(chosen, configs=mine)
        return self.train(chosen, self.states)


@dataclass(frozen=True, kw_only=True)
class PlanCommand(Chosen):
    """Print what a launch would do: states, sizes, packs, time. Nothing is trained."""

    json: bool = False
    """Print JSON for programs."""
    again: bool = False
    """Plan to train runs anew that a table in analysis/results has."""
    workers: int = 2
    """Worker processes (or GPUs) at a time."""
    lanes: int | None = None
    """Most runs side by side in one process; by size if not given."""
    flops_per_second: float | None = None
    """Estimate with this sustained rate of a worker or GPU (4e14, say)."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """Print the plan."""
        print(planned(self, self.resolve(), UNTRIED, self.flops_per_second))
        return 0


def planned(
    command: Run | PlanCommand,
    chosen: Resolved,
    states: Collection[State],
    flops_per_second: float | None = None,
) -> str:
    """What a launch of these runs would do, as text or JSON."""
    from sweeps.plan import plan
    from sweeps.survey import survey

    tables = None if command.again else TABLES
    found = plan(
        chosen.title,
        chosen.configs,
        survey(chosen.root, chosen.configs, tables=tables),
        command.execution,
        command.workers,
        lanes=command.lanes,
        states=states,
        flops_per_second=flops_per_second,
    )
    return found.to_json() if command.json else found.as_text()

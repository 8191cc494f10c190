"""The commands of `python -m sweeps` that train, plan or search."""

import json
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sweeps.loading import find
from sweeps.sweep import Sweep
from synth.config import RunConfig
from synth.identity import require
from synth.run.execution import Execution
from synth.run.standing import folders_in

if TYPE_CHECKING:
    from sweeps.executor import Executor
    from synth.run.states import State

STOPPED = 75
"""Exit status after a signal: call again to go on (EX_TEMPFAIL)."""

Name = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which runs: a sweep, a scale, and where their folders lie."""

    sweep: Name
    """A sweep of the catalogue, or a file of your own: path/to/my_sweep.py[:name]."""
    scale: str | None = None
    """quick, small or paper; the sweep's first scale if not given."""
    tuned: Path | None = None
    """Table of tuned values (tuned.json) that replace the sweep's own."""
    runs: Path = Path("runs")
    """Where run folders lie."""

    def resolve(self) -> "Resolved":
        """Load the sweep and build its runs."""
        sweep = find(self.sweep)
        folders_in(self.runs)  # a dangling link, say, is told before anything starts
        scale = self.scale or sweep.scales[0]
        configs, folder = sweep(scale), sweep.folder(scale)
        if self.tuned is not None:
            from sweeps.arms import with_tuned

            configs, folder = with_tuned(configs, self.tuned), f"{folder}-tuned"
        return Resolved(sweep, scale, configs, self.runs / folder, folder)

    def words(self) -> str:
        """The arguments that name the same runs again."""
        parts = [self.sweep]
        if self.scale is not None:
            parts += ["--scale", self.scale]
        if self.tuned is not None:
            parts += ["--tuned", str(self.tuned)]
        if self.runs != Path("runs"):
            parts += ["--runs", str(self.runs)]
        return shlex.join(parts)


@dataclass(frozen=True)
class Resolved:
    """A sweep at a scale, with its runs and their place."""

    sweep: Sweep
    scale: str
    configs: list[RunConfig]
    root: Path
    title: str


@dataclass(frozen=True, kw_only=True)
class Run(Chosen):
    """Train what is missing of a sweep; calling again goes on where it stopped."""

    json: bool = False
    """Print JSON for programs."""
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
    """With --on slurm: print the plan and the sbatch text, submit nothing."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """0: all done; 1: some failed; 75: some are left to train (a signal)."""
        return self.train(retry=False)

    def train(self, retry: bool) -> int:
        """Launch, and say how it ended."""
        chosen = self.resolve()
        if self.on == "slurm":
            from sweeps.cluster import send

            self._refuse_what_profiles_say()
            return send(
                chosen.configs,
                chosen.root,
                chosen.title,
                self.profile,
                retry=retry,
                dry_run=self.dry_run,
                lanes=self.lanes,
                accept_code_change=self.execution.accept_code_change,
                as_json=self.json,
            )
        require(
            self.profile is None, "--profile", "given with --on slurm", self.profile
        )
        if self.dry_run:
            raise ValueError(
                "--dry-run goes with --on slurm; for this machine: "
                f"python -m sweeps plan {self.words()}"
            )
        from sweeps.display import for_terminal, tell
        from sweeps.launch import Wishes, launch
        from sweeps.provenance import Typed
        from sweeps.survey import survey

        outcomes = launch(
            chosen.title,
            chosen.configs,
            chosen.root,
            self._executor(),
            Wishes(
                execution=self.execution,
                lanes=self.lanes,
                retry=retry,
                typed=Typed("run", self.words()),
            ),
            for_terminal(self.json),
            chosen.sweep.metric,
        )
        counts: Counter[str] = Counter(outcome.state for outcome in outcomes)
        now = survey(chosen.root, chosen.configs).counts
        if self.json:
            tell(json.dumps([vars(outcome) for outcome in outcomes]))
        else:
            tell(self._closing(chosen, counts, now))
        if now["failed"] or counts["failed"]:
            return 1
        return 0 if now["done"] == len(chosen.configs) else STOPPED

    def _refuse_what_profiles_say(self) -> None:
        """On a cluster some options would be passed over in silence."""
        accepted = self.execution.accept_code_change
        for name, default, key in (
            ("workers", 2, "max_running"),
            ("fail_fast", False, None),
            ("execution", Execution(accept_code_change=accepted), "[execution]"),
        ):
            if getattr(self, name) != default:
                instead = f"; the profile's {key} says it there" if key else ""
                what = (
                    "settings of the execution" if name == "execution" else f"--{name}"
                )
                raise ValueError(
                    f"{what.replace('_', '-')} cannot be given with --on slurm{instead}."
                )

    def _executor(self) -> "Executor":
        from sweeps.inline import InThisProcess
        from sweeps.pool import LocalPool

        allowed = "at least 1, or 0 to train in this process"
        require(self.workers >= 0, "--workers", allowed, self.workers)
        if self.workers == 0:
            return InThisProcess(self.fail_fast)
        return LocalPool(self.workers, self.fail_fast)

    def _closing(
        self, chosen: Resolved, counts: "Counter[str]", now: "Counter[State]"
    ) -> str:
        """The last line: what ended how, and what to type next."""
        failed = now["failed"]
        if not counts:
            if now["done"] == len(chosen.configs):
                return f"{now['done']} runs, all done before, in {chosen.root}"
            return (
                f"{now['done']} runs done before, {failed} failed; "
                f"python -m sweeps retry {self.words()}"
            )
        said = ", ".join(f"{count} {state}" for state, count in counts.items())
        line = f"{said}, in {chosen.root}"
        if failed > counts["failed"]:
            line += f"; {failed - counts['failed']} failed before"
        if failed:
            line += f"\nfailed runs again: python -m sweeps retry {self.words()}"
        elif now["done"] < len(chosen.configs):
            line += f"\nto go on: python -m sweeps run {self.words()}"
        return line


@dataclass(frozen=True, kw_only=True)
class Retry(Run):
    """Train failed runs again, from their last checkpoint, and what is missing."""

    def run(self) -> int:
        """As `run`."""
        return self.train(retry=True)


@dataclass(frozen=True, kw_only=True)
class PlanCommand(Chosen):
    """Print what a launch would do: states, sizes, packs, time. Nothing is trained."""

    json: bool = False
    """Print JSON for programs."""
    workers: int = 2
    """Worker processes (or GPUs) at a time."""
    lanes: int | None = None
    """Most runs side by side in one process; by size if not given."""
    flops_per_second: float | None = None
    """Estimate with this sustained rate of a worker or GPU (4e14, say)."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """Print the plan."""
        from sweeps.plan import plan
        from sweeps.survey import survey

        chosen = self.resolve()
        found = plan(
            chosen.title,
            chosen.configs,
            survey(chosen.root, chosen.configs),
            self.execution,
            self.workers,
            lanes=self.lanes,
            flops_per_second=self.flops_per_second,
        )
        print(found.to_json() if self.json else found.as_text())
        return 0


@dataclass(frozen=True, kw_only=True)
class Tune(Chosen):
    """Search training values by TPE with a pruner, equally for every arm of a sweep."""

    json: bool = False
    """Print JSON for programs."""
    search: tuple[str, ...] = ("learning_rate",)
    """Fields of the training configuration: NAME, or NAME=LOW:HIGH[:linear]."""
    trials: int = 16
    """Trials of each arm."""
    metric: str | None = None
    """suite/metric[/slice]; the sweep's own if not given. Measured on validation data."""
    seed: int = 1000
    """Of the trial runs and of the sampler; none of the sweep's own seeds."""
    workers: int = 2
    """Worker processes at a time."""
    execution: Execution = field(default_factory=Execution)

    def run(self) -> int:
        """Search, write the table of winning values, and print it."""
        from sweeps.arms import arms_of
        from sweeps.display import for_terminal, tell
        from sweeps.pool import LocalPool
        from sweeps.provenance import Typed
        from sweeps.tuning import TABLE, tune

        require(self.trials >= 1, "--trials", "at least 1", self.trials)
        require(0 <= self.seed < 1 << 32, "--seed", "from 0 to 2^32 - 1", self.seed)
        chosen = self.resolve()
        root = chosen.root.with_name(f"{chosen.root.name}-tuning")
        arms = arms_of(chosen.configs, self.search, self.seed)
        pool = LocalPool(self.workers)
        Typed("tune", self._own_words()).remember(root)
        rows, outcomes = tune(
            arms,
            root,
            self.metric or chosen.sweep.metric,
            self.trials,
            pool,
            self.execution,
            for_terminal(self.json),
        )
        stopped = any(outcome.state == "stopped" for outcome in outcomes)
        if self.json:
            tell(json.dumps(rows))
        else:
            won = {row["arm"]: row for row in rows}
            for arm in arms:
                tell(f"{arm.name:<40}{_winner(won.get(arm.key))}")
            tell(f"table: {root / TABLE}")
            if stopped:
                tell(f"to go on: python -m sweeps tune {self._own_words()}")
            elif len(won) == len(arms):
                table = shlex.quote(str(root / TABLE))
                tell(f"to use it: python -m sweeps run {self.words()} --tuned {table}")
        return STOPPED if stopped else 0

    def _own_words(self) -> str:
        """The arguments that go on with this search."""
        parts = ["--search", *self.search, "--trials", str(self.trials)]
        if self.metric is not None:
            parts += ["--metric", self.metric]
        return f"{self.words()} {shlex.join([*parts, '--seed', str(self.seed)])}"


def _winner(row: dict[str, Any] | None) -> str:
    """What won in an arm, in a line."""
    if row is None:
        return "no trial has ended well"
    values = ", ".join(f"{k} {v:.3g}" for k, v in row["training"].items())
    edge = "  (at the edge of its range)" if row["at_edge"] else ""
    return f"{values}  {row['value']:.4f}{edge}"

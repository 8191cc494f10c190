"""The runs that a command works on: of a sweep at a scale, or of a folder."""

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import tyro

from sweeps.cells import select_runs
from sweeps.survey import folder_of_runs, read_configs
from sweeps.sweep_lookup import find_sweep
from sweeps.sweep_metric import validation_metric
from sweeps.tuned_values import apply_tuned
from synth.cli.run_names import Conditions
from synth.config import RunConfig
from synth.families import plugins
from synth.identity import require
from synth.run.standing import folders_in

Name = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Options that select runs of a sweep, and the folder that holds them."""

    scale: str | None = None
    """quick, night, small, paper or pools; the sweep's first scale if not given."""
    arms: tuple[str, ...] = ()
    """Only these arms, for instance n1 n4."""
    sizes: tuple[str, ...] = ()
    """Only these model sizes, for instance 30k 100k."""
    where: Conditions = ()
    """Only runs with these values of fields, for instance degree=2 mixer=rwkv,mamba2."""
    seeds: int | None = None
    """Seeds of each cell; more than the sweep declares continue its numbering."""
    tuned: tuple[Path, ...] = ()
    """Tables of tuned values (tuned.json) that replace the sweep's values, in turn."""
    unsettled: bool = False
    """Accept rates of --tuned that the tuning did not settle; refused otherwise."""
    runs: Path = Path("runs")
    """The folder of the run folders."""

    def refuse_options(self, why: str) -> None:
        """Refuse selection options where no sweep is named.

        Raises `ValueError`, naming the options that were given.
        """
        names = ("scale", "arms", "sizes", "where", "seeds", "tuned", "unsettled")
        given = [f"--{n}" for n in names if getattr(self, n) not in (None, (), False)]
        if given:
            raise ValueError(f"{', '.join(given)} must be left out {why}.")


@dataclass(frozen=True, kw_only=True)
class SweepSelection(Choice):
    """A command on the runs of a sweep, or on those of a folder."""

    sweep: Name
    """A sweep of the catalogue, a file of yours (path/to/my_sweep.py[:name]), or a folder
    of runs."""

    def resolve(self) -> "SelectedRuns":
        """Load the sweep and build its runs, or read those of the folder."""
        if (root := folder_of_runs(self.sweep)) is not None:
            self.refuse_options("for a folder of runs")
            configs, sentences, left_out = read_configs(root)
            for sentence in sentences:
                _warn(sentence)
            return SelectedRuns(
                "", configs, root, root.name, whole=False, left_out=left_out
            )
        sweep = find_sweep(self.sweep)
        folders_in(self.runs)  # fails early if it cannot be read, as a dangling link
        scale = self.scale or sweep.scales[0]
        configs, folder = sweep(scale), sweep.folder(scale)
        configs = select_runs(configs, self.arms, self.sizes, self.seeds, self.where)
        fits = bool(self.tuned) or not self.unsettled
        require(fits, "--unsettled", "given with --tuned", self.unsettled)
        for table in self.tuned:
            configs = apply_tuned(configs, table, _warn if self.unsettled else None)
        folder += "-tuned" if self.tuned else ""
        for config in configs if sweep.metric else ():
            said_by = f"@sweep(metric=...) of {sweep.name!r}:"
            validation_metric(sweep.metric, config, said_by)
        return SelectedRuns(
            sweep.metric, configs, self.runs / folder, folder, rates=sweep.rates
        )

    def resolve_sweep(self) -> "SelectedRuns":
        """The runs of a sweep, for commands whose result is of use to a sweep alone.

        Raises `ValueError` when a folder of runs is named.
        """
        selected = self.resolve()
        allowed = "a sweep or a file with one, not a folder of runs"
        require(selected.whole, "SWEEP", allowed, self.sweep)
        return selected

    def words(self) -> str:
        """The arguments that select the same runs again."""
        words = [self.sweep]
        for name in ("scale", "arms", "sizes", "where", "seeds", "tuned"):
            value = getattr(self, name)
            if value not in (None, ()):
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{name}", *map(str, values)]
        words += ["--unsettled"] if self.unsettled else []
        if self.runs != Path("runs"):
            words += ["--runs", str(self.runs)]
        for file in plugins.given:
            words += [plugins.OPTION, file]
        return shlex.join(words)


@dataclass(frozen=True)
class SelectedRuns:
    """The runs that a command works on, and their folder."""

    metric: str
    """The sweep's metric; if empty, each task's default."""
    configs: list[RunConfig]
    root: Path
    title: str
    whole: bool = True
    """False for the runs of a folder, which may be only some of a sweep's."""
    left_out: int = 0
    """Unfinished runs of the folder whose configuration cannot be used."""
    rates: tuple[float, ...] = ()
    """The sweep's grid of learning rates, if it declares one."""


def options_given(owner: Any, names: Collection[str] = ()) -> list[str]:
    """The options whose values are not the defaults, as typed; all without `names`."""
    words = []
    for field in fields(owner):
        value = getattr(owner, field.name)
        if value != field.default and (not names or field.name in names):
            words.append(option_of(field.name))
            words += [] if value is True else [str(value)]
    return words


def option_of(name: str) -> str:
    """The option of a field."""
    return f"--{name.replace('_', '-')}"


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr)

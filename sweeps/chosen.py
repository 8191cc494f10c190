"""Which runs a command is about: a sweep, a scale, a part of it, and their folder."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sweeps.cells import part_of
from sweeps.loading import find
from sweeps.survey import folder_of_runs, stored_configs
from sweeps.tuned import with_tuned
from synth.config import RunConfig
from synth.families import plugins
from synth.identity import require
from synth.run.standing import folders_in

Name = Annotated[str, tyro.conf.Positional]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which runs of a sweep, and where their folders lie."""

    scale: str | None = None
    """quick, night, small or paper; the sweep's first scale if not given."""
    arms: tuple[str, ...] = ()
    """These arms alone, say n1 n4."""
    sizes: tuple[str, ...] = ()
    """These model sizes alone, say 30k 100k."""
    seeds: int | None = None
    """Seeds of each cell; more than the sweep declares continue its numbering."""
    tuned: tuple[Path, ...] = ()
    """Tables of tuned values (tuned.json) that replace the sweep's own, in turn."""
    unsettled: bool = False
    """Take rates of --tuned that the tuning did not settle; refused otherwise."""
    runs: Path = Path("runs")
    """Where run folders lie."""

    def refuse_options(self, why: str) -> None:
        """Refuse what chooses among the runs of a sweep where there is no sweep."""
        names = ("scale", "arms", "sizes", "seeds", "tuned", "unsettled")
        given = [f"--{n}" for n in names if getattr(self, n) not in (None, (), False)]
        if given:
            raise ValueError(f"{', '.join(given)} must be left out {why}.")


@dataclass(frozen=True, kw_only=True)
class Chosen(Choice):
    """The runs of a sweep, or of a folder."""

    sweep: Name
    """A sweep of the catalogue, or a file of your own: path/to/my_sweep.py[:name]; or a
    folder of runs, for what lies there already."""

    def resolve(self) -> "Resolved":
        """Load the sweep and build its runs."""
        if (root := folder_of_runs(self.sweep)) is not None:
            self.refuse_options("for a folder of runs")
            configs, left_out = stored_configs(root)
            for sentence in left_out:
                _warn(sentence)
            return Resolved("", configs, root, root.name, whole=False)
        sweep = find(self.sweep)
        folders_in(self.runs)  # a dangling link, say, is told before anything starts
        scale = self.scale or sweep.scales[0]
        configs, folder = sweep(scale), sweep.folder(scale)
        configs = part_of(configs, self.arms, self.sizes, self.seeds)
        fits = bool(self.tuned) or not self.unsettled
        require(fits, "--unsettled", "given with --tuned", self.unsettled)
        for table in self.tuned:
            configs = with_tuned(configs, table, _warn if self.unsettled else None)
        folder += "-tuned" if self.tuned else ""
        return Resolved(
            sweep.metric, configs, self.runs / folder, folder, rates=sweep.rates
        )

    def words(self) -> str:
        """The arguments that name the same runs again."""
        parts = [self.sweep]
        for name in ("scale", "arms", "sizes", "seeds", "tuned"):
            value = getattr(self, name)
            if value not in (None, ()):
                values = value if isinstance(value, tuple) else (value,)
                parts += [f"--{name}", *map(str, values)]
        parts += ["--unsettled"] if self.unsettled else []
        if self.runs != Path("runs"):
            parts += ["--runs", str(self.runs)]
        for file in plugins.given:
            parts += [plugins.OPTION, file]
        return shlex.join(parts)


@dataclass(frozen=True)
class Resolved:
    """The runs of a sweep, or of a folder, and their place."""

    metric: str
    """That the sweep names; if empty, each task's own."""
    configs: list[RunConfig]
    root: Path
    title: str
    whole: bool = True
    """With the runs of a sweep that have no folder yet."""
    rates: tuple[float, ...] = ()
    """The sweep's grid of learning rates, if it declares one."""


def _warn(sentence: str) -> None:
    print(sentence, file=sys.stderr)

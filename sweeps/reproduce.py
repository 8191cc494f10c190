"""The command reproduce: train a run of a collected table again, compare the numbers."""

import fnmatch
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sweeps.collected_runs import TABLES, naming
from synth.cli.moved import MovedFiles
from synth.cli.run_names import FITS
from synth.command_words import as_typed
from synth.config import RunConfig
from synth.disk.places import expand
from synth.identity import require
from synth.metrics import PROBE
from synth.run.execution import Execution
from synth.run.progress import Screen, shown_on, tell
from synth.run.states import STOPPED_STATUS
from synth.run.store import RunFolder

if TYPE_CHECKING:
    import polars as pl

KEY = ["step", "suite", "metric", "slice"]
PROCESSORS = ("x86_64", "AMD64", "aarch64", "arm64")
"""Device names of CPUs in a table; all others are GPUs."""


@dataclass(frozen=True, kw_only=True)
class Reproduce(MovedFiles):
    """Train a run of a collected table again, and compare every number but probes'.

    A table names the files of a text, not their places. They are taken from the current
    folder, or from the places given.
    """

    name: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN", help=f"A run in a table: {FITS}."),
    ]
    table: Path | None = None
    """The table; if not given, the first in analysis/results that has the run."""
    runs: Path = Path("runs/reproduced")
    """The new run goes to the folder of the table's name in here; a run that is there is
    only compared."""
    json: bool = False
    """Print JSON for programs."""

    def run(self) -> int:
        """0: all numbers are equal; 1: some differ, or it failed; 75: stopped."""
        from synth.trained.restoring import with_files_at
        from synth.training import train

        path, rows = self._find_rows()
        # One folder deeper than those of sweeps: a copy must not be collected as a result.
        runs = self.runs / path.stem
        row = rows.row(0, named=True)
        config = RunConfig.from_dict(json.loads(row["config"]))
        run_id = str(row["run_id"])
        require(
            config.run_id == run_id,
            "RUN",
            f"a run whose id is the same in this version, not {config.run_id}",
            run_id,
        )
        config = with_files_at(config, self.moved())
        if RunFolder(runs, run_id).state() != "done":
            config.require_data()
        execution = _recorded_execution(row)
        progress = None
        if not self.json:
            form = row.get("step_form") or "unrecorded"
            tell(f"{path}: {form} steps on {row['device']}, at {row['commit']}")
            progress = shown_on(Screen(), ending=False)
        (outcome,) = train([config], runs, execution, progress)
        if outcome.state != "done":
            tell(f"{run_id}: {outcome.state}, {outcome.message}")
            return STOPPED_STATUS if outcome.state == "stopped" else 1
        comparison = Comparison.of(rows, runs / run_id)
        if self.json:
            print(json.dumps(vars(comparison)))
        else:
            print(comparison.as_text())
        return 0 if comparison.numbers == comparison.equal else 1

    def _find_rows(self) -> "tuple[Path, pl.DataFrame]":
        """The table that has the run, and what training measured of it there."""
        import polars as pl

        ids = {}
        for path in [self.table] if self.table else sorted(TABLES.glob("*.parquet")):
            try:
                with naming(path):
                    done = pl.scan_parquet(path, glob=False).filter(state="done")
                    ids[path] = set(done.select("run_id").collect()["run_id"])
            except ValueError as error:
                if self.table:
                    raise
                print(f"Left out: {error}", file=sys.stderr)
        run_id = self._fitting(set().union(*ids.values()))
        path = next(path for path, known in ids.items() if run_id in known)
        rows = pl.scan_parquet(path, glob=False).filter(state="done", run_id=run_id)
        return path, rows.filter(~pl.col("suite").str.starts_with(PROBE)).collect()

    def _fitting(self, ids: set[str]) -> str:
        """The id that the name fits, or `ValueError`: none or several do."""
        word = Path(expand(self.name)).name  # a run folder is named by the id
        fitting = [word] if word in ids else fnmatch.filter(sorted(ids), f"{word}*")
        if len(fitting) == 1:
            return fitting[0]
        where = str(self.table) if self.table else f"any table of {TABLES}"
        if fitting:
            raise ValueError(
                f"{self.name} fits {len(fitting)} done runs of {where}: "
                f"{', '.join(fitting[:5])}. Give a whole run id."
            )
        raise ValueError(
            f"{self.name} is not among the done runs of {where}. "
            f"`{as_typed('sweeps status SWEEP --json')}` lists the runs of a sweep."
        )


def _recorded_execution(row: dict[str, Any]) -> Execution:
    """The device and compilation of the recorded run; one thread on a CPU."""
    form = row.get("step_form")  # absent in tables of older versions
    return Execution(
        device="cpu" if row["device"] in PROCESSORS else "cuda",
        compile="auto" if form is None else "off" if form == "eager" else "on",
    )


@dataclass(frozen=True)
class Comparison:
    """The numbers of a run in the table and in the new folder."""

    numbers: int
    """Those of the table."""
    equal: int
    missing: int
    """Numbers without a value in the new run, or in the table alone."""
    first_missing: str
    largest: float
    """Largest difference, relative to the larger value."""
    where: str
    """The number with the largest difference."""
    at_end: float
    """Largest relative difference among the numbers of the last step."""

    @classmethod
    def of(cls, rows: "pl.DataFrame", folder: Path) -> "Comparison":
        """Compare the rows of a table with the metrics of a folder."""
        import polars as pl

        new = pl.read_ndjson((folder / "metrics.jsonl").read_bytes()).select(
            *KEY, "value"
        )
        before = rows.select(*KEY, value_before="value").sort("step")
        both = before.join(new, on=KEY, how="left", maintain_order="left")
        ours, theirs = pl.col("value").cast(pl.Float64), pl.col("value_before")
        missing = both.filter(ours.is_null() != theirs.is_null())
        size = pl.max_horizontal(ours.abs(), theirs.abs())
        both = both.with_columns(
            off=pl.when(ours.eq_missing(theirs))
            .then(0.0)
            .otherwise((ours - theirs).abs() / size)
        ).sort("off", descending=True, nulls_last=True)
        at_end = both.filter(pl.col("step") == pl.col("step").max())["off"].drop_nulls()
        return cls(
            numbers=len(both),
            equal=both.filter(off=0.0).height,
            missing=len(missing),
            first_missing=_name(missing.row(0, named=True)) if len(missing) else "",
            largest=both["off"][0] or 0.0,
            at_end=max(at_end, default=0.0),
            where=_name(both.row(0, named=True)),
        )

    def as_text(self) -> str:
        """One line, and more where numbers differ."""
        text = f"{self.equal} of {self.numbers} numbers are equal"
        if self.largest:
            text += (
                f"; at the last step they differ by {self.at_end:.1e} of the value at "
                f"most, over all steps by {self.largest:.1e}:\n{self.where}"
            )
        if self.missing:
            text += f"\n{self.missing} are missing, first {self.first_missing}"
        if self.equal < self.numbers:
            text += (
                "\nEqual bits are promised on equal processors, package versions and "
                "code."
            )
        return text


def _name(row: dict[str, Any]) -> str:
    """Which number it is, and its values."""
    return (
        f"{row['suite']}/{row['metric']}/{row['slice']} at step {row['step']}: "
        f"{row['value']} now, {row['value_before']} before"
    )

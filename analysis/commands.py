"""The commands of `python -m analysis`, each a dataclass whose fields are its options."""

import json
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from analysis.collect import Collected, collect
from analysis.parquet import alone, read_all, results_folder, write
from synth.disk.files import make_folder, write_atomically
from synth.identity import nearest

FIGURES = Path("figures")
"""Where figures are written."""


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Gather the run folders of sweeps into one parquet file each.

    A table that is there already is added to: runs that it has, and no folder, stay.
    """

    sweeps: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[SWEEP ...]")
    ] = ()
    """Folders of runs below --runs; all of them if none is given."""
    runs: Path = Path("runs")
    """Where the folders of runs lie."""
    results: Path = Path("analysis/results")
    """Where the parquet files go."""
    full: bool = False
    """Read every folder again, also those that did not change."""
    drop_missing: bool = False
    """Drop runs from a table that have no folder any more."""
    replace: bool = False
    """Where the table has another result of a run, take the one of the folder."""
    json: bool = False
    """Print one JSON object a sweep."""

    def run(self) -> int:
        """Collect and say what was found; status 2 if a sweep or a run was refused."""
        if not self.runs.is_dir():
            raise ValueError(f"{self.runs} is no folder. Train a sweep: make quick.")
        names = self.sweeps or tuple(
            path.name for path in sorted(self.runs.glob("*")) if _holds_runs(path)
        )
        if not names:
            raise ValueError(
                f"{self.runs} holds no sweep. Train one first: make quick."
            )
        refused: list[str] = []
        with alone(self.results):
            for name in names:  # what is wrong with one sweep does not stop the others
                try:
                    refused += self._collect(name)
                except ValueError as error:
                    refused.append(f"{name}: {error}")
        for text in refused:
            print(f"error: {text}", file=sys.stderr)
        return 2 if refused else 0

    def _collect(self, name: str) -> list[str]:
        """Collect one sweep; what was refused of it."""
        if (path := Path(name)).parent == self.runs:  # as a shell completes it
            name = path.name
        if Path(name).name != name or name.startswith("."):
            raise ValueError(
                f"SWEEP must be a folder of runs in {self.runs}; got {name!r}."
            )
        path = self.results / f"{name}.parquet"
        try:
            found = collect(
                self.runs / name,
                name,
                path if path.exists() else None,
                full=self.full,
                drop_missing=self.drop_missing,
                replace=self.replace,
            )
        except OSError as error:
            raise ValueError(f"{error.filename}: {error.strerror}.") from None
        if found.changed:
            write(found.frame, path)
        if self.json:
            print(json.dumps({"sweep": name, "states": found.states} | _facts(found)))
            return found.errors
        print(f"{name}: {summary(found)} -> {path}")
        if found.from_table:
            print(
                f"  {found.from_table} of these runs have no folder; kept as collected"
            )
        for run_id, problem in found.problems.items():
            print(f"  {run_id}: {problem}")
        return [f"{path}: {error}" for error in found.errors]


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Merge the tables of several machines into one, by run id."""

    tables: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TABLE ...")
    ]
    """Two or more: names below --results, parquet files, or folders of runs."""
    to: str
    """The merged table: a name below --results, or a parquet file. One that exists must
    be among the tables."""
    results: Path = field(default_factory=results_folder)
    """Where the tables lie."""

    def run(self) -> int:
        """Merge and write; two different results of one run are an error."""
        import polars as pl

        from analysis.load_sweep import load_sweep
        from analysis.merging import merge_tables

        if len(self.tables) < 2:
            raise ValueError(
                "merge takes two tables or more, such as: merge here there --to both."
            )
        to = Path(self.to)
        if to.suffix != ".parquet":
            to = self.results / f"{self.to}.parquet"
        names = {self.to, str(to), to.stem if to.parent == self.results else ""}
        if to.exists() and names.isdisjoint(self.tables):
            raise ValueError(
                f"{to} exists. Name it among the tables, or choose another name."
            )
        with alone(to.parent):
            tables = {name: load_sweep(name, self.results) for name in self.tables}
            merged = merge_tables(tables)
            write(merged, to)
        runs = merged.unique("run_id")
        done = runs.filter(pl.col("state") == "done").height
        print(f"{to}: {runs.height} runs, {done} of them done, {merged.height:,} rows")
        return 0


@dataclass(frozen=True, kw_only=True)
class Quick:
    """The tables and the figure of `make quick`, from the run folders of its sweeps."""

    runs: Path = Path("runs")
    """Where the sweeps lie; those that are not there are left out."""
    figures: Path = FIGURES
    """Where quick.png, quick.pdf and quick.csv go."""

    def run(self) -> int:
        """Collect, print the tables, draw."""
        import polars as pl

        from analysis import tables
        from analysis.plots import style
        from analysis.plots.quick import quick_figure

        shown = {
            "quick": tables.polynomial_text,
            "repeats": tables.induction_text,
            "choices": tables.choices_text,
        }
        frames = []
        for name in shown:
            if (self.runs / name).is_dir():
                found = collect(self.runs / name)
                print(f"{self.runs / name}: {summary(found)}")
                frames.append(found.frame)
                if found.states.get("done"):
                    tables.show(shown[name](found.frame))
        if not frames:
            raise ValueError(
                f"{self.runs} holds none of {', '.join(shown)}: make quick."
            )
        figure, table = quick_figure(pl.concat(frames))
        written = style.save(figure, table, self.figures / "quick")
        print("written:", *written)
        return 0


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Judge the claims of the papers by the collected tables.

    Each is supported, contradicted, undecided or not tested, by one rule.
    """

    only: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[CLAIM ...]")
    ] = ()
    """Claims to show, such as C7; all of them if none is given."""
    results: Path = field(default_factory=results_folder)
    """Where the tables lie."""
    tests: bool = False
    """Also print the exploratory tables, which decide nothing."""
    json: bool = False
    """Print one JSON object a claim, its tests included."""

    def run(self) -> int:
        """Judge and print."""
        from analysis.statements import CLAIMS, judge_all
        from analysis.tables import claims_text, exploratory_text, show

        known = [claim.id for claim in CLAIMS]
        for name in self.only:
            if name not in known:
                raise ValueError(f"No claim {name!r}. {nearest(name, known)}")
        judgements = judge_all(read_all(self.results), self.only)
        if self.json:
            for judgement in judgements:
                print(json.dumps(judgement.to_dict()))
            return 0
        show(claims_text(judgements))
        for judgement in judgements if self.tests or self.only else []:
            if judgement.beside:
                show(exploratory_text(judgement))
        return 0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Rebuild every figure that the collected tables have data for."""

    only: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FIGURE ...]")
    ] = ()
    """Figures to draw, such as layer-law; all of them if none is given."""
    results: Path = field(default_factory=results_folder)
    """Where the tables lie."""
    figures: Path = FIGURES
    """Where PNG, PDF and the plotted tables go."""

    def run(self) -> int:
        """Draw; say what is left out, and why."""
        from analysis.plots import style
        from analysis.plots.families import FIGURES
        from analysis.plots.overview import all_pictures
        from analysis.settings import append_label

        for name in self.only:
            if name not in FIGURES:
                raise ValueError(f"No figure {name!r}. {nearest(name, FIGURES)}")
        frame = read_all(self.results)
        check_writable(self.figures)
        pictures, reasons = all_pictures(frame, self.only)
        for one in pictures:
            style.save(one.figure, one.table, self.figures / one.name)
            files = f"{one.name}: {self.figures / one.name}.png, .pdf, .csv"
            print(append_label(files, one.label))
        for reason in reasons:
            print(reason)
        return 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """One self-contained HTML page: verdicts, figures, runs, provenance."""

    results: Path = field(default_factory=results_folder)
    """Where the tables lie."""
    output: Path = FIGURES / "report.html"
    """The page."""

    def run(self) -> int:
        """Write the page."""
        from analysis.report import report

        frame = read_all(self.results)
        check_writable(self.output.parent)
        page = report(frame)
        write_atomically(self.output, page.encode())
        print(f"{self.output}: {len(page) / 1e6:.1f} MB; open it in a browser")
        return 0


def check_writable(folder: Path) -> None:
    """Create `folder` if need be and try to write there, before work that takes minutes.

    Raises
    ------
    OSError
        Names the folder.
    """
    make_folder(folder)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(folder)) from None


def summary(found: Collected) -> str:
    """How many runs are in which state, and how many rows there are."""
    states = ", ".join(f"{count} {state}" for state, count in found.states.items())
    return f"{sum(found.states.values())} runs ({states}), {found.rows:,} rows"


def _facts(found: Collected) -> dict[str, object]:
    return {
        "rows": found.rows,
        "reread": found.reread,
        "from_table": found.from_table,
        "problems": found.problems,
        "errors": found.errors,
    }


def _holds_runs(path: Path) -> bool:
    """Whether a folder below --runs is a sweep: one of its entries is a run."""
    try:
        children = list(path.iterdir())
    except PermissionError:
        return True  # and is named by whoever reads it
    except OSError:
        return False
    return any(os.access(child / "config.json", os.F_OK) for child in children)

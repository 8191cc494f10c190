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
from analysis.load_sweep import load_table, load_tables
from analysis.parquet import lock_folder, results_folder, write
from synth.cli.command_line import describe
from synth.command_words import as_typed
from synth.disk.files import make_folder, write_atomically
from synth.identity import nearest

FIGURES_FOLDER = Path("figures")
"""The default folder for figures."""


@dataclass(frozen=True, kw_only=True)
class Collect:
    """Collect the run folders of each sweep into one parquet file.

    An existing file is added to: its runs whose folder is gone stay.
    """

    sweeps: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[SWEEP ...]")
    ] = ()
    """Sweeps to collect: folders of runs below --runs. If not given, all."""
    runs: Path = Path("runs")
    """Folder of the sweeps."""
    results: Path = Path("analysis/results")
    """Folder for the parquet files."""
    full: bool = False
    """Also read folders that did not change."""
    drop_missing: bool = False
    """Drop runs whose folder is gone."""
    replace: bool = False
    """Where file and folder have different results of a run, take the folder's."""
    json: bool = False
    """Print one JSON object a sweep."""

    def run(self) -> int:
        """Collect and print a line a sweep; status 2 if a sweep or a run was refused."""
        if not self.runs.is_dir():
            raise ValueError(
                f"{self.runs} is not a folder. Train a sweep: "
                f"{as_typed('sweeps run quick')}."
            )
        names = self.sweeps or tuple(
            path.name for path in sorted(self.runs.glob("*")) if _holds_runs(path)
        )
        if not names:
            raise ValueError(
                f"{self.runs} holds no sweep. Train one first: "
                f"{as_typed('sweeps run quick')}."
            )
        refused: list[str] = []
        with lock_folder(self.results):
            for name in names:  # an error in one sweep does not stop the others
                try:
                    refused += self._collect(name)
                except (ValueError, OSError) as error:
                    refused.append(f"{name}: {describe(error)}")
        for text in refused:
            print(f"error: {text}", file=sys.stderr)
        return 2 if refused else 0

    def _collect(self, name: str) -> list[str]:
        """Collect one sweep; returns errors about runs with two results."""
        if (path := Path(name)).parent == self.runs:  # a path completed by the shell
            name = path.name
        if Path(name).name != name or name.startswith("."):
            raise ValueError(
                f"SWEEP must be a folder of runs in {self.runs}; got {name!r}."
            )
        path = self.results / f"{name}.parquet"
        collected = collect(
            self.runs / name,
            name,
            path if path.exists() else None,
            full=self.full,
            drop_missing=self.drop_missing,
            replace=self.replace,
        )
        if collected.changed:
            write(collected.frame, path)
        if self.json:
            names = ("states", "rows", "reread", "from_table", "problems", "errors")
            facts = {key: getattr(collected, key) for key in names}
            print(json.dumps({"sweep": name} | facts))
            return collected.errors
        print(f"{name}: {count_states(collected)} -> {path}")
        if gone := collected.from_table:
            print(f"  {gone} of these runs have no folder; kept as collected")
        for run_id, problem in collected.problems.items():
            print(f"  {run_id}: {problem}")
        return [f"{path}: {error}" for error in collected.errors]


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
    """Folder of the tables."""

    def run(self) -> int:
        """Merge and write; two different results of one run are an error."""
        import polars as pl

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
        with lock_folder(to.parent):
            tables = {name: load_table(name, self.results) for name in self.tables}
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
    """Folder of the sweeps; missing ones are left out."""
    figures: Path = FIGURES_FOLDER
    """Folder for quick.png, quick.pdf and quick.csv."""

    def run(self) -> int:
        """Collect, print the tables, draw."""
        import polars as pl

        from analysis import tables
        from analysis.plots import style
        from analysis.plots.quick import quick_figure

        renderers = {
            "quick": tables.render_polynomial,
            "repeats": tables.render_induction,
            "choices": tables.render_choices,
        }
        frames = []
        for name, render in renderers.items():
            if (self.runs / name).is_dir():
                collected = collect(self.runs / name)
                print(f"{self.runs / name}: {count_states(collected)}")
                frames.append(collected.frame)
                if collected.states.get("done"):
                    tables.print_table(render(collected.frame))
        if not frames:
            raise ValueError(
                f"{self.runs} holds none of {', '.join(renderers)}. Train them first: "
                "make quick."
            )
        figure, table = quick_figure(pl.concat(frames))
        files = style.save(figure, table, self.figures / "quick")
        print("written:", *files)
        return 0


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Judge the claims of the papers by the collected tables.

    Each is supported, contradicted, undecided or not tested, by one rule.
    """

    only: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[CLAIM ...]")
    ] = ()
    """Claims to judge, such as C7. If not given, all."""
    results: Path = field(default_factory=results_folder)
    """Folder of the tables."""
    tests: bool = False
    """Also print the exploratory tables, which decide nothing."""
    json: bool = False
    """Print one JSON object a claim, its tests included."""

    def run(self) -> int:
        """Judge and print."""
        from analysis.statements import CLAIMS, judge_all
        from analysis.tables import (
            print_table,
            render_claims,
            render_exploratory,
            settling_lines,
        )

        ids = [claim.id for claim in CLAIMS]
        for name in self.only:
            if name not in ids:
                raise ValueError(f"No claim {name!r}. {nearest(name, ids)}")
        judgements = judge_all(load_tables(self.results), self.only)
        if self.json:
            for judgement in judgements:
                print(json.dumps(judgement.to_dict()))
            return 0
        print_table(render_claims(judgements))
        print("to settle it", *settling_lines(judgements), sep="\n")
        for judgement in judgements if self.tests or self.only else []:
            if judgement.exploratory:
                print_table(render_exploratory(judgement))
        return 0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Draw every figure for which the tables have data."""

    only: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[FIGURE ...]")
    ] = ()
    """Figures to draw, such as layer-law. If not given, all."""
    results: Path = field(default_factory=results_folder)
    """Folder of the tables."""
    figures: Path = FIGURES_FOLDER
    """Folder for PNG, PDF and the plotted numbers as CSV."""

    def run(self) -> int:
        """Draw, and print the reason for each figure that is left out."""
        from analysis.plots import board, style
        from analysis.plots.families import FIGURES
        from analysis.plots.overview import all_pictures
        from analysis.settings import append_label

        for name in self.only:
            if name not in (known := [board.NAME, *FIGURES]):
                raise ValueError(f"No figure {name!r}. {nearest(name, known)}")
        frame = load_tables(self.results)
        check_writable(self.figures)
        pictures, reasons = all_pictures(frame, self.only)
        for picture in pictures:
            path = self.figures / picture.name
            style.save(picture.figure, picture.table, path)
            files = f"{picture.name}: {path}.png, .pdf, .csv"
            print(append_label(files, picture.label))
        for reason in reasons:
            print(reason)
        return 0


@dataclass(frozen=True, kw_only=True)
class Report:
    """One self-contained HTML page: verdicts, figures, runs, provenance."""

    results: Path = field(default_factory=results_folder)
    """Folder of the tables."""
    output: Path = FIGURES_FOLDER / "report.html"
    """The file to write."""

    def run(self) -> int:
        """Write the page."""
        from analysis.report import build_page

        frame = load_tables(self.results)
        check_writable(self.output.parent)
        page = build_page(frame)
        write_atomically(self.output, page.encode())
        print(f"{self.output}: {len(page) / 1e6:.1f} MB; open it in a browser")
        return 0


def check_writable(folder: Path) -> None:
    """Create `folder` if needed and try to write there, before work that takes minutes.

    Raises `OSError`, naming the folder.
    """
    make_folder(folder)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(folder)) from None


def count_states(collected: Collected) -> str:
    """The number of runs, in all and by state, and of rows, in words."""
    states = ", ".join(f"{count} {state}" for state, count in collected.states.items())
    return f"{sum(collected.states.values())} runs ({states}), {collected.rows:,} rows"


def _holds_runs(path: Path) -> bool:
    """Whether a folder below --runs holds a run folder."""
    try:
        children = list(path.iterdir())
    except PermissionError:
        return True  # reading it raises an error that names it
    except OSError:
        return False
    return any(os.access(child / "config.json", os.F_OK) for child in children)

"""The commands about any sweep, by whatever name: `plot`, `compare` and `merge`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import tyro

from analysis.commands import FIGURES, check_writable
from analysis.formats import Form, as_text, form_of, render_table
from analysis.load_sweep import load_sweep
from analysis.measures import split_metric
from analysis.parquet import results_folder
from analysis.views import Query, view


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `plot` and `compare` have in common."""

    sweep: tyro.conf.Positional[str]
    """A table below --results, a parquet file, or a folder of runs or of tables."""
    metric: str | None = None
    """What is measured, also as SUITE/METRIC[/SLICE]; the first metric that the task
    declares if not given."""
    suite: str | None = None
    """What it is measured on, such as out_of_domain; the test set if not given."""
    slice: str = ""
    """Part of the suite, such as operations=2; all of it if not given."""
    where: tuple[str, ...] = ()
    """Runs to take, such as --where tree=split context=64 or mixer=rwkv,mamba2."""
    results: Path = field(default_factory=results_folder)
    """Where the tables lie."""
    json: bool = False
    """Print one JSON object a row."""
    csv: bool = False
    """Print the table as CSV."""
    latex: bool = False
    """Print the table as LaTeX."""

    @property
    def query(self) -> Query:
        """The runs and the number that are meant."""
        suite, metric, part = split_metric(self.metric or "")
        return Query(
            metric=metric or None,
            suite=self.suite or suite or None,
            part=self.slice or part,
            where=self.where,
        )

    @property
    def form(self) -> Form:
        """How the table is printed."""
        return form_of(self.json, self.csv, self.latex)

    def show(self, table: pl.DataFrame, title: str, notes: list[str]) -> None:
        """Print a table and what is to be known of it; programs read the table alone."""
        from analysis.tables import show

        if self.form == "text":
            show(as_text(table, title))
        else:
            print(render_table(table, self.form))
        for note in notes:
            print(note, file=sys.stdout if self.form == "text" else sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Plot(Asked):
    """Draw any metric of a sweep against size, training, or a field of its runs."""

    x: str | None = None
    """parameters, tokens, flops, step, a FIELD (tree, model.mixer) or a name of slices
    (operations). Without it: parameters if there are several sizes, else tokens."""
    hue: str = "arm"
    """What has a colour each: arm, or a FIELD."""
    panel: str | None = None
    """What has a panel each: a FIELD, or suite."""
    heat: str | None = None
    """In place of colours for series, a map: x beside this FIELD (or step), the metric
    as colour."""
    figures: Path = FIGURES
    """Where PNG, PDF and CSV go, under a name that says what they show."""

    def run(self) -> int:
        """Draw, print the table of means, say what was left out."""
        from analysis.plots import by_field, style
        from analysis.plots.heat import heat_figure

        assert self.form  # two forms are refused before anything is read
        frame = load_sweep(self.sweep, self.results)
        hue = self.heat or self.hue
        found = view(frame, self.query, self.x, hue, self.panel, heat=bool(self.heat))
        check_writable(self.figures)
        draw = heat_figure if self.heat else by_field.field_figure
        figure, table = draw(found)
        name = by_field.file_name(found, self.where) + "_heat" * bool(self.heat)
        written = style.save(figure, table, self.figures / name)
        title = f"{found.measure.title}, 95 % intervals over seeds"
        places = ", ".join(map(str, written))
        notes = [*found.notes, f"Written: {places}"]
        self.show(by_field.table_at_end(found), title, notes)
        return 0


@dataclass(frozen=True, kw_only=True)
class Compare(Asked):
    """Any field of a sweep as a contrast, paired by data seed."""

    vary: str = "arm"
    """What is compared: arm, or a FIELD such as tree, model.mixer, learning_rate."""
    baseline: str | None = None
    """The value that the others are compared with; n1 among arms, else the first."""
    at: Literal["tokens", "flops"] | None = None
    """Read both runs of a pair where they have spent as much; at their ends if not."""
    beside: tuple[str, ...] = ()
    """Fields that may differ along with it, such as batch_rows along with context."""
    plot: bool = False
    """Also draw the differences with their intervals."""
    figures: Path = FIGURES
    """Where PNG, PDF and CSV of --plot go."""

    def run(self) -> int:
        """Compare, print, and draw if asked to."""
        from analysis.contrasts import compute_contrasts

        assert self.form
        frame = load_sweep(self.sweep, self.results)
        found = compute_contrasts(
            frame, self.query, self.vary, self.baseline, self.at, self.beside
        )
        notes = list(found.notes)
        if self.plot:
            from analysis.plots import style
            from analysis.plots.forest import forest_figure, forest_name

            check_writable(self.figures)
            name = forest_name(found, Path(self.sweep).stem)
            written = style.save(*forest_figure(found), self.figures / name)
            notes.append(f"Written: {', '.join(map(str, written))}")
        self.show(found.table, f"{found.title}, paired by data seed", notes)
        return 0


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Join tables of several machines into one, by run id."""

    tables: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TABLE ...")
    ]
    """Two or more: names below --results, parquet files, or folders of runs."""
    to: str
    """The joined table: a name below --results, or a parquet file. One that exists has
    to be among the tables."""
    results: Path = field(default_factory=results_folder)
    """Where the tables lie."""

    def run(self) -> int:
        """Join and write; refuse two different results of one run."""
        from analysis.merging import merge_tables
        from analysis.parquet import alone, write

        if len(self.tables) < 2:
            raise ValueError(
                "merge takes two tables or more, such as: merge here there --to both."
            )
        to = Path(self.to)
        if to.suffix != ".parquet":
            to = self.results / f"{self.to}.parquet"
        known = {self.to, str(to), to.stem if to.parent == self.results else ""}
        if to.exists() and known.isdisjoint(self.tables):
            raise ValueError(
                f"{to} exists. Name it among the tables, or choose another name."
            )
        with alone(to.parent):
            found = {name: load_sweep(name, self.results) for name in self.tables}
            joined = merge_tables(found)
            write(joined, to)
        runs = joined.unique("run_id")
        done = runs.filter(pl.col("state") == "done").height
        print(f"{to}: {runs.height} runs, {done} of them done, {joined.height:,} rows")
        return 0

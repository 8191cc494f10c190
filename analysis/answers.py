"""The commands that answer a question about any sweep: `plot` and `compare`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
import tyro

from analysis.commands import FIGURES, check_writable
from analysis.formats import Form, as_text, form_of, rendered
from analysis.loading import load_sweep
from analysis.parquet import results_folder
from analysis.views import Query, view


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What `plot` and `compare` have in common."""

    sweep: tyro.conf.Positional[str]
    """A table below --results, a parquet file, or a folder of runs or of tables."""
    metric: str | None = None
    """What is measured; the first metric that the task declares if not given."""
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
        return Query(
            metric=self.metric, suite=self.suite, part=self.slice, where=self.where
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
            print(rendered(table, self.form))
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
    figures: Path = FIGURES
    """Where PNG, PDF and CSV go, under a name that says what they show."""

    def run(self) -> int:
        """Draw, print the table of means, say what was left out."""
        from analysis.plots import by_field, style

        assert self.form  # two forms are refused before anything is read
        frame = load_sweep(self.sweep, self.results)
        found = view(frame, self.query, self.x, self.hue, self.panel)
        check_writable(self.figures)
        figure, table = by_field.field_figure(found)
        name = by_field.file_name(found, self.where)
        written = style.save(figure, table, self.figures / name)
        title = f"{found.measure.title}, 95 % t intervals over seeds"
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

    def run(self) -> int:
        """Compare and print."""
        from analysis.contrasts import contrasts

        assert self.form
        frame = load_sweep(self.sweep, self.results)
        found = contrasts(
            frame, self.query, self.vary, self.baseline, self.at, self.beside
        )
        self.show(found.table, f"{found.title}, paired by data seed", found.notes)
        return 0

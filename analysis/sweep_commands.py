"""The commands about one metric of one sweep: `plot` and `compare`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
import tyro

from analysis.commands import FIGURES_FOLDER, check_writable
from analysis.formats import choose_form, render_table, render_text
from analysis.load_sweep import load_sweep
from analysis.measures import Measure
from analysis.parquet import results_folder
from analysis.views import Query, select, view
from synth.cli.run_names import Conditions


@dataclass(frozen=True, kw_only=True)
class MetricCommand:
    """The options of every command about one metric of a sweep, and its output."""

    sweep: tyro.conf.Positional[str]
    """A table below --results, a parquet file, or a folder of runs or of tables."""
    metric: str | None = None
    """[SUITE/]METRIC[/SLICE], such as loss or out_of_domain/exact_match/operations=4. A
    metric alone is that of the test set. If not given, the first that the task
    declares. mean: before it is the mean over training, learned: the tokens until it is
    learned."""
    where: Conditions = ()
    """Runs to take, such as --where tree=split context=64 or mixer=rwkv,mamba2."""
    results: Path = field(default_factory=results_folder)
    """Folder of the tables."""
    json: bool = False
    """Print one JSON object a row."""
    csv: bool = False
    """Print the table as CSV."""
    latex: bool = False
    """Print the table as LaTeX."""

    def __post_init__(self) -> None:
        choose_form(self.json, self.csv, self.latex)  # refuses two at once

    @property
    def query(self) -> Query:
        """The chosen runs and metric."""
        return Query(metric=self.metric, where=self.where)

    def evaluations(self) -> tuple[pl.DataFrame, Measure, list[str]]:
        """All evaluations of the metric, with its description and notes."""
        runs = select(load_sweep(self.sweep, self.results), self.query)
        measure = runs.measure(self.query, [])
        return measure.rows(runs.done), measure, runs.notes

    def print_table(self, table: pl.DataFrame, title: str, notes: list[str]) -> None:
        """Print a table in the chosen form; notes go to stderr unless it is text."""
        from analysis.tables import print_table

        form = choose_form(self.json, self.csv, self.latex)
        if form == "text":
            print_table(render_text(table, title))
        else:
            print(render_table(table, form))
        for note in notes:
            print(note, file=sys.stdout if form == "text" else sys.stderr)


@dataclass(frozen=True, kw_only=True)
class Plot(MetricCommand):
    """Draw any metric of a sweep against size, training, or a field of its runs."""

    x: str | None = None
    """The x axis: parameters, tokens, flops, step, a FIELD (tree, model.mixer) or a name
    of slices (operations). If not given, parameters where sizes differ, else tokens."""
    hue: str = "arm"
    """One colour for each arm, or for each value of this FIELD."""
    panel: str | None = None
    """One panel for each value of this FIELD, or for each suite."""
    heat: str | None = None
    """Draw a heat map instead: this FIELD (or step) against --x, the metric as colour."""
    figures: Path = FIGURES_FOLDER
    """Folder for PNG, PDF and CSV, named after what they show."""

    def run(self) -> int:
        """Draw, and print the table of means."""
        from analysis.plots import by_field, style
        from analysis.plots.heat import heat_figure

        frame = load_sweep(self.sweep, self.results)
        hue = self.heat or self.hue
        plotted = view(frame, self.query, self.x, hue, self.panel, heat=bool(self.heat))
        check_writable(self.figures)
        draw = heat_figure if self.heat else by_field.field_figure
        figure, table = draw(plotted)
        name = by_field.file_name(plotted, self.where) + "_heat" * bool(self.heat)
        files = style.save(figure, table, self.figures / name)
        title = f"{plotted.measure.title}, 95 % intervals over seeds"
        notes = [*plotted.notes, f"Written: {', '.join(map(str, files))}"]
        self.print_table(by_field.table_at_end(plotted), title, notes)
        return 0


@dataclass(frozen=True, kw_only=True)
class Compare(MetricCommand):
    """Compare the values of one field, in pairs of runs with equal data seeds.

    Of runs of several tasks, each task is compared by itself, in one table.
    """

    vary: str = "arm"
    """The field to compare: arm, or a FIELD such as tree, model.mixer, learning_rate."""
    baseline: str | None = None
    """The value to compare the others with. If not given, n1 for arms, else the first."""
    at: Literal["tokens", "flops"] | None = None
    """Compare both runs of a pair at equal training tokens or executed FLOP, interpolated
    between evaluations. If not given, each at its end."""
    beside: tuple[str, ...] = ()
    """Fields that may also differ, such as batch_rows when --vary is context."""
    over: tuple[str, ...] = ()
    """Fields over whose values each seed is averaged, such as paths or scale: one answer
    for all of them. Seeds without a run at each value are left out."""
    plot: bool = False
    """Also draw the differences with their intervals."""
    figures: Path = FIGURES_FOLDER
    """Folder for PNG, PDF and CSV of --plot."""

    def run(self) -> int:
        """Compare, print and, with --plot, draw."""
        from analysis.contrasts import Contrasts, compute_contrasts
        from analysis.standings import compute_standings, tasks_of

        frame = load_sweep(self.sweep, self.results)
        tasks = tasks_of(frame, self.query)

        def compare(query: Query) -> Contrasts:
            return compute_contrasts(
                frame,
                query,
                self.vary,
                self.baseline,
                self.at,
                self.beside,
                self.over,
            )

        found = (
            compare(self.query)
            if len(tasks) == 1
            else compute_standings(tasks, self.query, compare)
        )
        notes = list(found.notes)
        if self.plot:
            from analysis.plots import style
            from analysis.plots.forest import contrasts_name, forest_figure
            from analysis.plots.standings import standings_figure

            check_writable(self.figures)
            sweep = Path(self.sweep).stem
            if isinstance(found, Contrasts):
                drawn, name = forest_figure(found), contrasts_name(found, sweep)
            else:
                drawn = standings_figure(found)
                name = contrasts_name(found.first, sweep, "tasks")
            files = style.save(*drawn, self.figures / name)
            notes.append(f"Written: {', '.join(map(str, files))}")
        self.print_table(found.table, f"{found.title}, paired by data seed", notes)
        return 0

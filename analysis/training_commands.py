"""The commands events, learned, attention, noise and scaling."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import polars as pl
import tyro

from analysis.commands import FIGURES_FOLDER, check_writable
from analysis.events import IN_A_ROW
from analysis.parquet import results_folder
from analysis.sweep_commands import MetricCommand
from synth.cli.run_names import OneRun
from synth.metrics import Better


@dataclass(frozen=True, kw_only=True)
class Events(MetricCommand):
    """When runs reach a level: P(learned), median tokens, log-rank against n = 1.

    Without --metric, the first metric of the task; of choice points, that at choices.
    """

    level: float | None = None
    """The level to reach. If not given, the one that the task declares for this slice."""
    in_a_row: int = IN_A_ROW
    """Consecutive evaluations that must reach the level."""

    def run(self) -> int:
        """Count, compare and print."""
        from analysis.settings import name_settings, setting_labels
        from analysis.trajectories import event_rows, learned_level, timed_runs

        rows, measure, notes = self.evaluations()
        if measure.reading:
            raise ValueError(
                f"events reads learning curves, and {measure.reading} gives one number of "
                "a run. Leave it out."
            )
        declared = measure.definition
        if self.metric is None and declared is not None and declared.part:
            chosen = replace(self, metric=f"{measure.metric}/{declared.part}")
            rows, measure, notes = chosen.evaluations()
        level = self.level
        if level is None:
            level = learned_level(rows, measure.metric)
        higher = measure.higher_is_better
        if higher is None:
            raise ValueError(
                f"No task says which direction of {measure.metric} is better."
            )
        better: Better = "higher" if higher else "lower"
        times = timed_runs(rows, level, better, self.in_a_row)
        table = event_rows(times, ["setting", "parameters", "scale"])
        table = name_settings(table, setting_labels(rows, "scale", "arm"))
        bound = f"at {'least' if higher else 'most'} {level:g}"
        title = f"{measure.title} {bound}, {self.in_a_row} evaluations in a row"
        notes.append(
            "low, high: 95 % interval of P(learned) (Wilson). tokens: by which half of the "
            "runs had learned it. p: log-rank against n = 1, over arrangements of runs."
        )
        self.print_table(table.drop("parameters"), title, notes)
        return 0


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Which arm learns which task: P(learned) with Wilson intervals, as a matrix."""

    sweep: tyro.conf.Positional[str]
    """A table below --results, a parquet file, or a folder of runs or of tables."""
    in_a_row: int = IN_A_ROW
    """Consecutive evaluations that must reach the level that the task declares."""
    plot: bool = False
    """Also draw the matrix."""
    results: Path = field(default_factory=results_folder)
    """Folder of the tables."""
    figures: Path = FIGURES_FOLDER
    """Folder for PNG, PDF and CSV of --plot."""
    json: bool = False
    """Print one JSON object a cell."""

    def run(self) -> int:
        """Count, print, and draw if asked to."""
        from analysis.finished_runs import select_runs
        from analysis.formats import render_table, render_text
        from analysis.load_sweep import load_sweep
        from analysis.plots import style
        from analysis.plots.heat import matrix_figure
        from analysis.tables import print_table
        from analysis.trajectories import learned_matrix

        runs, notes = select_runs(load_sweep(self.sweep, self.results))
        table = learned_matrix(runs, self.in_a_row)
        if table.is_empty():
            raise ValueError(
                f"No finished run of {self.sweep} has a value of a metric whose task says "
                "from which level it counts as learned (Metric.learned)."
            )
        if self.json:
            print(render_table(table, "json"))
        else:
            title = "learned, of all runs (95 % of P, Wilson)"
            print_table(render_text(pivot_learned(table), title))
            levels = table.unique("place", maintain_order=True)
            for row in levels.iter_rows(named=True):
                level = f"{row['suite']}/{row['metric']} {row['level']:g}"
                print(f"{row['place']}: {level}, {self.in_a_row} evaluations in a row")
        for note in notes:
            print(note, file=sys.stderr if self.json else sys.stdout)
        if self.plot:
            check_writable(self.figures)
            name = f"{Path(self.sweep).stem}-learned"
            files = style.save(*matrix_figure(table), self.figures / name)
            text = f"Written: {', '.join(map(str, files))}"
            print(text, file=sys.stderr if self.json else sys.stdout)
        return 0


@dataclass(frozen=True, kw_only=True)
class AttentionMaps(OneRun):
    """Draw the attention map of every head of a run."""

    prompt: str | None = None
    """A text, or a question of the task. If not given, a random segment that is repeated,
    with the line on which induction heads attend."""
    figures: Path = FIGURES_FOLDER
    """Folder for PNG, PDF and CSV."""

    def run(self) -> int:
        """Draw the maps of all layers up to the next-token prediction."""
        import synth
        from analysis.plots import style
        from analysis.plots.attention import attention_figure
        from synth.probes.prefix_matching import repeated_segments

        check_writable(self.figures)
        run = synth.load(self.find())
        if self.prompt is None:
            rows, period = repeated_segments(run.model.vocab_size, rounds=2, rows=1)
        else:
            rows, period = run.tokens(self.prompt), None
        words = [run.text([token]) for token in rows[0].tolist()]
        run_id = run.config.run_id
        title = f"{run_id}, step {run.step}"
        figure, table = attention_figure(run.attention(rows), words, title, period)
        files = style.save(figure, table, self.figures / f"attention-{run_id}")
        print(f"Written: {', '.join(map(str, files))}")
        return 0


def pivot_learned(table: pl.DataFrame) -> pl.DataFrame:
    """The cells of a `learned_matrix` as text: an arm a row, a task a column."""
    cell = pl.format(
        "{}/{} ({}-{})",
        "learned",
        "runs",
        pl.col("low").round(2),
        pl.col("high").round(2),
    )
    return table.select("arm", "place", cell=cell).pivot(
        "place", index="arm", values="cell"
    )


@dataclass(frozen=True, kw_only=True)
class Noise(MetricCommand):
    """How much an arm differs from itself by chance; whether small sizes predict large."""

    baseline: str = "n1"
    """The arm to compare with itself."""
    decisions: bool = False
    """Show instead how often a smaller size orders two arms as a larger one does."""

    def run(self) -> int:
        """Measure and print."""
        from analysis.noise import decision_table, noise_table

        rows, measure, notes = self.evaluations()
        if self.decisions:
            title = f"{measure.title}: pairs of arms with the same sign at two sizes"
            self.print_table(decision_table(rows), title, notes)
            return 0
        try:
            table = noise_table(rows, self.baseline)
        except ValueError as error:  # notes say why the baseline was left out
            raise ValueError(" ".join([str(error), *notes])) from None
        notes.append(
            "band: two means of one arm differ by less in 95 % of cases. halves: first "
            "half of the seeds minus second. ratio: signal over spread over seeds."
        )
        self.print_table(
            table, f"{measure.title}: {self.baseline} against itself", notes
        )
        return 0


@dataclass(frozen=True, kw_only=True)
class Scaling(MetricCommand):
    """Fit a power law to each arm that has five sizes or more."""

    x: Literal["parameters", "tokens", "flops"] = "parameters"
    """The variable of the law."""
    offset: bool = True
    """Fit an offset, the value at infinite size."""

    def run(self) -> int:
        """Fit and print, with the reason for each arm without a law."""
        from analysis.scaling import scaling_table

        rows, measure, notes = self.evaluations()
        ceiling, fitted = None, measure.title
        if measure.higher_is_better:
            declared = measure.definition.ceiling if measure.definition else None
            if not isinstance(declared, float):
                raise ValueError(
                    f"{measure.metric} should rise, and its task declares no ceiling from "
                    "which to measure the distance. Fit a loss: --metric loss."
                )
            ceiling, fitted = declared, f"{declared:g} - {measure.title}"
        table, reasons = scaling_table(rows, self.x, self.offset, ceiling)
        title = f"{fitted} = offset + factor * {self.x}^-exponent, 95 % over seeds"
        self.print_table(table, title, [*notes, *reasons])
        return 0

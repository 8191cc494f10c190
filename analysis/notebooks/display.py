"""What the notebooks call: figures or the reason for their absence, verdicts, tables."""

from collections.abc import Mapping
from pathlib import Path

import jupytext
import nbformat
import polars as pl
from IPython.display import Image, Markdown, display
from nbconvert.preprocessors import ExecutePreprocessor

from analysis.claims import Judgement, exploratory_table
from analysis.contrasts import compute_contrasts
from analysis.fields import Fields
from analysis.plots import style
from analysis.plots.families import FIGURES
from analysis.plots.learning_rates import rate_figure
from analysis.plots.overview import overviews
from analysis.selection import drop_unreadable
from analysis.statements import judge_all
from analysis.views import Query
from synth.disk.files import write_atomically

HERE = Path(__file__).parent
RATE = "training.learning_rate"


def show_figure(name: str, frame: pl.DataFrame) -> None:
    """Show the figure of that name, once a setting; say why where runs are missing."""
    drawn, reasons = FIGURES[name].pictures(frame)
    for one in drawn:
        display(Markdown(one.caption))
        # As the house draws it, whatever backend and settings the notebook has.
        display(Image(style.as_png(one.figure, dpi=100)))
    for reason in reasons:
        display(Markdown(f"*{name} is left out: {reason}.*"))


def show_overview(frame: pl.DataFrame, x: str = "parameters") -> None:
    """Show the first metric of each task, at the end against size, or against `x`."""
    for done in _by_task(frame):
        pictures, reasons = overviews(done, x)
        for one in pictures:
            display(Markdown(one.caption))
            display(Image(style.as_png(one.figure, dpi=100)))
        for reason in reasons:
            display(Markdown(f"*{done['task'][0]} is left out: {reason}.*"))


def show_learning_curves(frame: pl.DataFrame) -> None:
    """Show the learning curves of each task, all evaluations against tokens."""
    show_overview(frame, "tokens")


def show_rates(frame: pl.DataFrame) -> None:
    """Show each task against the learning rate, where several were tried in a cell."""
    found = False
    for done in _by_task(frame):
        fields = Fields(done)
        others = [path for path in fields.varying() if path != RATE]
        with_others = done
        for path in others:
            with_others = fields.add_column(with_others, path)
        if RATE in fields.varying_within(with_others, others):
            found = True
            show_overview(done, RATE)
    try:
        figure, table = rate_figure(frame)
    except ValueError as error:  # no trials, which is no news where rates are shown
        if not found:
            display(Markdown(f"*Rate curves are left out: {error}.*"))
        return
    display(Image(style.as_png(figure, dpi=100)))
    names = ("task", "scale", "arm", "metric", "learning_rate", "mean")
    show(table.filter("best"), *names, "interior", "sensitivity")


def show_contrasts(frame: pl.DataFrame) -> None:
    """Show every arm against the baseline, task by task."""
    for done in _by_task(frame):
        try:
            one = compute_contrasts(done, Query())
        except ValueError as error:
            display(Markdown(f"*{done['task'][0]} is left out: {error}*"))
            continue
        display(Markdown(f"**{done['task'][0]}**: {one.title}"))
        show(one.table)
        for note in one.notes:
            display(Markdown(f"*{note}*"))


def _by_task(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """The finished runs of each task."""
    done = drop_unreadable(frame).filter(pl.col("state") == "done")
    return done.sort("task", maintain_order=True).partition_by(
        "task", maintain_order=True
    )


def show_verdicts(frame: pl.DataFrame, *claims: str) -> list[Judgement]:
    """Show the verdict on each claim and what would settle it; return them."""
    judgements = judge_all(frame, claims)
    lines = []
    for one in judgements:
        claim = one.claim
        caveat = f" {claim.caveat}" if claim.caveat else ""
        lines.append(f"- **{claim.id}** {claim.says} ({claim.source})")
        lines.append(f"  **{one.verdict}**: {one.reason}.{caveat}")
        if one.verdict not in ("supported", "contradicted"):
            lines.append(f"  To settle it: `{claim.settled_by}`")
    display(Markdown("\n\n".join(lines)))
    return judgements


def tests_of(judgements: list[Judgement]) -> pl.DataFrame:
    """The exploratory tables, in one."""
    return pl.concat([exploratory_table(one) for one in judgements])


def show(table: pl.DataFrame, *columns: str) -> None:
    """A table (or some columns of it) that a code host renders; small numbers rounded."""
    chosen = table.select(*columns) if columns else table
    if chosen.is_empty():
        display(Markdown("*Nothing to show: no finished run has it.*"))
        return
    rounded = chosen.with_columns(pl.col(pl.Float64).round_sig_figs(4))
    names = rounded.columns
    lines = [names, ["---"] * len(names)]
    for row in rounded.iter_rows():
        lines.append(["" if v is None else str(v).replace("|", "/") for v in row])
    display(Markdown("\n".join(f"| {' | '.join(line)} |" for line in lines)))


def scripts() -> list[Path]:
    """The percent scripts of this folder."""
    return [
        path
        for path in sorted(HERE.glob("*.py"))
        if path.read_text().startswith("# ---")
    ]


def execute(
    script: Path, at: Path, parameters: Mapping[str, object] = {}
) -> nbformat.NotebookNode:
    """Run a percent script as a notebook, with `at` as the working directory.

    `parameters` replace the cell with the tag "parameters", as papermill names it.
    Execution times and cell ids are left out, so that equal results give equal files.
    """
    notebook = jupytext.read(script)
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place}"
        if parameters and "parameters" in cell.metadata.get("tags", ()):
            lines = (f"{name} = {value!r}" for name, value in parameters.items())
            cell.source = "\n".join(lines)
    # A file of the user's called `analysis.py` is not this package.
    elsewhere = at.absolute() != HERE.parents[1]
    runner = ExecutePreprocessor(
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--InteractiveShellApp.ignore_cwd=True"] if elsewhere else [],
    )
    runner.preprocess(notebook, {"metadata": {"path": str(at)}})
    notebook.metadata.pop("language_info", None)
    return notebook


def execute_all(at: Path) -> list[Path]:
    """Execute every script and write its notebook beside it."""
    written = []
    for script in scripts():
        path = script.with_suffix(".ipynb")
        content = nbformat.writes(execute(script, at)) + "\n"
        write_atomically(path, content.encode())
        written.append(path)
    return written

"""One table in four forms: text for a terminal, JSON, CSV, LaTeX."""

import json
import math
from typing import Any, Literal

import polars as pl
from rich.table import Table

Form = Literal["text", "json", "csv", "latex"]
_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def choose_form(json_: bool, csv: bool, latex: bool) -> Form:
    """The output form chosen by the options `--json`, `--csv` and `--latex`.

    Raises `ValueError` when more than one is given.
    """
    options: dict[Form, bool] = {"json": json_, "csv": csv, "latex": latex}
    chosen = [name for name, given in options.items() if given]
    if len(chosen) > 1:
        raise ValueError(f"--{chosen[0]} and --{chosen[1]} exclude each other.")
    return chosen[0] if chosen else "text"


def render_table(table: pl.DataFrame, form: Form) -> str:
    """Render a table as JSON lines, CSV, or a LaTeX tabular (booktabs)."""
    if form == "json":
        return "\n".join(json.dumps(row) for row in table.iter_rows(named=True))
    if form == "csv":
        return table.write_csv(float_precision=6).rstrip("\n")
    right = [kind.is_numeric() for kind in table.dtypes]
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{''.join('r' if number else 'l' for number in right)}}}",
        r"\toprule",
        _line(table.columns),
        r"\midrule",
        *(_line(_cell(value) for value in row) for row in table.iter_rows()),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines)


def render_text(table: pl.DataFrame, title: str) -> Table:
    """Render a table for a terminal, without columns that have no value."""
    text = Table(title=title)
    kept = [name for name in table.columns if table[name].null_count() < table.height]
    for name in kept:
        numeric = table.schema[name].is_numeric()
        text.add_column(name, justify="right" if numeric else "left")
    for row in table.select(kept).iter_rows():
        text.add_row(*map(_cell, row))
    return text


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def _line(cells: Any) -> str:
    escaped = ("".join(_SPECIAL.get(c, c) for c in cell) for cell in cells)
    return f"{' & '.join(escaped)} \\\\"

"""The command beside: published numbers with ours beside them, and the verdicts."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import polars as pl
import tyro
from rich.table import Table

from analysis.beside.published import Published, published_tables
from analysis.beside.replication import ReplicationRow, replication_rows
from analysis.beside.verdict import MEANINGS
from analysis.load_sweep import load_tables
from analysis.parquet import results_folder
from analysis.tables import print_table
from synth.identity import nearest

LABELS = {
    "P": "read in the paper",
    "R": "read in a repository",
    "N": "third parties' notes",
}


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Show published numbers with ours beside them, and whether ours agree."""

    only: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[TABLE ...]")
    ] = ()
    """Tables to print, such as graph-paths; all of them if none is given."""
    results: Path = field(default_factory=results_folder)
    """The folder of the collected tables."""
    all: bool = False
    """Show also the numbers without a run here."""
    json: bool = False
    """Print one JSON object a published number."""

    def run(self) -> int:
        """Print the tables and the count of verdicts."""
        tables = {table.id: table for table in published_tables()}
        for name in self.only:
            if name not in tables:
                raise ValueError(
                    f"No published table {name!r}. {nearest(name, list(tables))}"
                )
        names = self.only or tuple(tables)
        rows = replication_rows(load_tables(self.results))
        entries = [row for row in rows if row.table in names]
        if self.json:
            for entry in entries:
                print(json.dumps(asdict(entry)))
            return 0
        for name in names:
            own = [entry for entry in entries if entry.table == name]
            print_published(tables[name], own, all_rows=self.all)
        print(count_verdicts(entries))
        return 0


def print_published(
    table: Published, entries: Sequence[ReplicationRow], all_rows: bool
) -> None:
    """Print the rows of a table that were run, or all; one line if none was run."""
    head = f"{table.id}: {table.source} ({LABELS[table.label]}, {table.read})"
    sweep = f"its sweep is {table.sweep}" if table.sweep else "no sweep answers it yet"
    answered = [entry for entry in entries if entry.value is not None]
    if not answered and not all_rows:
        print(f"{head}: {len(entries)} numbers, not run; {sweep}.")
        return
    print(f"{head}\n  Source: {table.setting}.\n  Ours: {table.ours}.")
    print_table(render_entries(entries if all_rows else answered, solved=table.solved))
    if (rest := len(entries) - len(answered)) and not all_rows:
        print(f"{rest} more numbers of this table have no run here; --all shows them.")


def render_entries(entries: Sequence[ReplicationRow], solved: float | None) -> Table:
    """Rows for a terminal: levels or shares of solved runs, differences, verdicts."""
    table = Table()
    names = ["printed"] if solved is not None else []
    kind = f", solved (from {solved:g} on)" if solved is not None else ""
    names += [f"published{kind}", f"ours{kind}", "pairs"]
    for name in ("setting", "", "arm"):
        table.add_column(name)
    for name in (*names, "published diff.", "our diff. [95 %]"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for entry in entries:
        printed = [_format_number(entry.printed)] if solved is not None else []
        table.add_row(
            ", ".join(filter(None, (entry.column, entry.setting))),
            entry.row,
            entry.arm or "no such arm",
            *printed,
            _format_number(entry.published),
            _format_number(entry.value),
            str(entry.pairs),
            _format_number(entry.published_difference, signed=True),
            _format_difference(entry),
            _format_verdict(entry),
        )
    return table


def count_verdicts(entries: Sequence[ReplicationRow]) -> str:
    """The number of published differences by verdict, with the meaning of each."""
    counts = Counter(entry.verdict for entry in entries if entry.verdict)
    words = "; ".join(
        f"{counts[name]} {name} ({meaning})"
        for name, meaning in MEANINGS.items()
        if counts[name]
    )
    return f"Published differences: {words}."


def verdict_frame(entries: Sequence[ReplicationRow]) -> pl.DataFrame:
    """Counts of verdicts for the report: a row for each table, a column a verdict."""
    by_table: dict[str, Counter[str]] = {}
    for entry in entries:
        if entry.verdict:
            by_table.setdefault(entry.table, Counter())[entry.verdict] += 1
    return pl.DataFrame(
        [
            {"table": name} | {verdict: counts[verdict] for verdict in MEANINGS}
            for name, counts in by_table.items()
        ],
        schema={"table": pl.String()} | dict.fromkeys(MEANINGS, pl.Int64()),
    )


def answered_frame(entries: Sequence[ReplicationRow]) -> pl.DataFrame:
    """The published numbers for which there are runs, a row each."""
    columns = {
        "source": pl.String(),
        "column": pl.String(),
        "setting": pl.String(),
        "row": pl.String(),
        "arm": pl.String(),
        "printed": pl.Float64(),
        "published": pl.Float64(),
        "value": pl.Float64(),
        "pairs": pl.Int64(),
        "published_difference": pl.Float64(),
        "difference": pl.Float64(),
        "low": pl.Float64(),
        "high": pl.Float64(),
        "verdict": pl.String(),
        "why": pl.String(),
    }
    rows = [asdict(entry) for entry in entries if entry.value is not None]
    chosen = [{name: row[name] for name in columns} for row in rows]
    return pl.DataFrame(chosen, schema=columns, orient="row").rename(
        {"value": "ours", "published_difference": "published difference"}
    )


def _format_verdict(entry: ReplicationRow) -> str:
    why = f" ({entry.why})" if entry.why else ""
    return f"{entry.verdict or 'baseline'}{why}"


def _format_number(value: float | None, signed: bool = False) -> str:
    return "-" if value is None else f"{value:{'+' if signed else ''}.3f}"


def _format_difference(entry: ReplicationRow) -> str:
    if entry.difference is None:
        return "-"
    low, high = _format_number(entry.low, True), _format_number(entry.high, True)
    return f"{_format_number(entry.difference, True)} [{low}, {high}]"

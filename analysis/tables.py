"""Tables for a terminal: plain text in a pipe, ruled on a screen."""

from collections.abc import Sequence
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from analysis.arm_names import arm_name, sort_rows
from analysis.claims import Judgement, exploratory_table
from analysis.events import event_times
from analysis.modes import span_of, summarize_seeds
from analysis.plots.polynomial import polynomial_table
from analysis.plots.quick import induction_rows
from analysis.selection import (
    OPERATIONS,
    at_end,
    is_slice_of,
    select_metric,
    slice_value,
)
from analysis.trajectories import learned_level
from synth.tasks.choice_points import ROLES


def format_share(mean: float | None, low: float | None, high: float | None) -> str:
    """A share and its interval in per cent.

    >>> format_share(0.5, 0.412, 0.588)
    '50.0 [41.2, 58.8]'
    >>> format_share(0.5, None, None)
    '50.0'
    """
    if mean is None:
        return "-"
    if low is None or high is None:
        return f"{100 * mean:.1f}"
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def render_polynomial(frame: pl.DataFrame) -> Table:
    """A row a size and arm: exact match by m in per cent; the guess floor below."""
    rows = polynomial_table(frame)
    operations = rows[OPERATIONS].unique().sort().to_list()
    table = Table(
        title="exact match in %, mean [95 % interval over seeds]",
        caption="* within the sampling error of the test set from the guess floor",
    )
    for name in ("size", "arm", "seeds"):
        table.add_column(name, justify="right")
    for m in operations:
        table.add_column(f"m = {m}", justify="right")
    for key, group in rows.group_by(["scale", "arm"], maintain_order=True):
        cells = {row[OPERATIONS]: row for row in group.iter_rows(named=True)}
        shares = [
            _format_seeds(cells[m]) + ("*" if cells[m]["at_floor"] else "")
            if m in cells
            else "-"
            for m in operations
        ]
        seeds = str(group["seeds"].min())
        table.add_row(str(key[0]), arm_name(str(key[1])), seeds, *shares)
    table.add_section()
    floors = dict(
        rows.group_by(OPERATIONS).agg(pl.col("guess_floor").mean()).iter_rows()
    )
    table.add_row(
        "any",
        "guess floor",
        "",
        *[format_share(floors.get(m), None, None) for m in operations],
    )
    return table


def _format_seeds(row: dict[str, Any]) -> str:
    """The mean share of a cell with its interval, or the two groups of its seeds."""
    if row["groups"]:
        return str(row["groups"])
    return format_share(row["mean"], row["low"], row["high"])


def render_induction(frame: pl.DataFrame) -> Table:
    """A row a run: when induction formed, final accuracy, prefix matching of each head.

    The prefix-matching score of a head is its attention to the token after the previous
    occurrence of the current one, on random tokens (`synth probe induction --save`).
    """
    rows = induction_rows(frame)
    last = sort_rows(at_end(rows), "arm", "seed")
    formed = event_times(rows, learned_level(rows, "accuracy"))
    formed = formed.select("run_id", "happened", formed="tokens")
    heads = select_metric(frame, "attention", "probe/prefix_matching").with_columns(
        slice_value("layer", pl.Int64()), slice_value("head", pl.Int64())
    )
    heads = heads.drop_nulls("head").sort("layer", "head")
    layers = heads["layer"].unique().sort().to_list()
    title = "induction on random segments: accuracy in %, prefix matching of each head"
    table = Table(title=title)
    for name in ("size", "arm", "seed", "formed at step", "accuracy", "floor"):
        table.add_column(name, justify="right")
    for layer in layers:
        table.add_column(f"heads of layer {layer}", justify="right")
    for run in last.join(formed, on="run_id", how="left").iter_rows(named=True):
        own = heads.filter(pl.col("run_id") == run["run_id"])
        cells = [
            " ".join(f"{value:.2f}" for value in own.filter(layer=layer)["value"])
            for layer in layers
        ]
        per_step = run["batch_rows"] * run["context"]
        step = f"{run['formed'] / per_step:.0f}" if run["happened"] else "never"
        table.add_row(
            run["scale"],
            arm_name(run["arm"]),
            str(run["seed"]),
            step,
            format_share(run["value"], None, None),
            format_share(run["floor"], None, None),
            *cells,
        )
    return table


def render_choices(frame: pl.DataFrame) -> Table:
    """A row an arm: excess loss of head 1 by the role of the predicted token."""
    rows = at_end(frame.filter(pl.col("task") == "choice-points"))
    rows = select_metric(rows, "excess_loss", "test").filter(
        pl.col("slice").str.starts_with("horizon=1,"), is_slice_of("horizon", "role")
    )
    rows = rows.with_columns(slice_value("role"))
    means = summarize_seeds(rows, ["scale", "arm", "role"], span_of(rows))
    names = [role for role in ROLES if role in means["role"]]
    table = Table(
        title="choice points: excess loss of head 1 in nats, mean [95 % t interval]"
    )
    for name in ("size", "arm", "seeds", *names):
        table.add_column(name, justify="right")
    for key, group in means.group_by(["scale", "arm"], maintain_order=True):
        by_role = {row["role"]: row for row in group.iter_rows(named=True)}
        cells = [
            _format_nats(by_role[name]) if name in by_role else "-" for name in names
        ]
        seeds = str(group["seeds"].min())
        table.add_row(str(key[0]), arm_name(str(key[1])), seeds, *cells)
    return table


def _format_nats(row: dict[str, Any]) -> str:
    if row["groups"]:
        return str(row["groups"])
    if row["low"] is None:
        return f"{row['mean']:.2f}"
    return f"{row['mean']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def render_claims(judgements: Sequence[Judgement]) -> Table:
    """A row a claim: verdict, reason, contrast, and seeds that would resolve it."""
    table = Table(title="what the runs say about the papers' claims")
    for name in ("claim", "verdict", "because", "contrast", "seeds"):
        table.add_column(name, overflow="fold")
    for judgement in judgements:
        claim, contrast = judgement.claim, judgement.claim.contrast
        notes = judgement.evidence.notes if judgement.evidence else ()
        seeds = judgement.seeds_needed
        table.add_row(
            f"{claim.id} {claim.says}",
            judgement.verdict,
            "; ".join([judgement.reason, *notes]),
            f"{contrast.measure}: {contrast.expected}, at {contrast.stated_for}",
            f"{seeds} resolve {contrast.effect:g}" if seeds else "-",
        )
    return table


def settling_lines(judgements: Sequence[Judgement]) -> list[str]:
    """What would settle the claims: a line a command, after the claims that share it.

    A cell of a table would break a command where nobody can copy it.
    """
    claims: dict[str, list[str]] = {}
    for judgement in judgements:
        claim = judgement.claim
        claims.setdefault(claim.settled_by, []).append(claim.id)
    return [f"{', '.join(ids)}: {command}" for command, ids in claims.items()]


def render_exploratory(judgement: Judgement) -> Table:
    """A row for each exploratory test of a claim; none has an effect on its verdict."""
    title = f"{judgement.claim.id} {judgement.claim.says} Exploratory: decides nothing"
    table = Table(title=title)
    table.add_column("test", overflow="fold")
    numbers = ("mean", "95 % over seeds (t)", "over test items", "seeds", "p (Holm)")
    for name in (*numbers, "expected"):
        table.add_column(name)
    table.add_column("remark", overflow="fold")
    for row in exploratory_table(judgement).iter_rows(named=True):
        table.add_row(
            row["test"],
            f"{row['mean']:+.3g}",
            _format_bounds(row["low"], row["high"]),
            _format_bounds(row["items_low"], row["items_high"]),
            str(row["seeds"]),
            f"{row['p_holm']:.2g}",
            row["expected"],
            row["note"],
        )
    return table


def _format_bounds(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"[{low:+.3g}, {high:+.3g}]"


def print_table(table: Table) -> None:
    """Print a table, 200 columns wide if the output is not a terminal."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)

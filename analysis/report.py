"""One HTML page with verdicts, figures, costs, runs and provenance.

It loads no script, font or image from elsewhere, so it opens from disk.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from analysis.arm_names import sort_rows
from analysis.beside.command import answered_frame, count_verdicts, verdict_frame
from analysis.beside.replication import replication_rows
from analysis.claims import RULE, Judgement, exploratory_table
from analysis.finished_runs import answering_runs
from analysis.plots import board, style
from analysis.plots.gallery import Picture
from analysis.plots.overview import all_pictures
from analysis.selection import IS_TRIAL, drop_unreadable
from analysis.settings import setting_labels
from analysis.statements import judge_all
from analysis.trajectories import equal_cost_table, events_table
from synth.scales import format_count

STYLE = """
:root{--ink:#222;--faint:#666;--line:#e0e0e0;--paper:#fff;color-scheme:light}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);
 max-width:60rem;margin:0 auto;padding:1rem;overflow-wrap:break-word}
h1{font-size:1.6rem;line-height:1.2}h2{margin-top:2.5rem;font-size:1.25rem}
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);
 vertical-align:top;font-variant-numeric:tabular-nums}
td.number{text-align:right;white-space:nowrap}
.claim{border-left:.35rem solid #999;padding:.2rem .8rem;margin:1rem 0}
.supported{border-color:#009e73}.contradicted{border-color:#d55e00}
.undecided{border-color:#e69f00}.verdict{font-weight:600}
.faint{color:var(--faint);font-size:.85rem}
code,pre{font-size:.82rem;white-space:pre-wrap}
figure{margin:1.5rem 0}img{max-width:100%;height:auto}
nav a{margin-right:1rem}
"""
MIN_DPI = 72
"""Pixels an inch below which the text of a figure is too small. A narrower screen scrolls
the figure sideways."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The browser loads nothing but the images embedded in the page."""
NOT_TESTED = "not tested"
VERDICTS = ("supported", "contradicted", "undecided", NOT_TESTED)


def build_page(frame: pl.DataFrame, pictures: bool = True) -> str:
    """Build the page from the table of all runs, with or without figures.

    Equal tables give equal pages.
    """
    judgements = judge_all(frame)
    answers = answering_runs(frame)
    entries = replication_rows(frame)
    figures, left_out = all_pictures(frame) if pictures else ([], [])
    front = [one for one in figures if one.name == board.NAME]
    body = [
        "<h1>What predicting several tokens teaches: claims and evidence</h1>",
        '<nav><a href="#beside">published numbers</a><a href="#claims">claims</a>'
        '<a href="#figures">figures</a>'
        '<a href="#costs">costs</a><a href="#runs">runs</a>'
        '<a href="#provenance">provenance</a></nav>',
        f"<p>{_summarize(frame, judgements)}</p>",
        '<h2 id="beside">Published numbers and ours</h2>',
        f"<p>{html.escape(count_verdicts(entries))}</p>",
        *map(_render_figure, front),
        _render_table(verdict_frame(entries)),
        _render_table(answered_frame(entries)),
        '<h2 id="claims">Claims</h2>',
        *map(_render_claim, [one for one in judgements if one.verdict != NOT_TESTED]),
        _render_untested([one for one in judgements if one.verdict == NOT_TESTED]),
        f"<details><summary>The rule</summary><pre>{html.escape(RULE)}</pre></details>",
        '<h2 id="figures">Figures</h2>',
        *map(_render_figure, [one for one in figures if one.name != board.NAME]),
        *(f'<p class="faint">{html.escape(why)}.</p>' for why in left_out),
        '<h2 id="costs">At equal cost</h2>',
        "<p>Every arm minus n = 1 at one size, paired on data seeds (without a mean, "
        "and with the sign test, where seeds fall into two groups), and the "
        "tokens until half of the runs had learned an ability, at a fixed level.</p>",
        _render_table(label_settings(equal_cost_table(answers), answers)),
        _render_table(label_settings(events_table(answers), answers)),
        '<h2 id="runs">Runs</h2>',
        _render_table(_count_runs(frame)),
        '<h2 id="provenance">Provenance</h2>',
        _render_table(_count_provenance(frame)),
        _render_problems(frame),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<link rel="icon" href="data:,"><title>Claims and evidence</title>'
        f"<style>{STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def _summarize(frame: pl.DataFrame, judgements: Sequence[Judgement]) -> str:
    done = frame.filter(pl.col("state") == "done")
    counts = [
        f"{sum(one.verdict == name for one in judgements)} {name}" for name in VERDICTS
    ]
    largest = done["parameters"].max()
    reach = (
        f"; models of up to {format_count(largest)} non-embedding parameters, heads on "
        "top of the trunk not counted"
        if isinstance(largest, int)
        else ""
    )
    trials = done.filter(IS_TRIAL)["run_id"].n_unique()
    return (
        f"{done['run_id'].n_unique()} finished runs, {trials} of them trials of learning "
        f"rates{reach}. Of {len(judgements)} claims: "
        f"{', '.join(counts)}."
    )


def _render_claim(one: Judgement) -> str:
    claim, words = one.claim, html.escape
    kind = one.verdict.split()[0]
    caveat = f" {words(claim.caveat)}" if claim.caveat else ""
    lines = [
        f'<section class="claim {kind}" id="{claim.id}">',
        f"<p><strong>{claim.id}</strong> {words(claim.says)} "
        f'<span class="faint">{words(claim.source)}</span><br>'
        f'<span class="verdict">{one.verdict}</span>: {words(one.reason)}.{caveat}</p>',
    ]
    contrast = claim.contrast
    needed = one.seeds_needed
    is_event = one.evidence is not None and one.evidence.events is not None
    effect = f"{'a hazard ratio of ' if is_event else ''}{contrast.effect:g}"
    power = f" {needed} seeds would resolve {effect}." if needed else ""
    notes = "".join(
        f" {note}." for note in (one.evidence.notes if one.evidence else ())
    )
    lines.append(
        f'<p class="faint">Contrast: {words(contrast.measure)}; expected '
        f"{contrast.expected}, at {words(contrast.stated_for)}.{power}{words(notes)}</p>"
    )
    if one.exploratory:
        tests = exploratory_table(one).drop("claim")
        summary = f"exploratory, decides nothing: {tests.height}"
        lines.append(
            f"<details><summary>{summary}</summary>{_render_table(tests)}</details>"
        )
    if one.verdict not in ("supported", "contradicted"):
        command = words(claim.settled_by)
        lines.append(f'<p class="faint">To settle it: <code>{command}</code></p>')
    return "".join(lines) + "</section>"


def _render_untested(judgements: Sequence[Judgement]) -> str:
    """Claims without a test, folded."""
    if not judgements:
        return ""
    ids = ", ".join(one.claim.id for one in judgements)
    blocks = "".join(map(_render_claim, judgements))
    return f"<details><summary>Not tested: {ids}</summary>{blocks}</details>"


def label_settings(table: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Replace the ids in column `setting`, if there is one, by labels."""
    if "setting" not in table.columns:
        return table
    done = drop_unreadable(frame).filter(pl.col("state") == "done")
    labels: dict[str, str] = {}
    for of_task in done.partition_by("task"):
        for varied in (("arm",), ("scale", "arm")):
            labels |= setting_labels(of_task, *varied)
    return table.with_columns(pl.col("setting").replace(labels))


def _render_figure(one: Picture) -> str:
    data = base64.b64encode(style.as_png(one.figure, dpi=150)).decode()
    name, text = html.escape(one.name), html.escape(one.caption)
    inches = one.figure.get_figwidth()
    size = f"width:{96 * inches:.0f}px;min-width:{MIN_DPI * inches:.0f}px"
    return (
        f'<figure id="{name}"><div class="wide"><img alt="{text}" style="{size}" '
        f'src="data:image/png;base64,{data}"></div>'
        f'<figcaption class="faint">{name}: {text}</figcaption></figure>'
    )


def _render_table(table: pl.DataFrame) -> str:
    if table.is_empty():
        return '<p class="faint">Nothing to show.</p>'
    heads = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join(
        "<tr>" + "".join(map(_render_cell, row)) + "</tr>" for row in table.iter_rows()
    )
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _render_cell(value: Any) -> str:
    if isinstance(value, bool):
        return f"<td>{'yes' if value else 'no'}</td>"
    if isinstance(value, int | float):
        whole = isinstance(value, int) or abs(value) >= 1e4
        text = f"{value:,.0f}" if whole else f"{value:.4g}"
        return f'<td class="number">{text}</td>'
    return f"<td>{'' if value is None else html.escape(str(value))}</td>"


def _count_runs(frame: pl.DataFrame) -> pl.DataFrame:
    """Runs by sweep, task, size, arm and state, with seeds, tokens and rates."""
    by = ["sweep", "task", "scale", "parameters", "arm", "state"]
    runs = frame.sort("step", nulls_last=True).unique(
        "run_id", keep="last", maintain_order=True
    )
    table = runs.group_by(by).agg(
        pl.len().alias("runs"),
        pl.col("seed").n_unique().alias("seeds"),
        pl.col("tokens").max(),
        pl.col("learning_rate").n_unique().alias("learning rates"),
    )
    return sort_rows(table, *by, nulls_last=True)


def _count_provenance(frame: pl.DataFrame) -> pl.DataFrame:
    by = ["sweep", "device", "commit", "precision", "lanes"]
    runs = pl.col("run_id").n_unique().alias("runs")
    return frame.group_by(by).agg(runs).sort(by, nulls_last=True)


def _render_problems(frame: pl.DataFrame) -> str:
    bad = frame.filter(pl.col("problem").is_not_null())
    rows: Iterable[tuple[str, str]] = (
        bad.select("run_id", "problem").unique().sort("run_id").iter_rows()
    )
    items = "".join(
        f"<li><code>{html.escape(run_id)}</code> {html.escape(problem)}</li>"
        for run_id, problem in rows
    )
    return (
        f"<h3>Problems</h3><ul>{items}</ul>"
        if items
        else "<p>No run had a problem.</p>"
    )

"""The commands list, status, show and dashboard: they read runs and write nothing."""

import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from slurm.clients import PromptAsk
from sweeps.collected_runs import TABLES
from sweeps.next_commands import folder_commands, how_launched, next_commands
from sweeps.provenance import TypedCommand
from sweeps.selected_runs import Choice, SweepSelection
from sweeps.sharing import mark_shared
from sweeps.survey import folder_of_runs, last_metrics, survey
from sweeps.sweep_lookup import sweeps_in_file
from synth.cli.command_line import describe
from synth.cli.run_names import OneRun
from synth.command_words import as_typed
from synth.identity import require
from synth.run.standing import Standing, Survey, folders_in, standing
from synth.run.states import LIVE, STATES, format_counts

if TYPE_CHECKING:
    from slurm.status import RunStatus

Block = tuple[str, Survey[Standing], Sequence[TypedCommand]]
"""A title, the runs, and the commands that launched them, the last one last."""
MOST_LINES = 20
"""At most this many runs with a job are printed, a line each."""


@dataclass(frozen=True, kw_only=True)
class List:
    """List sweeps: what each answers, its figure, its runs."""

    file: tyro.conf.Positional[str | None] = None
    """A file of yours (path/to/my_sweep.py); the catalogue if not given."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print three lines a sweep, or one JSON object; status 2 if a scale fails."""
        from sweeps.catalogue import CATALOGUE

        listed = sweeps_in_file(self.file) if self.file else CATALOGUE
        errors: list[str] = []
        for name, sweep in listed.items():
            runs = {}
            for scale in sweep.scales:
                try:
                    runs[scale] = len(sweep(scale))
                except (ValueError, OSError) as error:
                    errors.append(describe(error))
            if self.json:
                row = {
                    "name": name,
                    "about": sweep.about,
                    "figure": sweep.figure,
                    "claims": sweep.claims,
                    "answers": sweep.answers,
                    "runs": runs,
                }
                print(json.dumps(row))
                continue
            counts = ", ".join(f"{scale} {count}" for scale, count in runs.items())
            claims = f"claims {', '.join(sweep.claims)}" if sweep.claims else ""
            answers = "; ".join(filter(None, (claims, sweep.answers)))
            figure = f"figure: {sweep.figure}; " if sweep.figure else ""
            print(f"{name:<22} {sweep.about}")
            if answers:
                print(f"{'':<22} answers: {answers}")
            print(f"{'':<22} {figure}runs: {counts}")
        for words in errors:
            print(f"error: {words}", file=sys.stderr)
        return 2 if errors else 0


@dataclass(frozen=True, kw_only=True)
class Status(Choice):
    """Show the states of a sweep's runs, the first error, and the next command."""

    sweep: tyro.conf.Positional[str | None] = None
    """A sweep or its folder; --runs and every folder in it if not given."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print a block a sweep; returns 1 if a folder cannot be read."""
        blocks, unreadable = self._blocks()
        if self.json:
            print(json.dumps([as_dict(*block) for block in blocks]))
        elif not blocks:
            print(f"There are no runs in {self.runs}.")
        else:
            print("\n\n".join(as_text(*block) for block in blocks))
        for words in unreadable:
            print(f"error: {words}", file=sys.stderr)
        return 1 if unreadable else 0

    def _blocks(self) -> tuple[list[Block], list[str]]:
        """The blocks to show, and an error for each folder that cannot be read."""
        if self.sweep is None:
            self.refuse_options("unless a sweep is named")
            blocks, unreadable = [], []
            ask = PromptAsk()
            below = [self.runs / name for name in folders_in(self.runs)]
            for folder in [self.runs, *below]:
                try:
                    block = _folder_block(folder, ask)
                except ValueError as error:
                    unreadable.append(str(error))
                    continue
                if block[1].runs:
                    blocks.append(block)
            return blocks, unreadable
        if (root := folder_of_runs(self.sweep)) is not None:
            self.refuse_options("for a folder of runs")
            return [_folder_block(root, PromptAsk())], []
        given = {field.name: getattr(self, field.name) for field in fields(Choice)}
        selection = SweepSelection(sweep=self.sweep, **given)
        selected = selection.resolve()
        root = selected.root
        configs, ask = selected.configs, PromptAsk()
        standings = survey(root, configs, ask=ask, tables=TABLES)
        standings = mark_shared(standings, configs, ask)
        # What was asked about, which the last launch may have trained only in part.
        words = f"{selection.words()} {how_launched(root)}".rstrip()
        return [(selected.title, standings, [TypedCommand("run", words)])], []


def _folder_block(root: Path, ask: PromptAsk) -> Block:
    """The runs in a folder, and the commands that launched them."""
    return root.name, survey(root, ask=ask), folder_commands(root)


def runs_with_jobs(standings: Survey[Standing]) -> "list[RunStatus]":
    """Runs that have a job, or had one that ended without finishing them."""
    from slurm.status import RunStatus

    return [
        run
        for run in standings.runs
        if isinstance(run, RunStatus)
        and run.job_id
        and (run.state != "done" or run.detail)
    ]


def as_dict(
    title: str, standings: Survey[Standing], commands: Sequence[TypedCommand]
) -> dict[str, Any]:
    """The states of the runs, for JSON."""
    following = next_commands(standings, commands)
    return {
        "sweep": title,
        "folder": str(standings.root),
        "counts": {state: standings.counts[state] for state in STATES},
        "errors": [
            {"run_id": run.run_id, "state": run.state, "error": run.error}
            for run in standings.runs
            if run.error
        ],
        "jobs": [
            json.loads(json.dumps(asdict(r), default=str))
            for r in runs_with_jobs(standings)
        ],
        "news": standings.news,
        "next": following[0] if following else None,
        "or": following[1:],
    }


def as_text(
    title: str, standings: Survey[Standing], commands: Sequence[TypedCommand]
) -> str:
    """The states of the runs, as text."""
    counts = format_counts(standings.counts)
    counts = f"{len(standings.runs)} runs: {counts}" if counts else "no runs"
    lines = [f"{title}: {counts}  ({standings.root})"]
    for kind, count in standings.errors().most_common():
        lines.append(f"  {count} x {kind}")
    first = standings.first_error
    if first is not None:
        lines.append(f"  first error: {first.run_id}: {first.error}")
        lines.append(
            f"  details: {as_typed('sweeps show')} {_name(standings.root, first)}"
        )
    jobs = runs_with_jobs(standings)
    lines += [f"  {run.line()}" for run in jobs[:MOST_LINES]]
    if len(jobs) > MOST_LINES:
        lines.append(
            f"  and {len(jobs) - MOST_LINES} more with a job (--json lists all)"
        )
    lines += [f"  {sentence}" for sentence in standings.news]
    if any(run.state not in LIVE for run in jobs):
        lines.append(f"  logs: {as_typed('slurm logs', standings.root / 'RUN')}")
    for index, command in enumerate(next_commands(standings, commands)):
        said = "or, for the runs of another launch" if index else "next"
        lines.append(f"  {said}: {command}")
    return "\n".join(lines)


def _name(root: Path, run: Standing) -> str:
    """The path of a run; the id of one that lies beside `root` and is not linked yet."""
    path = root / run.run_id
    if os.path.exists(path):
        return shlex.quote(str(path))
    return shlex.join([run.run_id, "--runs", str(root.parent)])


@dataclass(frozen=True, kw_only=True)
class Show(OneRun):
    """Show one run: its configuration, state, last metrics, sessions and paths."""

    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Print the run."""
        from synth.run.store import RunFolder

        path = self.find()
        folder = RunFolder(path.parent, path.name)
        state = standing(path.parent, path.name)
        problems = [state.error] if state.error else []

        def read(name: str) -> dict[str, Any] | None:
            """Read a file of the folder; an unreadable one is added to `problems`."""
            try:
                return folder.read_json(name)
            except (OSError, ValueError) as error:
                add_problem(error)
                return None

        def add_problem(error: Exception) -> None:
            if not any(str(error) in known for known in problems):
                problems.append(str(error))

        try:
            numbers = last_metrics(folder)
        except (OSError, ValueError) as error:
            numbers = {}
            add_problem(error)
        files = {
            name: read(f"{name}.json")
            for name in ("config", "environment", "progress", "result", "failure")
        }
        run = {
            "run_id": path.name,
            "state": state.state,
            "error": "\n".join(problems) or None,
            "folder": str(path),
            "config": (files["config"] or {}).get("config"),
            "metrics": numbers,
            "progress": files["progress"],
            "result": files["result"],
            "failure": files["failure"],
            "sessions": (files["environment"] or {}).get("sessions", []),
            "checkpoints": sorted(str(p) for p in folder.checkpoints.glob("step-*")),
        }
        print(json.dumps(run) if self.json else _format_run(run))
        return 0


@dataclass(frozen=True, kw_only=True)
class Dashboard(SweepSelection):
    """Show the current state of a sweep's runs in a browser (optuna-dashboard)."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on."""

    def run(self) -> int:
        """Serve until Ctrl-C; restart to see newer runs."""
        from sweeps.dashboard import build_study, serve

        require(0 < self.port < 1 << 16, "--port", "from 1 to 65535", self.port)
        selected = self.resolve()
        standings = survey(selected.root, selected.configs)
        study = build_study(
            selected.title, selected.configs, standings, selected.metric
        )
        serve(study, self.host, self.port)
        return 0


def _format_run(run: dict[str, Any]) -> str:
    lines = [f"{run['run_id']}: {run['state']}"]
    for words in (run["error"] or "").splitlines():
        lines.append(f"  error        {words}")
    lines.append(f"  folder       {run['folder']}")
    config = _object(run["config"])
    for section in ("task", "model", "objective", "training"):
        values = _object(config.get(section))
        words = ", ".join(f"{k} {v}" for k, v in values.items() if k != "version")
        lines.append(f"  {section:<12} {words}")
    seeds = {name: config.get(name) for name in ("seed", "data_seed")}
    lines.append(f"  {'seed':<12} {', '.join(f'{k} {v}' for k, v in seeds.items())}")
    entries = config.get("plugins")
    for entry in map(_object, entries if isinstance(entries, list) else []):
        digest = str(entry.get("sha256"))[:12]
        lines.append(f"  plugin       {entry.get('path')}, sha256 {digest}")
    progress = run["progress"]
    if progress and run["state"] != "done":
        step, steps = progress.get("step"), progress.get("steps")
        lines.append(f"  progress     step {step} of {steps}")
    for name, value in run["metrics"].items():
        number = f"{value:.4f}" if isinstance(value, (int, float)) else "not finite"
        lines.append(f"  {name:<34} {number}")
    sessions = run["sessions"] if isinstance(run["sessions"], list) else []
    for session in map(_object, sessions):
        code = _object(session.get("code"))
        dirty = " with local changes" if code.get("patch_sha256") else ""
        lines.append(
            f"  session      {session.get('started')} on {session.get('host')}, "
            f"{session.get('device_kind')}, {session.get('threads')} threads, "
            f"{session.get('lanes')} lanes, commit {str(code.get('commit'))[:10]}{dirty}"
        )
    for path in run["checkpoints"]:
        lines.append(f"  checkpoint   {path}")
    trace = (run["failure"] or {}).get("traceback")
    if trace:
        lines += ["", str(trace).rstrip()]
    return "\n".join(lines)


def _object(value: Any) -> dict[str, Any]:
    """The value if it is a JSON object, else an empty one: files may be damaged."""
    return value if isinstance(value, dict) else {}

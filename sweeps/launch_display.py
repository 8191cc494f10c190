"""Progress of a launch on the screen: a live table on a terminal, else plain lines."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweeps.launch_progress import ActivePack, LaunchProgress
from synth.run.progress import Outcome, Screen, clock

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LINE_EVERY_SECONDS = 20.0
TABLE_EVERY_SECONDS = 0.25


class Display:
    """Shows the progress of a launch; prints nothing if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self._screen = Screen(quiet)
        redraws = self._screen.redraws
        self._every = TABLE_EVERY_SECONDS if redraws else LINE_EVERY_SECONDS
        self._progress: LaunchProgress | None = None
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        self._screen.say(text)
        self._last = time.monotonic()

    def report_end(self, outcome: Outcome, progress: LaunchProgress) -> None:
        """Print a line for a run that has ended; a live table shows failures only."""
        if outcome.state == "failed" or not self._screen.redraws:
            counts = progress.counts
            ended = f"{counts['done'] + counts['failed']}/{progress.total}"
            text = "" if outcome.state == "done" else f": {outcome.message}"
            self.say(f"{outcome.state:<8}{outcome.run_id}  ({ended}){text}")

    def refresh(self, progress: LaunchProgress) -> None:
        """Redraw the table or print a line, if due; called several times a second."""
        self._progress, now = progress, time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        if self._screen.redraws:
            self._screen.draw(progress_table(progress))
        else:
            packs = map(describe_pack, progress.active)
            self.say("; ".join([summarize(progress), *packs]))

    def close(self) -> None:
        """Draw the final state and release the screen."""
        if self._progress is not None and self._screen.redraws:
            self._screen.draw(progress_table(self._progress))
        self._screen.close()


def progress_table(progress: LaunchProgress) -> "RichTable":
    """The table of the packs that train, with the counts as its title."""
    from rich.table import Table as RichTable

    table = RichTable(title=summarize(progress), title_justify="left", box=None)
    table.title_style = "bold"
    table.add_column("run", no_wrap=True)
    names = ("step", "loss", progress.metric or "score", "tokens/s", "left")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for active in progress.active:
        table.add_row(active.title, *_cells(active))
    return table


def describe_pack(active: ActivePack) -> str:
    """The progress of one pack in a line."""
    step, loss, score, speed, left = _cells(active)
    return f"{active.title} step {step} loss {loss} score {score} {speed}/s {left} left"


def summarize(progress: LaunchProgress) -> str:
    """Counts by state, and the time left."""
    counts = progress.counts
    names = [
        "done",
        "training",
        "waiting",
        "elsewhere",
        "failed",
        "stopped",
        "left alone",
    ]
    words = [f"{counts[n]} {n}" for n in names if counts[n] or n == "done"]
    left = progress.seconds_left
    return f"{progress.total} runs: {', '.join(words)}" + (
        f"; about {clock(left)} left" if left is not None and progress.active else ""
    )


def align_columns(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Lines of two columns, the second beginning where the longest first one allows.

    >>> align_columns([("n1", "0.04"), ("d120-L1-h1", "0.02")])
    ['n1          0.04', 'd120-L1-h1  0.02']
    """
    width = max((len(first) for first, _ in rows), default=0)
    return [f"{first:<{width}}  {second}" for first, second in rows]


def _cells(active: ActivePack) -> tuple[str, str, str, str, str]:
    last = active.latest
    return (
        f"{active.step}/{active.steps}",
        f"{last.losses[0]:.3f}" if last else "-",
        f"{active.score:.3f}" if active.score is not None else "-",
        f"{last.tokens_per_second / 1000:.1f}k" if last else "-",
        clock(last.seconds_left if last else None),
    )

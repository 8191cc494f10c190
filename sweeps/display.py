"""What a person sees of a launch: one live table on a terminal, plain lines elsewhere."""

import time
from typing import TYPE_CHECKING

from sweeps.board import Active, Board
from synth.run.progress import Outcome, Screen, clock

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LINE_EVERY_SECONDS = 20.0
TABLE_EVERY_SECONDS = 0.25


class Display:
    """Shows a launch as it goes on; nothing if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        self._screen = Screen(quiet)
        redraws = self._screen.redraws
        self._every = TABLE_EVERY_SECONDS if redraws else LINE_EVERY_SECONDS
        self._board: Board | None = None
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        """Something happened that is worth a line."""
        self._screen.say(text)
        self._last = time.monotonic()

    def ended(self, outcome: Outcome, board: Board) -> None:
        """A line for a run that has ended; in a table the counts say the rest."""
        if outcome.state == "failed" or not self._screen.redraws:
            counts = board.counts
            ended = f"{counts['done'] + counts['failed']}/{board.total}"
            text = "" if outcome.state == "done" else f": {outcome.message}"
            self.say(f"{outcome.state:<8}{outcome.run_id}  ({ended}){text}")

    def refresh(self, board: Board) -> None:
        """Redraw the table, or print a sign of life; called several times a second."""
        self._board, now = board, time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        if self._screen.redraws:
            self._screen.draw(draw(board))
        else:
            self.say(f"{summary(board)}; {'; '.join(map(news, board.active))}")

    def close(self) -> None:
        """Leave the last state on the screen."""
        if self._board is not None and self._screen.redraws:
            self._screen.draw(draw(self._board))
        self._screen.close()


def draw(board: Board) -> "RichTable":
    """The table of the packs in training, under the counts."""
    from rich.table import Table as RichTable

    table = RichTable(title=summary(board), title_justify="left", box=None)
    table.title_style = "bold"
    table.add_column("run", no_wrap=True)
    names = ("step", "loss", board.metric or "score", "tokens/s", "left")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for active in board.active:
        table.add_row(active.title, *_cells(active))
    return table


def news(active: Active) -> str:
    """One pack in a few words."""
    step, loss, score, speed, left = _cells(active)
    return f"{active.title} step {step} loss {loss} score {score} {speed}/s {left} left"


def summary(board: Board) -> str:
    """Counts by state, and the time left."""
    counts = board.counts
    names = ("done", "training", "waiting", "elsewhere", "failed", "stopped")
    words = [f"{counts[n]} {n}" for n in names if counts[n] or n == "done"]
    left = board.seconds_left
    return f"{board.total} runs: {', '.join(words)}" + (
        f"; about {clock(left)} left" if left is not None and board.active else ""
    )


def _cells(active: Active) -> tuple[str, str, str, str, str]:
    last = active.latest
    return (
        f"{active.step}/{active.steps}",
        f"{last.losses[0]:.3f}" if last else "-",
        f"{active.score:.3f}" if active.score is not None else "-",
        f"{last.tokens_per_second / 1000:.1f}k" if last else "-",
        clock(last.seconds_left if last else None),
    )

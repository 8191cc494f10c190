"""What a person sees of a launch: one live table on a terminal, plain lines elsewhere.

A reader that goes away (`| head`, a closed terminal) or a full disk stops no training.
"""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from sweeps.board import Active, Board, clock
from synth.run.progress import Outcome

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LINE_EVERY_SECONDS = 20.0
TABLE_EVERY_SECONDS = 0.25


class Display(Protocol):
    """Hears of a launch as it goes on."""

    def say(self, text: str) -> None:
        """Something happened that is worth a line."""

    def ended(self, outcome: Outcome, board: Board) -> None:
        """A run has ended."""

    def refresh(self, board: Board) -> None:
        """Called several times a second."""

    def close(self) -> None:
        """The launch is over."""


class SilentDisplay:
    """Says nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def ended(self, outcome: Outcome, board: Board) -> None:
        """Nothing."""

    def refresh(self, board: Board) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def tell(text: str) -> None:
    """Print a line; once standard output takes no more, go on without it."""
    with lasting():
        print(text, flush=True)


@contextlib.contextmanager
def lasting() -> Iterator[None]:
    """What is written to standard output is lost when nobody takes it, and that is all."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # nobody reads: no news
            print(f"standard output: {error.strerror}; going on", file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):  # else every flush would fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LineDisplay(SilentDisplay):
    """Plain lines: one a run that ends, and one every twenty seconds in between."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def say(self, text: str) -> None:
        """A line with the time of day."""
        tell(f"{time.strftime('%H:%M:%S')}  {text}")
        self._last = time.monotonic()

    def ended(self, outcome: Outcome, board: Board) -> None:
        """One line a run."""
        counts = board.counts
        known = f"{counts['done'] + counts['failed']}/{board.total}"
        text = "" if outcome.state == "done" else f": {outcome.message}"
        self.say(f"{outcome.state:<8}{outcome.run_id}  ({known}){text}")

    def refresh(self, board: Board) -> None:
        """A sign of life."""
        if time.monotonic() - self._last >= LINE_EVERY_SECONDS:
            self.say(f"{summary(board)}; {'; '.join(map(news, board.active))}")


class TableDisplay(SilentDisplay):
    """A table that redraws in place; failures and notes scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(
            console=Console(highlight=False), auto_refresh=False, transient=False
        )
        self._live.start()
        self._board: Board | None = None
        self._last = 0.0

    def say(self, text: str) -> None:
        """A line above the table."""
        with lasting():
            self._live.console.print(text, markup=False)

    def ended(self, outcome: Outcome, board: Board) -> None:
        """Failures are named; the rest shows in the counts."""
        if outcome.state == "failed":
            self.say(f"failed  {outcome.run_id}: {outcome.message}")

    def refresh(self, board: Board) -> None:
        """Redraw, a few times a second."""
        self._board, now = board, time.monotonic()
        if now - self._last >= TABLE_EVERY_SECONDS:
            self._last = now
            with lasting():
                self._live.update(draw(board), refresh=True)

    def close(self) -> None:
        """Leave the last state on the screen."""
        with lasting():
            if self._board is not None:
                self._live.update(draw(self._board), refresh=True)
            self._live.stop()


def draw(board: Board) -> "RichTable":
    """The table of the packs in training, under the counts."""
    from rich.table import Table as RichTable

    table = RichTable(title=summary(board), title_justify="left", box=None)
    table.title_style = "bold"
    table.add_column("run", no_wrap=True)
    names = ("step", "loss", board.metric, "tokens/s", "left")
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
    speed = active.tokens_per_second
    return (
        f"{active.step}/{active.steps}",
        f"{active.losses[0]:.3f}" if active.losses else "-",
        f"{active.score:.3f}" if active.score is not None else "-",
        f"{speed / 1000:.1f}k" if speed is not None else "-",
        clock(active.seconds_left),
    )


def for_terminal(quiet: bool = False) -> Display:
    """A table if standard output is a terminal, else lines; nothing if `quiet`."""
    if quiet:
        return SilentDisplay()
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return TableDisplay() if terminal else LineDisplay()

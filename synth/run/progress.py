"""What a person sees while runs train: a bar on a terminal or in a notebook, plain lines
elsewhere."""

import contextlib
import errno
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from synth.run.states import State

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

Values = Mapping[str, Mapping[str, float | None]]
"""Run id to `suite/metric[/slice]` to value; null where a value is not finite."""
Kind = Literal["begin", "training", "evaluation", "end"]


@dataclass(frozen=True)
class Outcome:
    """How one run ended: done, failed, stopped by a signal; or who has it: a job in the
    queue, or another process, in which it is running."""

    run_id: str
    state: State
    message: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """News of a pack: training begins at `step`, has reached it, was evaluated there, or
    has ended."""

    kind: Kind
    run_ids: Sequence[str]
    step: int
    steps: int
    """Steps in all."""
    losses: Sequence[float] = ()
    """Of `training`: nats per horizon, next token first, a mean over the living lanes."""
    tokens_per_second: float = 0.0
    """Of `training`: over all lanes."""
    seconds_left: float = 0.0
    """Of `training`."""
    values: Values = field(default_factory=dict)
    """Of `evaluation`: the numbers of each living run."""
    message: str = ""
    """Of `end`."""


Progress = Callable[[Event], None]
"""Receives the news of a pack."""


class Screen:
    """Standard output: lines, each with the time of day; on a terminal and in a notebook
    lines without it, and a picture that is redrawn in place. Nothing if `quiet`."""

    def __init__(self, quiet: bool = False, redraws: bool | None = None) -> None:
        self._in_notebook = not quiet and in_notebook()
        if redraws is None:
            terminal = not quiet and sys.stdout is not None and sys.stdout.isatty()
            redraws = terminal or self._in_notebook
        self.quiet, self.redraws = quiet, redraws
        self._live: Live | None = None
        self._cell: Any = None
        """The picture below a cell of a notebook."""

    def say(self, text: str) -> None:
        """Print a line."""
        if self._live is not None:
            with surviving_output():
                self._live.console.print(text, markup=False)
        elif not self.quiet:
            tell(text if self.redraws else f"{time.strftime('%H:%M:%S')}  {text}")

    def draw(self, picture: "RenderableType") -> None:
        """Put a picture in place of the last one; where `redraws` alone."""
        if self._in_notebook:
            self._show(picture)
            return
        from rich.console import Console
        from rich.live import Live

        with surviving_output():
            if self._live is None:
                self._live = Live(console=Console(highlight=False), auto_refresh=False)
                self._live.start()
            self._live.update(picture, refresh=True)

    def _show(self, picture: "RenderableType") -> None:
        """Below the cell that runs; without widgets, so that every front end can."""
        from IPython.display import display

        if self._cell is None:
            self._cell = display(picture, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._cell.update(picture)

    def close(self) -> None:
        """Leave the last picture where it is."""
        self._cell = None
        if self._live is not None:
            with surviving_output():
                self._live.stop()
            self._live = None


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


def shown_on(screen: Screen, ending: bool = True) -> Progress:
    """Shows the news of one pack: its runs, a bar or a line at each log interval, and,
    unless the caller prints it (`ending`), how it ended."""

    def show(event: Event) -> None:
        if event.kind == "begin" and screen.redraws:
            more = f" and {len(event.run_ids) - 1} more" if event.run_ids[1:] else ""
            screen.say(event.run_ids[0] + more)
            screen.draw(_bar(event))
        elif event.kind == "begin":
            names = ", ".join(event.run_ids)
            screen.say(f"training {names} from step {event.step} of {event.steps}")
        elif event.kind == "training" and screen.redraws:
            screen.draw(_bar(event))
        elif event.kind == "training":
            screen.say(f"step {event.step}/{event.steps}  {describe(event)}")
        elif event.kind == "end":
            screen.close()
            if ending:
                screen.say(event.message)

    return show


def _bar(event: Event) -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    bar = Table.grid(padding=(0, 1))
    news = describe(event) if event.kind == "training" else ""
    ratio = ProgressBar(event.steps, event.step, width=16)
    bar.add_row(ratio, f"{event.step}/{event.steps}  {news}")
    return bar


def describe(event: Event) -> str:
    """Losses, speed and time left in a few words."""
    losses = " ".join(f"{loss:.3f}" for loss in event.losses)
    return (
        f"loss {losses}  {event.tokens_per_second / 1000:.1f}k tokens/s  "
        f"{clock(event.seconds_left)} left"
    )


def clock(seconds: float | None) -> str:
    """Hours, minutes and seconds as h:mm:ss or m:ss; a dash when unknown."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def tell(text: str) -> None:
    """Print a line, if standard output still takes it."""
    with surviving_output():
        print(text, flush=True)


@contextlib.contextmanager
def surviving_output() -> Iterator[None]:
    """Lets training go on when standard output is closed (`| head`) or its disk full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.EIO):  # nobody reads: no news
            print(f"standard output: {error.strerror}; going on", file=sys.stderr)
        with contextlib.suppress(OSError, ValueError):  # else every flush would fail
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

"""What a person sees while runs train: a bar on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from synth.config import RunConfig
from synth.run.states import State

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

Headlines = Mapping[str, Mapping[str, float | None]]
"""Run id to `suite/metric` to value; null where a value is not finite."""


@dataclass(frozen=True)
class Outcome:
    """How one run ended: done, failed, stopped by a signal; or who has it: a job in the
    queue, or another process, in which it is running."""

    run_id: str
    state: State
    message: str


@dataclass(frozen=True)
class Moment:
    """Where a pack stands: means over its living lanes."""

    step: int
    steps: int
    losses: Sequence[float]
    """Nats per horizon, next token first."""
    tokens_per_second: float
    """Over all lanes."""
    seconds_left: float


class Progress(Protocol):
    """Receives news of one pack at the log interval."""

    def begin(self, configs: Sequence[RunConfig], step: int) -> None:
        """The pack starts, or goes on, at `step`."""

    def update(self, moment: Moment) -> None:
        """Training goes on."""

    def measured(self, step: int, headlines: Headlines) -> None:
        """An evaluation: for each living run, its `suite/metric` numbers."""

    def end(self, message: str) -> None:
        """The pack has ended."""


class SilentProgress:
    """Says nothing."""

    def begin(self, configs: Sequence[RunConfig], step: int) -> None:
        """Nothing."""

    def update(self, moment: Moment) -> None:
        """Nothing."""

    def measured(self, step: int, headlines: Headlines) -> None:
        """Nothing."""

    def end(self, message: str) -> None:
        """Nothing."""


class LineProgress(SilentProgress):
    """One plain line per interval, for pipes and log files."""

    def begin(self, configs: Sequence[RunConfig], step: int) -> None:
        """Name the runs."""
        names = ", ".join(config.run_id for config in configs)
        self._say(f"training {names} from step {step} of {configs[0].training.steps}")

    def update(self, moment: Moment) -> None:
        """One line with everything in it."""
        self._say(f"step {moment.step}/{moment.steps}  {describe(moment)}")

    def end(self, message: str) -> None:
        """The last line."""
        self._say(message)

    def _say(self, text: str) -> None:
        with outliving_its_reader():
            print(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)


class BarProgress(SilentProgress):
    """A bar that redraws in place, for terminals."""

    def __init__(self) -> None:
        self._bar: RichProgress | None = None

    def begin(self, configs: Sequence[RunConfig], step: int) -> None:
        """Draw the bar."""
        from rich.progress import BarColumn, Progress, TextColumn

        name = configs[0].run_id
        more = f" and {len(configs) - 1} more" if len(configs) > 1 else ""
        self._bar = Progress(
            BarColumn(bar_width=16),
            TextColumn("{task.completed}/{task.total}  {task.fields[news]}"),
        )
        with outliving_its_reader():
            print(name + more)
            self._bar.start()
        self._bar.add_task("", total=configs[0].training.steps, completed=step, news="")

    def update(self, moment: Moment) -> None:
        """Move the bar."""
        if self._bar is not None:
            with outliving_its_reader():
                news = describe(moment)
                task = self._bar.task_ids[0]
                self._bar.update(task, completed=moment.step, news=news)

    def end(self, message: str) -> None:
        """Leave the last state on the screen; a pack that never began has no bar."""
        with outliving_its_reader():
            if self._bar is not None:
                self._bar.stop()
                self._bar = None
            print(message)


@contextlib.contextmanager
def outliving_its_reader() -> Iterator[None]:
    """Printing within fails no run: a closed or full standard output is given up."""
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def describe(moment: Moment) -> str:
    """Losses, speed and time left in a few words."""
    losses = " ".join(f"{loss:.3f}" for loss in moment.losses)
    minutes, seconds = divmod(round(moment.seconds_left), 60)
    return (
        f"loss {losses}  {moment.tokens_per_second / 1000:.1f}k tokens/s  "
        f"{minutes}:{seconds:02d} left"
    )


def for_terminal() -> Progress:
    """A bar if standard output is a terminal, else lines."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return BarProgress() if terminal else LineProgress()

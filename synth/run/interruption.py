"""Signals that ask training to stop: it checkpoints and returns, with no traceback."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT, signal.SIGHUP)


class Interruption:
    """A context that catches such signals; `received` is the name of the first one.

    Outside the main thread, where Python allows no handlers, nothing is caught. A second
    Ctrl-C acts as usual. A SIGHUP that is ignored already (`nohup`) stays so.
    """

    def __init__(self) -> None:
        self.received: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if (
                    number == signal.SIGHUP
                    and signal.getsignal(number) == signal.SIG_IGN
                ):
                    continue
                self._previous[number] = signal.signal(number, self._remember)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received:
            raise KeyboardInterrupt
        self.received = self.received or signal.Signals(number).name

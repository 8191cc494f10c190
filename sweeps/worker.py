"""A worker process: takes packs from its standard input, trains them, reports.

Orders and events are JSON, one a line. Events leave on the file descriptor that was
standard output when the process began; what anything else prints goes to the log.

    order   {"runs": [config, ...], "root": "runs/quick", "execution": {...}}
    event   {"event": "begin" | "moment" | "measured" | "outcomes" | "refused", ...}

When its input closes, in the middle of a line or after one (the launcher is gone, however
it went), the worker sends itself SIGTERM: training writes a checkpoint and stops.
"""

import dataclasses
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from synth.config import RunConfig
from synth.run.execution import Execution
from synth.run.progress import Headlines, Moment


class Reporter:
    """Passes the progress of a pack on to the launcher."""

    def __init__(self, channel: TextIO) -> None:
        self._channel = channel

    def send(self, event: str, **content: Any) -> None:
        """One event; a launcher that is gone hears nothing, and training goes on."""
        try:
            self._channel.write(json.dumps({"event": event} | content) + "\n")
            self._channel.flush()
        except BrokenPipeError:
            pass

    def begin(self, configs: Sequence[RunConfig], step: int) -> None:
        """Training starts, or goes on, at a step."""
        self.send("begin", step=step, runs=[config.run_id for config in configs])

    def update(self, moment: Moment) -> None:
        """Training goes on."""
        self.send("moment", moment=dataclasses.asdict(moment))

    def measured(self, step: int, headlines: Headlines) -> None:
        """An evaluation."""
        self.send("measured", step=step, headlines=headlines)

    def end(self, message: str) -> None:
        """Nothing: the outcomes say more."""


def main() -> int:
    """Work until the input closes or a signal stops a pack."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    reporter = Reporter(channel)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    from synth.training import train  # seconds of imports, once per worker

    reporter.send("ready", process=os.getpid())
    while (order := orders.get()) is not None:
        try:
            outcomes = train(
                [RunConfig.from_dict(values) for values in order["runs"]],
                Path(order["root"]),
                Execution(**order["execution"]),
                reporter,
            )
        except ValueError as error:  # no run's failure: training cannot begin here
            reporter.send("refused", message=str(error))
            break
        reporter.send("outcomes", outcomes=[vars(outcome) for outcome in outcomes])
        if any(outcome.state == "stopped" for outcome in outcomes):
            break
    return 0


def _listen(orders: "queue.Queue[dict[str, Any] | None]") -> None:
    """Take orders until there are no more, and then end the training, whatever came."""
    try:
        for line in sys.stdin.buffer:
            if not line.endswith(b"\n"):
                break  # the launcher was killed while it wrote
            orders.put(json.loads(line))
    finally:
        orders.put(None)
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

"""A worker process: takes packs from its standard input, trains them, reports.

Orders and events are JSON, one a line. Events leave on the file descriptor that was
standard output when the process began; what anything else prints goes to the log.

    order   {"runs": [config, ...], "root": "runs/quick", "execution": {...}}
    event   {"event": "ready" | "progress" | "outcomes" | "refused", ...}

When its input closes, in the middle of a line or after one (the launcher is gone, however
it went), the worker sends itself SIGTERM: training writes a checkpoint and stops.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from synth.config import RunConfig
from synth.run.execution import Execution


def send(channel: TextIO, event: str, **content: Any) -> None:
    """Write an event; when the launcher is gone nobody hears it, and training goes on."""
    with contextlib.suppress(BrokenPipeError):
        channel.write(json.dumps({"event": event} | content) + "\n")
        channel.flush()


def main() -> int:
    """Work until the input closes or a signal stops a pack."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    from synth.training import train  # seconds of imports, once per worker

    send(channel, "ready", process=os.getpid())
    while (order := orders.get()) is not None:
        try:
            outcomes = train(
                [RunConfig.from_dict(values) for values in order["runs"]],
                Path(order["root"]),
                Execution(**order["execution"]),
                lambda news: send(channel, "progress", news=vars(news)),
            )
        except ValueError as error:  # no run's failure: training cannot begin here
            send(channel, "refused", message=str(error))
            break
        send(channel, "outcomes", outcomes=[vars(outcome) for outcome in outcomes])
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

"""A worker process: reads packs from its standard input, trains them, sends events.

Orders and events are JSON, one a line. Events are written to the file descriptor that was
standard output when the process began; all other output goes to the log.

    order   {"runs": [config, ...], "root": "runs/quick", "execution": {...}}
    event   {"event": "ready" | "progress" | "outcomes" | "refused", ...}

When its input closes, because the launcher has ended or was killed, the worker sends itself
SIGTERM: training writes a checkpoint and stops.
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


def send_event(channel: TextIO, event: str, **content: Any) -> None:
    """Write an event; without a launcher it is dropped and training continues."""
    with contextlib.suppress(BrokenPipeError):
        channel.write(json.dumps({"event": event} | content) + "\n")
        channel.flush()


def main() -> int:
    """Train packs until the input closes or a signal stops a pack."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    orders: queue.Queue[dict[str, Any] | None] = queue.Queue()
    threading.Thread(target=_read_orders, args=(orders,), daemon=True).start()
    from synth.training import train  # takes seconds to import, once a worker

    send_event(channel, "ready", process=os.getpid())
    while (order := orders.get()) is not None:
        try:
            outcomes = train(
                [RunConfig.from_dict(values) for values in order["runs"]],
                Path(order["root"]),
                Execution(**order["execution"]),
                lambda news: send_event(channel, "progress", news=vars(news)),
            )
        except ValueError as error:  # not a run's failure: no training can start here
            send_event(channel, "refused", message=str(error))
            break
        send_event(
            channel, "outcomes", outcomes=[vars(outcome) for outcome in outcomes]
        )
        if any(outcome.state == "stopped" for outcome in outcomes):
            break
    return 0


def _read_orders(orders: "queue.Queue[dict[str, Any] | None]") -> None:
    """Queue orders until the input closes, then end the training."""
    try:
        partial = b""  # stays so if the launcher is killed while it writes
        # Not sys.stdin: a thread that waits in it makes Python abort as the worker ends.
        while piece := os.read(0, 1 << 16):
            *lines, partial = (partial + piece).split(b"\n")
            for line in lines:
                orders.put(json.loads(line))
    finally:
        orders.put(None)
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

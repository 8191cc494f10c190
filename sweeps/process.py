"""A worker process as its launcher sees it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from sweeps.launch_progress import ActivePack
from sweeps.packs import PackRuns
from synth.run.execution import Execution

SOURCE = Path(__file__).resolve().parent.parent
"""The folder that holds the packages of this project."""


class WorkerProcess:
    """A new interpreter with a fixed number of threads, and the pack that it trains."""

    def __init__(
        self, number: int, log: Path, execution: Execution, code: Path
    ) -> None:
        self.number, self.log, self._execution = number, log, execution
        self.active: ActivePack | None = None
        self.ending = False
        """Whether it was told to stop, or has stopped: it takes no more packs."""
        self._partial = b""
        self._unsent = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sweeps.pool_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment_for(execution.threads, code),
                start_new_session=True,  # the launcher handles Ctrl-C
            )
        os.set_blocking(self._stdout.fileno(), False)
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def fileno(self) -> int:
        """The descriptor of its output, readable when the worker has sent an event."""
        return self._stdout.fileno()

    def assign(self, pack: PackRuns, root: Path) -> None:
        """Send a pack to train; `flush` sends what the pipe does not take at once."""
        self.active = ActivePack(pack)
        order = {
            "runs": [config.to_dict() for config in pack],
            "root": str(root.resolve()),
            "execution": asdict(self._execution),
        }
        self._unsent += json.dumps(order).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send as much as the pipe takes, without waiting for a suspended worker."""
        assert self.process.stdin is not None
        try:
            while self._unsent:
                sent = os.write(self.process.stdin.fileno(), self._unsent)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass  # the next call sends the rest
        except BrokenPipeError:
            self._unsent = b""  # the worker has died; `events` reports it

    def events(self) -> tuple[list[dict[str, Any]], bool]:
        """Complete events since the last call, and whether the worker has ended."""
        gone = False
        while True:
            try:
                piece = os.read(self.fileno(), 1 << 16)
            except BlockingIOError:
                break
            if not piece:
                gone = True
                break
            self._partial += piece
        *lines, self._partial = self._partial.split(b"\n")
        return [json.loads(line) for line in lines], gone

    def stop(self) -> None:
        """Ask the worker to write a checkpoint and end."""
        self.ending = True
        self._signal(signal.SIGTERM)

    def close_input(self) -> None:
        """Tell the worker that no more packs come, so that it ends."""
        assert self.process.stdin is not None
        self.ending = True
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def kill(self) -> None:
        """End the worker at once."""
        self._signal(signal.SIGKILL)

    def close(self) -> int:
        """Wait for the worker to end; returns its status, or minus the signal's number."""
        self.close_input()
        status = self.process.wait()
        self._stdout.close()
        return status

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)


def environment_for(threads: int, code: Path = SOURCE) -> dict[str, str]:
    """Environment variables of a child process that runs the code in `code`."""
    fixed = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    paths = [str(code), os.environ.get("PYTHONPATH", "")]
    fixed["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    fixed["PYTHONSAFEPATH"] = "1"  # import nothing from the current directory
    if code != SOURCE:
        fixed["PYTHONDONTWRITEBYTECODE"] = "1"  # keep the copy as it was taken
    return dict(os.environ) | fixed

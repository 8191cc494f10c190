"""The launcher's end of one worker process."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from sweeps.board import Active
from sweeps.packs import PackRuns
from synth.run.execution import Execution

SOURCE = Path(__file__).resolve().parent.parent
"""The folder that holds the packages of this project."""


class WorkerProcess:
    """A fresh interpreter with a fixed number of threads, and the pack it works on."""

    def __init__(
        self, number: int, log: Path, execution: Execution, code: Path
    ) -> None:
        self.number, self.log, self._execution = number, log, execution
        self.active: Active | None = None
        self._partial = b""
        self._unsent = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sweeps.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=environment_for(execution.threads, code),
                start_new_session=True,  # Ctrl-C is the launcher's to pass on
            )
        os.set_blocking(self._stdout.fileno(), False)
        assert self.process.stdin is not None
        os.set_blocking(self.process.stdin.fileno(), False)

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def fileno(self) -> int:
        """Readable when the worker has something to say."""
        return self._stdout.fileno()

    def order(self, pack: PackRuns, root: Path) -> None:
        """Hand over a pack; `push` sends what the pipe does not take at once."""
        self.active = Active(pack)
        order = {
            "runs": [config.to_dict() for config in pack],
            "root": str(root.resolve()),
            "execution": asdict(self._execution),
        }
        self._unsent += json.dumps(order).encode() + b"\n"
        self.push()

    def push(self) -> None:
        """Send as much as the worker takes; one that is stopped holds nobody up."""
        assert self.process.stdin is not None
        try:
            while self._unsent:
                sent = os.write(self.process.stdin.fileno(), self._unsent)
                self._unsent = self._unsent[sent:]
        except BlockingIOError:
            pass  # the rest follows
        except BrokenPipeError:
            self._unsent = b""  # it has died: the end of its output says so

    def events(self) -> tuple[list[dict[str, Any]], bool]:
        """Whole events since the last call, and whether the worker has gone."""
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
        """Ask it to write a checkpoint and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def close(self) -> int:
        """Wait for its end and return its exit status (minus the signal's number)."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        status = self.process.wait()
        self._stdout.close()
        return status

    def _signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)


def environment_for(threads: int, code: Path = SOURCE) -> dict[str, str]:
    """The variables of a child process that runs the code in `code`."""
    fixed = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    paths = [str(code), os.environ.get("PYTHONPATH", "")]
    fixed["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    fixed["PYTHONSAFEPATH"] = "1"  # the folder that one stands in is not the code
    if code != SOURCE:
        fixed["PYTHONDONTWRITEBYTECODE"] = "1"  # a copy holds what was copied alone
    return dict(os.environ) | fixed

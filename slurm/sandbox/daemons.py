"""Starts and stops the daemons of the private cluster, identified by pid files.

A process belongs to this cluster if the pid file names it, it runs the right program, and
its command line or environment contains the state folder. No process is ended by name
alone, since the machine may run another cluster.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from slurm.clients import clean_environment


class ClusterError(RuntimeError):
    """The private cluster could not be started or stopped; the message says why."""


@dataclass(frozen=True)
class Daemon:
    """A program that runs in the background, with its process id in a file."""

    name: str
    command: list[str]
    pid_file: Path
    state: Path
    environment: dict[str, str] = field(default_factory=dict)
    detaches: bool = True
    stop_timeout_s: float = 15.0

    @property
    def program(self) -> str:
        """The program's name in /proc, at most 15 characters."""
        return Path(self.command[0]).name[:15]

    def pid(self) -> int | None:
        """The process id if this daemon runs, else None."""
        try:
            pid = int(self.pid_file.read_text().strip())
        except (OSError, ValueError):
            return None
        return pid if is_ours(pid, self.program, self.state) else None

    def start(self) -> bool:
        """Start the daemon unless it runs; returns whether it was started."""
        if self.pid() is not None:
            return False
        self.pid_file.unlink(missing_ok=True)
        log = self.state / "log" / f"{self.name}.out"
        # A program that does not detach itself is started by a shell that ends at once.
        script = '"$@"' if self.detaches else '"$@" & echo $! > "$0"'
        with log.open("ab") as out:
            done = subprocess.run(
                ["sh", "-c", script, str(self.pid_file), *self.command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=clean_environment(os.environ) | self.environment,
                start_new_session=True,
                cwd=self.state,
                timeout=30,
            )
        if done.returncode:
            raise ClusterError(
                f"{self.name} did not start (exit code {done.returncode}): "
                f"{' '.join(self.command)}\n{tail(log)}"
            )
        return True

    def stop(self) -> bool:
        """End the daemon by SIGTERM, then SIGKILL; returns whether it was running."""
        pid = self.pid()
        if pid is not None:
            end_process(pid, self.program, self.state, self.stop_timeout_s)
        self.pid_file.unlink(missing_ok=True)
        return pid is not None


def is_ours(pid: int, program: str, state: Path) -> bool:
    """Whether a process runs `program` for the cluster in `state`."""
    folder = Path("/proc") / str(pid)
    try:
        if (folder / "comm").read_text().strip() != program:
            return False
        # The state follows the program's name, which may itself hold brackets.
        if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        words = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    except OSError:
        return False
    return _names(words, state)


def _names(words: bytes, state: Path) -> bool:
    """Whether a path inside `state` occurs; `/run/a` does not match `/run/ab`."""
    return f"{state}/".encode() in words


def end_process(pid: int, program: str, state: Path, timeout_s: float) -> None:
    """SIGTERM, then SIGKILL after `timeout_s`, if the pid is still this daemon's."""
    for sign, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        if not is_ours(pid, program, state):
            return
        try:
            os.kill(pid, sign)
        except ProcessLookupError:
            return
        if wait_until(lambda: not is_ours(pid, program, state), patience_s):
            return
    raise ClusterError(f"Process {pid} ({program}) survived SIGKILL.")


def job_processes(conf: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Processes of jobs of the cluster whose slurm.conf is `conf`, with environment."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        pairs = (word.decode(errors="replace").partition("=") for word in words)
        environment = {name: value for name, _, value in pairs}
        if environment.get("SLURM_CONF") == str(conf) and "SLURM_JOB_ID" in environment:
            yield int(folder.name), environment


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll every 0.05 s until `condition` holds; returns False after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def tail(path: Path) -> str:
    """The last lines of a log file, after its path."""
    try:
        lines = path.read_text(errors="replace").splitlines()[-15:]
    except OSError:
        return f"({path} cannot be read)"
    return "\n".join([f"--- {path}", *lines])


def search_path() -> str:
    """PATH with the folders of Debian's daemons."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def path_of(program: str) -> str:
    """The path of a program; its name if it is not installed."""
    return shutil.which(program, path=search_path()) or program

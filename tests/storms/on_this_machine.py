"""Storms on this machine: signals at random to a launcher and its workers.

Whatever comes, calling the command again must end with every run done and with the
bytes, of metrics and of weights, that an undisturbed run has.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sweeps.survey import survey
from synth.config import RunConfig
from tests.conftest import PATIENCE_S, Brake, wait_until
from tests.sweeps.conftest import call, start

SIGNALS = (
    signal.SIGKILL,
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGSTOP,
)
"""What may hit a process; a stopped one goes on after a moment."""


def children_of(pid: int) -> list[int]:
    """Processes that a process has started; none of one that has ended."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += (task / "children").read_text().split()
    except OSError:
        return []
    return [int(word) for word in found]


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def storm(
    seed: int, faults: int, path: Path, folder: Path, cwd: Path, pause_s: float = 3.0
) -> list[str]:
    """So many faults to launches of the sweep in `path`; returns what was done.

    A launch that has ended is started again, with other numbers of workers and lanes.
    Afterwards nothing runs any more, and the sweep may be at any point; its runs lie in
    `folder`.
    """
    draw = random.Random(seed)
    brake = Brake(cwd / f"brake-{seed}", step_seconds=0.05)
    story: list[str] = []
    process: subprocess.Popen[str] | None = None
    workers: set[int] = set()
    try:
        while len(story) < faults:
            if process is None or process.poll() is not None:
                if process is not None:
                    process.communicate()
                words = [
                    "--workers",
                    draw.choice([1, 2]),
                    "--lanes",
                    draw.choice([1, 2, 4]),
                ]
                words += ["--checkpoint-every-seconds", draw.choice([0.02, 0.2, 60])]
                process = start("run", path, *words, cwd=cwd, brake=brake)
                wait_until(lambda p=process: p.poll() is not None or children_of(p.pid))
            time.sleep(draw.uniform(0, pause_s))
            children = children_of(process.pid)
            workers |= set(children)
            victim = draw.choice([process.pid, *children, *children])
            sign = draw.choice(SIGNALS)
            who = "launcher" if victim == process.pid else "worker"
            done = len(list(folder.glob("*/result.json")))
            story.append(f"{sign.name} to the {who}, {done} runs done")
            _hit(victim, sign, draw)
            if who == "launcher" and sign not in (signal.SIGSTOP, signal.SIGHUP):
                process.communicate(timeout=PATIENCE_S)
            if process.poll() is not None and process.returncode == 0:
                break  # all done before the storm was over
    finally:
        brake.release()
        if process is not None:
            process.kill()
            process.communicate(timeout=PATIENCE_S)
    wait_until(lambda: not any(map(alive, workers)))
    return story


def _hit(pid: int, sign: signal.Signals, draw: random.Random) -> None:
    try:
        os.kill(pid, sign)
        if sign == signal.SIGSTOP:
            time.sleep(draw.uniform(0.1, 1.0))
            os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass  # it was faster


def aftermath(
    configs: Sequence[RunConfig], path: Path, folder: Path, cwd: Path
) -> list[str]:
    """Launch once more, undisturbed; what is wrong then, a sentence each."""
    before = survey(folder, configs)
    problems = [
        f"{run.run_id} failed: {run.error}"
        for run in before.runs
        if run.state == "failed"
    ]
    call("run", path, cwd=cwd)
    after = survey(folder, configs)
    problems += [
        f"{run.run_id} is {run.state}: {run.error}"
        for run in after.runs
        if run.state != "done"
    ]
    return problems

"""Timing a few training steps of a shape at several numbers of lanes.

Run as a process of its own (`python -m sweeps.measuring`), so that the one that asks
needs no torch: configurations come in on standard input, speeds go out as JSON lines.
"""

import contextlib
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from sweeps.calibration import Calibration, Speeds, shape
from sweeps.packs import MOST_LANES, bytes_per_lane, cut, memory_per_slot
from sweeps.process import environment_for
from synth.config import RunConfig
from synth.execution import Execution

SECONDS = 0.5
"""Measured time for each number of lanes, after two steps of warming up."""


def measure(
    requests: Sequence[tuple[RunConfig, Sequence[int]]], execution: Execution
) -> Iterator[tuple[RunConfig, Speeds]]:
    """Tokens per second by number of lanes for each request, in a child process.

    Raises
    ------
    ValueError
        With the child's last words when it fails.
    """
    order = {
        "execution": dataclasses.asdict(execution),
        "requests": [[config.to_dict(), list(lanes)] for config, lanes in requests],
    }
    with (
        tempfile.TemporaryFile(
            "w+"
        ) as said,  # a pipe that nobody empties could fill up
        subprocess.Popen(
            [sys.executable, "-m", "sweeps.measuring"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env=environment_for(execution.threads),
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has died: its words say why
            process.stdin.write(json.dumps(order))
            process.stdin.close()
        for (config, _), line in zip(requests, process.stdout, strict=False):
            yield config, {int(k): v for k, v in json.loads(line).items()}
        process.wait()
        said.seek(0)
        words = said.read().strip().splitlines()
    if process.returncode:
        raise ValueError(f"The measurement failed: {words[-1] if words else 'no word'}")


def requests_for(
    configs: Sequence[RunConfig],
    known: Calibration,
    execution: Execution,
    slots: int,
) -> list[tuple[RunConfig, list[int]]]:
    """The shapes among the runs that nobody has measured, with lanes worth a try."""
    room = memory_per_slot(execution, slots)
    found: dict[str, tuple[RunConfig, list[int]]] = {}
    for group in cut(configs, max(1, len(configs))):
        config, key = group[0], shape(group[0], execution)
        if known.speeds(config, execution) or key in found:
            continue
        fit = min(len(group), MOST_LANES, max(1, int(room // bytes_per_lane(config))))
        lanes = sorted({1, fit} | {k for k in (2, 4, 8) if k < fit})
        found[key] = (config, lanes)
    return list(found.values())


def time_steps(config: RunConfig, lanes: int, execution: Execution) -> float:
    """Tokens per second of a pack of so many copies with other seeds (needs torch)."""
    from synth.pack import Pack

    seeds = range(config.seed, config.seed + lanes)
    copies = [dataclasses.replace(config, seed=s, data_seed=None) for s in seeds]
    pack = Pack(copies, execution, None)
    clock: dict[str, float] = {"data": 0.0, "training": 0.0}
    living = range(lanes)
    for _ in range(2):
        pack.train_step(clock)
        pack.settle(living)
    steps, began = 0, time.monotonic()
    while steps < 3 or time.monotonic() - began < SECONDS:
        pack.train_step(clock)
        pack.settle(living)
        steps += 1
    seconds = time.monotonic() - began
    return steps * lanes * config.training.tokens_per_step / seconds


def main() -> int:
    """Answer one order; a number of lanes that does not fit in memory is left out."""
    import torch

    order: dict[str, Any] = json.loads(sys.stdin.read())
    execution = Execution(**order["execution"])
    torch.set_num_threads(execution.threads)
    for values, lane_counts in order["requests"]:
        speeds = {}
        for lanes in lane_counts:
            try:
                speeds[lanes] = time_steps(
                    RunConfig.from_dict(values), lanes, execution
                )
            except (MemoryError, torch.OutOfMemoryError):
                break
        print(json.dumps(speeds), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

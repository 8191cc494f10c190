"""Timing a few training steps of a shape at several numbers of lanes.

Run as a process of its own (`python -m sweeps.measuring`), so that the one that asks
needs no torch: configurations come in on standard input, speeds go out as JSON lines.

The numbers of lanes take turns, and each counts with its median, so that a neighbour who
comes or goes meanwhile disturbs all of them alike. On one CPU thread the clock counts the
time that this process was given, not the time that passed: the speeds are those of a
quiet machine, and the share of a core that the measurement got is kept beside them.
"""

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sweeps import costs
from sweeps.calibration import Calibration, Speeds, shape
from sweeps.packs import MOST_LANES, bytes_per_lane, cut, memory_per_slot
from sweeps.process import environment_for
from synth.config import RunConfig
from synth.execution import Execution

if TYPE_CHECKING:
    from synth.pack import Pack

SECONDS = 0.5
"""Measured time for each number of lanes, after two steps of warming up."""
ROUNDS = 5
"""Turns in which that time is spent, at least."""
START_SECONDS = 4.0
"""What the measuring process takes to start."""
PAYS = 20
"""Calibrating may take one in so many parts of the training that it speeds up."""
CAUTIOUS_RATE = 2e10
"""FLOP/s of a core when nothing is known: more than tiny models reach."""


def measure(
    requests: Sequence[tuple[RunConfig, Sequence[int]]], execution: Execution
) -> Iterator[tuple[RunConfig, Speeds, float]]:
    """Tokens per second by number of lanes for each request, in a child process.

    The last value is the share of a core that the measurement got.

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
            answer = json.loads(line)
            speeds = {int(k): v for k, v in answer["speeds"].items()}
            yield config, speeds, answer["share"]
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
        # All numbers of lanes stay in memory side by side: about twice the largest.
        held = max(1, int(room // (2 * bytes_per_lane(config))))
        fit = min(len(group), MOST_LANES, held)
        lanes = sorted({1, fit} | {k for k in (2, 4, 8) if k < fit})
        measured = known.speeds(config, execution)
        if key not in found and len(measured) < 2 and not set(lanes) <= set(measured):
            found[key] = (config, lanes)
    return list(found.values())


def calibrate(
    requests: Sequence[tuple[RunConfig, Sequence[int]]],
    execution: Execution,
    known: Calibration,
    say: Callable[[str], None],
) -> None:
    """Measure the requests, take them up into `known`, and save it."""
    for config, speeds, share in measure(requests, execution):
        for lanes, speed in speeds.items():
            known.learn(config, execution, lanes, speed, share)
        words = ", ".join(f"{k}: {v / 1000:.1f}k" for k, v in speeds.items())
        say(f"{config.run_id}  tokens/s by lanes  {words}")
    try:
        known.save()
    except OSError:
        pass  # a read-only home: the next launch knows less, nothing is lost


def pays(
    requests: Sequence[tuple[RunConfig, Sequence[int]]],
    configs: Sequence[RunConfig],
    execution: Execution,
    known: Calibration,
    slots: int,
) -> bool:
    """Whether measuring takes no more than a twentieth of the training ahead.

    Only where lanes are to be chosen: a shape of which one run trains at a time needs
    no measurement. Graphics cards are left to `plan --calibrate`.
    """
    if execution.device != "cpu" or all(len(lanes) < 2 for _, lanes in requests):
        return False

    def seconds_a_token(config: RunConfig) -> float:
        speed = known.speed(config, execution, 1)
        if speed is not None:
            return 1 / speed[0]
        return costs.flops_per_token(config) / CAUTIOUS_RATE

    takes = START_SECONDS
    for config, lane_counts in requests:
        step = config.training.tokens_per_step * seconds_a_token(config)
        takes += sum(max(SECONDS, (ROUNDS + 2) * k * step) for k in lane_counts)
    seconds = sum(costs.tokens(c) * seconds_a_token(c) for c in configs)
    return PAYS * takes <= seconds / slots


def time_lanes(
    config: RunConfig, lane_counts: Sequence[int], execution: Execution
) -> tuple[Speeds, float]:
    """Tokens per second at each number of lanes, and the share of a core (needs torch).

    Numbers of lanes whose packs do not fit into memory are left out.
    """
    import torch

    packs: dict[int, Pack] = {}
    for lanes in lane_counts:
        try:
            packs[lanes] = _warm_pack(config, lanes, execution)
        except (MemoryError, torch.OutOfMemoryError):
            break
    own = execution.device == "cpu" and execution.threads == 1
    used, passed = time.process_time(), time.monotonic()
    times = time_in_turns(
        {lanes: _stepper(pack) for lanes, pack in packs.items()},
        time.process_time if own else time.monotonic,
    )
    used, passed = time.process_time() - used, time.monotonic() - passed
    for pack in packs.values():
        pack.close()
    tokens = config.training.tokens_per_step
    speeds = {lanes: lanes * tokens / seconds for lanes, seconds in times.items()}
    return speeds, min(1.0, used / passed) if own else 1.0


def time_in_turns(
    works: dict[int, Callable[[], None]],
    clock: Callable[[], float],
    seconds: float = SECONDS,
    rounds: int = ROUNDS,
) -> dict[int, float]:
    """Median seconds of a call of each work; they take turns.

    A turn is one call. Each work gets `rounds` turns at least, and more until its calls
    sum to `seconds`.
    """
    taken: dict[int, list[float]] = {name: [] for name in works}
    waiting = list(works)
    while waiting:
        for name in waiting:
            began = clock()
            works[name]()
            taken[name].append(clock() - began)
        waiting = [
            name
            for name in waiting
            if len(taken[name]) < rounds or sum(taken[name]) < seconds
        ]
    return {name: statistics.median(values) for name, values in taken.items()}


def _warm_pack(config: RunConfig, lanes: int, execution: Execution) -> "Pack":
    """So many copies with other seeds, after two steps or those of a recording."""
    from synth.pack import Pack

    seeds = range(config.seed, config.seed + lanes)
    copies = [dataclasses.replace(config, seed=s, data_seed=None) for s in seeds]
    pack = Pack(copies, execution, None)
    step = _stepper(pack)
    step()
    step()
    while not pack.steady:
        step()
    return pack


def _stepper(pack: "Pack") -> Callable[[], None]:
    clock: dict[str, float] = {"data": 0.0, "training": 0.0}
    living = range(len(pack.configs))

    def step() -> None:
        pack.train_step(clock)
        pack.settle(living)

    return step


def main() -> int:
    """Answer one order; a number of lanes that does not fit in memory is left out."""
    import torch

    order: dict[str, Any] = json.loads(sys.stdin.read())
    execution = Execution(**order["execution"])
    torch.set_num_threads(execution.threads)
    for values, lane_counts in order["requests"]:
        config = RunConfig.from_dict(values)
        speeds, share = time_lanes(config, lane_counts, execution)
        print(json.dumps({"speeds": speeds, "share": share}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

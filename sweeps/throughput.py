"""Training throughput: measured in run folders, else from a built-in curve by size.

Throughputs are tokens a second of one worker, over all lanes of its pack.
"""

import functools
import math
import platform
import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.costs import executed_flops_per_token, flops_per_token, tokens
from synth.config import RunConfig
from synth.fast.compilation import step_form
from synth.fast.precision import bf16_speed
from synth.run.execution import Execution
from synth.run.standing import Standing, Survey
from synth.run.store import RunFolder

SIZES = (1.22e5, 3.09e5, 7.35e5, 2.07e6, 6.96e6, 2.05e7, 6.74e7, 1.97e8)
"""Executed FLOP a token of the points of the curves, 10k to 30M."""
CURVE = (120_000.0, 98_000.0, 64_000.0, 29_000.0, 12_000.0, 4_500.0)
"""Tokens a second of one core with native passes, up to 3M, on polynomials (fp32,
attention, one thread, medians on two machines).

Sixteen shapes of the night scale reached 0.56 to 0.84 of it while ten other processes
kept the two cores busy."""
RECENT_AMD_CURVE = (360e3, 223e3, 128e3, 58e3, 21.8e3, 7_990.0, 2_420.0, 675.0)
"""The same on an AMD EPYC of family 26, in CPU time (`python -m tests.bench.bench_peers
bf16`)."""
EAGER_SECONDS = 1e-5
"""Extra time of a token with eager operations, over native passes."""
MIXER_FACTOR = 0.6
"""Throughput of recurrent mixers, which have no native passes, over eager attention."""
REGISTERS_SECONDS = {"native": 1e-5, "eager": 4e-5}
"""Extra time of a token with registers over that of its arithmetic, by the form of the
step: 5 to 30 us where it is native, 30 to 100 where attention is not, at 30k and 300k in
rows of 18 and 128 tokens."""
RUNS_PER_CELL = 3
"""Runs of a cell whose throughput is read."""


@dataclass(frozen=True)
class Throughput:
    """Measured throughputs of a sweep's runs, and estimates for the others."""

    measured: dict[str, float] = field(default_factory=dict)
    """Throughput on this machine, by pack key."""
    factor: float = 1.0
    """Measured throughput of this machine over that of the curve."""

    def estimate(self, config: RunConfig, execution: Execution) -> float | None:
        """Tokens a second; `None` for a GPU on which no run of this shape has trained."""
        measured = self.measured.get(config.pack_key)
        if measured is not None:
            return measured
        default = default_throughput(config, execution)
        return None if default is None else default * self.factor

    def source(self, configs: Sequence[RunConfig], execution: Execution) -> str:
        """Where the throughputs of these runs come from, in words."""
        keys = {config.pack_key: config for config in configs}
        if not keys:
            return "nothing to train"
        if any(self.estimate(config, execution) is None for config in keys.values()):
            return "no run of this shape has trained here yet: add --flops-per-second"
        measured = len(keys.keys() & self.measured.keys())
        if measured == len(keys):
            return "measured in runs on this machine"
        if self.measured:
            return (
                f"{measured} of {len(keys)} cells measured in runs on this machine, the "
                f"others by size, at {self.factor:.2f} of the built-in curve"
            )
        return "by size, from the built-in curve of a quiet core"


def default_throughput(config: RunConfig, execution: Execution) -> float | None:
    """Tokens a second of one core, by the built-in curve; `None` for a GPU."""
    if execution.device != "cpu":
        return None
    seconds = 1 / _interpolate(executed_flops_per_token(config))
    if config.model.mixer != "attention":
        return MIXER_FACTOR / (seconds + EAGER_SECONDS)
    form = step_form(execution, tokens(config), flops_per_token(config))
    if form != "native":
        seconds += EAGER_SECONDS
    if config.objective.registers() is not None:
        seconds += REGISTERS_SECONDS["native" if form == "native" else "eager"]
    if config.training.precision == "bf16":
        seconds /= bf16_speed(form, config.model.shape.width)
    return 1 / seconds


def measure_throughput(
    configs: Sequence[RunConfig], standings: Survey[Standing], execution: Execution
) -> Throughput:
    """Read the throughput of runs that this machine has trained or begun."""
    cells: dict[str, list[RunConfig]] = defaultdict(list)
    states = {run.run_id: run.state for run in standings.runs}
    for config in configs:
        begun = states.get(config.run_id) in ("done", "running", "stopped")
        if begun and (standings.root / config.run_id).exists():  # not only in a table
            cells[config.pack_key].append(config)
    measured, factors = {}, []
    for key, group in cells.items():
        sample = group[:RUNS_PER_CELL]
        values = [_read_throughput(standings.root, c, execution) for c in sample]
        rates = [value for value in values if value is not None]
        if rates:
            measured[key] = statistics.median(rates)
            default = default_throughput(group[0], execution)
            if default is not None:
                factors.append(measured[key] / default)
    return Throughput(measured, statistics.median(factors) if factors else 1.0)


def _read_throughput(
    root: Path, config: RunConfig, execution: Execution
) -> float | None:
    """The throughput of a run's pack; of a finished run, evaluation included."""
    folder = RunFolder(root, config.run_id)
    try:
        session: dict[str, Any] = folder.read_json("environment.json")["sessions"][-1]
        here = (platform.node(), execution.device, execution.threads)
        if here != tuple(session[name] for name in ("host", "device_kind", "threads")):
            return None
        lanes = int(session["lanes"])
        result = folder.read_json("result.json")
        if result is None:
            rate = lanes * float(folder.read_json("progress.json")["tokens_per_second"])
        else:
            seconds = sum(map(float, result["seconds"].values()))
            rate = int(result["lanes"]) * float(result["tokens"]) / seconds
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None  # no progress written yet, or by another version
    except ZeroDivisionError:
        return None
    return rate if 0 < rate < math.inf else None


@functools.cache
def curve_speeds(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[float, ...]:
    """The curve of this processor."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return CURVE
    family = re.search(r"^cpu family\s*: (\d+)$", text, re.MULTILINE)
    recent = family is not None and int(family[1]) >= 26
    fits = recent and {"AuthenticAMD", "avx512f"} <= set(text.split())
    return RECENT_AMD_CURVE if fits else CURVE


def _interpolate(flops: float) -> float:
    """The curve of this processor, interpolated linearly between logarithms.

    Below the curve the smallest model's tokens a second hold, above it the largest
    model's FLOP/s.
    """
    speeds = curve_speeds()
    sizes = SIZES[: len(speeds)]
    beyond = min(1.0, sizes[-1] / flops)
    logs = np.interp(math.log(flops), np.log(sizes), np.log(speeds))
    return float(beyond * math.exp(logs))

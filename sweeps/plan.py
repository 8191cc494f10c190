"""What a launch would do: states, sizes, packs, time. Nothing is executed.

Times come from measurements of this machine (`sweeps.calibration`) or from a rate that
the caller states, and cover training steps; evaluation, data and start-up are not in
them and stay under a tenth or so. Without either the plan says that it does not know.
"""

import heapq
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sweeps import costs
from sweeps.board import clock
from sweeps.calibration import QUIET, Calibration, Speeds
from sweeps.packs import Pack, chooser, cut
from sweeps.survey import Survey
from synth.config import RunConfig
from synth.execution import Execution
from synth.identity import require

Source = Literal["measured", "nearest", "rule", "stated"]
"""Where a number of lanes comes from."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Runs that can share packs: one line of a plan."""

    name: str
    runs: int
    missing: int
    parameters: int
    tokens_per_run: int
    flops_per_run: float
    lanes: int
    lanes_from: Source
    """This shape was measured, or one of like cost; else a rule by size, or a wish."""
    gain: float | None
    """Throughput of so many lanes over that of one, where it was measured."""
    packs: int
    seconds: float | None
    """Of one slot, for all that is missing; `None` when nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A launch, before it happens."""

    title: str
    root: str
    counts: dict[str, int]
    cells: list[Cell]
    packs: list[Pack]
    slots: int
    tokens: int
    """Of the missing runs, counted from their start."""
    flops: float
    device_hours: float | None
    """Hours of one slot (a GPU, or a CPU process) in all."""
    seconds: float | None
    """From start to end, with all slots at work."""
    source: str
    """Where the speeds come from."""
    notes: tuple[str, ...] = ()
    """What else is to be known of them."""

    def to_json(self) -> str:
        """For programs; packs are lists of run ids."""
        values: dict[str, Any] = {
            name: value for name, value in vars(self).items() if name != "packs"
        }
        values["cells"] = [asdict(cell) for cell in self.cells]
        values["packs"] = [[config.run_id for config in pack] for pack in self.packs]
        return json.dumps(values)

    def as_text(self) -> str:
        """For people: counts, a line a cell, the sum."""
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items() if n)
        lines = [
            f"{self.title}: {sum(self.counts.values())} runs ({counts}) in {self.root}",
            f"{'cell':<34}{'runs':>6}{'todo':>6}{'params':>9}{'tokens':>9}"
            f"{'FLOP':>10}{'lanes':>6}{'gain':>7}{'packs':>6}{'time':>10}",
        ]
        for cell in self.cells:
            lines.append(
                f"{cell.name:<34}{cell.runs:>6}{cell.missing:>6}"
                f"{short(cell.parameters):>9}{short(cell.tokens_per_run):>9}"
                f"{cell.flops_per_run:>10.2g}{cell.lanes:>6}"
                f"{'-' if cell.gain is None else f'{cell.gain:.2f}x':>7}"
                f"{cell.packs:>6}{clock(cell.seconds):>10}"
            )
        hours = "unknown" if self.device_hours is None else f"{self.device_hours:.2f}"
        lines.append(
            f"to train: {sum(c.missing for c in self.cells)} runs in {len(self.packs)} "
            f"packs, {short(self.tokens)} tokens, {self.flops:.3g} FLOP"
        )
        lines.append(
            f"time: {clock(self.seconds)} with {self.slots} at a time, "
            f"{hours} device-hours ({self.source})"
        )
        lines += [f"lanes: {_lanes_source(self.cells)}", *self.notes]
        return "\n".join(lines)


def plan(
    title: str,
    configs: Sequence[RunConfig],
    found: Survey,
    execution: Execution,
    slots: int,
    *,
    lanes: int | None = None,
    flops_per_second: float | None = None,
    retry: bool = False,
    calibration: Calibration | None = None,
) -> Plan:
    """Cut the missing runs into packs, the costly ones first, and estimate them.

    `flops_per_second` is the rate that one slot sustains; without it the calibration of
    this machine counts.

    Raises
    ------
    ValueError
        When a run is impossible, `lanes` or `slots` is below 1, or the rate is none.
    """
    require(lanes is None or lanes >= 1, "--lanes", "at least 1", lanes)
    require(slots >= 1, "--workers", "at least 1", slots)
    if flops_per_second is not None:
        possible = 0 < flops_per_second < math.inf
        require(possible, "--flops-per-second", "above 0", flops_per_second)
    known = calibration or Calibration.load()
    done = found.ids("done") if retry else found.ids("done", "failed")
    missing = [config for config in configs if config.run_id not in done]
    costs.refuse_impossible(missing)
    packs = cut(missing, lanes or chooser(known, execution, slots))
    timed = [
        (seconds_of(pack, execution, known, flops_per_second), pack) for pack in packs
    ]
    timed.sort(key=lambda item: -(item[0] or sum(map(costs.flops, item[1]))))
    seconds = [s for s, _ in timed if s is not None]
    complete = len(seconds) == len(timed)
    return Plan(
        title=title,
        root=str(found.root),
        counts={str(state): n for state, n in found.counts.items()},
        cells=_cells(configs, timed, execution, known, stated=lanes is not None),
        packs=[pack for _, pack in timed],
        slots=slots,
        tokens=sum(map(costs.tokens, missing)),
        flops=sum(map(costs.flops, missing)),
        device_hours=sum(seconds) / 3600 if complete else None,
        seconds=_span(seconds, slots) if complete else None,
        source=_source(missing, execution, known, flops_per_second),
        notes=() if flops_per_second else _notes(missing, execution, known),
    )


def seconds_of(
    pack: Pack,
    execution: Execution,
    known: Calibration,
    flops_per_second: float | None,
) -> float | None:
    """Training time of a pack, if anything is known."""
    if flops_per_second is not None:
        return sum(map(costs.flops, pack)) / flops_per_second
    speed = known.speed(pack[0], execution, len(pack))
    return None if speed is None else sum(map(costs.tokens, pack)) / speed[0]


def short(number: float) -> str:
    """A count in four characters or so: 950, 31.5M, 26.2B."""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _span(seconds: Sequence[float], slots: int) -> float:
    """When the last pack ends: each goes to the slot that is free first."""
    ends = [0.0] * slots
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def _source(
    missing: Sequence[RunConfig],
    execution: Execution,
    known: Calibration,
    flops_per_second: float | None,
) -> str:
    if flops_per_second is not None:
        return f"at a stated {flops_per_second:.3g} FLOP/s"
    if not missing:
        return "nothing to train"
    speeds = [known.speed(pack[0], execution, 1) for pack in cut(missing, len(missing))]
    if None in speeds:
        return "this machine is not measured yet: add --calibrate or --flops-per-second"
    own = sum(1 for speed in speeds if speed and speed[1])
    if own == len(speeds):
        return "measured on this machine"
    return (
        f"{own} of {len(speeds)} shapes measured on this machine, the others from the "
        "FLOP rate of the nearest; --calibrate measures them"
    )


def _notes(
    missing: Sequence[RunConfig], execution: Execution, known: Calibration
) -> tuple[str, ...]:
    """Whether other work ran beside the measurements."""
    least = min((known.share(config, execution) for config in missing), default=1.0)
    if least >= QUIET:
        return ()
    return (
        f"measured beside other work (down to {least:.0%} of a core): times are those "
        "of a quiet machine, and gains of lanes are less sure",
    )


def _lanes_source(cells: Sequence[Cell]) -> str:
    """Where the numbers of lanes come from, in words."""
    kinds = Counter(cell.lanes_from for cell in cells if cell.missing)
    words: dict[Source, str] = {
        "measured": "measured",
        "nearest": "as measured for the shape of nearest cost",
        "rule": "by size, unmeasured,",
        "stated": "as stated",
    }
    told = [f"{words[kind]} for {kinds[kind]}" for kind in words if kinds[kind]]
    if not told:
        return "none to choose"
    advice = " (--calibrate measures them)" if kinds["rule"] else ""
    return f"{', '.join(told)} of {kinds.total()} cells{advice}"


def _gain(speeds: Speeds, lanes: int) -> float | None:
    """Throughput over one lane at the measured number of lanes nearest to `lanes`."""
    if lanes < 1 or 1 not in speeds or len(speeds) < 2:
        return None
    nearest = min(speeds, key=lambda k: abs(math.log(k / lanes)))
    return speeds[nearest] / speeds[1]


def _cells(
    configs: Sequence[RunConfig],
    timed: Sequence[tuple[float | None, Pack]],
    execution: Execution,
    known: Calibration,
    stated: bool,
) -> list[Cell]:
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(config.pack_key, []).append(config)
    packs: dict[str, list[tuple[float | None, Pack]]] = {}
    for seconds, pack in timed:
        packs.setdefault(pack[0].pack_key, []).append((seconds, pack))
    names = cell_names([group[0] for group in groups.values()])
    cells = []
    for name, (key, group) in zip(names, groups.items(), strict=True):
        own = packs.get(key, [])
        spans = [s for s, _ in own if s is not None]
        found = costs.described(group[0])
        speeds, basis = known.lane_speeds(group[0], execution)
        lanes = max((len(pack) for _, pack in own), default=0)
        cells.append(
            Cell(
                name=name,
                runs=len(group),
                missing=sum(len(pack) for _, pack in own),
                parameters=found["non_embedding_parameters"],
                tokens_per_run=costs.tokens(group[0]),
                flops_per_run=costs.flops(group[0]),
                lanes=lanes,
                lanes_from="stated" if stated else basis,
                gain=_gain(speeds, lanes),
                packs=len(own),
                seconds=sum(spans) if len(spans) == len(own) else None,
            )
        )
    return cells


def cell_names(configs: Sequence[RunConfig]) -> list[str]:
    """What tells the cells apart: the fields in which they differ."""
    flat = [flatten(config) for config in configs]
    fields = [
        name
        for name in dict.fromkeys(name for values in flat for name in values)
        if len({str(values.get(name)) for values in flat}) > 1 and name != "seed"
    ]
    names = []
    for config, values in zip(configs, flat, strict=True):
        words = [
            f"{config.task.kind} n={config.objective.horizon} {config.model.scale}"
        ]
        for name in fields:
            last = name.rpartition(".")[2]
            if last not in ("horizon", "scale", "batch_rows"):
                words.append(f"{last}={values.get(name)}")
        names.append(" ".join(words))
    return names


def flatten(config: RunConfig) -> dict[str, Any]:
    """Every field of a run under its dotted name; lists as text."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, values: dict[str, Any]) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(f"{prefix}{name}.", value)
            else:
                flat[prefix + name] = str(value) if isinstance(value, list) else value

    walk("", config.to_dict())
    return flat

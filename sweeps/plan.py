"""The plan of a launch: states, sizes, packs, time. Nothing is executed.

Times come from runs on this machine, else from a built-in curve by size
(`sweeps.throughput`), or from a rate that the caller gives. They exclude evaluation.
"""

import heapq
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweeps import costs
from sweeps.cells import cell_key, cell_names
from sweeps.packs import PackRuns, cut_packs, lane_rule
from sweeps.throughput import measure_throughput
from synth.config import RunConfig
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import clock
from synth.run.standing import Standing, Survey
from synth.run.states import UNTRIED, State, format_counts
from synth.scales import format_count

PER_CELL = ("learning_rate", "weight_decay")
"""Training fields that may differ, besides seeds, between runs of one line of a plan."""


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
    tokens_per_second: float | None
    """Throughput of one worker over all lanes of its pack."""
    packs: int
    seconds: float | None
    """Time of one slot for all missing runs; `None` when the throughput is unknown."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a launch would do."""

    title: str
    root: str
    counts: dict[State, int]
    cells: list[Cell]
    packs: list[PackRuns]
    slots: int
    tokens: int
    """Tokens of the missing runs, counted from step 0."""
    flops: float
    device_hours: float | None
    """Total hours of slots (GPUs or CPU processes)."""
    seconds: float | None
    """Wall time with all slots in use."""
    source: str
    """Where the throughputs come from."""
    news: list[str]
    """Further facts about the runs, a sentence each."""

    def to_json(self) -> str:
        """The plan as JSON; packs are lists of run ids."""
        values: dict[str, Any] = {
            name: value for name, value in vars(self).items() if name != "packs"
        }
        values["cells"] = [asdict(cell) for cell in self.cells]
        values["packs"] = [[config.run_id for config in pack] for pack in self.packs]
        return json.dumps(values)

    def as_text(self) -> str:
        """The plan as text: counts, a line a cell, totals."""
        counts = format_counts(self.counts)
        width = max([32, *(len(cell.name) for cell in self.cells)]) + 2
        lines = [
            f"{self.title}: {sum(self.counts.values())} runs ({counts}) in {self.root}",
            f"{'cell':<{width}}{'runs':>6}{'todo':>6}{'params':>9}{'tokens':>9}"
            f"{'FLOP':>10}{'lanes':>6}{'packs':>6}{'tokens/s':>10}{'time':>10}",
        ]
        for cell in self.cells:
            lines.append(
                f"{cell.name:<{width}}{cell.runs:>6}{cell.missing:>6}"
                f"{format_count(cell.parameters):>9}{format_count(cell.tokens_per_run):>9}"
                f"{cell.flops_per_run:>10.2g}{cell.lanes:>6}"
                f"{cell.packs:>6}{format_count(cell.tokens_per_second):>10}"
                f"{clock(cell.seconds):>10}"
            )
        hours = "unknown" if self.device_hours is None else f"{self.device_hours:.2f}"
        lines += self.news
        lines.append(
            f"to train: {sum(c.missing for c in self.cells)} runs in {len(self.packs)} "
            f"packs, {format_count(self.tokens)} tokens, {self.flops:.3g} FLOP"
        )
        lines.append(
            f"time: {clock(self.seconds)} with {self.slots} at a time, "
            f"{hours} device-hours ({self.source})"
        )
        return "\n".join(lines)


def plan(
    title: str,
    configs: Sequence[RunConfig],
    standings: Survey[Standing],
    execution: Execution,
    slots: int,
    *,
    lanes: int | None = None,
    flops_per_second: float | None = None,
    states: Collection[State] = UNTRIED,
    most: Mapping[str, int] | None = None,
) -> Plan:
    """Cut the runs in some states into packs, longest first, and estimate their time.

    `most`: see `packs.cut_packs`; `flops_per_second`: what one slot sustains, if known.

    Raises `ValueError` when a run is impossible, `lanes` or `slots` is below 1, or the
    rate is not a positive number.
    """
    require(lanes is None or lanes >= 1, "--lanes", "at least 1", lanes)
    require(slots >= 1, "--workers", "at least 1", slots)
    if flops_per_second is not None:
        possible = 1 <= flops_per_second < math.inf
        require(possible, "--flops-per-second", "at least 1", flops_per_second)
    wanted = standings.ids(*states)
    missing = [config for config in configs if config.run_id in wanted]
    costs.refuse_impossible(missing)
    packs = cut_packs(missing, lanes or lane_rule(execution, slots), most)
    throughput = measure_throughput(configs, standings, execution)

    def rate(config: RunConfig) -> float | None:
        if flops_per_second is not None:
            return flops_per_second / costs.executed_flops_per_token(config)
        return throughput.estimate(config, execution)

    timed = [(_pack_seconds(pack, rate(pack[0])), pack) for pack in packs]
    timed.sort(key=lambda item: -(item[0] or sum(map(costs.flops, item[1]))))
    seconds = [s for s, _ in timed if s is not None]
    complete = len(seconds) == len(timed)
    return Plan(
        title=title,
        root=str(standings.root),
        counts=dict(standings.counts),
        cells=_cells(configs, timed, rate),
        packs=[pack for _, pack in timed],
        slots=slots,
        tokens=sum(map(costs.tokens, missing)),
        flops=sum(map(costs.flops, missing)),
        device_hours=sum(seconds) / 3600 if complete else None,
        seconds=_makespan(seconds, slots) if complete else None,
        source=(
            throughput.source(missing, execution)
            if flops_per_second is None
            else f"at a stated {flops_per_second:.3g} FLOP/s"
        ),
        news=standings.news,
    )


def _pack_seconds(pack: PackRuns, rate: float | None) -> float | None:
    """Time of a pack at a rate in tokens a second."""
    return None if rate is None else sum(map(costs.tokens, pack)) / rate


def _makespan(seconds: Sequence[float], slots: int) -> float:
    """When the last pack ends, if each goes to the slot that is free first."""
    ends = [0.0] * min(slots, max(1, len(seconds)))
    for duration in seconds:
        heapq.heapreplace(ends, ends[0] + duration)
    return max(ends)


def _cells(
    configs: Sequence[RunConfig],
    timed: Sequence[tuple[float | None, PackRuns]],
    rate: Callable[[RunConfig], float | None],
) -> list[Cell]:
    groups: dict[str, list[RunConfig]] = {}
    for config in configs:
        groups.setdefault(cell_key(config, PER_CELL), []).append(config)
    packs: dict[str, list[tuple[float | None, PackRuns]]] = {}
    for seconds, pack in timed:
        packs.setdefault(cell_key(pack[0], PER_CELL), []).append((seconds, pack))
    names = cell_names([group[0] for group in groups.values()])
    cells = []
    for name, (key, group) in zip(names, groups.items(), strict=True):
        own = packs.get(key, [])
        known = [s for s, _ in own if s is not None]
        description = costs.model_description(group[0])
        cells.append(
            Cell(
                name=name,
                runs=len(group),
                missing=sum(len(pack) for _, pack in own),
                parameters=description["non_embedding_parameters"],
                tokens_per_run=costs.tokens(group[0]),
                flops_per_run=costs.flops(group[0]),
                lanes=max((len(pack) for _, pack in own), default=0),
                tokens_per_second=rate(group[0]),
                packs=len(own),
                seconds=sum(known) if len(known) == len(own) else None,
            )
        )
    return cells

"""What a launch would do: states, sizes, packs, time. Nothing is executed.

Times come from runs of this machine, else from a built-in curve by size
(`sweeps.rates`), or from a rate that the caller states. Evaluation is left out.
"""

import heapq
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sweeps import costs
from sweeps.cells import cell_key, cell_names
from sweeps.packs import PackRuns, chooser, cut
from sweeps.rates import observe
from synth.config import RunConfig
from synth.identity import require
from synth.run.execution import Execution
from synth.run.progress import clock
from synth.run.standing import Standing, Survey
from synth.run.states import UNTRIED, State, counted

PER_CELL = ("learning_rate", "weight_decay")
"""Fields of training that runs of one line of a plan may differ in, besides seeds."""


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
    """Of one worker, all lanes of its pack together."""
    packs: int
    seconds: float | None
    """Of one slot, for all that is missing; `None` when nothing is known."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A launch, before it happens."""

    title: str
    root: str
    counts: dict[State, int]
    cells: list[Cell]
    packs: list[PackRuns]
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
    news: list[str]
    """What else there is to know of the runs, a sentence each."""

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
        counts = counted(self.counts)
        lines = [
            f"{self.title}: {sum(self.counts.values())} runs ({counts}) in {self.root}",
            f"{'cell':<34}{'runs':>6}{'todo':>6}{'params':>9}{'tokens':>9}"
            f"{'FLOP':>10}{'lanes':>6}{'packs':>6}{'tokens/s':>10}{'time':>10}",
        ]
        for cell in self.cells:
            lines.append(
                f"{cell.name:<34}{cell.runs:>6}{cell.missing:>6}"
                f"{short(cell.parameters):>9}{short(cell.tokens_per_run):>9}"
                f"{cell.flops_per_run:>10.2g}{cell.lanes:>6}"
                f"{cell.packs:>6}{short(cell.tokens_per_second):>10}"
                f"{clock(cell.seconds):>10}"
            )
        hours = "unknown" if self.device_hours is None else f"{self.device_hours:.2f}"
        lines += self.news
        lines.append(
            f"to train: {sum(c.missing for c in self.cells)} runs in {len(self.packs)} "
            f"packs, {short(self.tokens)} tokens, {self.flops:.3g} FLOP"
        )
        lines.append(
            f"time: {clock(self.seconds)} with {self.slots} at a time, "
            f"{hours} device-hours ({self.source})"
        )
        return "\n".join(lines)


def plan(
    title: str,
    configs: Sequence[RunConfig],
    found: Survey[Standing],
    execution: Execution,
    slots: int,
    *,
    lanes: int | None = None,
    flops_per_second: float | None = None,
    states: Collection[State] = UNTRIED,
    most: Mapping[str, int] | None = None,
) -> Plan:
    """Cut the runs in some states into packs, the costly ones first, and estimate them.

    `most` bounds the packs of some runs, see `packs.cut`.
    `flops_per_second` is the rate that one slot sustains, if it is known.

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
    wanted = found.ids(*states)
    missing = [config for config in configs if config.run_id in wanted]
    costs.refuse_impossible(missing)
    packs = cut(missing, lanes or chooser(execution, slots), most)
    rates = observe(configs, found, execution)

    def rate(config: RunConfig) -> float | None:
        if flops_per_second is not None:
            return flops_per_second / costs.executed_flops_per_token(config)
        return rates.of(config, execution)

    timed = [(_seconds(pack, rate(pack[0])), pack) for pack in packs]
    timed.sort(key=lambda item: -(item[0] or sum(map(costs.flops, item[1]))))
    seconds = [s for s, _ in timed if s is not None]
    complete = len(seconds) == len(timed)
    return Plan(
        title=title,
        root=str(found.root),
        counts=dict(found.counts),
        cells=_cells(configs, timed, rate),
        packs=[pack for _, pack in timed],
        slots=slots,
        tokens=sum(map(costs.tokens, missing)),
        flops=sum(map(costs.flops, missing)),
        device_hours=sum(seconds) / 3600 if complete else None,
        seconds=_span(seconds, slots) if complete else None,
        source=(
            rates.source(missing, execution)
            if flops_per_second is None
            else f"at a stated {flops_per_second:.3g} FLOP/s"
        ),
        news=found.news,
    )


def _seconds(pack: PackRuns, rate: float | None) -> float | None:
    """Time of a pack at so many tokens a second."""
    return None if rate is None else sum(map(costs.tokens, pack)) / rate


def short(number: float | None) -> str:
    """A count in four characters or so: 950, 31.5M, 26.2B; a dash when unknown."""
    if number is None:
        return "-"
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
        spans = [s for s, _ in own if s is not None]
        found = costs.described(group[0])
        cells.append(
            Cell(
                name=name,
                runs=len(group),
                missing=sum(len(pack) for _, pack in own),
                parameters=found["non_embedding_parameters"],
                tokens_per_run=costs.tokens(group[0]),
                flops_per_run=costs.flops(group[0]),
                lanes=max((len(pack) for _, pack in own), default=0),
                tokens_per_second=rate(group[0]),
                packs=len(own),
                seconds=sum(spans) if len(spans) == len(own) else None,
            )
        )
    return cells

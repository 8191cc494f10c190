"""Where the time of a training call goes: data, forward, backward, optimiser, the rest.

Training code wraps its stages in `span`; without a `Profiler` a span costs one
comparison. The parts of the table, which sum to the whole:

```
start-up     imports, building the pack, compilation, and the time that the first
             step takes beyond the later ones
data         generating rows, stacking them, sending them to the device
forward      trunk, heads, unembedding and losses
backward     every pass of autograd; heads take turns, so forward and backward
             alternate within a step, and each piece counts where it belongs
optimiser    zeroing gradients, their norms, clipping, the update
evaluation   scoring the fixed test sets, rows of metrics
checkpoint   copying, writing and syncing state, dropping old checkpoints
other        targets, reading losses, progress, everything outside of spans
```

A gradient that the code computes outside of autograd counts as forward. On a GPU work is
only queued, so the beginning and end of a span wait for the device: the parts are right,
and the whole is slower than without a profile. A step that is replayed as one CUDA graph
cannot be divided: all of it counts as forward, and the table says so; recording it is
start-up.
"""

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self, get_args

import torch

PartName = Literal[
    "start-up",
    "data",
    "forward",
    "backward",
    "optimiser",
    "evaluation",
    "checkpoint",
    "other",
]
PARTS: tuple[PartName, ...] = get_args(PartName)
"""The rows of the table; they sum to the whole."""
STEP: tuple[PartName, ...] = ("data", "forward", "backward", "optimiser")
"""Parts that every step has."""


def span(part: PartName, whole: bool = False) -> AbstractContextManager[None]:
    """Count the time within as `part`, without that of spans inside unless `whole`."""
    return _NOTHING if _profiler is None else _profiler.span(part, whole)


def step_taken(lanes: int, tokens: int, replayed: bool) -> None:
    """Count a training step of so many tokens (of all lanes)."""
    if _profiler is not None:
        _profiler.step_taken(lanes, tokens, replayed)


@dataclass(frozen=True, kw_only=True)
class TimeShare:
    """One row: seconds in all, their share, and their mean over the steps."""

    name: str
    seconds: float
    share: float
    ms_per_step: float


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The time of one call of `train`, in parts that sum to it."""

    parts: tuple[TimeShare, ...]
    steps: int
    """Of this call, without those before an interruption."""
    lanes: int
    seconds: float
    tokens_per_second: float
    """Of all lanes, over the whole call."""
    step_tokens_per_second: float
    """Of all lanes, over data, forward, backward and optimiser alone."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def as_text(self) -> str:
        """A table with a row for each part."""
        lines = [f"{'part':<12}{'seconds':>10}{'share':>8}{'ms a step':>11}"]
        for part in self.parts:
            lines.append(
                f"{part.name:<12}{part.seconds:>10.3f}{part.share:>8.1%}"
                f"{part.ms_per_step:>11.3f}"
            )
        lines.append(
            f"{'whole':<12}{self.seconds:>10.3f}{1:>8.0%}"
            f"{1000 * self.seconds / max(1, self.steps):>11.3f}"
        )
        lines.append(
            f"{self.steps} steps of {self.lanes} lanes: "
            f"{self.tokens_per_second:,.0f} tokens/s in all, "
            f"{self.step_tokens_per_second:,.0f} tokens/s in steps alone"
        )
        return "\n".join([*lines, *self.notes])


class Profiler:
    """Measures the spans of the code inside its `with` block.

    ```python
    with Profiler() as profiler:
        outcomes = train(configs, runs, execution)
    print(profiler.breakdown().as_text())
    ```
    """

    def __init__(self, began: float | None = None) -> None:
        """`began`: when the call started (`time.monotonic`); now if not given."""
        self._began = self._last = time.monotonic() if began is None else began
        self._seconds: dict[str, float] = defaultdict(float)
        self._open: list[PartName] = ["start-up"]
        """Spans within each other, the innermost last; the first is for unnamed time."""
        self._undivided = False
        self._first: dict[str, float] | None = None
        """Of the first step."""
        self._counts: Counter[str] = Counter()
        self._lanes = 0

    def __enter__(self) -> Self:
        global _profiler
        _profiler = self
        return self

    def __exit__(self, *_: object) -> None:
        global _profiler
        self._charge()
        _profiler = None

    @contextlib.contextmanager
    def span(self, part: PartName, whole: bool) -> Iterator[None]:
        """See the function `span`."""
        if self._undivided:
            yield
            return
        self._charge()
        if part in STEP:  # before the first step, time without a name is start-up
            self._open[0] = "other"
        self._open.append(part)
        self._undivided = whole
        try:
            yield
        finally:
            self._undivided = False
            self._charge()
            self._open.pop()

    def step_taken(self, lanes: int, tokens: int, replayed: bool) -> None:
        """See the function `step_taken`."""
        self._charge()
        self._lanes = max(self._lanes, lanes)
        self._counts.update(steps=1, tokens=tokens, replayed=int(replayed))
        if self._first is None:
            self._first = {name: self._seconds[name] for name in STEP[1:]}

    @property
    def steps(self) -> int:
        """Steps seen so far."""
        return self._counts["steps"]

    def _charge(self) -> None:
        """Add the time since the last call to the innermost span."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        now = time.monotonic()
        self._seconds[self._open[-1]] += now - self._last
        self._last = now

    def breakdown(self) -> Breakdown:
        """The parts of the time from the start until the last span.

        Raises `ValueError` when no step was trained: the run was done before, or it
        failed at once.
        """
        if self._first is None:
            raise ValueError("There is nothing to profile: no step was trained.")
        seconds = {name: self._seconds[name] for name in PARTS}
        for name, excess in self._first_excess(self._first).items():
            seconds[name] -= excess
            seconds["start-up"] += excess
        whole = self._last - self._began
        return Breakdown(
            parts=tuple(
                TimeShare(
                    name=name,
                    seconds=seconds[name],
                    share=seconds[name] / whole,
                    ms_per_step=1000 * seconds[name] / self.steps,
                )
                for name in PARTS
            ),
            steps=self.steps,
            lanes=self._lanes,
            seconds=whole,
            tokens_per_second=self._counts["tokens"] / whole,
            step_tokens_per_second=(
                self._counts["tokens"] / sum(seconds[name] for name in STEP)
            ),
            notes=self._notes(),
        )

    def _first_excess(self, first: dict[str, float]) -> dict[PartName, float]:
        """What the first step took beyond the mean of the later ones."""
        later = self.steps - 1
        if not later:
            return {}
        return {
            name: max(0.0, first[name] - (self._seconds[name] - first[name]) / later)
            for name in STEP[1:]
        }

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if torch.cuda.is_initialized():
            notes.append("every part waited for the GPU: slower than without --timing")
        if replayed := self._counts["replayed"]:
            notes.append(
                f"{replayed} of {self.steps} steps were replayed as one graph: "
                "all of a replay is counted as forward"
            )
        return tuple(notes)


_NOTHING = nullcontext()
_profiler: Profiler | None = None

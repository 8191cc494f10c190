"""Where the time of a training call goes: data, forward, backward, optimiser, the rest.

Clocks are put around the parts of a pack after it was built, so a call that asks for no
profile runs the same code as ever. What is measured:

```
start-up     imports and building the pack, compilation and what else the first step
             takes beyond the later ones
data         generating rows, stacking them, sending them to the device
forward      trunk, heads, unembedding and losses
backward     every pass of autograd; heads take turns, so forward and backward
             alternate within a step, and each stretch counts where it belongs
optimiser    zeroing gradients, their norms, clipping, AdamW
evaluation   scoring the fixed test sets, rows of metrics
checkpoint   copying, writing and syncing state, dropping old checkpoints
other        targets, looks at the losses, progress, whatever has no name
```

A gradient that the code computes outside of autograd counts as forward. On a GPU work is
only queued, so every clock first waits for the device: the parts are honest, and the
whole is slower than without a profile. A step that is replayed as one CUDA graph has no
inside: all of it counts as forward, and the table says so; recording it is start-up.
"""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from synth.config import RunConfig
from synth.pack import Pack
from synth.run.checkpoint import Checkpoint
from synth.run.execution import Execution
from synth.training import BuildPack

STEP = ("data", "forward", "backward", "optimiser")
"""Parts that every step has."""
PARTS = ("start-up", *STEP, "evaluation", "checkpoint", "other")
"""The rows of the table; they sum to the whole."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One row: seconds in all, their share, and their mean over the steps."""

    name: str
    seconds: float
    share: float
    ms_per_step: float


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """The time of one call of `train`, in parts that sum to it."""

    parts: tuple[Part, ...]
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
        """For JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """For people: a row a part."""
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


class Profile:
    """Gives `train` packs with clocks inside; `breakdown` says what they saw.

    ```python
    profile = Profile()
    outcomes = train(configs, runs, execution, build=profile.build)
    print(profile.breakdown().as_text())
    ```
    """

    def __init__(self, began: float | None = None, build: BuildPack = Pack) -> None:
        """`began`: when the call started (`time.monotonic`); now if not given."""
        self._began = time.monotonic() if began is None else began
        self._plain_build = build
        self._seconds: dict[str, float] = defaultdict(float)
        # Of the session: data, training, evaluation, checkpoint.
        self._clocks: list[Mapping[str, float]] = []
        self._first: dict[str, float] | None = None
        self._steps = self._lanes = self._tokens = 0
        self._autograd_calls = self._steps_without = self._replays = 0
        self._built: float | None = None
        self._device = "cpu"

    def build(
        self,
        configs: Sequence[RunConfig],
        execution: Execution,
        restored: Sequence[Checkpoint] | None,
    ) -> Pack:
        """Build a pack, and put clocks around its parts."""
        pack = self._plain_build(configs, execution, restored)
        self._device = execution.device
        self._lanes = max(self._lanes, len(configs))
        for owner, name, part in (
            (pack.lanes, "zero_grad", "optimiser"),
            (pack.optimizer, "norms", "optimiser"),
            (pack.optimizer, "schedule", "optimiser"),
            (pack.optimizer, "update", "optimiser"),
        ):
            setattr(owner, name, self._timed(getattr(owner, name), part))
        if pack.replayed is not None and pack.replayed.graph is not None:
            graph, replayed = pack.replayed.graph, pack.replayed
            vars(graph)["replay"] = self._replay(graph.replay)
            vars(replayed)["record"] = self._as_one(replayed.record, "start-up")
        vars(pack)["backward"] = self._split(pack.backward)
        vars(pack)["train_step"] = self._counted(pack, pack.train_step)
        if self._built is None:
            self._built = self._now()
        return pack

    @property
    def steps(self) -> int:
        """Steps seen so far."""
        return self._steps

    def breakdown(self) -> Breakdown:
        """The parts of the time from the start until now.

        Raises
        ------
        ValueError
            When no step was trained: the run was done before, or it failed at once.
        """
        if self._first is None or self._built is None:
            raise ValueError("There is nothing to profile: no step was trained.")
        whole = self._now() - self._began
        found = {name: self._seconds[name] for name in PARTS}
        for clock in self._clocks:
            for name in ("data", "evaluation", "checkpoint"):
                found[name] += clock.get(name, 0.0)
        found["start-up"] += self._built - self._began
        for name, excess in self._first_excess().items():
            found[name] -= excess
            found["start-up"] += excess
        found["other"] = whole - sum(found.values())
        stepping = sum(found[name] for name in STEP)
        return Breakdown(
            parts=tuple(
                Part(
                    name=name,
                    seconds=found[name],
                    share=found[name] / whole,
                    ms_per_step=1000 * found[name] / self._steps,
                )
                for name in PARTS
            ),
            steps=self._steps,
            lanes=self._lanes,
            seconds=whole,
            tokens_per_second=self._tokens / whole,
            step_tokens_per_second=self._tokens / stepping,
            notes=self._notes(),
        )

    def _first_excess(self) -> dict[str, float]:
        """What the first step took beyond the mean of the later ones."""
        first = self._first
        if first is None or self._steps < 2:
            return {}
        later = self._steps - 1
        return {
            name: max(0.0, seconds - (self._seconds[name] - seconds) / later)
            for name, seconds in first.items()
        }

    def _notes(self) -> tuple[str, ...]:
        notes = []
        if self._device == "cuda":
            notes.append("every part waited for the GPU: slower than without --profile")
        if self._replays:
            notes.append(
                f"{self._replays} of {self._steps} steps were replayed as one graph: "
                "all of a replay is counted as forward"
            )
        if self._steps_without:
            notes.append(
                f"{self._steps_without} of {self._steps} steps ran outside of autograd: "
                "their backward is counted as forward"
            )
        return tuple(notes)

    def _now(self) -> float:
        """The time once the device has done what was asked of it."""
        # Waiting is forbidden while a graph is recorded.
        if self._device == "cuda" and not torch.cuda.is_current_stream_capturing():
            torch.cuda.synchronize()
        return time.monotonic()

    def _timed(self, plain: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            began = self._now()
            result = plain(*given, **named)
            self._seconds[part] += self._now() - began
            return result

        return timed

    def _as_one(self, plain: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Time a call as a whole; what its insides are worth is not counted."""

        def as_one(*given: Any, **named: Any) -> Any:
            before, began = dict(self._seconds), self._now()
            result = plain(*given, **named)
            self._seconds.clear()
            self._seconds.update(before)
            self._seconds[part] += self._now() - began
            return result

        return as_one

    def _replay(self, plain: Callable[[], None]) -> Callable[[], None]:
        timed = self._timed(plain, "forward")

        def replay() -> None:
            self._replays += 1
            timed()

        return replay

    def _split(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        """Time `backward` of a pack: autograd's passes apart from what is between."""

        def split(*given: Any, **named: Any) -> Any:
            began, before = self._now(), self._seconds["backward"]
            calls = self._autograd_calls
            with self._watched_autograd():
                result = plain(*given, **named)
            self._steps_without += self._autograd_calls == calls
            inside = self._seconds["backward"] - before
            self._seconds["forward"] += self._now() - began - inside
            return result

        return split

    @contextlib.contextmanager
    def _watched_autograd(self) -> Iterator[None]:
        """`Tensor.backward` and `torch.autograd.grad` with a clock, for a while."""

        def watched(plain: Callable[..., Any]) -> Callable[..., Any]:
            timed = self._timed(plain, "backward")

            def call(*given: Any, **named: Any) -> Any:
                self._autograd_calls += 1
                return timed(*given, **named)

            return call

        names = ("backward", "grad")  # `Tensor.backward` calls the former by this name
        plain = {name: getattr(torch.autograd, name) for name in names}
        try:
            for name in names:
                setattr(torch.autograd, name, watched(plain[name]))
            yield
        finally:
            for name in names:
                setattr(torch.autograd, name, plain[name])

    def _counted(
        self, pack: Pack, plain: Callable[[dict[str, float]], None]
    ) -> Callable[[dict[str, float]], None]:
        def counted(clock: dict[str, float]) -> None:
            if not any(known is clock for known in self._clocks):
                self._clocks.append(clock)
            plain(clock)
            self._steps += 1
            self._tokens += pack.training.tokens_per_step * len(pack.configs)
            if self._first is None:
                self._first = {name: self._seconds[name] for name in STEP[1:]}

        return counted
